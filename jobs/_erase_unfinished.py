"""What killed stages left on disk: it may hold a user in any form, so all of it goes. Nobody is at work while an erasure is.

Parts of lists, checkpoints of trainings and staged files are made again; copies of bundles are fetched again.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from conf.paths import Paths
from jobs._erase_models import Search, called
from jobs._erase_tables import HOURLY
from jobs._receipt import Removed
from jobs._tracking import FETCHED

_UNFINISHED = ("lists", "trainings", "checkpoints")
"""Folders of a run that a stage goes on with after a kill."""
_STAGED = re.compile(r"\..+\.\d+")
"""Bundles that were being written, ``.NAME.HOST.PID``; see ``jobs._bundles.staging``."""


def remove(search: Search) -> list[Removed]:
    """Remove all of it."""
    done = []
    for path in sorted(_found(search.paths)):
        done.append(Removed(called(search.paths, path), "files", 1))
        if search.dry:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return done


def _found(where: Paths) -> Iterator[Path]:
    for name in (*(f"*/{name}" for name in _UNFINISHED), f"{FETCHED}*"):
        yield from where.runs.glob(name)
    for root in (where.bundles, where.mlflow, where.runs):
        yield from (path for path in root.rglob(".*") if _STAGED.fullmatch(path.name) and path.is_dir())
    yield from where.runs.rglob("*.tmp")
    for lake in (where.lake, where.cold, *(where.lake / HOURLY).glob("*Z")):
        yield from (lake / "_staging").glob("*")
