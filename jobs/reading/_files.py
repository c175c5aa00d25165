"""Raw files as their names describe them; nothing here opens one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from models.bundle import sha256

_FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class RawFile:
    """One raw file: where it lies and how it is to be read.

    ``format`` is ``parquet``, ``jsonl``, ``csv`` or ``unknown``. ``problem`` says why the name alone forbids to read it.
    """

    path: Path
    format: str
    problem: str | None = None

    def digest(self) -> str:
        """sha256 of the file's content.

        Raises:
            OSError: the file cannot be read.
        """
        return sha256(self.path)


def partition_files(folder: Path) -> list[RawFile]:
    """The files of one raw partition directory, by name; hidden and underscored names are not data."""
    if not folder.is_dir():
        return []
    return [_named(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] not in "._"]


def snapshot_dates(source: Path) -> list[str]:
    """The dates of the ``dt=`` directories of a raw source, ascending."""
    return sorted(match[1] for path in source.glob("dt=*") if (match := re.fullmatch(r"dt=(\d{4}-\d{2}-\d{2})", path.name)))


def _named(path: Path) -> RawFile:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = _FORMATS.get("".join(suffixes[:-1][-1:] if zipped else suffixes[-1:]))
    if kind is None or (zipped and kind == "parquet"):
        return RawFile(path, "unknown", f"unknown format {path.name!r}; expected .parquet, .jsonl or .csv")
    return RawFile(path, kind)
