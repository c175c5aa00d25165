"""Snapshots of videos and users: the newest one per id as of a day, and the first one, for facts that must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import _erased
from jobs._arrow import mask
from jobs._erased import Erased
from jobs._judge import Durations, Refusal, refusals, refused_rows, without
from jobs._recipe import Recipe, Status, code_version
from jobs._stage import Context
from jobs._tables import Partition
from jobs._window import DAY, midnight, parse_time
from jobs.reading import RawFile, RawReader, partition_files, snapshot_dates
from schemas import RAW_USERS, RAW_VIDEOS, REJECTED_SNAPSHOTS, USER_VERSIONS, USERS, VIDEO_VERSIONS, VIDEOS, Table
from schemas import columns as col
from schemas.errors import ReelflowError

_SOURCES = ((RAW_VIDEOS, VIDEOS, VIDEO_VERSIONS), (RAW_USERS, USERS, USER_VERSIONS))
_TABLES = (*(table for _, *tables in _SOURCES for table in tables), REJECTED_SNAPSHOTS)


@dataclass(frozen=True, slots=True)
class Day:
    """One day's tables, and the time from which on no snapshot counts for it."""

    dt: date
    cut: datetime
    recipe: Recipe
    status: Status


@dataclass(frozen=True, slots=True)
class Plan:
    """The days of a run, those to make again, and every snapshot file at or before its ``as_of``, by source name."""

    days: tuple[Day, ...]
    stale: tuple[Day, ...]
    files: dict[str, tuple[RawFile, ...]]


def plan(context: Context) -> Plan:
    """Which days' tables of videos and users are missing or were made from other snapshots.

    Raises:
        ReelflowError: there is no video snapshot at or before ``as_of``.
    """
    files: dict[str, tuple[RawFile, ...]] = {}
    for raw, *_ in _SOURCES:
        folder = context.paths.raw / raw.name
        dates = [dt for dt in snapshot_dates(folder) if parse_time(dt) <= context.as_of]
        if not dates and raw is RAW_VIDEOS:
            raise ReelflowError(
                f"raw logs {folder}: found no snapshot dt=YYYY-MM-DD at or before {context.as_of:%Y-%m-%d}; "
                "expected at least one, or no video can be recommended"
            )
        files[raw.name] = tuple(file for dt in dates for file in partition_files(folder / f"dt={dt}"))
    digests = {file.path: file.digest() for group in files.values() for file in group}
    code = code_version("jobs/_snapshots.py", "jobs/_erased.py", "jobs/reading", "schemas")
    days = []
    for dt in context.run_days():
        cut = min(midnight(dt) + DAY, context.as_of)
        seen = {raw.name: [digests[file.path] for file in files[raw.name] if _date(file) <= cut] for raw, *_ in _SOURCES}
        inputs = {name: hashlib.sha256("\n".join(group).encode()).hexdigest() for name, group in seen.items()}
        recipe = Recipe(inputs, code, {})
        status = context.lake.first_status(_TABLES, Partition(dt), recipe)
        days.append(Day(dt, cut, recipe, status))
    return Plan(tuple(days), tuple(day for day in days if context.force or not day.status.current), files)


def run(context: Context, planned: Plan) -> int:
    """Write the stale days' tables; returns how many snapshot rows were refused."""
    erased = _erased.read(context.paths.erased)
    readers = [_Newest(raw, table, versions, planned.files[raw.name], erased) for raw, table, versions in _SOURCES]
    refused = 0
    for day in planned.stale:
        today = Partition(day.dt)
        for newest in readers:
            newest.read_to(day.cut)
            context.lake.write(newest.table, today, newest.rows, day.recipe)
            context.lake.write(newest.versions_table, today, newest.versions, day.recipe)
        bad = refusals(row for newest in readers for row in newest.refused)
        refused += context.lake.write(REJECTED_SNAPSHOTS, today, bad, day.recipe).rows
    return refused


def first_durations(files: Sequence[RawFile]) -> Durations:
    """Seconds of each video in its first snapshot: later snapshots cannot change it."""
    found = pa.schema([RAW_VIDEOS.field(name).arrow for name in (col.VIDEO_ID, col.DURATION_SECONDS)]).empty_table()
    for _, rows, _ in _dates(RAW_VIDEOS, files):
        found = _one_each(pa.concat_tables([rows.select(found.column_names), found]), col.VIDEO_ID)
    return Durations(found[col.VIDEO_ID].to_numpy(), found[col.DURATION_SECONDS].to_numpy())


