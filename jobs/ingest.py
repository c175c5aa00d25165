"""Turn raw logs into clean tables: interactions by the hour, videos and users by the day, and every refused row.

Reads ``raw/{interactions,videos,users}``; writes ``interactions``, ``rejected``, ``videos``, ``users`` and
``rejected_snapshots``. A row that does not fit the contract is rejected with the first reason that applies. Of several rows
with one ``event_id`` in the same or the previous hour the first is kept, the others are duplicates. An event of a video that
no snapshot at or before ``as_of`` knows is rejected, and comes back when a later snapshot knows it. Rows in = rows out +
duplicates + rejected + erased is checked for every hour before anything is replaced; nothing is kept of rows of users who were
erased (``jobs.erase``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa

from conf import load
from jobs import _erased, _hours, _snapshots, _stage
from jobs._erased import Erased
from jobs._fan_out import fan_out
from jobs._hours import Hour
from jobs._judge import DUPLICATE, ERASED, KEPT, REFUSED, Durations, IngestConfig, Judged, judge, sound_ids
from jobs._stage import Context, Report
from jobs._tables import Lake, Partition, Pending, TableError, Unit
from jobs._window import HOUR, floor_hour, iso
from schemas import INTERACTIONS, RAW_VIDEOS, REJECTED, USER_VERSIONS, USERS, VIDEO_VERSIONS, VIDEOS
from schemas.errors import ReelflowError


@dataclass(frozen=True, slots=True)
class _Totals:
    """Of some hours; ``unknown_columns`` are names in the raw logs that the contract does not know."""

    read: int = 0
    kept: int = 0
    duplicates: int = 0
    rejected: int = 0
    erased: int = 0
    unknown_columns: frozenset[str] = frozenset()

    def __add__(self, other: _Totals) -> _Totals:
        return _Totals(
            self.read + other.read,
            self.kept + other.kept,
            self.duplicates + other.duplicates,
            self.rejected + other.rejected,
            self.erased + other.erased,
            self.unknown_columns | other.unknown_columns,
        )


def run(context: Context) -> Report:
    """Bring every hour and day of the window up to date."""
    config = load("ingest", IngestConfig)
    if floor_hour(context.as_of) != context.as_of:
        raise ReelflowError(
            f"window end {context.as_of:%Y-%m-%dT%H:%M:%S.%fZ}: not a whole hour; events are taken in by the hour, so "
            f"{iso(floor_hour(context.as_of))} or {iso(floor_hour(context.as_of) + HOUR)} would do"
        )
    snapshots = _snapshots.plan(context)
    refused = _snapshots.run(context, snapshots)
    every_hour = _hours.plan(context, config.model_dump())
    hours = [hour for hour in every_hour if context.force or not hour.status.current]
    missing = sum(not hour.delivered for hour in every_hour)
    notes = [f"{missing:,} hours have no raw logs"] if missing else []
    strangers = _hours.strangers(context)
    notes += (
        [f"ignored {len(strangers)} paths that are no dt=YYYY-MM-DD/hr=HH folder, first {strangers[0]}"] if strangers else []
    )
    if not hours and not snapshots.stale:
        return Report(up_to_date=True, notes=notes)
    totals = _Totals()
    if hours:
        context.say(f"{len(hours):,} hours to process, {iso(hours[0].start)} to {iso(hours[-1].start + HOUR)}")
        durations = _snapshots.first_durations(snapshots.files[RAW_VIDEOS.name])
        sizes = [hour.bytes for hour in hours]
        work = partial(take_in, context.lake, config, durations, _erased.read(context.paths.erased))
        done = fan_out(context, hours, work, weights=[size + 1e4 for size in sizes], megabytes=sum(sizes) / 1e6)
        totals = sum(done, totals)
        unknown = sorted(totals.unknown_columns)
        notes += [f"ignored unknown columns {', '.join(unknown)}"] if unknown else []
    notes += [f"{refused:,} snapshot rows rejected"] if refused else []
    notes += [f"left out {totals.erased:,} rows of erased users"] if totals.erased else []
    wrote = {"interactions": totals.kept, "duplicates": totals.duplicates, "rejected": totals.rejected}
    return Report(read={"raw rows": totals.read}, wrote=wrote, notes=notes, facts={"hours": len(hours)})


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How every day's and every hour's tables stand."""
    days, hours = _snapshots.plan(context).days, _hours.plan(context, load("ingest", IngestConfig).model_dump())
    units = [
        Unit(table.name, Partition(day.dt), day.status)
        for day in days
        for table in (VIDEOS, USERS, VIDEO_VERSIONS, USER_VERSIONS)
    ]
    return units + [Unit(INTERACTIONS.name, Partition.hour(hour.start), hour.status) for hour in hours]


def take_in(lake: Lake, config: IngestConfig, durations: Durations, erased: Erased, hours: Sequence[Hour]) -> _Totals:
    """Clean some hours, in order, and commit the two partitions of each as soon as it is done."""
    totals = _Totals()
    last: tuple[datetime, pa.Array] | None = None
    for hour in hours:
        before = last[1] if last and last[0] == hour.start - HOUR else sound_ids(hour.start - HOUR, hour.before, config)
        judged = judge(hour.start, hour.files, before, durations, config, erased=erased)
        totals += _commit(lake, hour, judged)
        last = (hour.start, judged.event_ids)
    return totals


def _commit(lake: Lake, hour: Hour, judged: Judged) -> _Totals:
    """Check that no row was lost, then make the hour's two partitions live.

    Raises:
        TableError: rows in differ from rows out + duplicates + rejected + erased; nothing of this hour is replaced.
    """
    kept, duplicates, rejected, erased = (judged.counts.get(fate, 0) for fate in (KEPT, DUPLICATE, REFUSED, ERASED))
    if judged.read != kept + duplicates + rejected + erased:
        raise TableError(
            f"hour {iso(hour.start)}: read {judged.read} rows but kept {kept}, dropped {duplicates} duplicates, rejected "
            f"{rejected} and left out {erased} of erased users; expected the four to add up to the first; the hour is not "
            "replaced"
        )
    partition, facts = Partition.hour(hour.start), {"read": judged.read, **judged.counts}
    # The refused rows first: an hour whose interactions are current has its refused rows too.
    lake.write(REJECTED, partition, judged.refused, hour.recipe, facts)
    lake.write(INTERACTIONS, partition, judged.kept, hour.recipe, facts)
    return _Totals(judged.read, kept, duplicates, rejected, erased, judged.unknown_columns)


def main() -> None:
    """Command line: ``python -m jobs.ingest --as-of ISO`` or ``--start ISO --end ISO``."""
    _stage.main("ingest", run, __doc__)


if __name__ == "__main__":
    main()
