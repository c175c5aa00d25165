"""Lanes: the daily one trains, the hourly one goes on from what was published, and neither spoils what the other works on.

Both write the tables that say how things stand at the end of a day: a run as of 05:00 the partition of that day, the daily run
as of the midnight before it that of the day before. They meet in one hour only, the last of a day. So an hourly run as of
midnight does nothing, that is the daily run's; an hourly run that a later one of its day has overtaken does nothing either; and
while a stage of the hourly lane writes, no other stage of that day does. See docs/adr/0028-hourly-lane.md.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from conf import Section
from jobs import _quiet
from jobs._window import floor_day, from_compact, iso, last_day

if TYPE_CHECKING:
    from jobs._stage import Context

DAILY, HOURLY = "daily", "hourly"
LANES = (DAILY, HOURLY)
SHADOW = "shadow"
"""What a bundle says that was made to be compared, never to be served: no lane that a run could be of."""
BEGUN = "begun"
"""The file in a run's folder that says that a stage of it ran."""


class HourlyConfig(Section):
    """Section ``hourly``."""

    min_correlation: float | None = Field(ge=-1, le=1)
    """G1 of the light gate: pooled Pearson correlation with the models that the hour went on from; null passes nothing."""
    correlation_users: int = Field(ge=2)
    """Users whose predictions are correlated."""
    correlation_videos: int = Field(ge=2)
    """Videos for which each of them is scored."""
    max_examples: int = Field(ge=0)
    """Newest examples that fine-tuning reads at most: they bound its time; 0 for no fine-tuning."""
    renew_hours: float = Field(ge=0)
    """A list that expires within so many hours is made again, whether or not its user came back."""
    keep_hours: float = Field(ge=0)
    """Lists, bundles and versions in MLflow of hours that ended longer than this before the day that is live are removed."""
    spark_above_users: int = Field(ge=0)
    """More users than these are recommended for by Spark, fewer in the stage's own process."""


@contextmanager
def turn(context: Context) -> Iterator[str | None]:
    """Wait until no other lane writes the tables of this day, nor an erasure any, and hold the others off meanwhile.

    Yields:
        Why this run has nothing to do; None when it has.
    """
    hourly = context.lane == HOURLY
    if hourly and (why := overtaken(context)):  # without waiting for a training
        yield why
        return
    context.paths.runs.mkdir(parents=True, exist_ok=True)
    waiting = partial(context.say, "an erasure is at work; waiting until it has ended")
    with _quiet.at_work(context.paths.runs, waiting), (context.paths.runs / f".{context.last_day}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX if hourly else fcntl.LOCK_SH)
        why = overtaken(context) if hourly else None
        if why is None:
            context.run_folder.mkdir(parents=True, exist_ok=True)
            (context.run_folder / BEGUN).touch()
        yield why


def overtaken(context: Context) -> str | None:
    """Why an hourly run has nothing to do: its hour is the daily run's, or a later run of its day has begun."""
    if floor_day(context.as_of) == context.as_of:
        return f"nothing to do: as of {iso(context.as_of)}, a midnight, is the daily run's"
    later = [at for at in _begun(context) if at > context.as_of and last_day(at) == context.last_day]
    return f"superseded: the run as of {iso(max(later))} of the same day has begun" if later else None


def _begun(context: Context) -> Iterator[datetime]:
    """The ``as_of`` of every run whose folder is there."""
    for folder in context.paths.runs.glob(f"*/{BEGUN}"):
        if found := from_compact(folder.parent.name):
            yield found