@dataclass(slots=True)
class _Newest:
    """The newest row of each id among the snapshots read so far; one snapshot is read at a time."""

    raw: Table
    table: Table
    versions_table: Table
    files: Sequence[RawFile]
    erased: Erased
    rows: pa.Table = field(init=False)
    versions: pa.Table = field(init=False)
    """A row for each time that what it holds of an id changed, ascending by id and time."""
    refused: list[Refusal] = field(default_factory=list)
    _left: list[RawFile] = field(init=False)

    def __post_init__(self) -> None:
        self.rows, self._left = self.table.arrow.empty_table(), list(self.files)
        self.versions = self.versions_table.arrow.empty_table()

    def read_to(self, cut: datetime) -> None:
        """Read the snapshots at or before a time that have not been read yet."""
        due = [file for file in self._left if _date(file) <= cut]
        self._left = [file for file in self._left if _date(file) > cut]
        for dt, everyone, refused in _dates(self.raw, due):
            rows = self._without_erased(everyone)
            self.versions = _with_changes(self.versions, rows, dt)
            dated = rows.append_column(col.SNAPSHOT_DATE, pa.repeat(pa.scalar(dt), rows.num_rows))
            both = pa.concat_tables([self.rows, dated.select(self.table.columns).cast(self.table.arrow)])
            self.rows = _one_each(both, self.table.key[0])
            self.refused += [row for row in refused if not (self._of_users and self.erased.in_record(row[col.RECORD]))]

    @property
    def _of_users(self) -> bool:
        return col.USER_ID in self.raw.columns

    def _without_erased(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pa.array(~self.erased.holds(rows[col.USER_ID]))) if self._of_users else rows


def _with_changes(versions: pa.Table, rows: pa.Table, dt: str) -> pa.Table:
    """Versions with those rows of a later snapshot that say something new of their id."""
    since = pa.repeat(pa.scalar(parse_time(dt), versions.schema.field(col.VALID_FROM).type), rows.num_rows)
    new = rows.append_column(col.VALID_FROM, since).select(versions.column_names).cast(versions.schema)
    both, key = pa.concat_tables([versions, new]), versions.column_names[0]
    order = np.argsort(both[key].to_numpy(), kind="stable")  # an id's rows stay in order of time
    both = both.take(pa.array(order))
    ids, said = both[key].to_numpy(), _fingerprints(both.drop_columns([key, col.VALID_FROM]))
    again = (
        np.append(False, (ids[1:] == ids[:-1]) & mask(pc.equal(said[1:], said[:-1]))) if len(ids) else np.empty(0, dtype=bool)
    )
    return both.filter(pa.array(~again)).combine_chunks()


def _fingerprints(rows: pa.Table) -> pa.Array:
    """A text for each row; equal texts, equal rows."""
    texts = []
    for column in rows.itercolumns():
        whole = column.combine_chunks()
        if pa.types.is_list(whole.type):
            # With its length each item is told from the next; a join with a null in it would be null.
            items = whole.cast(pa.list_(pa.string())).values
            items = pc.binary_join_element_wise(pc.utf8_length(items).cast(pa.string()), items, ":").fill_null("")
            whole = pc.binary_join(pa.ListArray.from_arrays(whole.offsets, items, mask=whole.is_null()), "\x1f")
        texts.append(whole.cast(pa.string()).fill_null("\x00"))
    return pc.binary_join_element_wise(*texts, "\x1e")


def _dates(raw: Table, files: Sequence[RawFile]) -> Iterator[tuple[str, pa.Table, list[Refusal]]]:
    """For each date of a source: its sound rows, one an id, and the refused ones."""
    for dt in sorted({_name(file) for file in files}):
        sound, refused = [raw.arrow.empty_table()], []
        for file in (file for file in files if _name(file) == dt):
            name = "/".join(file.path.parts[-3:])
            for batch in RawReader(file, raw).batches():
                flaws = batch.flaws
                refused += refused_rows(raw.name, name, batch, flaws)
                sound.append(batch.table.filter(pa.array(without(flaws, batch.table.num_rows))))
        yield dt, _distinct(pa.concat_tables(sound), raw.key[0]), refused


def _distinct(rows: pa.Table, key: str) -> pa.Table:
    """One row an id; of several the one whose JSON text is smallest, so that their order does not count."""
    ids = rows[key].to_numpy()
    _, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
    often = np.flatnonzero(counts[places] > 1)
    if not len(often):
        return rows
    best: dict[int, tuple[str, int]] = {}
    for place, row in zip(often.tolist(), rows.take(pa.array(often)).to_pylist(), strict=True):
        found = (json.dumps(row, default=str, sort_keys=True), place)
        best[row[key]] = min(found, best.get(row[key], found))
    dropped = np.setdiff1d(often, [place for _, place in best.values()])
    return rows.take(pa.array(np.setdiff1d(np.arange(rows.num_rows), dropped)))


def _one_each(rows: pa.Table, key: str) -> pa.Table:
    """The last row of each id, in order of the id."""
    ids = rows[key].to_numpy()
    order = np.argsort(ids, kind="stable")
    last = np.append(ids[order][1:] != ids[order][:-1], True) if len(ids) else np.empty(0, dtype=bool)
    return rows.take(pa.array(order[last])).combine_chunks()


def _name(file: RawFile) -> str:
    return file.path.parent.name.removeprefix("dt=")


def _date(file: RawFile) -> datetime:
    return parse_time(_name(file))
