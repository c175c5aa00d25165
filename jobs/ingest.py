"""Turn raw logs into clean tables: interactions by the hour, videos and users by the day, and every refused row.

Reads ``raw/{interactions,videos,users}``; writes ``interactions``, ``rejected``, ``videos``, ``users`` and
``rejected_snapshots``. A row that does not fit the contract is rejected with the first reason that applies. Of several rows
with one ``event_id`` in the same or the previous hour the first is kept, the others are duplicates. An event of a video that
no snapshot at or before ``as_of`` knows is rejected, and comes back when a later snapshot knows it. Rows in = rows out +
duplicates + rejected is checked for every hour before anything is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import Window as W
from pyspark.sql import functions as f

from conf import Section, load
from jobs import _hours, _snapshots, _stage
from jobs._hours import Hour
from jobs._raw import (
    FLAW,
    RECORD,
    SOURCE_FILE,
    RawFile,
    file_name,
    flaw,
    partition_value,
    range_flaw,
    read_raw,
    shown,
    written_down,
)  # fmt: skip
from jobs._session import spark_session
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, TableError, Unit
from jobs._window import HOUR, floor_hour, iso
from schemas import INTERACTIONS, RAW_INTERACTIONS, REJECTED, USERS, VIDEOS, InteractionType, RejectReason
from schemas import columns as col
from schemas.errors import ReelflowError

_HOUR = "_hour"
_STATUS = "_status"
_KEPT, _DUPLICATE, _REJECTED = "kept", "duplicate", "rejected"


class IngestConfig(Section):
    """Section ``ingest``."""

    max_watch_seconds: float
    """A watch longer than this is a broken clock and is rejected."""


@dataclass(frozen=True, slots=True)
class _Totals:
    read: int = 0
    kept: int = 0
    duplicates: int = 0
    rejected: int = 0


def run(context: Context) -> Report:
    """Bring every hour and day of the window up to date."""
    config = load("ingest", IngestConfig)
    if floor_hour(context.as_of) != context.as_of:
        raise ReelflowError(
            f"window end {context.as_of:%Y-%m-%dT%H:%M:%S.%fZ}: not a whole hour; events are taken in by the hour, so "
            f"{iso(floor_hour(context.as_of))} or {iso(floor_hour(context.as_of) + HOUR)} would do"
        )
    snapshots = _snapshots.plan(context)
    spark = partial(spark_session, "ingest")
    refused = _snapshots.run(context, spark(), snapshots) if snapshots.stale else 0
    every_hour = _hours.plan(context, config.model_dump())
    hours = [hour for hour in every_hour if context.force or not hour.status.current]
    missing = sum(not hour.delivered for hour in every_hour)
    notes = [f"{missing:,} hours have no raw logs"] if missing else []
    strangers = _hours.strangers(context)
    notes += (
        [f"ignored {len(strangers)} paths that are no dt=YYYY-MM-DD/hr=HH folder, first {strangers[0]}"] if strangers else []
    )
    if not hours and not snapshots.stale:
        return Report(up_to_date=True, notes=notes)
    totals = _Totals()
    if hours:
        context.say(f"{len(hours):,} hours to process, {iso(hours[0].start)} to {iso(hours[-1].start + HOUR)}")
        totals, unknown = _process(context, spark(), config, hours, snapshots.files[VIDEOS.name])
        notes += [f"ignored unknown columns {', '.join(unknown)}"] if unknown else []
    notes += [f"{refused:,} snapshot rows rejected"] if refused else []
    wrote = {"interactions": totals.kept, "duplicates": totals.duplicates, "rejected": totals.rejected}
    return Report(read={"raw rows": totals.read}, wrote=wrote, notes=notes, facts={"hours": len(hours)})


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How every day's and every hour's tables stand."""
    days, hours = _snapshots.plan(context).days, _hours.plan(context, load("ingest", IngestConfig).model_dump())
    units = [Unit(table.name, Partition(day.dt), day.status) for day in days for table in (VIDEOS, USERS)]
    return units + [Unit(INTERACTIONS.name, Partition.hour(hour.start), hour.status) for hour in hours]


