"""Turn interactions into labelled examples, negatives down-sampled.

Reads ``interactions``; writes ``examples`` by the hour in which a label became known. Rules, with W the label window:

- Every impression is one example. A click, watch, like, dislike, share, save or comment belongs to the latest impression of
  its user and video at or before it, if that is at most W ago.
- An action that belongs to no impression is an ``organic`` example. Where W of silence went before it, later actions within
  W join it; an action that a chain of others leads more than W away from its start stands alone. So what an action belongs
  to is decided by the 2 W before it.
- Relevant (label 1): liked, or watched at least half, and not disliked. Missed: an impression with neither click nor watch
  within W.
- A video of unknown duration can be relevant only by a like.
- Positives and dislikes are all kept. Other negatives are kept when a hash of their ``event_id`` falls below the sampling
  rate, with weight 1 / rate.

An example is known W after its impression, so the impression of 23:55 belongs to the next day's first hour. No partition
waits for a later one or changes when it comes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as f

from conf import Section, load
from jobs import _stage
from jobs._recipe import Recipe, Status, code_version
from jobs._session import read_files, spark_session
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit, after
from jobs._window import HOUR, Window, floor_hour, iso
from schemas import EXAMPLES, INTERACTIONS, InteractionType
from schemas import columns as col
from schemas.errors import ReelflowError

_ACTIONS = tuple(kind.value for kind in InteractionType if kind not in (InteractionType.IMPRESSION, InteractionType.SEARCH))
_COMPLETE = 0.95


class ExamplesConfig(Section):
    """Section ``examples``."""

    label_window_minutes: float = Field(gt=0, le=20)
    """W: an impression without click or watch within it is a missed recommendation (L2)."""
    relevant_watch_fraction: float = Field(gt=0, le=1)
    """Watched at least this much is relevant (L1)."""
    negative_sample_rate: float = Field(gt=0, le=1)
    """Share of the negatives that is kept (L3)."""
    sample_salt: str
    """Changes which negatives are kept."""

    @property
    def label_window(self) -> timedelta:
        """W as a time span."""
        return timedelta(minutes=self.label_window_minutes)


@dataclass(frozen=True, slots=True)
class _Hour:
    start: datetime
    recipe: Recipe
    status: Status


def run(context: Context) -> Report:
    """Bring the examples of every hour of the window up to date."""
    config = load("examples", ExamplesConfig)
    stale = [hour for hour in _hours(context, config) if context.force or not hour.status.current]
    if not stale:
        return Report(up_to_date=True)
    first, last = stale[0].start, stale[-1].start
    context.say(f"{len(stale):,} hours to process, {iso(first)} to {iso(last + HOUR)}")
    spark = spark_session("examples")
    needed = Window(floor_hour(first - 2 * config.label_window), last + HOUR)
    partitions = context.lake.partitions(INTERACTIONS, needed)
    events = read_files(spark, INTERACTIONS, context.lake.files(INTERACTIONS, partitions))
    examples = sample(label(events, config), config)
    hours = [int(hour.start.timestamp()) for hour in stale]
    hour = f.date_trunc("hour", col.KNOWN_AT)
    keys = {col.DT: f.date_format(hour, "yyyy-MM-dd"), col.HR: f.date_format(hour, "HH")}
    placed = examples.where(f.unix_timestamp(hour).isin(hours)).withColumns(keys)
    staged = context.lake.staging(EXAMPLES)
    ordered = placed.repartition(col.DT, col.HR).sortWithinPartitions(col.DT, col.HR, col.OCCURRED_AT, col.EVENT_ID)
    ordered.write.partitionBy(col.DT, col.HR).parquet(str(staged))
    rows = 0
    for stale_hour in stale:
        partition = Partition.hour(stale_hour.start)
        rows += context.lake.commit(EXAMPLES, partition, staged / partition.path, stale_hour.recipe).rows
    read = sum(found.rows for p in partitions if (found := context.lake.manifest(INTERACTIONS, p)))
    return Report(read={"interactions": read}, wrote={"examples": rows})


def plan(context: Context, pending: Pending) -> list[Unit]:
    """How every hour's examples stand."""
    hours = _hours(context, load("examples", ExamplesConfig), pending.get(INTERACTIONS.name, ()))
    return [Unit(EXAMPLES.name, Partition.hour(hour.start), hour.status) for hour in hours]


