"""Features of users and videos as of the end of the window, and daily counts of what happened to each video.

Reads ``examples``, ``interactions``, ``videos`` and ``users``; writes ``video_counts`` for each day of the window, and
``user_features`` and ``video_features`` for its last day. Counters as of a midnight are sums over the days before it.
"""

from __future__ import annotations

from datetime import date

from pydantic import Field
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from conf import Section, load
from jobs import _stage
from jobs._session import read_files, spark_session
from jobs._stage import Context, Report
from jobs._tables import Manifest, Partition, Recipe, code_version
from jobs._window import DAY, Window, midnight
from schemas import EXAMPLES, INTERACTIONS, USER_FEATURES, USERS, VIDEO_COUNTS, VIDEO_FEATURES, VIDEOS, InteractionType, Table
from schemas import columns as col
from schemas.errors import ReelflowError

_AGE_BUCKETS = ((18, "0-17"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"))
_WATCHED = (InteractionType.CLICK, InteractionType.WATCH, InteractionType.LIKE, InteractionType.DISLIKE)


class FeaturesConfig(Section):
    """Section ``features``."""

    popularity_half_life_days: float = Field(gt=0)
    """After this many days a relevant action counts half."""


def run(context: Context) -> Report:
    """Bring daily counts and the features as of the end of the window up to date."""
    config = load("features", FeaturesConfig)
    code = code_version("jobs/features.py", "schemas")
    wrote: dict[str, int] = {}
    days = [day for day in context.window.days() if midnight(day) >= context.window.start]
    counts = {day: Recipe({EXAMPLES.name: _examples_digest(context, day)}, code, {}) for day in days}
    stale = [
        day for day, recipe in counts.items()
        if _hours(context, day) and (context.force or not context.lake.is_current(VIDEO_COUNTS, Partition(day), recipe))
    ]  # fmt: skip
    if stale:
        spark = spark_session("features")
        wrote["video counts"] = _write_counts(context, spark, stale, counts)
    recipes = _recipes(context, config, code)
    today = Partition(context.last_day)
    for table, make in ((USER_FEATURES, _user_features), (VIDEO_FEATURES, _video_features)):
        if context.force or not context.lake.is_current(table, today, recipes[table.name]):
            rows = make(context, spark_session("features"), config)
            wrote[table.name.replace("_", " ")] = _write_day(context, table, rows, recipes[table.name]).rows
    return Report(wrote=wrote, up_to_date=not wrote)


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


def _hours(context: Context, day: date) -> list[Partition]:
    return context.lake.partitions(EXAMPLES, Window(midnight(day), min(midnight(day) + DAY, context.as_of)))


def _examples_digest(context: Context, day: date) -> str:
    return context.lake.digest(EXAMPLES, _hours(context, day))


def _write_counts(context: Context, spark: SparkSession, days: list[date], recipes: dict[date, Recipe]) -> int:
    """Count all stale days in one job; one file a day, in order of the video."""
    files = context.lake.files(EXAMPLES, [hour for day in days for hour in _hours(context, day)])
    counts = daily_counts(read_files(spark, EXAMPLES, files)).repartition(col.DT).sortWithinPartitions(col.DT, col.VIDEO_ID)
    staged = context.lake.staging(VIDEO_COUNTS)
    counts.select(col.DT, *VIDEO_COUNTS.columns).write.partitionBy(col.DT).parquet(str(staged))
    commit = context.lake.commit
    return sum(commit(VIDEO_COUNTS, Partition(day), staged / Partition(day).path, recipes[day]).rows for day in days)


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
