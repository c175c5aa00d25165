"""Cut raw logs in two in time: what a platform knew, and what came after.

``python -m benchmarks.quality.cut RAW OUT [--share 0.2] [--retime]`` writes ``OUT/raw`` and ``OUT/holdout`` in the raw contract
and prints the cut. Without ``--retime`` the newest ``share`` of the events comes after it. With it, the newest ``share`` of
*each user's* encounters does: logs in which a user comes once, such as MovieLens, otherwise leave nobody on both sides.
Everything is read into memory.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs._window import DAY, HOUR, floor_day, floor_hour, iso, micros, parse_time
from jobs.importing import write_hours, write_snapshot
from jobs.reading import partition_files, read_file, snapshot_dates
from models.hashing import hashed_text, hashed_uniform
from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, InteractionType, Table
from schemas import columns as col
from schemas.errors import ReelflowError

BEFORE, AFTER = 28 * DAY, 7 * DAY
"""Over which each user's encounters are spread by ``--retime``."""
_KNOWN = HOUR  # so long before the cut the last encounter begins, so that its label is known by then
_APART_US = 3_600_000_000  # events of one pair that are farther apart are two encounters
_PASSIVE = (InteractionType.IMPRESSION.value, InteractionType.SEARCH.value)
_BIRTHS = {RAW_VIDEOS: (col.VIDEO_ID, col.UPLOADED_AT), RAW_USERS: (col.USER_ID, col.REGISTERED_AT)}

_TIME = pa.timestamp("us", tz="UTC")
_MICROSECOND = timedelta(microseconds=1)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cut:
    """What was written: events on each side, and raw rows that no stage would read."""

    as_of: datetime
    before: int
    after: int
    refused: int


