"""Files of the raw contract: a directory an hour for interactions, a directory a day for snapshots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import columns as col

Format = Literal["parquet", "jsonl", "csv"]
_HOUR_US = 3_600_000_000


def hour_path(root: Path, hour: int, name: str) -> Path:
    """The file ``name`` of an hour, counted since 1970 UTC."""
    stamp = np.datetime64(hour, "h").astype(str)  # 2026-01-02T03
    return root / "interactions" / f"{col.DT}={stamp[:10]}" / f"{col.HR}={stamp[11:]}" / name


def write_snapshot(root: Path, table: str, date: str, rows: pa.Table) -> None:
    """Write the snapshot of a table at 00:00 UTC of a date."""
    write_table(root / table / f"{col.DT}={date}" / "part-0.parquet", rows)


def write_hours(root: Path, rows: pa.Table, name: str = "part-0.parquet") -> list[int]:
    """Write interactions as one Parquet file an hour of ``occurred_at``; rows of one instant keep their order.

    Returns:
        The hours written, counted since 1970 UTC, ascending.
    """
    written = []
    for hour, part in split_hours(rows):
        write_table(hour_path(root, hour, name), part)
        written.append(hour)
    return written


def split_hours(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each hour, ordered by time, hours ascending."""
    at_us = rows[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    order = np.argsort(at_us, kind="stable")
    rows = rows.take(pa.array(order))
    hours, first = np.unique(at_us[order] // _HOUR_US, return_index=True)
    ends = np.append(first, len(order))[1:]
    for hour, begin, end in zip(hours.tolist(), first.tolist(), ends.tolist(), strict=True):
        yield hour, rows.slice(begin, end - begin)


def write_table(path: Path, rows: pa.Table) -> None:
    """Write Parquet; the same rows give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, compression="zstd")


def to_lines(rows: pa.Table, form: Format) -> list[str]:
    """Rows as lines of JSON (nulls left out) or CSV (nulls empty, no header); timestamps in ISO 8601."""
    plain = rows.set_column(
        rows.schema.get_field_index(col.OCCURRED_AT),
        col.OCCURRED_AT,
        pc.strftime(rows[col.OCCURRED_AT], "%Y-%m-%dT%H:%M:%SZ"),
    )
    records = plain.to_pylist()
    if form == "jsonl":
        return [
            json.dumps({key: value for key, value in row.items() if value is not None}, ensure_ascii=False) for row in records
        ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        ["" if value is None else value for value in row.values()] for row in records
    )
    return text.getvalue().split("\n")[:-1]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write UTF-8 text, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
