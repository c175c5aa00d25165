"""Features as of each example's own second, and the state that they need: ``video_hours`` and ``user_history``.

Each partition is a function of the interactions of a fixed stretch of time, whatever ran before: the ``user_history`` of a day
may be made from that of the day before or from all its days, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from conf import Section, load
from jobs._fan_out import fan_out
from jobs._history import HistoryConfig, histories
from jobs._labels import ExamplesConfig
from jobs._log import EventLog, LastEvents, hours_of_counts, hours_of_events
from jobs._recipe import Recipe, Status, code_version
from jobs._stage import Context, WindowConfig
from jobs._tables import Lake, Partition, Pending, Unit, after
from jobs._trends import Trends
from jobs._window import DAY, HOUR, Window, floor_day, floor_hour, micros, midnight
from schemas import EXAMPLE_FEATURES, EXAMPLES, INTERACTIONS, TRENDS, USER_HISTORY, VIDEO_HOURS, Table
from schemas import columns as col

_CODE = ("jobs/_example_features.py", "jobs/_history.py", "jobs/_log.py", "jobs/_trends.py", "schemas")
TREND_REACH = timedelta(hours=max(trend.hours for trend in TRENDS))
_ROWS_AT_A_TIME = 250_000  # a million was no faster and took twice the memory
_MB_PER_ROW = 30e-6
_READ = (col.EVENT_ID, col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT)

Ints = NDArray[np.int64]


class FeaturesConfig(Section):
    """Section ``features``."""

    popularity_half_life_days: float = Field(gt=0)
    """After this many days a relevant action counts half."""
    history: HistoryConfig
    """How many events of each kind a history holds."""


@dataclass(frozen=True, slots=True)
class Work:
    """One partition to make, and how it stands."""

    partition: Partition
    recipe: Recipe
    status: Status
    rows: int
    """Interactions of its own hour or day."""
    before: int
    """Interactions of the log before it."""


@dataclass(frozen=True, slots=True)
class Look:
    """How far one looks back."""

    history: HistoryConfig
    reach: timedelta
    """Of histories."""
    lag: timedelta
    """Examples of a partition happened at most this long before it began."""

    @property
    def parameters(self) -> dict[str, object]:
        return {**self.history.model_dump(), "history_days": self.reach.days}

    @property
    def farthest(self) -> timedelta:
        """How far back features go, before the midnight of the day."""
        return max(self.reach, TREND_REACH)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that features as of the second need, in the order in which it is made."""

    hours: tuple[Work, ...]
    """Of ``video_hours``."""
    days: tuple[Work, ...]
    """Of ``user_history``."""
    base: Work | None
    """The day before them, which is not made, but may be there to begin with."""
    examples: tuple[Work, ...]
    """Of ``example_features``."""
    look: Look
    end: datetime
    """Nothing at or after it is seen."""

    def units(self) -> list[Unit]:
        """As a plan lists them."""
        tables = ((VIDEO_HOURS, self.hours), (USER_HISTORY, self.days), (EXAMPLE_FEATURES, self.examples))
        return [Unit(table.name, work.partition, work.status) for table, works in tables for work in works]