def cut(raw: Path, out: Path, *, share: float = 0.2, retime: bool = False) -> Cut:
    """Write ``out/raw`` and ``out/holdout``, replacing what is there.

    Args:
        raw: a folder in the raw contract.
        out: where to write.
        share: of the events (``retime``: of each user's encounters with an action) that come after the cut.
        retime: spread each user's encounters over ``BEFORE`` and ``AFTER`` the cut, in their order.

    Raises:
        ReelflowError: no events, or none on one of the sides.
    """
    events, refused = _read(RAW_INTERACTIONS, sorted((raw / RAW_INTERACTIONS.name).glob("dt=*/hr=*")))
    if not events.num_rows:
        raise ReelflowError(f"raw logs {raw}: found no events, expected interactions/dt=YYYY-MM-DD/hr=HH/ with rows")
    at_us = events[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    if retime:
        as_of = floor_day(_moment(at_us.max())) + DAY
        at_us = retimed(events, micros(as_of), share)
        events = events.set_column(
            events.schema.get_field_index(col.OCCURRED_AT),
            RAW_INTERACTIONS.field(col.OCCURRED_AT).arrow,
            pa.array(at_us, _TIME),
        )
    else:
        as_of = floor_hour(_moment(np.quantile(at_us, 1 - share, method="lower")))
    later = at_us >= micros(as_of)
    if later.all() or not later.any():
        side = "before" if later.all() else "after"
        raise ReelflowError(f"raw logs {raw}: found no events {side} {iso(as_of)}; expected some; choose another --share")
    for name, side in (("raw", ~later), ("holdout", later)):
        shutil.rmtree(out / name, ignore_errors=True)
        write_hours(out / name, events.filter(pa.array(side)))
    for table in (RAW_VIDEOS, RAW_USERS):
        for date, rows in _snapshots(raw, table, events, at_us, as_one=retime):
            write_snapshot(out / ("raw" if parse_time(date) <= as_of else "holdout"), table.name, date, rows)
    return Cut(as_of, int((~later).sum()), int(later.sum()), refused)


def retimed(events: pa.Table, cut_us: int, share: float) -> Ints:
    """New times: of each user's encounters, in order, the last ``share`` after the cut and the others before it.

    An encounter is what a user did with one video within an hour; its events stay as far apart as they were. Encounters of one
    instant are in an order by hash: the log's own would be that of some id. All that does not act (an impression, a search)
    stays between the encounters it was between.

    Args:
        events: RAW_INTERACTIONS.
        cut_us: the cut, microseconds since 1970.
        share: of the encounters with an action; rounded, so that users with few have none.

    Returns:
        int64 ``(n,)`` microseconds, in the order of ``events``.
    """
    at_us = events[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    users, first, group = _encounters(events, at_us)
    acts = pc.invert(pc.is_in(events[col.INTERACTION_TYPE], pa.array(_PASSIVE))).to_numpy(zero_copy_only=False)
    n_encounters = len(first)
    acted = np.bincount(group, acts, n_encounters) > 0
    start = at_us[first]
    tie = hashed_text(events[col.EVENT_ID].take(pa.array(first)), "retime")
    order = np.lexsort((tie, start, users[first]))
    owner, bounds = np.unique(users[first][order], return_index=True)
    sizes = np.diff(np.append(bounds, n_encounters))
    place = np.arange(n_encounters) - np.repeat(bounds, sizes)
    actions = np.cumsum(acted[order])
    done = actions - np.repeat(actions[bounds] - acted[order][bounds], sizes)  # actions of the user up to here
    total = np.repeat(np.add.reduceat(acted[order].astype(np.int64), bounds), sizes)
    kept = total - np.floor(total * share + 0.5).astype(np.int64)
    # The first encounter beyond those kept begins the later part, and whatever follows it belongs there.
    later = np.maximum.accumulate(np.where(acted[order] & (done > kept), np.arange(n_encounters), -1)) >= np.repeat(
        bounds, sizes
    )
    n_later = np.add.reduceat(later.astype(np.int64), bounds)
    n_before = np.repeat(sizes - n_later, sizes)
    jitter = np.repeat((hashed_uniform(owner, 1, 0)[:, 0] + 1) / 2, sizes)
    spread = np.where(
        later, (place - n_before + jitter) / np.repeat(n_later.clip(1), sizes), (place + jitter) / n_before.clip(1)
    )
    reach_us = np.where(later, AFTER // _MICROSECOND, (BEFORE - _KNOWN) // _MICROSECOND)
    begin = np.where(later, cut_us, cut_us - BEFORE // _MICROSECOND) + (spread * reach_us).astype(np.int64)
    moved, is_later = np.empty(n_encounters, dtype=np.int64), np.empty(n_encounters, dtype=bool)
    moved[order], is_later[order] = begin, later
    found = moved[group] + at_us - start[group]
    return np.where(is_later[group], found, np.minimum(found, cut_us - 1))


def _encounters(events: pa.Table, at_us: Ints) -> tuple[Ints, Ints, Ints]:
    """Users of the events, the first event of each encounter, and which encounter each event belongs to."""
    users = events[col.USER_ID].to_numpy()
    searches = pc.is_null(events[col.VIDEO_ID]).to_numpy(zero_copy_only=False)
    videos = pc.fill_null(events[col.VIDEO_ID], 0).to_numpy()
    order = np.lexsort((np.arange(len(users)), at_us, videos, searches, users))
    same = (users[order][1:] == users[order][:-1]) & (videos[order][1:] == videos[order][:-1])
    same &= ~searches[order][1:] & ~searches[order][:-1] & (np.diff(at_us[order]) <= _APART_US)
    starts = np.append(True, ~same)
    group = np.empty(len(users), dtype=np.int64)
    group[order] = np.cumsum(starts) - 1
    return users, order[starts], group


def _snapshots(raw: Path, table: Table, events: pa.Table, at_us: Ints, *, as_one: bool) -> Iterator[tuple[str, pa.Table]]:
    """The snapshots with their dates: known before the first event, nothing born after its first event.

    Args:
        raw: the folder that they are in.
        table: which.
        events: all events, with their times ``at_us``.
        at_us: int64 ``(n_events,)``.
        as_one: give the newest row of each id as one snapshot, because times were moved.
    """
    key, birth = _BIRTHS[table]
    first_day = f"{_moment(at_us.min()):%Y-%m-%d}"
    parts = [(date, _read(table, [raw / table.name / f"dt={date}"])[0]) for date in snapshot_dates(raw / table.name)]
    if as_one and parts:
        rows = pa.concat_tables([rows for _, rows in reversed(parts)])
        _, newest = np.unique(rows[key].to_numpy(), return_index=True)
        parts = [(first_day, rows.take(pa.array(newest)))]
    known = pc.is_valid(events[key]).to_numpy(zero_copy_only=False)
    ids, place = np.unique(pc.fill_null(events[key], 0).to_numpy()[known], return_inverse=True)
    earliest = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(earliest, place, at_us[known])
    for number, (date, rows) in enumerate(parts):
        found = np.minimum(np.searchsorted(ids, rows[key].to_numpy()), len(ids) - 1)
        seen = ids[found] == rows[key].to_numpy()
        stated = rows[birth].cast(pa.int64())  # Arrow 25 finds no smaller one of two timestamps
        born = pc.if_else(pc.is_valid(stated), pc.min_element_wise(stated, pa.array(earliest[found], mask=~seen)), stated)
        dated = rows.set_column(rows.schema.get_field_index(birth), table.field(birth).arrow, born.cast(_TIME))
        yield min(date, first_day) if not number else date, dated


def _read(table: Table, folders: Sequence[Path]) -> tuple[pa.Table, int]:
    """The sound rows of some partitions, and how many are not."""
    parts, refused = [table.arrow.empty_table()], 0
    for folder in folders:
        for file in partition_files(folder):
            for batch in read_file(file, table):
                sound = np.ones(batch.table.num_rows, dtype=bool)
                sound[batch.flaws.rows] = False
                refused += int((~sound).sum())
                parts.append(batch.table.filter(pa.array(sound)))
    return pa.concat_tables(parts).combine_chunks(), refused


def _moment(us: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + int(us) * _MICROSECOND


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.cut", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("raw", type=Path, metavar="RAW", help="folder of raw logs")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for raw/ and holdout/")
    parser.add_argument("--share", type=float, default=0.2, help="of the events that come after the cut")
    parser.add_argument("--retime", action="store_true", help="cut each user's own log, and move it around one cut")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.share < 1:
        parser.error(f"--share {chosen.share}: expected more than 0 and less than 1")
    try:
        made = cut(chosen.raw, chosen.out, share=chosen.share, retime=chosen.retime)
    except ReelflowError as error:
        print(f"cut: {error}", file=sys.stderr)
        return 2
    print(
        f"AS_OF={iso(made.as_of)}: {made.before:,} events before it in {chosen.out / 'raw'}, {made.after:,} after it in "
        f"{chosen.out / 'holdout'}" + (f"; {made.refused:,} broken rows left out" if made.refused else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
