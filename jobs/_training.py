"""What the training stages and the gate read: examples with point-in-time counters, features, and the split by time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from conf import Section, load
from jobs import _bundles, _counts
from jobs._arrow import in_order_of_time
from jobs._example_features import FeaturesConfig, histories_at, look_back, trends_at
from jobs._recipe import Recipe, State, Status
from jobs._stage import Context, WindowConfig
from jobs._tables import Lake, Partition, Unit
from jobs._tracking import Tracker
from jobs._window import DAY, Window, iso, micros
from models.features import with_text
from models.popularity import counters_as_of
from models.rows import HISTORY_ROW, look_up, rows_as_of
from schemas import (
    EXAMPLE_FEATURES,
    EXAMPLES,
    INTERACTIONS,
    QUERY_TEXT,
    USER_FEATURES,
    USER_VERSIONS,
    VIDEO_COUNTERS,
    VIDEO_COUNTS,
    VIDEO_FEATURES,
    VIDEO_TEXT,
    VIDEO_VERSIONS,
    InteractionType,
    Table,
)
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


CODE = ("jobs/_training.py", "jobs/_counts.py", "jobs/_example_features.py", "jobs/_trends.py", "jobs/_arrow.py")
"""What determines what is read here, beside ``models`` and ``schemas``."""

_LATEST = (USER_FEATURES, VIDEO_FEATURES, USER_VERSIONS, VIDEO_VERSIONS, VIDEO_TEXT, QUERY_TEXT)
"""Tables of which a run reads its last day."""


_HISTORIES_AT_ONCE = 50_000  # full ones take a kilobyte each
_LISTS = tuple(field.name for field in EXAMPLE_FEATURES.fields if field.type.startswith("list"))
_TRENDS = tuple(name for name in EXAMPLE_FEATURES.columns if name not in (col.EVENT_ID, *_LISTS))
_WATCH_COLUMNS = (col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT)
_NO_WATCHES = pa.schema([INTERACTIONS.field(name).arrow for name in _WATCH_COLUMNS]).empty_table()


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The look-back of one ``as_of``. An example that straddles a cut in time belongs to neither side."""

    examples: pa.Table
    """EXAMPLES in order of time, with the trends of EXAMPLE_FEATURES if asked for, and each one's video's counters as of its
    midnight. ``HISTORY_ROW`` is each one's row in ``histories``."""
    users: pa.Table
    """USER_FEATURES."""
    videos: pa.Table
    """VIDEO_FEATURES with VIDEO_TEXT."""
    user_versions: pa.Table
    """USER_VERSIONS."""
    video_versions: pa.Table
    """VIDEO_VERSIONS with VIDEO_TEXT."""
    queries: pa.Table
    """QUERY_TEXT."""
    watches: pa.Table
    """User, video and time of every watch of the look-back and of the ``window.history_days`` before it, in order of time."""
    counts: pa.Table
    """VIDEO_COUNTS of every day, with its ``dt``."""
    train: Mask
    validation: Mask
    test: Mask
    validation_start: datetime
    test_start: datetime
    half_life_days: float
    histories: Callable[[], Iterator[pa.Table]] | None = None
    """Gives the lists of EXAMPLE_FEATURES in the order in which they are stored, part by part; None where they
    were not asked for, or where the examples have them."""


def inputs(context: Context) -> dict[str, str]:
    """Digests of everything that ``read`` reads.

    Raises:
        ReelflowError: a table has no partition for this window.
    """
    lake, today = context.lake, [Partition(context.last_day)]
    for table in _LATEST:
        if lake.manifest(table, today[0]) is None:
            raise ReelflowError(
                f"table {table.name}: no partition {today[0].path}; run ingest, text and features --as-of "
                f"{iso(context.as_of)} first"
            )
    return (
        {VIDEO_COUNTS.name: lake.digest(VIDEO_COUNTS, lake.partitions(VIDEO_COUNTS, context.window))}
        | {table.name: lake.digest(table, today) for table in _LATEST}
        | {table.name: lake.digest(table, hours) for table, hours in hours_read(context).items()}
    )


def hours_read(context: Context) -> dict[Table, list[Partition]]:
    """The hourly partitions that ``read`` reads: functions of the log alone, whichever lane made them."""
    window = {table: context.lake.partitions(table, context.window) for table in (EXAMPLES, EXAMPLE_FEATURES)}
    return {**window, INTERACTIONS: _log_hours(context)}


