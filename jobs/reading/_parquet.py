"""Parquet files: the contract's columns of every row, and the others of those rows that are written down."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.reading._cast import plain
from jobs.reading._json import float_text
from jobs.reading._rows import Rows, conform
from jobs.reading._sift import Part
from schemas import Table

READ_ERRORS = (OSError, EOFError, ValueError, MemoryError, pa.ArrowException)
"""What a file that is damaged or cannot be opened raises."""

# Of the file: no more than about 1 GB of columns. The footer tells their size too, but to ask a damaged one for its columns
# can end the process.
_HELD_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of one row group: which group, and which of its batches."""

    group: int
    number: int
    raw: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file that was read to its end once, so that no page of it can spoil rows that are already in use.

    The contract's columns of the whole file stay in memory; those of a file above 256 MiB are dropped and read again.
    """

    path: Path
    table: Table
    max_rows: int
    rows: int
    """As the footer says; the pages hold as many."""
    names: tuple[str, ...]
    held: tuple[_Batch, ...] | None

    @classmethod
    def open(cls, path: Path, table: Table, max_rows: int) -> ParquetSource:
        """Read a file to its end.

        Raises:
            OSError, EOFError, ValueError, MemoryError, pyarrow.ArrowException: it is damaged, or cannot be opened.
        """
        with _opened(path) as file:
            names = tuple(file.schema_arrow.names)
            known = [name for name in table.columns if name in names]
            rows: int = file.metadata.num_rows
        small = path.stat().st_size <= _HELD_BYTES
        count, held = 0, []
        for batch in _batches(path, known, max_rows):
            count += batch.raw.num_rows
            if small:
                held.append(batch)
        if count != rows:
            raise OSError(f"its pages hold {count} rows, its footer says {rows}")
        return cls(path, table, max_rows, rows, names, tuple(held) if small else None)

    @property
    def unknown_columns(self) -> frozenset[str]:
        """Columns of the file that are not in the contract."""
        return frozenset(self.names) - frozenset(self.table.columns)

    def batches(self) -> Iterator[Rows]:
        """The rows in the contract's columns, at most ``max_rows`` at a time."""
        known = [name for name in self.table.columns if name in self.names]
        for batch in _batches(self.path, known, self.max_rows) if self.held is None else self.held:
            raw = pa.Table.from_batches([batch.raw])
            part = Part(np.arange(batch.raw.num_rows), raw)
            yield conform([part], batch.raw.num_rows, self.table, partial(self._records, batch))

    def _records(self, batch: _Batch, rows: NDArray[np.int64]) -> list[str | None]:
        """Rows as JSON, in the order of the file's columns; those that the contract does not know are read only now."""
        if not len(rows):
            return []
        which = pa.array(rows)
        columns = {name: batch.raw.column(name).take(which) for name in batch.raw.schema.names}
        others = [name for name in dict.fromkeys(self.names) if name not in columns]
        try:
            found = next(
                other.raw
                for other in _batches(self.path, others, self.max_rows, batch.group)
                if other.number == batch.number and other.raw.num_rows == batch.raw.num_rows
            )
            columns |= {name: found.column(name).take(which) for name in others}
        except (*READ_ERRORS, KeyError, StopIteration):
            pass  # a damaged column that nobody asked for: the others are the record
        values = [(name, _values(columns[name])) for name in dict.fromkeys(self.names) if name in columns]
        return [_json({name: column[row] for name, column in values if column[row] is not None}) for row in range(len(rows))]


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, coerce_int96_timestamp_unit="us", page_checksum_verification=True)


def _batches(path: Path, columns: list[str], max_rows: int, group: int | None = None) -> Iterator[_Batch]:
    """Columns of a file, or of one of its row groups, by the row group; of two of one name the first."""
    with _opened(path) as file:
        for index in range(file.num_row_groups) if group is None else (group,):
            found = file.iter_batches(max_rows, row_groups=[index], columns=columns)
            for number, raw in enumerate(found):
                names = raw.schema.names
                yield _Batch(index, number, raw.select([names.index(name) for name in dict.fromkeys(names)]))


def _values(column: pa.Array) -> list[Any]:
    """A column as JSON can hold it; never raises."""
    try:
        found = plain(column)
        if pa.types.is_timestamp(found.type) and found.type.tz:
            found = found.cast(pa.timestamp(found.type.unit, "UTC"))
        if pa.types.is_temporal(found.type):
            found = found.cast(pa.string())
        return [_value(value) for value in found.to_pylist()]
    except (ValueError, OverflowError, pa.ArrowException):
        return [str(column.type) if valid else None for valid in column.is_valid().to_pylist()]


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else float_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    return value


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str)
