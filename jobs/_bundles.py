"""Where model bundles lie, how they are committed, and whether one is still what its recipe would make."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs._stage import Context
from jobs._swap import swap
from jobs._tables import Recipe
from jobs._window import compact, iso
from models.bundle import Bundle, BundleError, open_bundle, seal

WALS = "wals"
TOWERS = "towers"
SERVING = "serving"
FINAL = "final"
HOLDOUT = "holdout"
EARLY = "early"


def location(context: Context, kind: str, as_of: datetime | None = None) -> Path:
    """The directory of a kind's bundle of one ``as_of``."""
    return context.paths.bundles / kind / compact(as_of or context.as_of)


def open_at(context: Context, kind: str, as_of: datetime | None = None) -> Bundle:
    """Open and verify the bundle of one ``as_of``.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    return open_bundle(location(context, kind, as_of), kind=kind)


def current(context: Context, kind: str, recipe: Recipe) -> Bundle | None:
    """The bundle of this run if it was made by exactly this recipe and is undamaged, else None."""
    try:
        found = open_at(context, kind)
    except BundleError:
        return None
    return found if found.properties.get("recipe") == _plain(recipe) and not context.force else None


def commit(context: Context, kind: str, recipe: Recipe, write: Callable[[Path], None], properties: Mapping[str, Any]) -> Bundle:
    """Let ``write`` fill a fresh directory, seal it, and put it in the place of this run's bundle."""
    live = location(context, kind)
    staged = live.with_name(f".{live.name}.{os.getpid()}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    write(staged)
    facts = {"as_of": iso(context.as_of), "recipe": _plain(recipe), **properties}
    sealed = seal(staged, kind=kind, properties=facts)
    swap(staged, live)
    return Bundle(live, kind, sealed.digest, sealed.properties)


def _plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it reads back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return plain