def judge(rows: DataFrame, durations: DataFrame, config: IngestConfig) -> DataFrame:
    """Decide for every raw row whether it is kept, a duplicate, or rejected and why.

    Args:
        rows: what ``read_raw`` returns for interactions.
        durations: (video_id, duration_seconds), unique per video: the videos that exist.
        config: limits.

    Returns:
        The columns of ``interactions`` plus ``_hour``, ``_status``, ``_file``, ``_record`` (rejected rows only) and ``_flaw``.
    """
    hour = f.concat(partition_value(col.DT, 3, 10), f.lit(" "), partition_value(col.HR, 2, 2), f.lit(":00:00")).cast(
        "timestamp"
    )
    rows = rows.withColumn(_HOUR, hour)
    rows = rows.withColumn(FLAW, f.coalesce(FLAW, _interaction_flaw(config)))
    sound = f.col(FLAW).isNull()
    # Rejected rows do not compete with sound ones, and spread over the shuffle although their event_id may be null.
    key = f.when(sound, f.col(col.EVENT_ID)).otherwise(
        f.concat(f.lit("\0"), f.xxhash64(*RAW_INTERACTIONS.columns).cast("string"))
    )
    order = W.partitionBy(key).orderBy(_HOUR, col.OCCURRED_AT, f.xxhash64(*RAW_INTERACTIONS.columns))
    earlier = f.lag(_HOUR).over(order)
    repeated = sound & earlier.isNotNull() & (earlier >= f.col(_HOUR) - f.expr("interval 1 hour"))
    rows = rows.withColumn("_repeated", repeated)
    # One row a known video; broadcast, because shuffling the log by video would cost more than all else here.
    rows = rows.join(f.broadcast(durations), on=col.VIDEO_ID, how="left")
    unknown = f.col(col.VIDEO_ID).isNotNull() & f.col(col.DURATION_SECONDS).isNull()
    unknown_flaw = flaw(~f.col("_repeated") & unknown, RejectReason.UNKNOWN_VIDEO, shown(col.VIDEO_ID))
    rows = rows.withColumn(FLAW, f.coalesce(FLAW, unknown_flaw))
    rows = rows.withColumn(RECORD, written_down(RAW_INTERACTIONS, f.col(FLAW).isNotNull()))
    status = f.when(f.col(FLAW).isNotNull(), _REJECTED).when(f.col("_repeated"), _DUPLICATE).otherwise(_KEPT)
    return rows.select(*INTERACTIONS.columns, _HOUR, status.alias(_STATUS), SOURCE_FILE, RECORD, FLAW)


def _interaction_flaw(config: IngestConfig) -> Column:
    """Rules of the interaction log beyond types and ranges."""
    no_video = f.col(col.VIDEO_ID).isNull() & (f.col(col.INTERACTION_TYPE) != InteractionType.SEARCH.value)
    too_long = f.col(col.WATCH_SECONDS) > config.max_watch_seconds
    elsewhere = f.date_trunc("hour", col.OCCURRED_AT) != f.col(_HOUR)
    outside = f.concat(shown(col.OCCURRED_AT), f.lit(" does not lie in the directory's hour"))
    return f.coalesce(
        range_flaw(RAW_INTERACTIONS),
        flaw(no_video, RejectReason.MISSING_VALUE, f.lit(f"{col.VIDEO_ID} is null")),
        flaw(too_long, RejectReason.OUT_OF_RANGE, shown(col.WATCH_SECONDS)),
        flaw(elsewhere, RejectReason.OUTSIDE_PARTITION, outside),
    )


