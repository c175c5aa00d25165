"""How a version's lists come into the PostgreSQL store: packed and checked as they stream by.

A list that arrives in one piece, with ranks 1, 2, ... and each video once, is packed into one row and copied. Everything else
(a list in several batches, ranks in no order, ranks with a gap) is staged row by row, and judged and packed by SQL when all is
there. So sorted input, which the pipeline writes, costs no statement but ``COPY``, and any other input is right all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.copy import QueuedLibpqWriter
from psycopg.rows import dict_row

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
from schemas import columns as col
from serving import _checks, _rules
from serving.postgres import _log
from serving.postgres._connection import LOCK_TIMEOUT, Connection, alongside, lock_beside
from serving.postgres._copy import HEADER, TRAILER, encoded
from serving.postgres._schema import LISTED, relation

__all__ = ["load", "load_fallback", "load_part", "settle"]

_TRANSACTION_ROWS = 50_000  # about 0.1 s, after which a switch, a rollback or an erasure has its turn
_SLICE_LISTS = 128  # the server reads one slice while the next is encoded
_MIX = np.uint64(0x9E3779B97F4A7C15)  # keeps list and video apart in one number, which sorts ten times as fast as two
_COLUMNS = ", ".join(field.name for field in LISTED)


def load(connection: Connection, version: int, batches: Iterable[pa.RecordBatch], *, delta: bool) -> int:
    """Write a version's lists in bounded transactions and return how many rows were handed in.

    Raises:
        StoreError: a row breaks a rule, or the version is not being loaded any more.
    """
    counted = partial(_log.count, connection, version)
    said = _load(_Target(connection, version, delta, counted, partial(alongside, connection)), batches)
    settle(connection, version, delta=delta)
    return said


def load_part(connection: Connection, version: int, part: str, batches: Iterable[pa.RecordBatch], *, delta: bool) -> int:
    """Write some of a version's rows, all or none of them, beside others that do; return how many were handed in.

    A part that is there already, by its name, is not loaded again. What is staged is left to :func:`settle`.

    The log is locked for the last statements only, for a part may take long. Until then the version's table cannot be dropped,
    since rows are being copied to it; a version that was given up is refused at the end; and a user who was erased meanwhile is
    noted, and goes with the switch.

    Raises:
        StoreError: a row breaks a rule, or the version is not being loaded any more.
    """
    counted: list[tuple[int, int]] = []
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute("SET LOCAL lock_timeout = 0")  # for other parts, where they have the same users
        _log.refuse_unless_loading(connection, version)
        if (known := _log.enter_part(connection, version, part)) is not None:
            return known
        target = _Target(connection, version, delta, lambda *both: counted.append(both), connection.transaction)
        said = _load(target, batches)
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        lock_beside(connection)
        _log.count_part(connection, version, part, said)
        _log.count(connection, version, sum(users for users, _ in counted), sum(rows for _, rows in counted))
    return said


def settle(connection: Connection, version: int, *, delta: bool) -> None:
    """Judge and pack what was staged.

    Raises:
        StoreError: a rank stands twice, ranks have a gap, or a user has a video twice.
    """
    if connection.execute("SELECT FROM staged_rows WHERE version = %s LIMIT 1", (version,)).fetchone() is not None:
        _settle(connection, version, delta=delta)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where rows go: ``counted`` hears of the users and rows of lists that were packed, in the ``transaction`` that did."""

    connection: Connection
    version: int
    delta: bool
    counted: Callable[[int, int], None]
    transaction: Callable[[], AbstractContextManager[object]]


def _load(target: _Target, batches: Iterable[pa.RecordBatch]) -> int:
    """Write rows and return how many there were."""
    said = 0
    held: pa.Table | None = None  # the last list of what came, which may go on
    for chunk in _checks.chunks(batches, _TRANSACTION_ROWS):
        table = chunk if held is None else pa.concat_tables([held, chunk])
        said += chunk.num_rows
        end = int(_starts(table)[-1]) or table.num_rows
        held = table.slice(end) if end < table.num_rows else None
        _write(target, table.slice(0, end), said - table.num_rows)
    if held is not None:
        _write(target, held, said - held.num_rows)
    return said


def load_fallback(connection: Connection, version: int, fallback: pa.Table) -> None:
    """Write a version's checked fallback lists in one transaction."""
    columns = ", ".join(FALLBACK_RECOMMENDATIONS.columns)
    with alongside(connection), connection.cursor() as cursor:
        _log.refuse_unless_loading(connection, version)
        with cursor.copy(f"COPY fallback_rows (version, {columns}) FROM STDIN") as copy:
            for row in zip(*_checks.values(fallback), strict=True):
                copy.write_row((version, *row))


def _write(target: _Target, table: pa.Table, position: int) -> None:
    """Write rows, the first of which is the ``position``-th of all."""
    starts = _starts(table)
    whole = _whole(table, starts)
    lengths = np.diff(np.append(starts, table.num_rows))
    try:
        if whole.any():
            lists = table if whole.all() else table.filter(pa.array(np.repeat(whole, lengths)))
            _pack(target, lists, lengths[whole])
    except psycopg.errors.UniqueViolation:  # some of these users have a list already: it may have come in two pieces
        whole[:] = False
    if not whole.all():
        left = np.flatnonzero(np.repeat(~whole, lengths))
        _stage(target, table.take(pa.array(left)), position + left)


def _starts(table: pa.Table) -> npt.NDArray[np.int64]:
    """Where another user's rows begin; int64 (n_lists,)."""
    users = table[col.USER_ID].to_numpy()
    return np.flatnonzero(np.append(True, users[1:] != users[:-1]))


