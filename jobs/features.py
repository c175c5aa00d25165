"""Features of users and videos as of the end of the window, and daily counts of what happened to each video.

Reads ``examples``, ``interactions``, ``videos`` and ``users``; writes ``video_counts`` for each day of the window, and
``user_features`` and ``video_features`` for its last day. Counters as of a midnight are sums over the days before it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from pydantic import Field
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from conf import Section, load
from jobs import _stage
from jobs._recipe import CURRENT, MISSING, Recipe, Status, code_version
from jobs._session import read_files, spark_session
from jobs._stage import Context, Report
from jobs._tables import Manifest, Partition, Pending, Unit, after
from jobs._window import DAY, Window, midnight
from schemas import EXAMPLES, INTERACTIONS, USER_FEATURES, USERS, VIDEO_COUNTS, VIDEO_FEATURES, VIDEOS, InteractionType, Table
from schemas import columns as col
from schemas.errors import ReelflowError

_CODE = ("jobs/features.py", "schemas")
_AGE_BUCKETS = ((18, "0-17"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"))
_WATCHED = (InteractionType.CLICK, InteractionType.WATCH, InteractionType.LIKE, InteractionType.DISLIKE)


class FeaturesConfig(Section):
    """Section ``features``."""

    popularity_half_life_days: float = Field(gt=0)
    """After this many days a relevant action counts half."""


@dataclass(frozen=True, slots=True)
class _Day:
    dt: date
    hours: Sequence[Partition]
    recipe: Recipe
    status: Status


def run(context: Context) -> Report:
    """Bring daily counts and the features as of the end of the window up to date."""
    config = load("features", FeaturesConfig)
    code = code_version(*_CODE)
    wrote: dict[str, int] = {}
    stale = [day for day in _days(context, code) if context.force or not day.status.current]
    if stale:
        wrote["video counts"] = _write_counts(context, spark_session("features"), stale)
    recipes = _recipes(context, config, code)
    today = Partition(context.last_day)
    for table, make in ((USER_FEATURES, _user_features), (VIDEO_FEATURES, _video_features)):
        if context.force or not context.lake.status(table, today, recipes[table.name]).current:
            rows = make(context, spark_session("features"), config)
            wrote[table.name.replace("_", " ")] = _write_day(context, table, rows, recipes[table.name]).rows
    return Report(wrote=wrote, up_to_date=not wrote)


def plan(context: Context, pending: Pending) -> list[Unit]:
    """How every day's counts, and the features as of the end of the window, stand."""
    code = code_version(*_CODE)
    days = _days(context, code, pending.get(EXAMPLES.name, ()))
    units = [Unit(VIDEO_COUNTS.name, Partition(day.dt), day.status) for day in days]
    pending = {**pending, VIDEO_COUNTS.name: [unit.partition for unit in units if not unit.status.current]}
    today = Partition(context.last_day)
    for table, reads in ((USER_FEATURES, (USERS, INTERACTIONS)), (VIDEO_FEATURES, (VIDEOS, VIDEO_COUNTS))):
        coming = [(read, partition) for read in reads for partition in pending.get(read.name, ())]
        if coming:
            known = MISSING if context.lake.manifest(table, today) is None else CURRENT
            status = after(known, coming[0][0], [coming[0][1]])
        else:
            status = context.lake.status(table, today, _recipes(context, load("features", FeaturesConfig), code)[table.name])
        units.append(Unit(table.name, today, status))
    return units


def daily_counts(examples: DataFrame) -> DataFrame:
    """Counts per day and video from sampled examples: each example stands for ``weight`` of its kind.

    Counts are added as integers before they are weighted, so that their order cannot change the result.
    """

    def total(condition: Column) -> Column:
        whole = f.count_if(condition & (f.col(col.WEIGHT) == 1.0))
        sampled = f.count_if(condition & (f.col(col.WEIGHT) != 1.0))
        return (whole + sampled * f.coalesce(f.max(f.when(f.col(col.WEIGHT) != 1.0, f.col(col.WEIGHT))), f.lit(1.0))).cast(
            "double"
        )

    return examples.groupBy(f.date_format(col.KNOWN_AT, "yyyy-MM-dd").alias(col.DT), col.VIDEO_ID).agg(
        total(f.col(col.EXPOSURE) == "impression").alias(col.IMPRESSIONS),
        total(f.col(col.CLICKED)).alias(col.VIEWS),
        total(f.col(col.LIKED)).alias(col.LIKES),
        total(f.col(col.LABEL) == 1).alias(col.RELEVANT),
    )