def _process(
    context: Context, spark: SparkSession, config: IngestConfig, hours: Sequence[Hour], snapshots: Sequence[RawFile]
) -> tuple[_Totals, list[str]]:
    """Clean the given hours in one Spark job and commit each hour's two partitions."""
    files = {file.path: file for hour in hours for file in (*hour.before, *hour.files)}
    rows = read_raw(spark, list(files.values()), RAW_INTERACTIONS)
    judged = judge(rows.frame, _snapshots.first_durations(spark, snapshots), config)
    wanted = [int(hour.start.timestamp()) for hour in hours]
    judged = judged.where(f.unix_timestamp(_HOUR).isin(wanted)).persist(StorageLevel.MEMORY_AND_DISK)
    reason = f.col(f"{FLAW}.{col.REASON}")
    counted = judged.groupBy(_HOUR, _STATUS, reason.alias(col.REASON)).count().collect()
    staged = {table: context.lake.staging(table) for table in (INTERACTIONS, REJECTED)}
    _write(judged.where(f.col(_STATUS) == _KEPT), INTERACTIONS.columns, staged[INTERACTIONS], (col.OCCURRED_AT, col.EVENT_ID))
    refused = judged.where(f.col(_STATUS) == _REJECTED).withColumns(
        {
            col.SOURCE: f.lit(RAW_INTERACTIONS.name),
            col.FILE: file_name(4),
            col.REASON: reason,
            col.DETAIL: f.col(f"{FLAW}.{col.DETAIL}"),
            col.RECORD: f.col(RECORD),
        }
    )
    _write(refused, REJECTED.columns, staged[REJECTED], REJECTED.columns)
    judged.unpersist()
    counts: dict[datetime, dict[str, int]] = {}
    for row in counted:
        hour = counts.setdefault(row[_HOUR].astimezone(UTC), {})
        for name in (row[_STATUS], row[col.REASON]):
            if name:
                hour[name] = hour.get(name, 0) + row["count"]
    done = [_commit(context, hour, {table: staged[table] for table in staged}, counts.get(hour.start, {})) for hour in hours]
    totals = _Totals(*(sum(getattr(total, name) for total in done) for name in ("read", "kept", "duplicates", "rejected")))
    return totals, sorted(rows.unknown_columns)


def _write(rows: DataFrame, columns: Sequence[str], target: Path, order: Sequence[str]) -> None:
    """Write rows to ``dt=/hr=`` directories, one file each, in a total order."""
    keys = {col.DT: f.date_format(_HOUR, "yyyy-MM-dd"), col.HR: f.date_format(_HOUR, "HH")}
    placed = rows.withColumns(keys).select(col.DT, col.HR, *columns)
    sorted_rows = placed.repartition(col.DT, col.HR).sortWithinPartitions(col.DT, col.HR, *order)
    sorted_rows.write.partitionBy(col.DT, col.HR).parquet(str(target))


def _commit(context: Context, hour: Hour, staged: Mapping[object, Path], counts: Mapping[str, int]) -> _Totals:
    """Check that no row was lost, then make the hour's two partitions live.

    Raises:
        TableError: rows in differ from rows out + duplicates + rejected; nothing of this hour is replaced.
    """
    total = _Totals(hour.rows, counts.get(_KEPT, 0), counts.get(_DUPLICATE, 0), counts.get(_REJECTED, 0))
    if total.read != total.kept + total.duplicates + total.rejected:
        raise TableError(
            f"hour {iso(hour.start)}: read {total.read} rows but kept {total.kept}, dropped {total.duplicates} duplicates and "
            f"rejected {total.rejected}; expected the three to add up to the first; the hour is not replaced"
        )
    partition = Partition.hour(hour.start)
    facts = {"read": total.read, **counts}
    # The refused rows first: an hour whose interactions are current has its refused rows too.
    for table, expected in ((REJECTED, total.rejected), (INTERACTIONS, total.kept)):
        found = context.lake.commit(table, partition, staged[table] / partition.path, hour.recipe, facts).rows
        if found != expected:
            raise TableError(f"table {table.name}, {partition.path}: wrote {found} rows, expected {expected}; run ingest again")
    return total


def main() -> None:
    """Command line: ``python -m jobs.ingest --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("ingest", run, __doc__)


if __name__ == "__main__":
    main()