def label(events: DataFrame, config: ExamplesConfig) -> DataFrame:
    """All examples of the given events, labelled, none dropped.

    Args:
        events: rows of ``interactions``; those of the 2 W before the first wanted example must be among them.
        config: label rules.

    Returns:
        The columns of ``examples`` without ``sample_rate`` and ``weight``, one row an example.
    """
    is_impression = f.col(col.INTERACTION_TYPE) == InteractionType.IMPRESSION.value
    actions = events.where(f.col(col.INTERACTION_TYPE).isin(*_ACTIONS))
    pair = [col.USER_ID, col.VIDEO_ID]
    # 98 of 100 impressions have no action of their user and video at all: they are decided here, without a shuffle.
    acted = f.broadcast(actions.select(*pair).distinct())
    impressions = events.where(is_impression)
    quiet = impressions.join(acted, on=pair, how="left_anti").select(
        *_anchor_columns(), f.lit("impression").alias(col.EXPOSURE), *_no_outcome()
    )
    busy = impressions.join(acted, on=pair, how="left_semi").unionByName(actions)
    outcomes = quiet.unionByName(_attribute(busy, config))
    fraction = f.when(
        f.col(col.DURATION_SECONDS) > 0, f.least(f.lit(1.0), f.col(col.WATCH_SECONDS) / f.col(col.DURATION_SECONDS))
    )
    watched = f.coalesce(f.col(col.WATCH_FRACTION) >= config.relevant_watch_fraction, f.lit(False))
    relevant = (f.col(col.LIKED) | watched) & ~f.col(col.DISLIKED)
    derived = outcomes.withColumns(
        {
            col.WATCH_FRACTION: fraction,
            col.KNOWN_AT: f.col(col.OCCURRED_AT) + f.expr(f"interval {config.label_window.total_seconds()} seconds"),
            col.MISSED: ~f.col(col.CLICKED) & (f.col(col.EXPOSURE) == "impression"),
        }
    )
    derived = derived.withColumns(
        {col.COMPLETED: f.coalesce(f.col(col.WATCH_FRACTION) >= _COMPLETE, f.lit(False)), col.LABEL: relevant.cast("int")}
    )
    return derived.select(*[name for name in EXAMPLES.columns if name not in (col.SAMPLE_RATE, col.WEIGHT)])


def sample(examples: DataFrame, config: ExamplesConfig) -> DataFrame:
    """Down-sample negatives by a hash of their id, which no re-run and no partitioning changes (L3)."""
    always = (f.col(col.LABEL) == 1) | f.col(col.DISLIKED)
    rate = f.when(always, 1.0).otherwise(config.negative_sample_rate)
    # The top 53 bits of the hash as a number in [0, 1).
    draw = f.shiftrightunsigned(f.xxhash64(f.lit(config.sample_salt), f.col(col.EVENT_ID)), 11) / f.lit(float(2**53))
    kept = examples.withColumn(col.SAMPLE_RATE, rate).where(draw < f.col(col.SAMPLE_RATE))
    return kept.withColumn(col.WEIGHT, 1.0 / f.col(col.SAMPLE_RATE)).select(*EXAMPLES.columns)


def _anchor_columns() -> list[str]:
    """What an example takes from its impression."""
    return [col.EVENT_ID, col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT, col.DEVICE, col.POSITION, col.DURATION_SECONDS]


def _no_outcome() -> list[Column]:
    flags = [f.lit(False).alias(name) for name in (col.CLICKED, col.LIKED, col.SHARED, col.DISLIKED)]
    return [*flags, f.lit(0.0).alias(col.WATCH_SECONDS)]


