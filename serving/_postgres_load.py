"""How a version's lists come into the PostgreSQL store: packed and checked as they stream by.

A list that arrives in one piece, with ranks 1, 2, ... and each video once, is packed into one row and copied. Everything else
(a list in several batches, ranks in no order, ranks with a gap) is staged row by row, and judged and packed by SQL when all is
there. So sorted input, which the pipeline writes, costs no statement but ``COPY``, and any other input is right all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.copy import QueuedLibpqWriter
from psycopg.rows import dict_row

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
from schemas import columns as col
from serving import _checks, _postgres_log, _rules
from serving._postgres_connection import Connection, alongside
from serving._postgres_copy import HEADER, TRAILER, encoded
from serving._postgres_schema import LISTED, relation

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
    said = _load(connection, version, batches, partial(_postgres_log.count, connection, version), delta=delta)
    settle(connection, version, delta=delta)
    return said


def load_part(connection: Connection, version: int, batches: Iterable[pa.RecordBatch], *, delta: bool) -> int:
    """Write some of a version's rows, all or none of them, beside others that do; return how many were handed in.

    What is staged is left to :func:`settle`.

    Raises:
        StoreError: a row breaks a rule, or the version is not being loaded any more.
    """
    counted: list[tuple[int, int]] = []
    with alongside(connection):
        _postgres_log.refuse_unless_loading(connection, version)
        said = _load(connection, version, batches, lambda users, rows: counted.append((users, rows)), delta=delta)
        # Last, for it makes the other parts wait until this one is committed.
        _postgres_log.count(connection, version, sum(users for users, _ in counted), sum(rows for _, rows in counted))
    return said


def settle(connection: Connection, version: int, *, delta: bool) -> None:
    """Judge and pack what was staged.

    Raises:
        StoreError: a rank stands twice, ranks have a gap, or a user has a video twice.
    """
    if connection.execute("SELECT FROM staged_rows WHERE version = %s LIMIT 1", (version,)).fetchone() is not None:
        _settle(connection, version, delta=delta)


def _load(
    connection: Connection,
    version: int,
    batches: Iterable[pa.RecordBatch],
    counted: Callable[[int, int], None],
    *,
    delta: bool,
) -> int:
    """Write rows and return how many there were; ``counted`` hears of the users and rows of lists that were packed."""
    said = 0
    held: pa.Table | None = None  # the last list of what came, which may go on
    for chunk in _checks.chunks(batches, _TRANSACTION_ROWS):
        table = chunk if held is None else pa.concat_tables([held, chunk])
        said += chunk.num_rows
        end = int(_starts(table)[-1]) or table.num_rows
        held = table.slice(end) if end < table.num_rows else None
        _write(connection, version, table.slice(0, end), said - table.num_rows, counted, delta=delta)
    if held is not None:
        _write(connection, version, held, said - held.num_rows, counted, delta=delta)
    return said


def load_fallback(connection: Connection, version: int, fallback: pa.Table) -> None:
    """Write a version's checked fallback lists in one transaction."""
    columns = ", ".join(FALLBACK_RECOMMENDATIONS.columns)
    with alongside(connection), connection.cursor() as cursor:
        _postgres_log.refuse_unless_loading(connection, version)
        with cursor.copy(f"COPY fallback_rows (version, {columns}) FROM STDIN") as copy:
            for row in zip(*_checks.values(fallback), strict=True):
                copy.write_row((version, *row))


def _write(
    connection: Connection, version: int, table: pa.Table, position: int, counted: Callable[[int, int], None], *, delta: bool
) -> None:
    """Write rows, the first of which is the ``position``-th of all."""
    starts = _starts(table)
    whole = _whole(table, starts)
    lengths = np.diff(np.append(starts, table.num_rows))
    try:
        if whole.any():
            lists = table if whole.all() else table.filter(pa.array(np.repeat(whole, lengths)))
            _pack(connection, version, lists, lengths[whole], counted, delta=delta)
    except psycopg.errors.UniqueViolation:  # some of these users have a list already: it may have come in two pieces
        whole[:] = False
    if not whole.all():
        left = np.flatnonzero(np.repeat(~whole, lengths))
        _stage(connection, version, table.take(pa.array(left)), position + left)


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


def _pack(
    connection: Connection,
    version: int,
    lists: pa.Table,
    lengths: npt.NDArray[np.int64],
    counted: Callable[[int, int], None],
    *,
    delta: bool,
) -> None:
    """Copy whole lists."""
    starts = np.append(0, np.cumsum(lengths)[:-1])
    statement = f"COPY {relation(version, delta=delta)} (version, user_id, rows, {_COLUMNS}) FROM STDIN (FORMAT binary)"
    with alongside(connection), connection.cursor() as cursor:
        _postgres_log.refuse_unless_loading(connection, version)  # before its table may be missing
        with cursor.copy(statement, writer=QueuedLibpqWriter(cursor)) as copy:
            copy.write(HEADER)
            for first in range(0, len(starts), _SLICE_LISTS):
                own = np.append(starts, lists.num_rows)[first : first + _SLICE_LISTS + 1]
                copy.write(encoded(version, lists.slice(own[0], own[-1] - own[0]), own[:-1] - own[0]))
            copy.write(TRAILER)
        counted(len(lengths), lists.num_rows)


def _stage(connection: Connection, version: int, rows: pa.Table, positions: npt.NDArray[np.int64]) -> None:
    columns = ", ".join(RECOMMENDATIONS.columns)
    with alongside(connection), connection.cursor() as cursor:
        _postgres_log.refuse_unless_loading(connection, version)
        with cursor.copy(f"COPY staged_rows (version, position, {columns}) FROM STDIN") as copy:
            for position, *row in zip(positions.tolist(), *_checks.values(rows), strict=True):
                copy.write_row((version, position, *row))


def _settle(connection: Connection, version: int, *, delta: bool) -> None:
    """Judge and pack what was staged, together with what was packed of the same users.

    Raises:
        StoreError: a rank stands twice, ranks have a gap, or a user has a video twice.
    """
    table = relation(version, delta=delta)
    own = {"version": version}
    with alongside(connection), connection.cursor(row_factory=dict_row) as cursor:
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
        users = _postgres_log.record(connection, version).users - packed["users"]
        staged = cursor.execute(f"SELECT count(*) AS users, coalesce(sum(rows), 0)::bigint AS rows FROM ({_JUDGED}) AS s", own)
        total = staged.fetchone()
        assert total is not None
        if broken:
            number = broken[0]["broken"]
            first = [{name: value for name, value in row.items() if name != "broken"} for row in broken]
            _rules.refuse_broken(number, users + total["users"], first)
        arrays = ", ".join(f"array_agg({field.name} ORDER BY rank)" for field in LISTED)
        cursor.execute(
            f"INSERT INTO {table} (version, user_id, rows, {_COLUMNS}) SELECT version, user_id, count(*), {arrays}"
            " FROM staged_rows WHERE version = %(version)s GROUP BY version, user_id",
            own,
        )
        cursor.execute("DELETE FROM staged_rows WHERE version = %(version)s", own)
        _postgres_log.count(connection, version, total["users"] - packed["users"], total["rows"] - packed["rows"])


_JUDGED = (
    "SELECT user_id, count(*) AS rows, min(rank) AS first_rank, max(rank) AS last_rank,"
    " count(DISTINCT video_id) AS distinct_videos FROM staged_rows WHERE version = %(version)s GROUP BY user_id"
)