def _whole(table: pa.Table, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which lists have ranks 1, 2, ... in this order and each video once; bool (n_lists,)."""
    number = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, table.num_rows)))
    ranks = np.arange(table.num_rows) - starts[number] + 1
    whole = np.logical_and.reduceat(table[col.RANK].to_numpy() == ranks, starts)
    videos = table[col.VIDEO_ID].to_numpy()
    mixed = np.sort(videos.view(np.uint64) + number.astype(np.uint64) * _MIX)
    if (mixed[1:] == mixed[:-1]).any():  # never without a video twice, but for chance: look closer
        order = np.lexsort((videos, number))
        twice = (videos[order][1:] == videos[order][:-1]) & (number[1:] == number[:-1])
        whole[number[1:][twice]] = False
    return whole


def _pack(target: _Target, lists: pa.Table, lengths: npt.NDArray[np.int64]) -> None:
    """Copy whole lists."""
    starts = np.append(0, np.cumsum(lengths)[:-1])
    version, table = target.version, relation(target.version, delta=target.delta)
    statement = f"COPY {table} (version, user_id, rows, {_COLUMNS}) FROM STDIN (FORMAT binary)"
    with target.transaction(), target.connection.cursor() as cursor:
        _log.refuse_unless_loading(target.connection, version)  # before its table may be missing
        with cursor.copy(statement, writer=QueuedLibpqWriter(cursor)) as copy:
            copy.write(HEADER)
            for first in range(0, len(starts), _SLICE_LISTS):
                own = np.append(starts, lists.num_rows)[first : first + _SLICE_LISTS + 1]
                copy.write(encoded(version, lists.slice(own[0], own[-1] - own[0]), own[:-1] - own[0]))
            copy.write(TRAILER)
        target.counted(len(lengths), lists.num_rows)


def _stage(target: _Target, rows: pa.Table, positions: npt.NDArray[np.int64]) -> None:
    columns = ", ".join(RECOMMENDATIONS.columns)
    with target.transaction(), target.connection.cursor() as cursor:
        _log.refuse_unless_loading(target.connection, target.version)
        with cursor.copy(f"COPY staged_rows (version, position, {columns}) FROM STDIN") as copy:
            for position, *row in zip(positions.tolist(), *_checks.values(rows), strict=True):
                copy.write_row((target.version, position, *row))


def _settle(connection: Connection, version: int, *, delta: bool) -> None:
    """Judge and pack what was staged, together with what was packed of the same users.

    It may take long and locks the log for its last statements only. A user who is erased meanwhile is noted, and what is packed
    of them nevertheless goes with the switch. So lists are counted as they are packed, not as they were judged.

    Raises:
        StoreError: a rank stands twice, ranks have a gap, or a user has a video twice.
    """
    table = relation(version, delta=delta)
    own = {"version": version}
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        packed = cursor.execute(
            f"WITH gone AS (DELETE FROM {table} AS l WHERE version = %(version)s AND user_id IN"
            f" (SELECT user_id FROM staged_rows WHERE version = %(version)s) RETURNING l.*), back AS ("
            f" INSERT INTO staged_rows (version, position, user_id, rank, {_COLUMNS}) SELECT l.version, -1, l.user_id, r.rank,"
            f" {', '.join(f'r.{field.name}' for field in LISTED)} FROM gone AS l CROSS JOIN"
            f" ROWS FROM ({', '.join(f'unnest(l.{field.name})' for field in LISTED)}) WITH ORDINALITY AS r ({_COLUMNS}, rank))"
            " SELECT count(*) AS users, coalesce(sum(rows), 0)::bigint AS rows FROM gone",
            own,
        ).fetchone()
        assert packed is not None
        second = cursor.execute(
            f"SELECT {', '.join(RECOMMENDATIONS.columns)} FROM (SELECT *, row_number() OVER"
            " (PARTITION BY user_id, rank ORDER BY position) AS number FROM staged_rows WHERE version = %(version)s) AS s"
            " WHERE number = 2 ORDER BY position LIMIT 1",
            own,
        ).fetchone()
        if second is not None:
            raise _rules.second_row(second)
        broken = cursor.execute(
            f"SELECT *, count(*) OVER ()::integer AS broken FROM ({_JUDGED}) AS s"
            " WHERE first_rank <> 1 OR last_rank <> rows OR distinct_videos <> rows ORDER BY user_id LIMIT %(shown)s",
            own | {"shown": _checks.SHOWN},
        ).fetchall()
        if broken:
            staged = cursor.execute(f"SELECT count(*) AS users FROM ({_JUDGED}) AS s", own).fetchone()
            assert staged is not None
            users = _log.record(connection, version).users - packed["users"] + staged["users"]
            first = [{name: value for name, value in row.items() if name != "broken"} for row in broken]
            _rules.refuse_broken(broken[0]["broken"], users, first)
        arrays = ", ".join(f"array_agg({field.name} ORDER BY rank)" for field in LISTED)
        total = cursor.execute(
            f"WITH made AS (INSERT INTO {table} (version, user_id, rows, {_COLUMNS})"
            f" SELECT version, user_id, count(*), {arrays}"
            " FROM staged_rows WHERE version = %(version)s GROUP BY version, user_id RETURNING rows)"
            " SELECT count(*) AS users, coalesce(sum(rows), 0)::bigint AS rows FROM made",
            own,
        ).fetchone()
        assert total is not None
        cursor.execute("DELETE FROM staged_rows WHERE version = %(version)s", own)
        lock_beside(connection)
        _log.count(connection, version, total["users"] - packed["users"], total["rows"] - packed["rows"])


_JUDGED = (
    "SELECT user_id, count(*) AS rows, min(rank) AS first_rank, max(rank) AS last_rank,"
    " count(DISTINCT video_id) AS distinct_videos FROM staged_rows WHERE version = %(version)s GROUP BY user_id"
)