def plan(context: Context, pending: Pending | None = None) -> Plan:
    """Everything that the window's examples and its end need, and how it stands.

    Args:
        context: of the run.
        pending: interactions and examples that earlier stages have yet to make.
    """
    pending = pending or {}
    look = look_back()
    lag = look.lag
    first = floor_day(context.window.start - lag)  # the day of the window's first example
    log = EventLog(context.lake, Window(first - look.farthest - DAY, context.as_of), pending.get(INTERACTIONS.name, ()))
    code = code_version(*_CODE)

    def work(
        table: Table, partition: Partition, reads: Window, parameters: Mapping[str, object], examples: str | None = None
    ) -> Work:
        inputs = {INTERACTIONS.name: log.digest(reads)} | ({} if examples is None else {EXAMPLES.name: examples})
        recipe = Recipe(inputs, code, parameters)
        status = after(context.lake.status(table, partition, recipe), INTERACTIONS, log.coming(reads))
        own = Window(partition.start, reads.end)
        return Work(partition, recipe, status, log.rows(own), log.rows_before(own.start))

    hours = [
        work(VIDEO_HOURS, Partition.hour(hour), Window(hour, hour + HOUR), {})
        for hour in log.hours
        if hour >= first - TREND_REACH
    ]
    days = []
    for day in Window(first - 2 * DAY, context.as_of).days():
        end = min(midnight(day) + DAY, context.as_of)
        if log.hours and end > log.hours[0]:
            reads = Window(floor_day(end - look.reach), end)
            days.append(work(USER_HISTORY, Partition(day), reads, {**look.parameters, "end": str(end)}))
    base = days.pop(0) if days and days[0].partition.start == first - 2 * DAY else None
    examples = []
    coming = {p for p in pending.get(EXAMPLES.name, ()) if context.window.start <= p.start < context.as_of}
    for partition in sorted({*context.lake.partitions(EXAMPLES, context.window), *coming}):
        reads = Window(floor_day(partition.start - lag) - look.farthest, partition.start + HOUR)
        found = context.lake.manifest(EXAMPLES, partition)
        parameters = {**look.parameters, "label_window_minutes": lag / timedelta(minutes=1)}
        made = work(EXAMPLE_FEATURES, partition, reads, parameters, found.digest if found else "")
        examples.append(replace(made, status=after(made.status, EXAMPLES, [partition] if partition in coming else [])))
    return Plan(tuple(hours), tuple(days), base, tuple(examples), look, context.as_of)


def run(context: Context, planned: Plan) -> dict[str, int]:
    """Make what is missing or stale; returns how many rows of each table were written."""
    written: dict[str, int] = {}

    def stale(works: Sequence[Work]) -> list[Work]:
        return [work for work in works if context.force or not work.status.current]

    def share(table: Table, works: Sequence[Work], make: Callable[[Sequence[Work]], int]) -> None:
        if works:
            weights = [work.rows + 1.0 for work in works]
            rows = fan_out(context, works, make, weights=weights, megabytes=sum(weights) * _MB_PER_ROW)
            written[table.name.replace("_", " ")] = sum(rows)

    share(VIDEO_HOURS, stale(planned.hours), partial(make_hours, context.lake))
    if days := stale(planned.days):  # one after the other: a day begins with the one before
        written["user history"] = make_days(context.lake, planned, days)
    if examples := stale(planned.examples):
        context.say(f"{len(examples):,} hours of examples to look back from")
        share(EXAMPLE_FEATURES, examples, partial(make_examples, context.lake, planned.look))
    return written


def make_hours(lake: Lake, works: Sequence[Work]) -> int:
    """Count what happened to each video in some hours; returns how many rows that makes."""
    hours, rows = hours_of_events(lake), 0
    for work in works:
        rows += lake.write(VIDEO_HOURS, work.partition, hours(work.partition.start).counts(), work.recipe).rows
    return rows


def make_days(lake: Lake, planned: Plan, works: Sequence[Work]) -> int:
    """Write the last events of each user as of the end of some days, in order; returns how many there are."""
    current = {work.partition for work in planned.days} - {work.partition for work in works}
    if planned.base is not None and planned.base.status.current:
        current.add(planned.base.partition)
    look, rows, last = planned.look, 0, None
    for work in works:
        start = work.partition.start
        end = min(start + DAY, planned.end)
        before = Partition((start - DAY).date())
        if last is None or last.until != start:
            known = before in current
            state = lake.read(USER_HISTORY, [before] if known else [])
            last = LastEvents(lake, look.history, look.reach, state, start if known else floor_day(end - look.reach))
        rows += lake.write(USER_HISTORY, work.partition, last.as_of(end), work.recipe).rows
        current.add(work.partition)
    return rows


