"""Lines of a source that could not become events: kept, with their number and the reason."""

from __future__ import annotations

import csv
from pathlib import Path

from schemas.errors import ReelflowError

FILE = "import_rejected.csv"


class Rejected:
    """Collects refused lines, and writes them beside the raw tables."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, int, str, str]] = []

    def add(self, file: str, line: int, reason: str, record: str) -> None:
        """Keep one line, numbered from 1 as an editor does."""
        self._rows.append((file, line, reason, record))

    def __len__(self) -> int:
        return len(self._rows)

    def count(self, file: str) -> int:
        """Refused lines of one file."""
        return sum(row[0] == file for row in self._rows)

    def write(self, root: Path) -> None:
        """Write ``import_rejected.csv``, in order of file and line; no file when nothing was refused."""
        if not self._rows:
            return
        with (root / FILE).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("file", "line", "reason", "record"))
            writer.writerows(sorted(self._rows))

    def refuse_all(self, source: Path) -> ReelflowError:
        """The error for a source of which no line was usable."""
        file, line, reason, record = min(self._rows, default=(source.name, 0, "empty file", ""))
        return ReelflowError(
            f"source {source}: no usable row ({len(self)} refused; first: {file} line {line}: {reason}: {record[:80]!r}); "
            "expected ratings or log rows; check the file"
        )
