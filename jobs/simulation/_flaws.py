"""What is wrong with real logs: repeats and broken rows, planted on purpose and counted."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.importing import Format, to_lines
from jobs.simulation._events import RAW_SCHEMA
from schemas import InteractionType, RejectReason
from schemas import columns as col

UNKNOWN_VIDEO = 900_000_000_000
PLANTED_PREFIX = "x"
DUPLICATES = "duplicates"
_Row = dict[str, Any]


def _watch(row: _Row, seconds: float) -> None:
    row[col.INTERACTION_TYPE], row[col.WATCH_SECONDS] = InteractionType.WATCH.value, seconds


def _set(name: str, value: Any) -> Callable[[_Row], None]:
    def change(row: _Row) -> None:
        row[name] = value

    return change


def _shift_day(row: _Row) -> None:
    row[col.OCCURRED_AT] -= dt.timedelta(days=1)


_VALUES: tuple[tuple[RejectReason, Callable[[_Row], None]], ...] = (
    (RejectReason.UNKNOWN_INTERACTION_TYPE, _set(col.INTERACTION_TYPE, "hover")),
    (RejectReason.OUT_OF_RANGE, lambda row: _watch(row, -5.0)),
    (RejectReason.OUT_OF_RANGE, lambda row: _watch(row, 1e7)),
    (RejectReason.OUT_OF_RANGE, _set(col.LATITUDE, 123.0)),
    (RejectReason.MISSING_VALUE, _set(col.USER_ID, None)),
    (RejectReason.MISSING_VALUE, _set(col.EVENT_ID, None)),
    (RejectReason.OUTSIDE_PARTITION, _shift_day),
    (RejectReason.UNKNOWN_VIDEO, _set(col.VIDEO_ID, UNKNOWN_VIDEO)),
)
_ID_COLUMN = RAW_SCHEMA.get_field_index(col.USER_ID)


def plant(
    rows: pa.Table, form: Format, *, hour: int, duplicate_fraction: float, malformed_fraction: float, rng: np.random.Generator
) -> tuple[pa.Table, list[str] | None, Counter[str]]:
    """Add repeats and broken rows to the rows of one hour's file.

    Every broken row is a changed copy with an id of its own, so the sound rows stay whole.

    Returns:
        The rows; the file's lines for a text format (CSV with its header), else None; and the number of repeats and of broken
        rows by the reason for which a reader must refuse them.
    """
    n = len(rows)
    copies = rng.integers(n, size=rng.binomial(n, duplicate_fraction))
    bad = [
        _spoil(rows, int(base), f"{PLANTED_PREFIX}{hour}-{number}", form, rng)
        for number, base in _picks(n, malformed_fraction, rng)
    ]
    counts = Counter(reason.value for reason, _, _ in bad)
    counts[DUPLICATES] = len(copies)
    extra = [row for _, row, _ in bad if row is not None]
    whole = pa.concat_tables([rows, rows.take(pa.array(copies)), pa.Table.from_pylist(extra, schema=RAW_SCHEMA)])
    key = np.concatenate([np.arange(n), rng.uniform(0, n, size=len(whole) - n)])
    whole = whole.take(pa.array(np.argsort(key, kind="stable")))
    if form == "parquet":
        return whole, None, counts
    lines = to_lines(whole, form)
    for _, _, line in bad:
        if line is not None:
            lines.insert(int(rng.integers(len(lines) + 1)), line)
    return whole, [",".join(RAW_SCHEMA.names), *lines] if form == "csv" else lines, counts


def _picks(n: int, fraction: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    return list(enumerate(rng.integers(n, size=rng.binomial(n, fraction)).tolist()))


def _spoil(
    rows: pa.Table, base: int, event_id: str, form: Format, rng: np.random.Generator
) -> tuple[RejectReason, _Row | None, str | None]:
    """A broken copy of a row: as a row where the format can hold it, else as a line."""
    row = rows.slice(base, 1).to_pylist()[0] | {col.EVENT_ID: event_id}
    if form == "parquet" or rng.random() < 0.4:
        reason, change = _VALUES[int(rng.integers(len(_VALUES)))]
        change(row)
        return reason, row, None
    line = to_lines(pa.Table.from_pylist([row], schema=RAW_SCHEMA), form)[0]
    if rng.random() < 0.5:
        return RejectReason.MALFORMED_RECORD, None, line[: len(line) // 2] if form == "jsonl" else line.rsplit(",", 8)[0]
    if form == "jsonl":
        return RejectReason.WRONG_TYPE, None, json.dumps(json.loads(line) | {col.USER_ID: "nobody"})
    cells = line.split(",", _ID_COLUMN + 1)
    cells[_ID_COLUMN] = "nobody"
    return RejectReason.WRONG_TYPE, None, ",".join(cells)