def read(context: Context, *, features: bool = True, since: datetime | None = None) -> TrainingSet:
    """Read the look-back's examples, and split them by time.

    Args:
        context: of the run.
        features: whether the examples' own features are needed, which are most of their size.
        since: only those whose label was known from then on; None for all.

    Raises:
        ReelflowError: there is no positive example to learn from.
    """
    lake, split = context.lake, load("split", SplitConfig)
    half_life_days = load("features", FeaturesConfig).popularity_half_life_days
    partitions = lake.partitions(EXAMPLES, context.window if since is None else Window(since, context.as_of))
    examples = in_order_of_time(_examples(lake, partitions, features=features))
    if since is None and not pc.any(pc.equal(examples[col.LABEL], 1)).as_py():
        raise ReelflowError(
            f"examples: {examples.num_rows:,} in {iso(context.window.start)} to {iso(context.as_of)}, none of them relevant; "
            "expected watched or liked videos to learn from; widen window.lookback_days or check the raw logs"
        )
    counts = _counts.read(context)
    days = pc.cast(examples[col.OCCURRED_AT], pa.date32())
    found = counters_as_of(counts, examples[col.VIDEO_ID].to_numpy(), days, half_life_days)
    for field in VIDEO_COUNTERS:
        examples = examples.append_column(field.name, pa.array(found[field.name]))
    occurred = examples[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    known = examples[col.KNOWN_AT].cast(pa.int64()).to_numpy()
    last_train, last_validation = np.quantile(
        occurred, [1 - split.validation_fraction - split.test_fraction, 1 - split.test_fraction], method="lower"
    )
    latest: dict[Table, pa.Table] = {table: lake.read(table, [Partition(context.last_day)]) for table in _LATEST}
    versions, text = latest[VIDEO_VERSIONS], latest[VIDEO_TEXT]
    for name in (col.TITLE_VECTOR, col.TAGS_VECTOR):  # a row of text for each version, in the same order
        versions = versions.append_column(name, text[name])
    return TrainingSet(
        examples=examples,
        users=latest[USER_FEATURES],
        videos=with_text(latest[VIDEO_FEATURES], text),
        user_versions=latest[USER_VERSIONS],
        video_versions=versions,
        queries=latest[QUERY_TEXT],
        watches=_watches(context) if features else _NO_WATCHES,
        counts=counts,
        histories=partial(_histories, lake, partitions) if features else None,
        train=known <= last_train,
        validation=(occurred > last_train) & (known <= last_validation),
        test=occurred > last_validation,
        validation_start=datetime.fromtimestamp(int(last_train) / 1e6, UTC),
        test_start=datetime.fromtimestamp(int(last_validation) / 1e6, UTC),
        half_life_days=half_life_days,
    )


def world_at(context: Context, data: TrainingSet, at: datetime) -> tuple[pa.Table, pa.Table]:
    """USER_FEATURES and VIDEO_FEATURES with histories, attributes, devices, facts and trends as they were at a moment."""
    users, videos = data.users, data.videos

    def as_of(rows: pa.Table, versions: pa.Table, key: str) -> pa.Table:
        ids = rows[key].to_numpy()
        found = rows_as_of(ids, np.full(len(ids), micros(at)), versions, key)
        then = versions.take(pa.array(found, mask=found < 0))
        names = [name for name in versions.column_names if name in rows.column_names and name != key]
        return _replace(rows, {name: then[name] for name in names})

    user_ids, video_ids = users[col.USER_ID].to_numpy(), videos[col.VIDEO_ID].to_numpy()
    histories = histories_at(context.lake, look_back(), user_ids, at)
    trends = trends_at(context.lake, video_ids, np.full(len(video_ids), micros(at)))
    seen = data.examples.select([col.USER_ID, col.DEVICE]).filter(
        pc.and_(pc.less(data.examples[col.OCCURRED_AT], pa.scalar(at)), pc.is_valid(data.examples[col.DEVICE]))
    )
    _, last = np.unique(seen[col.USER_ID].to_numpy()[::-1], return_index=True)
    newest = seen.take(pa.array(seen.num_rows - 1 - last))
    devices = {col.DEVICE: look_up(users[col.USER_ID], newest, col.USER_ID, [col.DEVICE])[col.DEVICE]}
    return (
        _replace(as_of(users, data.user_versions, col.USER_ID), histories | devices),
        _replace(as_of(videos, data.video_versions, col.VIDEO_ID), {name: pa.array(found) for name, found in trends.items()}),
    )


def unit(context: Context, kind: str, recipe: Recipe) -> Unit:
    """How a trained bundle stands: made by this recipe, and registered with MLflow."""
    found, status = _bundles.check(context, kind, recipe)
    if found is not None and status.current and not Tracker.open().holds(found):
        status = Status(State.STALE, "not registered with MLflow")
    return Unit(f"bundle {kind}", Partition(context.last_day), status)


def with_random_negatives(lake: Lake, data: TrainingSet, config: RandomNegativesConfig) -> TrainingSet:
    """Add unwatched videos as negatives where the log shows hardly any skipped impression (L3).

    A log of ratings or of explicit feedback holds only what users chose to watch: a ranker trained on it learns which
    watched video is liked, and nothing of which video is watched at all. Each positive then brings ``per_positive`` videos,
    drawn evenly from the catalogue of its time, at its own time, with weight 1. What the ranker then predicts is no longer a
    rate of the platform. Its user has no example of them in its own split or an earlier one: that somebody acts on a video in
    the test split must not keep it from being a negative of the train split.

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
    split = np.where(data.test, 2, np.where(data.train, 0, 1))
    seen = pa.table({"user": users, "video": data.examples[col.VIDEO_ID], "split": split})
    seen = seen.group_by(["user", "video"]).aggregate([("split", "min")])
    pairs = pa.table({"user": users[positives], "video": drawn, "row": np.arange(len(positives))})
    met = pairs.join(seen, ["user", "video"], join_type="inner")
    rows, first = met["row"].to_numpy(), met["split_min"].to_numpy()
    fresh = np.ones(len(positives), dtype=bool)
    fresh[rows[first <= split[positives[rows]]]] = False
    uploaded = look_up(pa.array(drawn), data.videos, col.VIDEO_ID, [col.UPLOADED_AT])[col.UPLOADED_AT]
    later = pc.greater(uploaded, data.examples[col.OCCURRED_AT].take(pa.array(positives)))
    fresh &= ~pc.fill_null(later, False).to_numpy(zero_copy_only=False)
    positives, drawn = positives[fresh], drawn[fresh]
    rows = data.examples.take(pa.array(positives))
    replaced = {
        col.VIDEO_ID: pa.array(drawn),
        col.LABEL: pa.repeat(pa.scalar(0, pa.int32()), len(drawn)),
        col.WEIGHT: pa.repeat(1.0, len(drawn)),
        col.SAMPLE_RATE: pa.repeat(1.0, len(drawn)),
    }
    nothing = (col.CLICKED, col.WATCH_SECONDS, col.WATCH_FRACTION, col.COMPLETED, col.LIKED, col.SHARED, col.DISLIKED)
    replaced |= {name: pa.repeat(pa.scalar(0).cast(rows.schema.field(name).type), len(drawn)) for name in nothing}
    replaced[col.MISSED] = pa.repeat(True, len(drawn))
    found = counters_as_of(data.counts, drawn, pc.cast(rows[col.OCCURRED_AT], pa.date32()), data.half_life_days)
    trends = trends_at(lake, drawn, rows[col.OCCURRED_AT].cast(pa.int64()).to_numpy())
    columns = {name: pa.array(column) for name, column in (*found.items(), *trends.items())}
    rows = _replace(rows, replaced | columns)
    return dataclasses.replace(
        data,
        examples=pa.concat_tables([data.examples, rows]),
        train=np.concatenate([data.train, data.train[positives]]),
        validation=np.concatenate([data.validation, data.validation[positives]]),
        test=np.concatenate([data.test, data.test[positives]]),
    )


def _examples(lake: Lake, partitions: Sequence[Partition], *, features: bool) -> pa.Table:
    """EXAMPLES, with the trends of EXAMPLE_FEATURES and the row of each one's histories there.

    Raises:
        ReelflowError: features that are missing, or those of other examples.
    """
    if not features:
        return lake.read(EXAMPLES, partitions)
    made = [partition for partition in partitions if lake.manifest(EXAMPLE_FEATURES, partition) is not None]
    if missing := sorted({*partitions} - {*made}):
        where = f"table {EXAMPLE_FEATURES.name}: no partition {missing[0].path}"
        raise ReelflowError(f"{where}; run features for that window first")
    examples, found = lake.read(EXAMPLES, partitions), lake.read(EXAMPLE_FEATURES, partitions, (col.EVENT_ID, *_TRENDS))
    if not examples[col.EVENT_ID].equals(found[col.EVENT_ID]):
        raise ReelflowError(
            f"table {EXAMPLE_FEATURES.name}: its rows are not those of {EXAMPLES.name}; expected the same events in the same "
            "order; run features for that window again"
        )
    for name in _TRENDS:
        examples = examples.append_column(found.schema.field(name), found[name])
    return examples.append_column(HISTORY_ROW, pa.array(np.arange(examples.num_rows)))


def _histories(lake: Lake, partitions: Sequence[Partition]) -> Iterator[pa.Table]:
    """The lists of EXAMPLE_FEATURES, some partitions at a time."""
    group: list[Partition] = []
    rows = 0
    for partition in partitions:
        group.append(partition)
        found = lake.manifest(EXAMPLE_FEATURES, partition)
        rows += found.rows if found else 0
        if rows >= _HISTORIES_AT_ONCE:
            yield lake.read(EXAMPLE_FEATURES, group, _LISTS)
            group, rows = [], 0
    yield lake.read(EXAMPLE_FEATURES, group, _LISTS)


def _log_hours(context: Context) -> list[Partition]:
    """Hours of the log that the histories of the examples reach back to."""
    reach = (load("window", WindowConfig).history_days + 1) * DAY
    return context.lake.partitions(INTERACTIONS, Window(context.window.start - reach, context.as_of))


def _watches(context: Context) -> pa.Table:
    """User, video and time of every watch of the log, in order of time."""
    parts = [_NO_WATCHES]
    for partition in _log_hours(context):
        events = context.lake.read(INTERACTIONS, [partition], (*_WATCH_COLUMNS, col.INTERACTION_TYPE))
        parts.append(events.filter(pc.equal(events[col.INTERACTION_TYPE], InteractionType.WATCH.value)).select(_WATCH_COLUMNS))
    return pa.concat_tables(parts).combine_chunks()


def _replace(rows: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """Rows with other values in some of their columns."""
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), values)
    return rows
