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

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from conf import load
from jobs import _stage
from jobs._fan_out import fan_out
from jobs._labels import EVENT_COLUMNS, ExamplesConfig, sampled_examples
from jobs._recipe import Recipe, Status, code_version
from jobs._stage import Context, Report
from jobs._tables import Lake, Partition, Pending, Unit, after
from jobs._window import HOUR, Window, floor_hour, iso
from schemas import EXAMPLES, INTERACTIONS
from schemas import columns as col
from schemas.errors import ReelflowError

_ROWS_AT_A_TIME = 1_000_000
_MB_PER_ROW = 40e-6
_CODE = ("jobs/examples.py", "jobs/_labels.py", "jobs/_arrow.py", "models/hashing.py", "schemas")


@dataclass(frozen=True, slots=True)
class _Hour:
    start: datetime
    recipe: Recipe
    status: Status
    rows: int
    """Interactions in it."""


def run(context: Context) -> Report:
    """Bring the examples of every hour of the window up to date."""
    config = load("examples", ExamplesConfig)
    stale = [hour for hour in _hours(context, config) if context.force or not hour.status.current]
    if not stale:
        return Report(up_to_date=True)
    first, last = stale[0].start, stale[-1].start
    context.say(f"{len(stale):,} hours to process, {iso(first)} to {iso(last + HOUR)}")
    weights = [hour.rows + 1.0 for hour in stale]
    made = fan_out(context, stale, partial(make, context.lake, config), weights=weights, megabytes=sum(weights) * _MB_PER_ROW)
    return Report(read={"interactions": sum(hour.rows for hour in stale)}, wrote={"examples": sum(made)})


def plan(context: Context, pending: Pending) -> list[Unit]:
    """How every hour's examples stand."""
    hours = _hours(context, load("examples", ExamplesConfig), pending.get(INTERACTIONS.name, ()))
    return [Unit(EXAMPLES.name, Partition.hour(hour.start), hour.status) for hour in hours]


def make(lake: Lake, config: ExamplesConfig, hours: Sequence[_Hour]) -> int:
    """Make the examples of some hours, in order; returns how many there are."""
    before: pa.Table | None = None
    made, end = 0, None
    for group in _groups(hours):
        if before is None or group[0].start != end:
            before = _events(lake, config, Window(floor_hour(group[0].start - 3 * config.label_window), group[0].start))
        window = Window(group[0].start, group[-1].start + HOUR)
        events = pa.concat_tables([before, _events(lake, config, window)])
        examples = sampled_examples(events, config)
        known = examples[col.KNOWN_AT]
        for hour in group:
            within = pc.and_(pc.greater_equal(known, hour.start), pc.less(known, hour.start + HOUR))
            made += lake.write(EXAMPLES, Partition.hour(hour.start), examples.filter(within), hour.recipe).rows
        end = window.end
        before = events.filter(pc.greater_equal(events[col.OCCURRED_AT], end - 3 * config.label_window))
    return made


def _groups(hours: Sequence[_Hour]) -> Iterator[list[_Hour]]:
    """Runs of consecutive hours that hold about a million interactions, or one hour that holds more."""
    group: list[_Hour] = []
    for hour in hours:
        follows = bool(group) and hour.start == group[-1].start + HOUR
        if group and (not follows or sum(member.rows for member in group) + hour.rows > _ROWS_AT_A_TIME):
            yield group
            group = []
        group.append(hour)
    if group:
        yield group


def _events(lake: Lake, config: ExamplesConfig, window: Window) -> pa.Table:
    """What labels need of the interactions of some hours; an hour that is not there is empty."""
    return lake.read(INTERACTIONS, lake.partitions(INTERACTIONS, window), EVENT_COLUMNS)


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
    code = code_version(*_CODE)
    hours = []
    for partition in sorted({*made, *coming}):
        hour = partition.start
        needed = Window(floor_hour(hour - 2 * config.label_window), hour + HOUR)
        reads = [Partition.hour(needed_hour) for needed_hour in needed.hours()]
        recipe = Recipe({INTERACTIONS.name: context.lake.digest(INTERACTIONS, reads)}, code, config.model_dump())
        status = context.lake.status(EXAMPLES, partition, recipe)
        found = context.lake.manifest(INTERACTIONS, partition)
        hours.append(
            _Hour(
                hour,
                recipe,
                after(status, INTERACTIONS, [read for read in reads if read in pending]),
                found.rows if found else 0,
            )
        )
    return hours


def main() -> None:
    """Command line: ``python -m jobs.examples --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("examples", run, __doc__)


if __name__ == "__main__":
    main()
