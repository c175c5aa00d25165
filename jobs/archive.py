"""Move old partitions of the lake to the cold folder, and bring them back.

``python -m jobs.archive --before DATE`` moves every partition of a day before ``DATE`` to ``paths.cold``;
``python -m jobs.archive --restore [--start DATE --end DATE]`` brings back those of the days from ``--start`` up to, not
including, ``--end``, or all. Every file is checked by sha256. An archived partition keeps its manifest in the lake: it is up to
date as long as its recipe is the same, and nothing made from it becomes stale.

What is archived: interactions and all that is made from them, by the hour or the day, with the history of what was recommended.
The other tables of ingest (the catalogue, and what was refused) and the log of what was live when stay: planning a run or
publishing looks into them. ``--table NAME``, as often as needed, names others. The
raw logs are never touched.

The days that the next run of either lane reads stay as well: those from the end of the newest hour, or day, back by the days
of section ``window``, and those from the day as of which something was published that is live: hours go on from it.
``--force`` moves them all the same; the next run that has to read them then stops and names the command that restores them. The
lists of the hourly lane lie in a lake of their own (``lake/_hourly``), which is never archived.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby

from conf import ConfigError, load
from conf.paths import paths
from jobs import _quiet
from jobs._cold import described, from_cold, restorable, to_cold
from jobs._stage import WindowConfig
from jobs._tables import Lake, Manifest, Partition, TableError
from jobs._window import DAY, HOUR, iso, last_day, midnight, parse_time
from schemas import (
    INTERACTIONS,
    PUBLICATION_SWITCHES,
    REJECTED,
    REJECTED_SNAPSHOTS,
    TABLES,
    USER_VERSIONS,
    USERS,
    VIDEO_VERSIONS,
    VIDEOS,
    Table,
)
from schemas.errors import ReelflowError
from serving import open_store

STAYING = frozenset({REJECTED, REJECTED_SNAPSHOTS, VIDEOS, USERS, VIDEO_VERSIONS, USER_VERSIONS, PUBLICATION_SWITCHES})
"""Tables that are archived only when they are named: planning a run looks into them, or publishing."""
_NAMED_PROBLEMS = 3

Todo = Sequence[tuple[Table, Sequence[Partition]]]
Act = Callable[[Lake, Lake, Table, Partition], Manifest | None]


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved of a table, or would be, and what had to stay."""

    table: str
    manifests: Sequence[Manifest]
    problems: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """Rows moved."""
        return sum(manifest.rows for manifest in self.manifests)

    @property
    def bytes(self) -> int:
        """Bytes of the Parquet files moved."""
        return sum(int(file["bytes"]) for manifest in self.manifests for file in manifest.files)


def before(lake: Lake, day: date, tables: Sequence[Table]) -> Todo:
    """The partitions before a day that are not archived yet."""
    live = ((table, [p for p in lake.every(table) if p.dt < day and lake.archived(table, p) is None]) for table in tables)
    return [(table, partitions) for table, partitions in live if partitions]


def away(lake: Lake, cold: Lake, start: date, end: date, tables: Sequence[Table]) -> Todo:
    """The partitions of the days from ``start`` to before ``end`` that lie in the cold folder, or should."""
    gone = {table: {p for p in lake.every(table) if lake.archived(table, p) is not None} for table in tables}
    found = ((table, sorted(p for p in gone[table] | {*cold.every(table)} if start <= p.dt < end)) for table in tables)
    return [(table, partitions) for table, partitions in found if partitions]


def move(lake: Lake, cold: Lake, todo: Todo, act: Act) -> Iterator[Moved]:
    """Do it to one partition after the other; those that cannot be moved stay, and are named."""
    for table, partitions in todo:
        moved, problems = [], []
        for partition in partitions:
            try:
                manifest = act(lake, cold, table, partition)
            except TableError as error:
                problems.append(str(error))
            else:
                moved += [] if manifest is None else [manifest]
        yield Moved(table.name, moved, problems)


