"""Rows of a user in every partition of every declared table, in the lake, the cold folder and the lakes of hours.

A table with a ``user_id`` loses the user's rows. Of the others, ``example_features`` loses those of the user's examples,
refused raw rows go by what they say (``jobs._erased.users_in``), and ``query_text`` loses the queries that nobody else typed.
What tells the rows of another table goes last, so that an erasure that was killed finds them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs._erased import users_in
from jobs._judge import ERASED, KEPT, REFUSED
from jobs._receipt import Removed
from jobs._tables import Lake, Partition, TableError
from jobs._without import Chosen, Found, Mask, find, follow_cold, of_user, rewrite
from models.text import normalised
from schemas import (
    EXAMPLE_FEATURES,
    EXAMPLES,
    INTERACTIONS,
    QUERY_TEXT,
    RAW_INTERACTIONS,
    RAW_USERS,
    REJECTED,
    REJECTED_SNAPSHOTS,
    TABLES,
    Table,
)
from schemas import columns as col

_BY_USER = tuple(table for table in TABLES if col.USER_ID in table.columns and table is not INTERACTIONS)
_RECORDS_OF_USERS = (RAW_INTERACTIONS.name, RAW_USERS.name)
_RECORD_COLUMNS = (col.SOURCE, col.REASON, col.RECORD)
HOURLY = "_hourly"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One erasure's way through the tables.

    Attributes:
        lake: of the workspace.
        cold: ``paths.cold``.
        user_id: who is erased.
        receipt: its id.
        query_characters: of a query, that ``query_text`` and its cache know.
        dry: only look.
        left: what could not be done is added here.
    """

    lake: Lake
    cold: Lake
    user_id: int
    receipt: str
    query_characters: int
    dry: bool
    left: list[str]

    @property
    def name(self) -> dict[Path, str]:
        """What the receipt calls each root."""
        return {self.lake.root: "lake", self.cold.root: "cold"}

    def places(self, table: Table) -> Iterator[tuple[Lake, Partition]]:
        """Every partition of a table where its files lie: in the lake, in the cold folder, in the lakes of hours."""
        archived = {partition: self.lake.archived(table, partition) for partition in self.lake.every(table)}
        in_cold = {*self.cold.every(table)}
        for partition in sorted({*archived} | in_cold):
            if partition in archived and archived[partition] is None:
                yield self.lake, partition
            if partition in in_cold:
                yield self.cold, partition
            elif archived.get(partition) is not None:
                self.left.append(
                    f"table {table.name}, {partition.path}: archived in {archived[partition]}, found nothing in "
                    f"{self.cold.path(table, partition)}; mount that folder or set paths.cold to it"
                )
        for hour in sorted((self.lake.root / HOURLY).glob("*Z")):
            yield from ((Lake(hour), partition) for partition in Lake(hour).every(table))

    def take(self, found: Found, counts: dict[str, int] | None = None, *, mark: bool = False) -> int:
        """Remove the rows of a partition; how many this erasure removed of it, those of an earlier try included.

        Args:
            found: the partition.
            counts: new ones of its manifest.
            mark: write it again even where no row goes.
        """
        if (found.count or mark) and not self.dry:
            manifest = rewrite(found, self.receipt, counts)
            total = manifest.erasures[self.receipt]
        else:
            total = found.count + found.manifest.erasures.get(self.receipt, 0)
        if not self.dry and found.place is self.cold and self.lake.archived(found.table, found.partition) is not None:
            follow_cold(self.lake, self.cold, found.table, found.partition)
        return total

    def where(self, found: Found) -> str:
        """What the receipt calls a partition."""
        root = found.place.root
        return f"{self.name.get(root, f'lake/{HOURLY}/{root.name}')}/{found.table.name}/{found.partition.path}"

    def finds(self, table: Table, columns: Sequence[str], chosen: Callable[[Partition], Chosen]) -> Iterator[Found]:
        """Every partition of a table with its rows that are to go; what cannot be read is left, and said."""
        for place, partition in self.places(table):
            try:
                found = find(place, table, partition, columns, chosen(partition))
            except TableError as error:
                self.left.append(str(error))
                continue
            if found is not None:
                yield found


def remove(sweep: Sweep, queries: Collection[str]) -> list[Removed]:
    """Remove the user's rows everywhere, and queries that are :func:`own_queries`."""
    done = [*_queries(sweep, queries), *_features_of_examples(sweep)]
    for table in _BY_USER:
        done += _rows(sweep, _of_the_user(sweep, table))
    done += _rows(sweep, sweep.finds(REJECTED_SNAPSHOTS, _RECORD_COLUMNS, lambda _: _refused_of(sweep.user_id)))
    return [*done, *_hours(sweep)]


