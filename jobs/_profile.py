"""What the expectations need to know of a partition, measured once when it is committed and kept in its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs._window import iso
from schemas import Table
from schemas import columns as col
from schemas.expectations import WEIGHTED

Profile = dict[str, Any]
"""``columns``: nulls, min, max, values by column; ``keys``: distinct ones; ``weighted``: sums of weight x value and of weight;
``lists``: how many, the length of the longest, how many are as long."""

Parts = Callable[[Sequence[str]], Iterable[pa.Table]]
"""The rows of a partition, part by part, with the columns asked for."""


def profile(table: Table, files: Sequence[Path], rows: pa.Table | None = None) -> Profile:
    """Measure one partition.

    Nulls and extremes come from the footers. Rows are looked at for the key, for enumerated columns, for weighted means, and
    for a list column with empty or null lists, which a footer does not tell apart.

    Args:
        table: its schema.
        files: its Parquet files.
        rows: what they hold, where it is still in memory; else the few columns needed are read, a row group at a time.
    """

    def parts(columns: Sequence[str]) -> Iterable[pa.Table]:
        return _groups(files, columns) if rows is None else [rows.select(columns)]

    found: Profile = {"columns": _columns(table, files, parts)}
    if table.key:
        found["keys"] = distinct_keys(parts, table.key)
    if table.name in WEIGHTED:
        value, weight = WEIGHTED[table.name]
        total = [0.0, 0.0]
        for part in parts((value, weight)):
            total[0] += pc.sum(pc.multiply(pc.cast(part[value], pa.float64()), part[weight])).as_py() or 0.0
            total[1] += pc.sum(part[weight]).as_py() or 0.0
        found["weighted"] = total
    if col.RANK in table.key:
        found["lists"] = _lists(parts((col.RANK,)))
    return found


def distinct_keys(parts: Parts, key: Sequence[str]) -> int:
    """How many different keys there are.

    Keys that ascend are counted part by part; only others, which a stage has no order for, are gathered and hashed.
    """
    count, last = 0, None
    for part in parts(key):
        joined = part if last is None else pa.concat_tables([last, part])
        if not _ascends([joined[name].combine_chunks() for name in key]):
            everything = pa.concat_tables(parts(key))
            if len(key) == 1:
                return int(pc.count_distinct(everything[key[0]], mode="all").as_py())
            return int(everything.group_by(list(key)).aggregate([]).num_rows)
        count, last = count + part.num_rows, joined.slice(max(joined.num_rows - 1, 0))
    return count


def _ascends(columns: Sequence[pa.Array]) -> bool:
    """Whether each row is greater than the one before it, the first column counting most; a null is not."""
    if any(column.null_count for column in columns):
        return False
    if not len(columns[0]):
        return True
    greater: pa.Array | None = None
    for column in reversed(columns):
        before, after = column.slice(0, len(column) - 1), column.slice(1)
        above = pc.greater(after, before)
        greater = above if greater is None else pc.or_(above, pc.and_(pc.equal(after, before), greater))
    return bool(pc.all(greater, min_count=0).as_py())


def _lists(parts: Iterable[pa.Table]) -> dict[str, int]:
    """How many ranked lists there are, how long the longest is, and how many are as long."""
    ranks: Counter[int] = Counter()
    for part in parts:
        counts = pc.value_counts(part[col.RANK])
        ranks.update(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))
    longest = max(ranks, default=0)
    return {"lists": ranks[1], "longest": longest, "full": ranks[longest]}


def _columns(table: Table, files: Sequence[Path], parts: Parts) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {field.name: {"nulls": 0} for field in table.fields}
    lists = {field.name for field in table.fields if field.type.startswith("list")}
    for file in files:
        metadata = pq.read_metadata(file)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for leaf in (group.column(i) for i in range(group.num_columns)):
                name = leaf.path_in_schema.split(".")[0]
                _add(found[name], leaf.statistics, extremes=name not in lists)
    for field in table.fields:
        known = found[field.name]
        if field.name in lists and known["nulls"]:
            known["nulls"] = sum(part[field.name].null_count for part in parts((field.name,)))
        if field.allowed is not None:
            values = {value for part in parts((field.name,)) for value in pc.unique(part[field.name]).to_pylist()}
            known["values"] = sorted(values - {None})
    return found


def _add(known: dict[str, Any], statistics: Any, *, extremes: bool) -> None:
    """Add what the footer says of a column of one row group; strings stay out, for they may be long and personal."""
    if statistics is None:  # of no rows
        return
    known["nulls"] += statistics.null_count
    if not extremes or statistics.physical_type == "BYTE_ARRAY" or not statistics.has_min_max:
        return
    low, high = (iso(value) if isinstance(value, datetime) else value for value in (statistics.min, statistics.max))
    known["min"], known["max"] = min(known.get("min", low), low), max(known.get("max", high), high)


def _groups(files: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of every row group, in order."""
    for file in files:
        with pq.ParquetFile(file) as source:
            for group in range(source.num_row_groups):
                yield source.read_row_group(group, columns=list(columns))