@dataclass(frozen=True, slots=True)
class Needed:
    """The first day that must stay, and who reads it."""

    day: date
    reader: str


def needed_from(lake: Lake, window: WindowConfig, root_as_of: datetime | None) -> Needed | None:
    """The first day that the next run of either lane reads, with one more for labels that begin the day before.

    Histories reach back from the first day of the look-back: the lengths in section ``window`` add up. An hour on a day that is
    not over begins its look-back in the middle of a day, one earlier than that day's training.

    Args:
        lake: whose newest partitions say how far the log is known.
        window: lengths of what is read.
        root_as_of: of the full publication that is live, which hours go on from; None for none.

    Returns:
        None without a lake.
    """
    newest = max((partition.dt for table in TABLES for partition in lake.every(table)[-1:]), default=None)
    if newest is None:
        return None
    reach = (1 + sum(days for name, days in window.model_dump().items() if name.endswith("_days"))) * DAY
    over = midnight(newest) + DAY
    hours = [partition for partition in lake.every(INTERACTIONS)[-1:] if partition.dt == newest]
    known_until = min(over, hours[0].start + HOUR) if hours else over
    found = [Needed((over - reach).date(), "the next training reads")]
    if known_until < over:
        found.append(
            Needed((known_until - reach).date(), f"the hourly lane, whose newest hour ended {iso(known_until)}, reads")
        )
    if root_as_of is not None:
        published = f"the hourly lane goes on from what was published as of {iso(root_as_of)} and reads"
        found.append(Needed(last_day(root_as_of), published))
    return min(found, key=lambda needed: needed.day)


@contextmanager
def alone(lake: Lake) -> Iterator[None]:
    """Let no other archive or restore of this lake begin.

    Raises:
        ReelflowError: another one is at work.
    """
    lake.root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lake.root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ReelflowError(f"lake {lake.root}: another archive or restore is at work; wait until it has ended") from error
    finally:
        os.close(descriptor)


def run(given: argparse.Namespace) -> None:
    """Move what the command line asks for, and say what was moved.

    Raises:
        ReelflowError: it asks for nothing that can be done, or something could not be moved; the rest was.
    """
    where = paths()
    lake, cold = Lake(where.lake), Lake(where.cold)
    if where.cold.resolve() == where.lake.resolve():
        raise ReelflowError(f"paths.cold: found {where.cold}, which is the lake itself; name another folder")
    if given.restore == (given.before is not None):
        raise ReelflowError("archive: expected either --before DATE or --restore")
    target = lake if given.restore else cold
    if given.dry_run:
        would: Act = restorable if given.restore else _would_archive
        _report(move(lake, cold, _todo(lake, cold, given), would), f"would move to {target.root}", each_day=True)
        return
    with _quiet.at_work(where.runs), alone(lake):
        for place in (lake, cold):
            place.staging(TABLES[0])  # removes what a killed command left
        act: Act = from_cold if given.restore else to_cold
        _report(move(lake, cold, _todo(lake, cold, given), act), f"moved to {target.root}")


def _todo(lake: Lake, cold: Lake, given: argparse.Namespace) -> Todo:
    return _to_restore(lake, cold, given) if given.restore else _to_archive(lake, given)


def _to_archive(lake: Lake, given: argparse.Namespace) -> Todo:
    if given.start or given.end:
        raise ReelflowError("archive: --start and --end belong to --restore; expected --before DATE alone")
    day, window = _day("--before", given.before), load("window", WindowConfig)
    live = open_store(paths().store).live()
    needed = needed_from(lake, window, None if live is None else live.root_as_of)
    if needed is not None and day > needed.day:
        reach = f"--before {day} reaches into the look-back: {needed.reader} from {needed.day} on (section window)"
        if not given.force:
            advice = f"choose {needed.day} or earlier, or add --force and restore later"
            raise ReelflowError(f"{reach}; nothing was moved; {advice}")
        _say(f"warning: {reach}; a run that has to read these days will stop and name the command that restores them")
    return before(lake, day, _tables(given.table, [table for table in TABLES if table not in STAYING]))