def own_queries(sweep: Sweep) -> set[str]:
    """The queries, normalised, that the user typed and nobody else did."""
    typed = [table for table in TABLES if {col.USER_ID, col.QUERY} <= {*table.columns}]
    mine = {
        query
        for table in typed
        for found in _of_the_user(sweep, table)
        for query in _normalised(sweep, found.read([col.QUERY])[col.QUERY])
    }
    mine |= {
        query
        for table in _BY_USER
        if col.SEARCHED_HISTORY in table.columns
        for found in _of_the_user(sweep, table)
        for query in _normalised(sweep, pc.list_flatten(found.read([col.SEARCHED_HISTORY])[col.SEARCHED_HISTORY]))
    }
    return mine - _of_others(sweep, typed) if mine else mine


def _of_others(sweep: Sweep, typed: Sequence[Table]) -> set[str]:
    def not_mine(rows: pa.Table) -> Mask:
        return ~of_user(sweep.user_id)(rows)

    everyone = (found for table in typed for found in sweep.finds(table, [col.USER_ID], lambda _: not_mine))
    return {query for found in everyone for query in _normalised(sweep, found.read([col.QUERY])[col.QUERY])}


def _of_the_user(sweep: Sweep, table: Table) -> Iterator[Found]:
    return sweep.finds(table, [col.USER_ID], lambda _: of_user(sweep.user_id))


def _queries(sweep: Sweep, queries: Collection[str]) -> list[Removed]:
    values = pa.array(sorted(queries), pa.string())
    return _rows(sweep, sweep.finds(QUERY_TEXT, [col.QUERY], lambda _: _among(col.QUERY, values)), "queries")


def _among(column: str, values: pa.Array) -> Chosen:
    return lambda rows: np.asarray(pc.is_in(rows[column], value_set=values).to_numpy(zero_copy_only=False), dtype=bool)


def _features_of_examples(sweep: Sweep) -> list[Removed]:
    """The rows of ``example_features`` of the user's examples, wherever either table lies."""
    events: dict[Partition, pa.Array] = {}
    for found in _of_the_user(sweep, EXAMPLES):
        ids = found.read([col.EVENT_ID])[col.EVENT_ID].combine_chunks()
        events[found.partition] = pa.concat_arrays([events.get(found.partition, ids.slice(0, 0)), ids])

    def of_examples(partition: Partition) -> Chosen:
        return _among(col.EVENT_ID, events.get(partition, pa.array([], pa.string())))

    return _rows(sweep, sweep.finds(EXAMPLE_FEATURES, [col.EVENT_ID], of_examples))


def _hours(sweep: Sweep) -> list[Removed]:
    """Events and refused rows, whose manifests count both: read = kept + duplicates + rejected + erased stays true."""
    kept = _by_partition(_of_the_user(sweep, INTERACTIONS))
    refused = _by_partition(sweep.finds(REJECTED, _RECORD_COLUMNS, lambda _: _refused_of(sweep.user_id)))
    done = []
    for partition in sorted({*kept} | {*refused}):
        events, rows = kept.get(partition, []), refused.get(partition, [])
        begun = any(sweep.receipt in one.manifest.erasures for one in rows)
        going = begun or any(one.count for one in (*events, *rows))
        counts: dict[str, int] | None = None
        for one in (*rows, *events):  # refused rows first, as ingest writes them
            if counts is None:
                counts = dict(one.manifest.counts) if begun else _counts_less(one, events, rows)
            removed = sweep.take(one, counts, mark=going and one.manifest.counts != counts)
            done += [Removed(sweep.where(one), "rows", removed)] if removed else []
    return done


def _counts_less(first: Found, events: Sequence[Found], rows: Sequence[Found]) -> dict[str, int]:
    """The counts of an hour once these rows are gone, as ingest would find them from now on."""
    counts = Counter(dict(first.manifest.counts))
    if not counts:
        return {}
    gone = max((one.count for one in events), default=0)
    reasons: Counter[str] = max(
        (Counter(one.read([col.REASON])[col.REASON].to_pylist()) for one in rows), key=Counter.total, default=Counter()
    )
    counts[KEPT] -= gone
    counts[REFUSED] -= reasons.total()
    counts[ERASED] += gone + reasons.total()
    counts.subtract(reasons)
    return {name: count for name, count in counts.items() if count}


def _refused_of(user_id: int) -> Chosen:
    """Refused rows that may be of the user; those of videos are of nobody."""

    def chosen(rows: pa.Table) -> Mask:
        about = zip(rows[col.SOURCE].to_pylist(), rows[col.RECORD].to_pylist(), strict=True)
        found = [source in _RECORDS_OF_USERS and user_id in users_in(record) for source, record in about]
        return np.array(found, dtype=bool)

    return chosen


def _rows(sweep: Sweep, finds: Iterator[Found], what: str = "rows") -> list[Removed]:
    counts = ((sweep.where(found), sweep.take(found)) for found in finds)
    return [Removed(place, what, count) for place, count in counts if count]


def _by_partition(finds: Iterator[Found]) -> dict[Partition, list[Found]]:
    found: dict[Partition, list[Found]] = {}
    for one in finds:
        found.setdefault(one.partition, []).append(one)
    return found


def _normalised(sweep: Sweep, queries: pa.ChunkedArray | pa.Array) -> set[str]:
    known = (normalised(query, sweep.query_characters) for query in pc.unique(queries.drop_null()).to_pylist())
    return {query for query in known if query is not None}
