"""The evaluation on disk: the folder of its page and figures, what it was made from, and how the gate takes it up."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs._recipe import CURRENT, MISSING, Recipe, State, Status, canonical
from jobs._stage import Context
from jobs._swap import read_json, swap
from jobs._tables import Manifest, Partition
from jobs._window import iso
from schemas import EVALUATION
from schemas.errors import ReelflowError

FOLDER = "evaluation"
PAGE = f"{FOLDER}/index.html"
FIGURES = f"{FOLDER}/figures.json"


def check(context: Context, wanted: Recipe) -> tuple[dict[str, Any] | None, Status]:
    """The figures of this ``as_of``, and whether they, the page and the table are those of a recipe."""
    found = read(context)
    if found is None:
        return None, MISSING
    status = wanted.status(Recipe(**found["recipe"]))
    if not status.current:
        return found, status
    if not (context.run_folder / PAGE).exists():
        return found, Status(State.STALE, "its page is not there")
    partition = Partition(context.last_day)
    status = context.lake.status(EVALUATION, partition, wanted)
    manifest = context.lake.manifest(EVALUATION, partition)
    if status.current and manifest is not None and manifest.digest != found["table"]:
        status = Status(State.STALE, "the table is not that of the page")
    return found, status if not status.current else CURRENT


def require(context: Context, wanted: Recipe) -> dict[str, Any]:
    """The figures of this ``as_of``, which must be those of exactly this recipe: of these bundles, inputs and settings.

    Raises:
        ReelflowError: there are none, or they are of something else.
    """
    found, status = check(context, wanted)
    if found is None:
        raise ReelflowError(f"evaluation {_path(context)}: not found; run evaluate --as-of {iso(context.as_of)} first")
    if not status.current:
        raise ReelflowError(
            f"evaluation as of {iso(context.as_of)}: it is not that of these bundles, inputs and settings ({status.why}); run "
            "evaluate again"
        )
    return found


def digest(found: Mapping[str, Any]) -> str:
    """Of what the gate takes from the figures."""
    return hashlib.sha256(canonical([found["metrics"], found["weights"]]).encode()).hexdigest()


def read(context: Context) -> dict[str, Any] | None:
    """The figures of this ``as_of``, or None when there are none.

    Raises:
        ReelflowError: they cannot be read.
    """
    return read_json(_path(context), "evaluation", "evaluate")


def write(context: Context, made_by: Recipe, table: Manifest, content: Mapping[str, Any], page: str) -> Path:
    """Replace page and figures of this ``as_of`` together; returns the page's path."""
    target = context.run_folder / FOLDER
    staged = target.with_name(f"{FOLDER}.tmp")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    (staged / Path(PAGE).name).write_text(page, encoding="utf-8")
    kept = {**content, "as_of": iso(context.as_of), "recipe": asdict(made_by), "table": table.digest}
    (staged / Path(FIGURES).name).write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    swap(staged, target)
    return context.run_folder / PAGE


def _path(context: Context) -> Path:
    return context.run_folder / FIGURES
