"""Features: of every example as of its own second, and of users and videos as of the end of the window.

Reads ``examples``, ``interactions``, ``videos`` and ``users``. Writes ``video_hours``, ``user_history`` and
``example_features``, which look back from every example; ``video_counts`` for each day of the window; and ``user_features`` and
``video_features`` for its last day. Counters as of a midnight are sums over the days before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from conf import load
from jobs import _counts, _example_features, _stage
from jobs._example_features import FeaturesConfig
from jobs._latest_features import user_features, video_features
from jobs._recipe import CURRENT, MISSING, Recipe, Status, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit, after
from jobs._window import DAY, Window, midnight
from schemas import (
    EXAMPLES,
    INTERACTIONS,
    USER_FEATURES,
    USER_HISTORY,
    USERS,
    VIDEO_COUNTS,
    VIDEO_FEATURES,
    VIDEO_HOURS,
    VIDEOS,
    Table,
)
from schemas.errors import ReelflowError

_COUNTS_CODE = ("jobs/features.py", "jobs/_counts.py", "schemas")
_CODE = (
    "jobs/features.py", "jobs/_latest_features.py", "jobs/_counts.py", "jobs/_example_features.py", "jobs/_history.py",
    "jobs/_log.py", "jobs/_trends.py", "models/popularity.py", "models/rows.py", "schemas",
)  # fmt: skip
_USERS_PER_GROUP = (
    2**16
)  # recommend's parts read the row groups that hold their users, of which each has some tens of thousands


@dataclass(frozen=True, slots=True)
class _Day:
    dt: date
    hours: Sequence[Partition]
    recipe: Recipe
    status: Status


def run(context: Context) -> Report:
    """Bring features of the examples, daily counts, and features as of the end of the window up to date."""
    config, lake = load("features", FeaturesConfig), context.lake
    planned = _example_features.plan(context)
    wrote = _example_features.run(context, planned)
    if stale := [day for day in _days(context) if context.force or not day.status.current]:
        wrote["video counts"] = sum(_write_counts(context, day) for day in stale)
    recipes, today = _recipes(context, config), Partition(context.last_day)
    if context.force or not lake.status(USER_FEATURES, today, recipes[USER_FEATURES.name]).current:
        rows = user_features(context, planned.look)
        written = lake.write(USER_FEATURES, today, rows, recipes[USER_FEATURES.name], rows_per_group=_USERS_PER_GROUP)
        wrote["user features"] = written.rows
    if context.force or not lake.status(VIDEO_FEATURES, today, recipes[VIDEO_FEATURES.name]).current:
        rows = video_features(context, config.popularity_half_life_days)
        wrote["video features"] = lake.write(VIDEO_FEATURES, today, rows, recipes[VIDEO_FEATURES.name]).rows
    return Report(wrote=wrote, up_to_date=not wrote)


def plan(context: Context, pending: Pending) -> list[Unit]:
    """How every partition of the window, and the features as of its end, stand."""
    config = load("features", FeaturesConfig)
    units = _example_features.plan(context, pending).units()
    units += [Unit(VIDEO_COUNTS.name, Partition(d.dt), d.status) for d in _days(context, pending.get(EXAMPLES.name, ()))]
    made: dict[str, list[Partition]] = {}
    for unit in units:
        if not unit.status.current:
            made.setdefault(unit.name, []).append(unit.partition)
    pending, today = {**pending, **made}, Partition(context.last_day)
    for table, reads in (
        (USER_FEATURES, (USERS, INTERACTIONS, USER_HISTORY)),
        (VIDEO_FEATURES, (VIDEOS, VIDEO_COUNTS, VIDEO_HOURS)),
    ):
        coming = [(read, partition) for read in reads for partition in pending.get(read.name, ())]
        if coming:
            known = MISSING if context.lake.manifest(table, today) is None else CURRENT
            status = after(known, coming[0][0], [coming[0][1]])
        else:
            status = context.lake.status(table, today, _recipes(context, config)[table.name])
        units.append(Unit(table.name, today, status))
    return units


def _days(context: Context, pending: Collection[Partition] = ()) -> list[_Day]:
    """The whole days of the window that have examples, and how their counts stand."""
    days = []
    for dt in context.window.days():
        if midnight(dt) < context.window.start:
            continue
        day = Window(midnight(dt), min(midnight(dt) + DAY, context.as_of))
        hours = context.lake.partitions(EXAMPLES, day)
        coming = [partition for partition in pending if partition.dt == dt]
        recipe = Recipe({EXAMPLES.name: context.lake.digest(EXAMPLES, hours)}, code_version(*_COUNTS_CODE), {})
        if hours or coming:
            status = after(context.lake.status(VIDEO_COUNTS, Partition(dt), recipe), EXAMPLES, coming)
            days.append(_Day(dt, hours, recipe, status))
    return days


def _write_counts(context: Context, day: _Day) -> int:
    """Count one day's examples; returns how many videos were in them."""
    rows = _counts.count(context.lake.read(EXAMPLES, day.hours, _counts.EXAMPLE_COLUMNS))
    return context.lake.write(VIDEO_COUNTS, Partition(day.dt), rows, day.recipe).rows


def _recipes(context: Context, config: FeaturesConfig) -> Mapping[str, Recipe]:
    lake, window, today = context.lake, context.window, [Partition(context.last_day)]
    for table in (VIDEOS, USERS):
        if lake.manifest(table, today[0]) is None:
            raise ReelflowError(f"table {table.name}: no partition {today[0].path}; run ingest as of {context.as_of} first")

    def of(*inputs: tuple[Table, Sequence[Partition]], **parameters: object) -> Recipe:
        found = {table.name: lake.digest(table, partitions) for table, partitions in inputs}
        return Recipe(found, code_version(*_CODE), {"start": str(window.start), "as_of": str(window.end), **parameters})

    week = Window(window.end - _example_features.TREND_REACH, window.end)
    return {
        USER_FEATURES.name: of(
            (USERS, today),
            (INTERACTIONS, lake.partitions(INTERACTIONS, window)),
            (USER_HISTORY, today),
            history=config.history.model_dump(),
        ),
        VIDEO_FEATURES.name: of(
            (VIDEOS, today),
            (VIDEO_COUNTS, lake.partitions(VIDEO_COUNTS, window)),
            (VIDEO_HOURS, lake.partitions(VIDEO_HOURS, week)),
            popularity_half_life_days=config.popularity_half_life_days,
        ),
    }


def main() -> None:
    """Command line: ``python -m jobs.features --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("features", run, __doc__)


if __name__ == "__main__":
    main()
