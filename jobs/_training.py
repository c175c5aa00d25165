"""What the training stages and the gate read: examples with point-in-time counters, features, and the split by time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from conf import Section, load
from jobs import _bundles
from jobs._recipe import Recipe, State, Status
from jobs._stage import Context
from jobs._tables import Partition, Unit
from jobs._tracking import Tracker
from jobs._window import iso
from models.popularity import counters_as_of
from schemas import EXAMPLES, USER_FEATURES, VIDEO_COUNTERS, VIDEO_COUNTS, VIDEO_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError

Mask = npt.NDArray[np.bool_]


class SplitConfig(Section):
    """Section ``split``: how examples are divided by time (L4)."""

    validation_fraction: float = Field(gt=0, lt=0.5)
    """Share of the examples, just before the test split, that early stopping looks at."""
    test_fraction: float = Field(gt=0, lt=0.5)
    """Share of the examples, the newest, that only the evaluation looks at."""


class RandomNegativesConfig(Section):
    """Section ``random_negatives``: unwatched videos as negatives for the ranker (L3)."""

    per_positive: int = Field(ge=0)
    """Random videos for each positive; 0 for none."""
    unless_missed_share: float = Field(ge=0, le=1)
    """None are added where missed impressions are more than this share of all impressions."""
    seed: int = Field(ge=0)
    """Of the draw."""


class HalfLife(Section):
    """Section ``features``, as far as training needs it."""

    popularity_half_life_days: float
    """After this many days a relevant action counts half."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The look-back of one ``as_of``. An example that straddles a cut in time belongs to neither side."""

    examples: pa.Table
    """EXAMPLES in order of time, with the counters of each one's video as of the midnight before it."""
    users: pa.Table
    """USER_FEATURES."""
    videos: pa.Table
    """VIDEO_FEATURES."""
    counts: pa.Table
    """VIDEO_COUNTS of every day, with its ``dt``."""
    train: Mask
    validation: Mask
    test: Mask
    validation_start: datetime
    test_start: datetime
    half_life_days: float


def inputs(context: Context) -> dict[str, str]:
    """Digests of everything that ``read`` reads.

    Raises:
        ReelflowError: a table has no partition for this window.
    """
    lake, today = context.lake, [Partition(context.last_day)]
    for table in (USER_FEATURES, VIDEO_FEATURES):
        if lake.manifest(table, today[0]) is None:
            raise ReelflowError(
                f"table {table.name}: no partition {today[0].path}; run features --as-of {iso(context.as_of)} first"
            )
    return {
        EXAMPLES.name: lake.digest(EXAMPLES, lake.partitions(EXAMPLES, context.window)),
        VIDEO_COUNTS.name: lake.digest(VIDEO_COUNTS, lake.partitions(VIDEO_COUNTS, context.window)),
        USER_FEATURES.name: lake.digest(USER_FEATURES, today),
        VIDEO_FEATURES.name: lake.digest(VIDEO_FEATURES, today),
    }


