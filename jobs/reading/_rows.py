"""Batches of rows in the contract's columns, with the first flaw of each row that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs._arrow import mask
from jobs.reading._cast import cast
from jobs.reading._flaws import Flaws, shown
from jobs.reading._sift import Part
from schemas import Field, RejectReason, Table

_LONG_RUN = 32  # rows; to copy shorter runs one by one takes longer than to gather the rows

Records = Callable[[NDArray[np.int64]], list[str | None]]


@dataclass(frozen=True, slots=True)
class Rows:
    """One batch of rows of one file."""

    table: pa.Table
    """``Table.arrow``, n rows in one chunk a column. A flawed row holds null where a cast failed, whatever the schema says."""
    flaws: Flaws
    """Of what the contract says; ``flaws.add`` applies further rules."""
    records: Records
    """The text of rows by their numbers, int64 (m,): a line as it was, a Parquet row as JSON without nulls, null for a file
    that could not be read. It keeps the raw batch in memory."""

    def shown(self, name: str, row: int) -> str:
        """``name = value`` of a row, for a flaw's detail: at most 100 characters of the value."""
        return shown(name, self.table[name].chunk(0), row)


def conform(parts: Sequence[Part], n_rows: int, table: Table, records: Records) -> Rows:
    """Cast raw rows to the contract and find the first flaw of each.

    In this order: a malformed record; column by column of the contract a missing value, then a wrong type; column by column
    a value that is not allowed, then one out of range or infinite.

    Args:
        parts: raw rows; each row number occurs once at most. A row that occurs in none is malformed.
        n_rows: rows of the batch.
        table: the contract. A nullable column may be absent from a part.
        records: the text of rows.
    """
    flaws = Flaws()
    malformed = np.ones(n_rows, np.bool_)
    for part in parts:
        malformed[part.rows] = False
    flaws = flaws.add(malformed, RejectReason.MALFORMED_RECORD, lambda _: "the record cannot be parsed")
    places = _places(parts, n_rows)
    columns = []
    for field in table.fields:
        pieces = []
        for part in parts:
            values, flaws = _cast_part(part, field, n_rows, flaws)
            pieces.append(values)
        columns.append(_merged(pieces, places, field))
    for field, values in zip(table.fields, columns, strict=True):
        flaws = _check_values(field, values, flaws)
    return Rows(pa.table(columns, schema=table.arrow), flaws, records)


def unreadable(table: Table, problem: str) -> Rows:
    """The one row that stands for a file that cannot be read."""
    flaws = Flaws().add(np.ones(1, np.bool_), RejectReason.UNREADABLE_FILE, lambda _: problem)
    columns = [pa.nulls(1, field.type) for field in table.arrow]
    return Rows(pa.table(columns, schema=table.arrow), flaws, lambda rows: [None] * len(rows))


def _cast_part(part: Part, field: Field, n_rows: int, flaws: Flaws) -> tuple[pa.Array, Flaws]:
    """One column of a part in the field's type, and the flaws with those that this column adds."""
    name = field.name
    if name not in part.table.column_names:
        if not field.nullable:
            absent = _spread(np.ones(len(part.rows), np.bool_), part, n_rows)
            flaws = flaws.add(absent, RejectReason.MISSING_VALUE, lambda _: f"{name}: no such column in the file")
        return pa.nulls(len(part.rows), field.arrow.type), flaws
    raw = part.table[name].combine_chunks()
    raw = raw if isinstance(raw, pa.Array) else pa.concat_arrays(raw.chunks)
    source, values = cast(raw, field)
    if not field.nullable and source.null_count:
        missing = _spread(mask(source.is_null()), part, n_rows)
        flaws = flaws.add(missing, RejectReason.MISSING_VALUE, lambda _: f"{name} is null")
    if values.null_count > source.null_count:
        wrong = mask(values.is_null()) & mask(source.is_valid())
        at = dict(zip(part.rows[wrong].tolist(), np.flatnonzero(wrong).tolist(), strict=True))
        expected = f"; expected {field.type}"
        flaws = flaws.add(
            _spread(wrong, part, n_rows),
            RejectReason.WRONG_TYPE,
            lambda row: shown(name, source, at[row]) + expected,
        )
    return values, flaws


def _spread(mask: NDArray[np.bool_], part: Part, n_rows: int) -> NDArray[np.bool_]:
    """A mask over the rows of a part as one over the rows of the batch."""
    spread = np.zeros(n_rows, np.bool_)
    spread[part.rows[mask]] = True
    return spread


def _places(parts: Sequence[Part], n_rows: int) -> NDArray[np.int64]:
    """For each row of the batch its place in the parts laid end to end, int64 (n_rows,); the place after them for none."""
    rows = np.concatenate([part.rows for part in parts]) if parts else np.empty(0, np.int64)
    places = np.full(n_rows, len(rows))
    places[rows] = np.arange(len(rows))
    return places


def _merged(pieces: Sequence[pa.Array], places: NDArray[np.int64], field: Field) -> pa.Array:
    """The parts' values in the order of the batch."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(places) != 1) + 1]) if len(places) else np.empty(0, np.int64)
    if len(pieces) == 1 and len(starts) == 1 and len(pieces[0]) == len(places):
        return pieces[0]
    values = pa.concat_arrays([*pieces, pa.nulls(1, field.arrow.type)])
    if len(starts) * _LONG_RUN > len(places):
        return values.take(pa.array(places))
    lengths = np.diff(starts, append=len(places))
    runs = zip(places[starts].tolist(), lengths.tolist(), strict=True)
    return pa.concat_arrays([values.slice(first, length) for first, length in runs] or [values.slice(0, 0)])


def _check_values(field: Field, values: pa.Array, flaws: Flaws) -> Flaws:
    """The flaws with those of values that are not in the field's list or not within its bounds."""
    name = field.name

    def detail(row: int) -> str:
        return shown(name, values, row)

    if field.allowed is not None:
        known = pc.is_in(values, pa.array(field.allowed))
        if not pc.all(known).as_py():
            unknown = ~mask(known) & mask(values.is_valid())
            flaws = flaws.add(unknown, RejectReason.UNKNOWN_INTERACTION_TYPE, detail)
    inexact = field.type in ("float32", "float64")
    if field.minimum is None and field.maximum is None and not inexact:
        return flaws
    low = -np.inf if field.minimum is None else field.minimum
    high = np.inf if field.maximum is None else field.maximum
    found = pc.min_max(values).as_py()
    infinite = inexact and found["min"] is not None and (np.isinf(found["min"]) or np.isinf(found["max"]))
    if found["min"] is None or (low <= found["min"] and found["max"] <= high and not infinite):
        return flaws
    numbers = pc.cast(values, pa.float64(), safe=False)  # a comparison refuses whole numbers that a double cannot hold
    outside = mask(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)))
    if infinite:
        outside |= mask(pc.is_inf(values))
    return flaws.add(outside, RejectReason.OUT_OF_RANGE, detail)