def _attribute(events: DataFrame, config: ExamplesConfig) -> DataFrame:
    """Give every action to its impression, or to an organic example, and fold each group into one row."""
    is_impression = f.col(col.INTERACTION_TYPE) == InteractionType.IMPRESSION.value
    span = f.expr(f"interval {config.label_window.total_seconds()} seconds")
    rank = f.when(is_impression, 0).otherwise(1)
    order = W.partitionBy(col.USER_ID, col.VIDEO_ID).orderBy(col.OCCURRED_AT, rank, col.EVENT_ID)
    so_far = order.rowsBetween(W.unboundedPreceding, W.currentRow)
    # First an impression, or an action after W of silence; then any action that these leave more than W behind.
    quiet_before = f.coalesce(f.col(col.OCCURRED_AT) > f.lag(col.OCCURRED_AT).over(order) + span, f.lit(True))
    starts = events.withColumn("_start", is_impression | quiet_before)
    anchor_at = f.last(f.when(f.col("_start"), f.col(col.OCCURRED_AT)), ignorenulls=True).over(so_far)
    late = f.coalesce(f.col(col.OCCURRED_AT) > anchor_at + span, f.lit(True))
    anchored = starts.withColumn("_start", f.col("_start") | late)
    anchor = f.last(f.when(f.col("_start"), f.col(col.EVENT_ID)), ignorenulls=True).over(so_far)
    grouped = anchored.withColumn("_anchor", anchor).groupBy(col.USER_ID, col.VIDEO_ID, "_anchor")
    own = [name for name in _anchor_columns() if name not in (col.USER_ID, col.VIDEO_ID)]
    is_watch = f.col(col.INTERACTION_TYPE) == InteractionType.WATCH.value
    exposure = f.when(is_impression, "impression").otherwise("organic").alias(col.EXPOSURE)

    def any_of(*kinds: InteractionType) -> Column:
        return f.max(f.col(col.INTERACTION_TYPE).isin(*[kind.value for kind in kinds]))

    folded = grouped.agg(
        f.max(f.when(f.col("_start"), f.struct(*own, exposure))).alias("_own"),
        any_of(InteractionType.CLICK, InteractionType.WATCH).alias(col.CLICKED),
        any_of(InteractionType.LIKE).alias(col.LIKED),
        any_of(InteractionType.SHARE, InteractionType.SAVE).alias(col.SHARED),
        any_of(InteractionType.DISLIKE).alias(col.DISLIKED),
        f.coalesce(f.max(f.when(is_watch, f.col(col.WATCH_SECONDS))), f.lit(0.0)).alias(col.WATCH_SECONDS),
    )
    return folded.select(
        col.USER_ID, col.VIDEO_ID, *[f.col(f"_own.{name}") for name in (*own, col.EXPOSURE)],
        col.CLICKED, col.LIKED, col.SHARED, col.DISLIKED, col.WATCH_SECONDS,
    )  # fmt: skip


def _hours(context: Context, config: ExamplesConfig, pending: Collection[Partition] = ()) -> list[_Hour]:
    """Every hour of the window that has interactions, and how its examples stand.

    Args:
        context: of the run.
        config: label rules.
        pending: interactions that ingest has yet to make.

    Raises:
        ReelflowError: the window holds no interactions at all.
    """
    made = context.lake.partitions(INTERACTIONS, context.window)
    coming = {partition for partition in pending if context.window.start <= partition.start < context.as_of}
    if not made and not coming:
        window = f"{iso(context.window.start)} to {iso(context.as_of)}"
        raise ReelflowError(f"table interactions: no partition from {window}; run ingest for that window first")
    code = code_version("jobs/examples.py", "schemas")
    hours = []
    for partition in sorted({*made, *coming}):
        hour = partition.start
        needed = Window(floor_hour(hour - 2 * config.label_window), hour + HOUR)
        reads = [Partition.hour(needed_hour) for needed_hour in needed.hours()]
        recipe = Recipe({INTERACTIONS.name: context.lake.digest(INTERACTIONS, reads)}, code, config.model_dump())
        status = context.lake.status(EXAMPLES, partition, recipe)
        hours.append(_Hour(hour, recipe, after(status, INTERACTIONS, [read for read in reads if read in pending])))
    return hours


def main() -> None:
    """Command line: ``python -m jobs.examples --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("examples", run, __doc__)


if __name__ == "__main__":
    main()
