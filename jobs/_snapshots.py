"""Snapshots of videos and users: the newest one per id as of a day, and the first one, for facts that must not change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import Window as W
from pyspark.sql import functions as f

from jobs._raw import (
    FLAW,
    RECORD,
    SOURCE_FILE,
    RawFile,
    file_name,
    partition_files,
    partition_value,
    range_flaw,
    read_raw,
    snapshot_dates,
    written_down,
)  # fmt: skip
from jobs._recipe import Recipe, Status, code_version
from jobs._stage import Context
from jobs._tables import Partition
from jobs._window import DAY, midnight, parse_time
from schemas import RAW_USERS, RAW_VIDEOS, REJECTED_SNAPSHOTS, USERS, VIDEOS, Table
from schemas import columns as col
from schemas.errors import ReelflowError

_SOURCES = ((RAW_VIDEOS, VIDEOS), (RAW_USERS, USERS))


@dataclass(frozen=True, slots=True)
class Day:
    """One day's tables, and the time from which on no snapshot counts for it."""

    dt: date
    cut: datetime
    recipe: Recipe
    status: Status


@dataclass(frozen=True, slots=True)
class Plan:
    """The days of a run, those to make again, and every snapshot file at or before its ``as_of``, by source name."""

    days: tuple[Day, ...]
    stale: tuple[Day, ...]
    files: dict[str, tuple[RawFile, ...]]


def plan(context: Context) -> Plan:
    """Which days' tables of videos and users are missing or were made from other snapshots.

    Raises:
        ReelflowError: there is no video snapshot at or before ``as_of``.
    """
    files: dict[str, tuple[RawFile, ...]] = {}
    for raw, _ in _SOURCES:
        folder = context.paths.raw / raw.name
        dates = [dt for dt in snapshot_dates(folder) if parse_time(dt) <= context.as_of]
        if not dates and raw is RAW_VIDEOS:
            raise ReelflowError(
                f"raw logs {folder}: found no snapshot dt=YYYY-MM-DD at or before {context.as_of:%Y-%m-%d}; "
                "expected at least one, or no video can be recommended"
            )
        files[raw.name] = tuple(file for dt in dates for file in partition_files(folder / f"dt={dt}"))
    digests = {file.path: file.digest() for group in files.values() for file in group}
    code = code_version("jobs/_snapshots.py", "jobs/_raw.py", "schemas")
    days = []
    for dt in context.run_days():
        cut = min(midnight(dt) + DAY, context.as_of)
        seen = {raw.name: [digests[file.path] for file in files[raw.name] if _date(file) <= cut] for raw, _ in _SOURCES}
        inputs = {name: hashlib.sha256("\n".join(group).encode()).hexdigest() for name, group in seen.items()}
        recipe = Recipe(inputs, code, {})
        status = context.lake.first_status((VIDEOS, USERS, REJECTED_SNAPSHOTS), Partition(dt), recipe)
        days.append(Day(dt, cut, recipe, status))
    return Plan(tuple(days), tuple(day for day in days if context.force or not day.status.current), files)


def run(context: Context, spark: SparkSession, planned: Plan) -> int:
    """Write the stale days' tables; returns how many snapshot rows were refused."""
    if not planned.stale:
        return 0
    rows = {raw.name: _judged(spark, planned.files[raw.name], raw).persist() for raw, _ in _SOURCES}
    refused = 0
    for day in planned.stale:
        for raw, table in _SOURCES:
            visible = rows[raw.name].where(f.col(col.SNAPSHOT_DATE) <= f.lit(f"{day.cut:%Y-%m-%d}"))
            _commit(context, day, table, newest(visible.where(f.col(FLAW).isNull()), table))
        bad = [_refused(rows[raw.name], raw, day) for raw, _ in _SOURCES]
        refused += _commit(context, day, REJECTED_SNAPSHOTS, bad[0].unionByName(bad[1]))
    for frame in rows.values():
        frame.unpersist()
    return refused


def newest(rows: DataFrame, table: Table) -> DataFrame:
    """Per id the row of the newest snapshot; of several rows in one snapshot the one with the smallest hash."""
    order = W.partitionBy(*table.key).orderBy(f.col(col.SNAPSHOT_DATE).desc(), f.xxhash64(*table.columns))
    ranked = rows.select(*table.columns, f.row_number().over(order).alias("_order"))
    return ranked.where(f.col("_order") == 1).select(*table.columns).orderBy(*table.key)


def first_durations(spark: SparkSession, files: Sequence[RawFile]) -> DataFrame:
    """(video_id, duration_seconds) of each video's first snapshot: later snapshots cannot change it."""
    rows = _judged(spark, files, RAW_VIDEOS).where(f.col(FLAW).isNull())
    first = f.min(f.struct(col.SNAPSHOT_DATE, col.DURATION_SECONDS)).alias("first")
    return rows.groupBy(col.VIDEO_ID).agg(first).select(col.VIDEO_ID, f.col(f"first.{col.DURATION_SECONDS}"))


def _date(file: RawFile) -> datetime:
    return parse_time(file.path.parent.name.removeprefix("dt="))


def _judged(spark: SparkSession, files: Sequence[RawFile], raw: Table) -> DataFrame:
    frame = read_raw(spark, files, raw).frame
    judged = frame.withColumn(FLAW, f.coalesce(FLAW, range_flaw(raw)))
    record = written_down(raw, f.col(FLAW).isNotNull()).alias(RECORD)
    return judged.select(*raw.columns, SOURCE_FILE, record, FLAW, partition_value(col.DT, 2, 10).alias(col.SNAPSHOT_DATE))


def _refused(rows: DataFrame, raw: Table, day: Day) -> DataFrame:
    visible = f.col(col.SNAPSHOT_DATE) <= f.lit(f"{day.cut:%Y-%m-%d}")
    return rows.where(f.col(FLAW).isNotNull() & visible).select(
        f.lit(raw.name).alias(col.SOURCE),
        file_name(3).alias(col.FILE),
        f.col(f"{FLAW}.{col.REASON}").alias(col.REASON),
        f.col(f"{FLAW}.{col.DETAIL}").alias(col.DETAIL),
        f.col(RECORD).alias(col.RECORD),
    )


def _commit(context: Context, day: Day, table: Table, rows: DataFrame) -> int:
    staged = context.lake.staging(table)
    ordered = rows.coalesce(1).sortWithinPartitions(*(table.key or table.columns))
    ordered.write.parquet(str(staged))
    return context.lake.commit(table, Partition(day.dt), staged, day.recipe).rows