def age_bucket(age: Column) -> Column:
    """The bucket of an age in years; null stays null."""
    bucket = f.when(age.isNull(), f.lit(None).cast("string"))
    for limit, name in _AGE_BUCKETS:
        bucket = bucket.when(age < limit, name)
    return bucket.otherwise("55+")


def _days(context: Context, code: str, pending: Collection[Partition] = ()) -> list[_Day]:
    """The whole days of the window that have examples, and how their counts stand."""
    days = []
    for dt in context.window.days():
        if midnight(dt) < context.window.start:
            continue
        day = Window(midnight(dt), min(midnight(dt) + DAY, context.as_of))
        hours = context.lake.partitions(EXAMPLES, day)
        coming = [partition for partition in pending if partition.dt == dt]
        recipe = Recipe({EXAMPLES.name: context.lake.digest(EXAMPLES, hours)}, code, {})
        if hours or coming:
            status = after(context.lake.status(VIDEO_COUNTS, Partition(dt), recipe), EXAMPLES, coming)
            days.append(_Day(dt, hours, recipe, status))
    return days


def _write_counts(context: Context, spark: SparkSession, days: Sequence[_Day]) -> int:
    """Count all stale days in one job; one file a day, in order of the video."""
    files = context.lake.files(EXAMPLES, [hour for day in days for hour in day.hours])
    counts = daily_counts(read_files(spark, EXAMPLES, files)).repartition(col.DT).sortWithinPartitions(col.DT, col.VIDEO_ID)
    staged = context.lake.staging(VIDEO_COUNTS)
    counts.select(col.DT, *VIDEO_COUNTS.columns).write.partitionBy(col.DT).parquet(str(staged))
    rows = 0
    for day in days:
        partition = Partition(day.dt)
        rows += context.lake.commit(VIDEO_COUNTS, partition, staged / partition.path, day.recipe).rows
    return rows


def _recipes(context: Context, config: FeaturesConfig, code: str) -> dict[str, Recipe]:
    lake, window, today = context.lake, context.window, [Partition(context.last_day)]
    for table in (VIDEOS, USERS):
        if lake.manifest(table, today[0]) is None:
            raise ReelflowError(f"table {table.name}: no partition {today[0].path}; run ingest as of {context.as_of} first")
    parameters = {"start": str(window.start), "as_of": str(window.end), **config.model_dump()}
    events = lake.digest(INTERACTIONS, lake.partitions(INTERACTIONS, window))
    counts = lake.digest(VIDEO_COUNTS, lake.partitions(VIDEO_COUNTS, window))
    user_inputs = {USERS.name: lake.digest(USERS, today), INTERACTIONS.name: events}
    video_inputs = {VIDEOS.name: lake.digest(VIDEOS, today), VIDEO_COUNTS.name: counts}
    return {
        USER_FEATURES.name: Recipe(user_inputs, code, parameters),
        VIDEO_FEATURES.name: Recipe(video_inputs, code, parameters),
    }