def _to_restore(lake: Lake, cold: Lake, given: argparse.Namespace) -> Todo:
    if given.force:
        raise ReelflowError("archive: --force belongs to --before; a restore never replaces what is newer")
    if (given.start is None) != (given.end is None):
        raise ReelflowError("archive: expected --start DATE with --end DATE, or neither to restore everything")
    start, end = (_day("--start", given.start), _day("--end", given.end)) if given.start else (date.min, date.max)
    if start >= end:
        raise ReelflowError(f"archive: --start {start} is not before --end {end}; the day of --end is not part of it")
    return away(lake, cold, start, end, _tables(given.table, TABLES))


def _tables(names: Sequence[str], default: Sequence[Table]) -> Sequence[Table]:
    unknown = sorted({*names} - {table.name for table in TABLES})
    if unknown:
        raise ReelflowError(f"--table {unknown[0]}: expected one of {', '.join(sorted(table.name for table in TABLES))}")
    return [table for table in TABLES if table.name in names] if names else default


def _day(option: str, text: str) -> date:
    moment = parse_time(text)
    if moment != midnight(moment.date()):
        raise ReelflowError(f"{option} {text}: found a time of day, expected a date such as {moment.date()}")
    return moment.date()


def _would_archive(lake: Lake, _cold: Lake, table: Table, partition: Partition) -> Manifest:
    return described(lake, table, partition)


def _report(every: Iterator[Moved], what: str, *, each_day: bool = False) -> None:
    """Print a line for each table, or for each day of it too, and the total.

    Raises:
        TableError: something stayed that should have been moved.
    """
    done = []
    for moved in every:
        done.append(moved)
        for day, group in groupby(moved.manifests, key=lambda manifest: manifest.partition[:13]) if each_day else ():
            _say(f"{moved.table} {day}: {_sizes([Moved(moved.table, list(group))])}")
        _say(f"{moved.table}: {_sizes([moved])} {what}")
    problems = [problem for moved in done for problem in moved.problems]
    nothing = not problems and not any(moved.manifests for moved in done)
    _say("up to date; nothing to move" if nothing else f"total: {_sizes(done)} {what}")
    if problems:
        more = f"; and {len(problems) - _NAMED_PROBLEMS:,} more like these" if len(problems) > _NAMED_PROBLEMS else ""
        named = " | ".join(problems[:_NAMED_PROBLEMS])
        raise TableError(f"{len(problems):,} partitions stay where they are: {named}{more}")


def _sizes(done: Sequence[Moved]) -> str:
    partitions, rows, size = (sum(len(m.manifests) for m in done), sum(m.rows for m in done), sum(m.bytes for m in done))
    return f"{partitions:,} partitions, {rows:,} rows, {size:,} bytes"


def _say(message: str) -> None:
    print(f"reelflow | archive | {message}", flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m jobs.archive", description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    found.add_argument("--before", metavar="DATE", help="archive the days before this one")
    found.add_argument("--restore", action="store_true", help="bring archived partitions back")
    found.add_argument("--start", metavar="DATE", help="first day to restore, with --end")
    found.add_argument("--end", metavar="DATE", help="day after the last one to restore")
    found.add_argument("--table", metavar="NAME", action="append", default=[], help="only this table; may be repeated")
    found.add_argument("--force", action="store_true", help="archive even what the next training reads")
    found.add_argument("--dry-run", action="store_true", help="say what would be moved, day by day; move nothing")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 0, or with 2 and one line for what its user can mend."""
    given = parser().parse_args(argv)
    try:
        run(given)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | archive | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except OSError as error:  # a full or unmounted disk; every partition is whole, in the lake or in the cold folder
        found = f"{error}; nothing is lost: mend that, then give the same command again"
        print(f"reelflow | archive | error: {found}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
