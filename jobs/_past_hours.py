"""Hours that the hourly lane has run, and whether the log that they read has changed since.

An hour's lists stay as they are when its log changes later: the next hour, or the next day, makes up for it (docs/lanes.md).
So only an hour that nothing has gone over yet is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from jobs import _lane, _stage, _training, _verdict
from jobs._recipe import CURRENT, State, Status
from jobs._stage import Context
from jobs._tables import Partition, Pending, Unit, after
from jobs._window import HOUR, from_compact
from serving import open_store

NAME = "hour"


def look(context: Context, pending: Pending) -> list[Unit]:
    """How every hour that ran within the window that is asked for stands, in order.

    Args:
        context: of a run of any lane; ``requested`` is looked at.
        pending: partitions that earlier stages have yet to make.
    """
    live = open_store(context.paths.store).live()
    found = []
    for as_of, inputs in sorted(_judged(context)):
        own = replace(context, lane=_lane.HOURLY, window=_stage.lookback(as_of))
        status = _of(own, inputs, pending)
        gone_over = _lane.overtaken(own) is not None or (live is not None and live.as_of > as_of)
        if gone_over and not status.current:
            status = Status(State.CURRENT, f"{status.why}; a later run went over it")
        found.append(Unit(NAME, Partition.hour(as_of - HOUR), status))
    return found


def _judged(context: Context) -> Iterator[tuple[datetime, dict[str, str]]]:
    """When each hour of the window ended that came as far as its gate, and the digests of what it had read by then."""
    for folder in context.paths.runs.glob("*Z"):
        as_of = from_compact(folder.name)
        if as_of is None or not context.requested.start < as_of <= context.requested.end:
            continue
        found = _verdict.of(context, as_of)
        if found is not None and found.get("lane") == _lane.HOURLY:
            yield as_of, found["basis"]["inputs"]


def _of(context: Context, inputs: dict[str, str], pending: Pending) -> Status:
    """Whether one hour's log is what it was."""
    tables = _training.hours_read(context)
    changed = [table.name for table, hours in tables.items() if inputs.get(table.name) != context.lake.digest(table, hours)]
    if changed:
        return Status(State.STALE, "; ".join(f"input {name} changed" for name in changed))
    found = CURRENT
    for table, hours in tables.items():
        found = after(found, table, [one for one in pending.get(table.name, ()) if one in set(hours)])
    return found
