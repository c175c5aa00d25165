"""One raw file, of any format, as batches of the contract's rows: all of its rows, or one that says why it has none."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.reading._csv import Csv, header_names
from jobs.reading._files import RawFile
from jobs.reading._jsonl import JsonLines, keys
from jobs.reading._lines import Lines, count_lines, read_lines
from jobs.reading._parquet import READ_ERRORS, ParquetSource
from jobs.reading._rows import Rows, conform, unreadable
from jobs.reading._sift import sift
from schemas import Table

MAX_ROWS = 262_144
_MAX_LINES = 65_536  # Arrow reads at most 100,000 JSON objects from one block
_ERRORS = (*READ_ERRORS, zlib.error)


class _Source(Protocol):
    """A file that proved readable."""

    @property
    def rows(self) -> int: ...
    @property
    def unknown_columns(self) -> frozenset[str]: ...
    def batches(self) -> Iterator[Rows]: ...


@dataclass(slots=True)
class RawReader:
    """Reads one raw file; ``rows``, ``unknown_columns`` and ``problem`` are known once ``batches`` has begun.

    No row comes out before the file was read to its end: a damaged file is one row with the reason ``unreadable_file`` and
    nothing else. Text is read twice, in bounded memory: to be sure and to count, then to parse. The columns of a Parquet
    file that the contract knows stay in memory from the first reading; a file above 256 MiB is read again instead.
    """

    file: RawFile
    table: Table
    max_rows: int = MAX_ROWS
    rows: int = field(default=0, init=False)
    """Rows that the file holds, counted apart from parsing: the footer of a Parquet file, lines that are not blank of a text.
    The batches have as many rows, or one was lost."""
    unknown_columns: frozenset[str] = field(default=frozenset(), init=False)
    """Columns that the contract does not know; for JSON Lines those of one line in every mebibyte."""
    problem: str | None = field(default=None, init=False)
    """Why the file cannot be read; it counts as one row."""

    def batches(self) -> Iterator[Rows]:
        """All rows of the file in its order, at most ``max_rows`` at a time; a file without rows has no batches.

        Raises:
            OSError, zlib.error, EOFError, ValueError, pyarrow.ArrowException: the file was changed while it was read.
        """
        source = self._open()
        if source is None:
            self.rows, self.unknown_columns = 1, frozenset()
            yield unreadable(self.table, self.problem or "")
            return
        self.rows, self.unknown_columns = source.rows, source.unknown_columns
        yield from source.batches()

    def _open(self) -> _Source | None:
        self.problem = self.file.problem
        if self.problem is not None:
            return None
        openers: Mapping[str, Callable[[Path, Table, int], _Source]] = {
            "parquet": ParquetSource.open,
            "jsonl": _JsonSource.open,
            "csv": _CsvSource.open,
        }
        try:
            return openers[self.file.format](self.file.path, self.table, self.max_rows)
        except _ERRORS as error:
            self.problem = f"cannot be read: {_said(error, self.file.path)}"
            return None


def read_file(file: RawFile, table: Table, max_rows: int = MAX_ROWS) -> Iterator[Rows]:
    """The batches of one file, where nobody asks for its count and its unknown columns."""
    return RawReader(file, table, max_rows).batches()


@dataclass(frozen=True, slots=True)
class _JsonSource:
    path: Path
    table: Table
    max_lines: int
    rows: int
    unknown_columns: frozenset[str]

    @classmethod
    def open(cls, path: Path, table: Table, max_rows: int) -> _JsonSource:
        names: set[str] = set()
        rows = count_lines(path, lambda _, line: names.update(keys(line)))
        return cls(path, table, min(max_rows, _MAX_LINES), rows, frozenset(names - set(table.columns)))

    def batches(self) -> Iterator[Rows]:
        for lines in read_lines(self.path, self.max_lines):
            yield conform(sift(lines, JsonLines.of(self.table, lines)), len(lines), self.table, partial(_texts, lines))


@dataclass(frozen=True, slots=True)
class _CsvSource:
    path: Path
    table: Table
    max_lines: int
    header: str
    rows: int

    @classmethod
    def open(cls, path: Path, table: Table, max_rows: int) -> _CsvSource:
        first: list[str] = []

        def look(number: int, line: str) -> None:
            if not number:
                first.append(line.rstrip("\r\n"))

        lines = count_lines(path, look)
        return cls(path, table, min(max_rows, _MAX_LINES), "".join(first), max(lines - 1, 0))

    @property
    def unknown_columns(self) -> frozenset[str]:
        return frozenset(header_names(self.header) if self.header else ()) - frozenset(self.table.columns)

    def batches(self) -> Iterator[Rows]:
        how = Csv.of(self.header, self.table)
        to_skip = 1
        for block in read_lines(self.path, self.max_lines):
            lines = block.take(slice(to_skip, None))
            to_skip = 0
            if len(lines):
                yield conform(sift(lines, how), len(lines), self.table, partial(_texts, lines))


def _texts(lines: Lines, rows: NDArray[np.int64]) -> list[str | None]:
    return [lines.text(row) for row in rows.tolist()]


def _said(error: BaseException, path: Path) -> str:
    """The first line of an error, without the folders that the file lies in."""
    return (str(error).replace(str(path), path.name).splitlines() or ["damaged"])[0][:200]