def read(context: Context) -> TrainingSet:
    """Read the look-back's examples with features, and split them by time.

    Raises:
        ReelflowError: there is no positive example to learn from.
    """
    lake, split = context.lake, load("split", SplitConfig)
    half_life_days = load("features", HalfLife).popularity_half_life_days
    examples = lake.read(EXAMPLES, lake.partitions(EXAMPLES, context.window))
    examples = examples.sort_by([(col.OCCURRED_AT, "ascending"), (col.EVENT_ID, "ascending")])
    if not pc.any(pc.equal(examples[col.LABEL], 1)).as_py():
        raise ReelflowError(
            f"examples: {examples.num_rows:,} in {iso(context.window.start)} to {iso(context.as_of)}, none of them relevant; "
            "expected watched or liked videos to learn from; widen window.lookback_days or check the raw logs"
        )
    counts = _counts(context)
    days = pc.cast(examples[col.OCCURRED_AT], pa.date32())
    found = counters_as_of(counts, examples[col.VIDEO_ID].to_numpy(), days, half_life_days)
    for field in VIDEO_COUNTERS:
        examples = examples.append_column(field.name, pa.array(found[field.name]))
    occurred = examples[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    known = examples[col.KNOWN_AT].cast(pa.int64()).to_numpy()
    last_train, last_validation = np.quantile(
        occurred, [1 - split.validation_fraction - split.test_fraction, 1 - split.test_fraction], method="lower"
    )
    return TrainingSet(
        examples=examples,
        users=lake.read(USER_FEATURES, [Partition(context.last_day)]),
        videos=lake.read(VIDEO_FEATURES, [Partition(context.last_day)]),
        counts=counts,
        train=known <= last_train,
        validation=(occurred > last_train) & (known <= last_validation),
        test=occurred > last_validation,
        validation_start=datetime.fromtimestamp(int(last_train) / 1e6, UTC),
        test_start=datetime.fromtimestamp(int(last_validation) / 1e6, UTC),
        half_life_days=half_life_days,
    )


def unit(context: Context, kind: str, recipe: Recipe) -> Unit:
    """How a trained bundle stands: made by this recipe, and registered with MLflow."""
    found, status = _bundles.check(context, kind, recipe)
    if found is not None and status.current and not Tracker.open().holds(found):
        status = Status(State.STALE, "not registered with MLflow")
    return Unit(f"bundle {kind}", Partition(context.last_day), status)


def with_random_negatives(data: TrainingSet, config: RandomNegativesConfig) -> TrainingSet:
    """Add unwatched videos as negatives where the log shows hardly any skipped impression (L3).

    A log of ratings or of explicit feedback holds only what users chose to watch: a ranker trained on it learns which
    watched video is liked, and nothing of which video is watched at all. Each positive then brings ``per_positive`` videos,
    drawn evenly from the catalogue, that its user has no example of, at its own time, with weight 1. What the ranker then
    predicts is no longer a rate of the platform.

    Returns:
        ``data`` itself where missed impressions are more than ``unless_missed_share`` of all, else the larger set.
    """
    shown = data.examples.filter(pc.equal(data.examples[col.EXPOSURE], "impression"))
    weight = shown[col.WEIGHT].to_numpy()
    missed = shown[col.MISSED].to_numpy(zero_copy_only=False)
    if not config.per_positive or (len(missed) and weight[missed].sum() > config.unless_missed_share * weight.sum()):
        return data
    rng = np.random.default_rng(config.seed)
    positives = np.repeat(np.flatnonzero(data.examples[col.LABEL].to_numpy() == 1), config.per_positive)
    videos = np.sort(data.videos[col.VIDEO_ID].to_numpy())
    drawn = videos[rng.integers(len(videos), size=len(positives))]
    users = data.examples[col.USER_ID].to_numpy()
    seen = pa.table({"user": users, "video": data.examples[col.VIDEO_ID]}).group_by(["user", "video"]).aggregate([])
    pairs = pa.table({"user": users[positives], "video": drawn, "row": np.arange(len(positives))})
    fresh = np.sort(pairs.join(seen, ["user", "video"], join_type="left anti")["row"].to_numpy())
    positives, drawn = positives[fresh], drawn[fresh]
    rows = data.examples.take(pa.array(positives))
    replaced = {
        col.VIDEO_ID: pa.array(drawn),
        col.LABEL: pa.repeat(pa.scalar(0, pa.int32()), len(drawn)),
        col.WEIGHT: pa.repeat(1.0, len(drawn)),
        col.SAMPLE_RATE: pa.repeat(1.0, len(drawn)),
    }
    found = counters_as_of(data.counts, drawn, pc.cast(rows[col.OCCURRED_AT], pa.date32()), data.half_life_days)
    for name, values in (replaced | {name: pa.array(column) for name, column in found.items()}).items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    return dataclasses.replace(
        data,
        examples=pa.concat_tables([data.examples, rows]),
        train=np.concatenate([data.train, data.train[positives]]),
        validation=np.concatenate([data.validation, data.validation[positives]]),
        test=np.concatenate([data.test, data.test[positives]]),
    )


def _counts(context: Context) -> pa.Table:
    partitions = [p for p in context.lake.partitions(VIDEO_COUNTS, context.window) if p.start >= context.window.start]
    parts = [VIDEO_COUNTS.arrow.append(pa.field(col.DT, pa.date32())).empty_table()]
    for partition in partitions:
        rows = context.lake.read(VIDEO_COUNTS, [partition])
        parts.append(rows.append_column(pa.field(col.DT, pa.date32()), pa.repeat(pa.scalar(partition.dt), rows.num_rows)))
    return pa.concat_tables(parts)
