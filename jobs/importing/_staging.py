"""A folder that is replaced whole: whoever looks sees the old one or the new one, never half of either."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import ReelflowError

SIMULATION_MARKER = "_simulation.json"
IMPORT_MARKER = "_import.json"


def read_marker(path: Path, name: str) -> Mapping[str, Any] | None:
    """The marker that a finished maker of logs left in a folder, or None when there is none."""
    file = path / name
    if not file.exists():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else None


def write_marker(path: Path, name: str, content: Mapping[str, Any]) -> None:
    """Leave a marker: last of all, because it says that the folder is whole."""
    (path / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def replaced(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A fresh folder to write into, which takes the place of ``path`` when the block ends without an error.

    Args:
        path: where the folder shall stand; its parents are made. A folder that we made earlier is replaced.
        force: replace a folder that holds something else, too.

    Raises:
        ReelflowError: ``path`` holds files that no simulation or import wrote.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.former")
    if former.exists() and not path.exists():  # killed between the two renames below
        former.rename(path)
    _refuse_foreign(path, force=force)
    for left_over in (partial, former):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        path.rename(former)
    partial.rename(path)
    shutil.rmtree(former, ignore_errors=True)


def _refuse_foreign(path: Path, *, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise ReelflowError(f"output {path}: found a file, expected a folder; name another one with --out")
    if force or not path.exists() or not any(path.iterdir()):
        return
    if not any((path / marker).exists() for marker in (SIMULATION_MARKER, IMPORT_MARKER)):
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5])
        raise ReelflowError(
            f"output {path}: found {found}, expected an empty folder or an earlier simulation or import; "
            "name another one with --out, or replace it with --force"
        )