def _user_features(context: Context, spark: SparkSession, config: FeaturesConfig) -> DataFrame:
    """One row per user of the snapshots or the log: attributes, newest device, and what was watched already."""
    partitions = context.lake.partitions(INTERACTIONS, context.window)
    events = read_files(spark, INTERACTIONS, context.lake.files(INTERACTIONS, partitions))
    acted = f.col(col.INTERACTION_TYPE) != InteractionType.IMPRESSION.value
    watched = f.col(col.INTERACTION_TYPE).isin(*[kind.value for kind in _WATCHED])
    newest = f.max(f.when(f.col(col.DEVICE).isNotNull(), f.struct(col.OCCURRED_AT, col.EVENT_ID, col.DEVICE)))
    activity = events.groupBy(col.USER_ID).agg(
        f.array_sort(f.collect_set(f.when(watched, f.col(col.VIDEO_ID)))).alias(col.WATCHED),
        f.count_if(acted).alias(col.INTERACTION_COUNT),
        newest.alias("_newest"),
    )
    users = read_files(spark, USERS, context.lake.files(USERS, [Partition(context.last_day)]))
    joined = users.join(activity, on=col.USER_ID, how="full")  # user_id is unique on both sides
    return joined.select(
        col.USER_ID,
        age_bucket(f.col(col.AGE)).alias(col.AGE_BUCKET),
        col.GENDER, col.LANGUAGE, col.COUNTRY, col.CITY,
        f.col(f"_newest.{col.DEVICE}").alias(col.DEVICE),
        f.coalesce(col.INTERACTION_COUNT, f.lit(0)).cast("long").alias(col.INTERACTION_COUNT),
        f.coalesce(col.WATCHED, f.array().cast("array<long>")).alias(col.WATCHED),
    )  # fmt: skip


def _video_features(context: Context, spark: SparkSession, config: FeaturesConfig) -> DataFrame:
    """One row per uploaded video: facts of its newest snapshot and counters of the look-back."""
    videos = read_files(spark, VIDEOS, context.lake.files(VIDEOS, [Partition(context.last_day)]))
    counters = _counters(context, spark, config)
    zero = {
        name: f.coalesce(name, f.lit(0.0)) for name in (col.IMPRESSIONS, col.VIEWS, col.LIKES, col.RELEVANT, col.POPULARITY)
    }
    joined = videos.join(counters, on=col.VIDEO_ID, how="left")  # video_id is unique on both sides
    return joined.where(f.col(col.UPLOADED_AT) < f.lit(context.as_of)).withColumns(
        {
            **zero,
            col.BLOCKED_COUNTRIES: f.coalesce(f.array_sort(col.BLOCKED_COUNTRIES), f.array().cast("array<string>")),
            col.REMOVED: f.coalesce(col.REMOVED, f.lit(False)),
        }
    )


def _counters(context: Context, spark: SparkSession, config: FeaturesConfig) -> DataFrame:
    """Counters per video as of the end of the window, summed in order of the day so that the sum is always the same."""
    partitions = [p for p in context.lake.partitions(VIDEO_COUNTS, context.window) if p.start >= context.window.start]
    day = f.regexp_extract("_metadata.file_path", r"dt=(\d{4}-\d{2}-\d{2})", 1).cast("date")
    files = context.lake.files(VIDEO_COUNTS, partitions)
    counts = read_files(spark, VIDEO_COUNTS, files)
    age = f.date_diff(f.lit(context.last_day), day).cast("double") if files else f.lit(0.0)
    daily = counts.withColumn("_age", age)
    names = [field.name for field in VIDEO_COUNTS.fields if field.name != col.VIDEO_ID]
    listed = daily.groupBy(col.VIDEO_ID).agg(f.sort_array(f.collect_list(f.struct("_age", *names)), asc=False).alias("_days"))

    def total(name: str, weight: bool = False) -> Column:
        def add(sum_so_far: Column, day: Column) -> Column:
            decay = f.pow(f.lit(0.5), day["_age"] / config.popularity_half_life_days) if weight else f.lit(1.0)
            return sum_so_far + day[name] * decay

        return f.aggregate("_days", f.lit(0.0), add)

    sums = [total(name).alias(name) for name in names]
    return listed.select(col.VIDEO_ID, *sums, total(col.RELEVANT, weight=True).alias(col.POPULARITY))


def _write_day(context: Context, table: Table, rows: DataFrame, recipe: Recipe) -> Manifest:
    staged = context.lake.staging(table)
    rows.select(*table.columns).repartition(1).sortWithinPartitions(*table.key).write.parquet(str(staged))
    return context.lake.commit(table, Partition(context.last_day), staged, recipe)


def main() -> None:
    """Command line: ``python -m jobs.features --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("features", run, __doc__)


if __name__ == "__main__":
    main()