def make_examples(lake: Lake, look: Look, works: Sequence[Work]) -> int:
    """Look back from every example of some hours, in order; returns how many there are."""
    rows, last = 0, None
    trends = _trends(lake, Window(works[0].partition.start - look.lag, works[-1].partition.start + HOUR))
    for group in _groups(works):
        window = Window(group[0].partition.start - look.lag, group[-1].partition.start + HOUR)
        day = floor_day(window.start)
        if last is None or last.until < day:
            last = _last_events(lake, look, day)
        examples = lake.read(EXAMPLES, [work.partition for work in group], _READ)
        users, videos = (examples[name].to_numpy() for name in (col.USER_ID, col.VIDEO_ID))
        at = examples[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
        found: dict[str, pa.Array | pa.ChunkedArray] = {col.EVENT_ID: examples[col.EVENT_ID]}
        found |= histories(last.within(window), users, at, look.history, look.reach)
        found |= {name: pa.array(column) for name, column in trends.at(videos, at).items()}
        table = pa.table({name: found[name] for name in EXAMPLE_FEATURES.columns})
        for work in group:
            manifest = lake.manifest(EXAMPLES, work.partition)
            count = manifest.rows if manifest else 0
            rows += lake.write(EXAMPLE_FEATURES, work.partition, table.slice(0, count), work.recipe).rows
            table = table.slice(count)
    return rows


def look_back() -> Look:
    """How far features look back, from the configuration."""
    lag = load("examples", ExamplesConfig).label_window
    return Look(load("features", FeaturesConfig).history, load("window", WindowConfig).history_days * DAY, lag)


def histories_at(lake: Lake, look: Look, users: Ints, at: datetime) -> dict[str, pa.ListArray]:
    """Histories of some users at one moment: ``HISTORY_FIELDS`` (n_users,)."""
    events = _last_events(lake, look, floor_day(at)).within(Window(at, floor_hour(at) + HOUR))
    return histories(events, users, np.full(len(users), micros(at)), look.history, look.reach)


def _last_events(lake: Lake, look: Look, day: datetime) -> LastEvents:
    """Begins with what was known at a midnight."""
    state = lake.read_if_made(USER_HISTORY, Partition((day - DAY).date()))  # else nothing was before
    return LastEvents(lake, look.history, look.reach, state, day)


def trends_at(lake: Lake, videos: Ints, moments: Ints) -> dict[str, NDArray[np.int32]]:
    """Trends of any videos at any moments that ``video_hours`` covers.

    Args:
        lake: of the run.
        videos: int64 ``(n,)``.
        moments: int64 ``(n,)`` microseconds since 1970.

    Returns:
        ``TREND_FIELDS``: int32 ``(n,)`` each.
    """
    if not len(moments):
        return Trends(hours_of_events(lake), hours_of_counts(lake), []).at(videos, moments)
    first, last = (datetime.fromtimestamp(int(at) // 1_000_000, UTC) for at in (moments.min(), moments.max()))
    return _trends(lake, Window(first, last + HOUR)).at(videos, moments)


def _trends(lake: Lake, window: Window) -> Trends:
    """Answers for moments of a window."""
    counted = Window(floor_hour(window.start) - TREND_REACH, window.end)
    hours = [partition.start for partition in lake.partitions(VIDEO_HOURS, counted)]
    return Trends(hours_of_events(lake), hours_of_counts(lake), hours)


def _groups(works: Sequence[Work]) -> Iterator[list[Work]]:
    """Consecutive works between whose first and last lie about a quarter of a million interactions, or one that has more."""
    group: list[Work] = []
    for work in works:
        if group and work.before + work.rows - group[0].before > _ROWS_AT_A_TIME:
            yield group
            group = []
        group.append(work)
    if group:
        yield group
