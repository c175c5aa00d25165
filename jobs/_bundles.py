"""Where model bundles lie, how they are committed, and whether one is still what its recipe would make."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from conf.paths import Paths
from jobs._lane import DAILY
from jobs._recipe import MISSING, Recipe, State, Status
from jobs._stage import Context
from jobs._swap import swap
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
    return place(context.paths, kind, as_of or context.as_of)


def place(where: Paths, kind: str, as_of: datetime) -> Path:
    """The directory of a kind's bundle of one ``as_of`` in a workspace."""
    return where.bundles / kind / compact(as_of)


def open_at(context: Context, kind: str, as_of: datetime | None = None) -> Bundle:
    """Open and verify the bundle of one ``as_of``.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    return open_bundle(location(context, kind, as_of), kind=kind)


def models(context: Context) -> dict[str, Bundle]:
    """The trained bundles of this ``as_of``, by kind.

    Raises:
        BundleError: one is missing or damaged.
    """
    return {kind: open_at(context, kind) for kind in (WALS, TOWERS)}


def folders(bundles: Mapping[str, Bundle], *, wals: str = FINAL, towers: str = FINAL) -> tuple[Path, Path]:
    """Where the models of the trained bundles lie: the final ones, or those named."""
    return bundles[WALS].path / wals, bundles[TOWERS].path / towers


def current(context: Context, kind: str, recipe: Recipe) -> Bundle | None:
    """The bundle of this run if it was made by exactly this recipe and is undamaged, else None."""
    found, status = check(context, kind, recipe)
    return found if status.current and not context.force else None


def check(context: Context, kind: str, recipe: Recipe) -> tuple[Bundle | None, Status]:
    """The bundle of this run unless it is missing or damaged, and how it stands to the recipe."""
    if not location(context, kind).exists():
        return None, MISSING
    try:
        found = open_at(context, kind)
    except BundleError as error:
        return None, Status(State.STALE, str(error))
    made_by = found.properties.get("recipe")
    return found, recipe.status(Recipe(**made_by)) if made_by else Status(State.STALE, "no recipe")


def commit(context: Context, kind: str, recipe: Recipe, write: Callable[[Path], None], properties: Mapping[str, Any]) -> Bundle:
    """Let ``write`` fill a fresh directory, seal it, and put it in the place of this run's bundle."""
    live = location(context, kind)
    staged = staging(live)
    staged.mkdir(parents=True)
    write(staged)
    lane = {} if context.lane == DAILY else {"lane": context.lane}
    facts = {"as_of": iso(context.as_of), "recipe": _plain(recipe), **lane, **properties}
    sealed = seal(staged, kind=kind, properties=facts)
    swap(staged, live)
    return Bundle(live, kind, sealed.digest, sealed.properties)


def staging(live: Path) -> Path:
    """A directory beside ``live`` that is not there yet; what this host's dead processes left is removed."""
    prefix = f".{live.name}.{socket.gethostname()}."
    for orphan in live.parent.glob(f"{prefix}*"):
        if not Path(f"/proc/{orphan.name.removeprefix(prefix)}").exists():
            shutil.rmtree(orphan, ignore_errors=True)
    staged = live.with_name(f"{prefix}{os.getpid()}")
    shutil.rmtree(staged, ignore_errors=True)
    return staged


def _plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it reads back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return plain
