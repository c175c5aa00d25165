"""The rows of versions in the SQLite store: loading, verifying, reading and deleting them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any

import pyarrow as pa

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, Table
from serving import _checks, _rules
from serving._protocol import Erased, Recommendation, StoreError
from serving.sqlite import _layers
from serving.sqlite._file import transaction
from serving.sqlite._log import record

__all__ = [
    "delete",
    "erase",
    "load",
    "load_fallback",
    "read",
    "read_fallback",
    "read_row",
    "refuse_unless_loading",
    "showing",
    "verify",
]

_TRANSACTION_ROWS = 50_000  # about 0.1 s of write lock, so that two publishers and a rollback can take turns


def _insertion(relation: str, table: Table, rows: int = 1) -> str:
    """The statement that inserts so many rows of a table, each with its version before it."""
    row = f"({', '.join(['?'] * (1 + len(table.columns)))})"
    return f"INSERT INTO {relation} (version, {', '.join(table.columns)}) VALUES {', '.join([row] * rows)}"


# Rows a statement: 1.5 times as fast as one. The least limit of parameters that SQLite is built with is 999.
_STATEMENT_ROWS = 999 // (1 + len(RECOMMENDATIONS.columns))
_INSERT_ROW = _insertion("recommendation_rows", RECOMMENDATIONS)
_INSERT_ROWS = _insertion("recommendation_rows", RECOMMENDATIONS, _STATEMENT_ROWS)
_INSERT_FALLBACK = _insertion("fallback_rows", FALLBACK_RECOMMENDATIONS)
_LISTS = (
    "SELECT user_id, count(*) AS n, min(rank) AS first, max(rank) AS last, count(DISTINCT video_id) AS videos"
    " FROM recommendation_rows WHERE version = ? GROUP BY user_id"
)


def load(connection: sqlite3.Connection, version: int, batches: Iterable[pa.RecordBatch]) -> int:
    """Write a version's rows in bounded transactions and return how many were handed in.

    Raises:
        StoreError: a row breaks a rule, or the version is not being loaded any more.
    """
    said = 0
    for chunk in _checks.chunks(batches, _TRANSACTION_ROWS):
        columns = _checks.values(chunk)  # outside of the transaction: others write meanwhile
        try:
            with transaction(connection):
                refuse_unless_loading(connection, version)
                _insert(connection, version, columns)
        except sqlite3.IntegrityError as error:
            raise _repeated(connection, version, columns) from error
        said += chunk.num_rows
    return said


def load_fallback(connection: sqlite3.Connection, version: int, fallback: pa.Table) -> None:
    """Write a version's checked fallback lists in one transaction."""
    with transaction(connection):
        refuse_unless_loading(connection, version)
        rows = zip(repeat(version), *_checks.values(fallback), strict=False)
        connection.executemany(_INSERT_FALLBACK, rows)


def refuse_unless_loading(connection: sqlite3.Connection, version: int) -> None:
    """Stop a publisher whose version was given up by another one.

    Raises:
        StoreError: the version is not loading.
    """
    because = "its .lock file beside the store was removed; leave such files alone and publish again"
    _rules.refuse_unless_loading(version, record(connection, version).status, because)


def verify(connection: sqlite3.Connection, version: int, said: int) -> tuple[int, int]:
    """Compare what the file holds with what was handed in; note and return its users and rows.

    The primary key rules out a rank that stands twice, so a user's ranks are 1, 2, ... when the least is 1 and the
    greatest is their number.

    Raises:
        StoreError: rows are missing, ranks have a gap, or a user has a video twice.
    """
    users, rows, broken = connection.execute(
        f"SELECT count(*), coalesce(sum(n), 0), coalesce(sum(first <> 1 OR last <> n OR videos <> n), 0) FROM ({_LISTS})",
        (version,),
    ).fetchone()
    delta = record(connection, version).base is not None  # which may bring fallback lists alone
    _rules.refuse_incomplete(version, rows, said, delta=delta)
    if broken:
        cursor = connection.execute(
            f"SELECT user_id, n AS rows, first AS first_rank, last AS last_rank, videos AS distinct_videos FROM ({_LISTS})"
            " WHERE first <> 1 OR last <> n OR videos <> n LIMIT ?",
            (version, _checks.SHOWN),
        )
        names = [item[0] for item in cursor.description]
        _rules.refuse_broken(broken, users, [dict(zip(names, row, strict=True)) for row in cursor])
    with transaction(connection):
        refuse_unless_loading(connection, version)
        connection.execute("UPDATE publication_log SET users = ?, rows = ? WHERE version = ?", (users, rows, version))
        if delta:
            connection.execute(
                "INSERT INTO delta_lists (version, user_id) SELECT DISTINCT version, user_id FROM recommendation_rows"
                " WHERE version = ?",
                (version,),
            )
    return int(users), int(rows)


def read(connection: sqlite3.Connection, version: int, user_id: int, k: int) -> list[Recommendation]:
    """Return a user's first ``k`` rows by rank."""
    found = connection.execute(
        "SELECT rank, video_id, score, sources, reason FROM recommendation_rows"
        " WHERE version = ? AND user_id = ? ORDER BY rank LIMIT ?",
        (version, user_id, k),
    )
    return [Recommendation(*row) for row in found]


def read_row(connection: sqlite3.Connection, version: int, user_id: int, video_id: int) -> dict[str, Any] | None:
    """Return every column of a user's row of a video; None where it is not in the list."""
    cursor = connection.execute(
        "SELECT * FROM recommendation_rows WHERE version = ? AND user_id = ? AND video_id = ?", (version, user_id, video_id)
    )
    row = cursor.fetchone()
    if row is None:
        return None
    found = dict(zip((item[0] for item in cursor.description), row, strict=True))
    return {name: found.get(name) for name in RECOMMENDATIONS.columns}  # an older file does not know all of them


def showing(connection: sqlite3.Connection, video_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return user and video of every live row that shows one of these videos."""
    found = connection.execute(
        "SELECT user_id, video_id FROM recommendations WHERE video_id IN (SELECT value FROM json_each(?))",
        (json.dumps([int(video) for video in video_ids]),),
    )
    return sorted(found)


def read_fallback(connection: sqlite3.Connection, version: int, segment: str, k: int) -> list[Recommendation]:
    """Return a segment's first ``k`` rows by rank."""
    found = connection.execute(
        "SELECT rank, video_id, score, sources, reason FROM fallback_rows"
        " WHERE version = ? AND segment = ? ORDER BY rank LIMIT ?",
        (version, segment, k),
    )
    return [Recommendation(*row) for row in found]


def erase(connection: sqlite3.Connection, user_id: int) -> list[Erased]:
    """Remove a user's rows from every version, and from what each says that its readers see."""
    versions = [version for (version,) in connection.execute("SELECT version FROM publication_log ORDER BY version")]
    held = {version: _rows_of(connection, version, user_id) for version in versions}
    for version, shown in _layers.shows(connection, held).items():
        connection.execute("UPDATE publication_log SET users = users - 1, rows = rows - ? WHERE version = ?", (shown, version))
    for version, rows in held.items():
        if rows:  # one that is verified and not yet live; one that is not verified is counted when it is
            connection.execute(
                "UPDATE publication_log SET users = users - 1, rows = rows - ? WHERE version = ? AND status = 'loading'",
                (rows, version),
            )
        for relation in ("recommendation_rows", "delta_lists"):
            connection.execute(f"DELETE FROM {relation} WHERE version = ? AND user_id = ?", (version, user_id))
    connection.execute("DELETE FROM live_lists WHERE user_id = ?", (user_id,))
    return [Erased(version, rows) for version, rows in held.items() if rows]


def delete(connection: sqlite3.Connection) -> None:
    """Delete the rows of versions that nobody will read again, in bounded transactions.

    Lists of a version that is removed itself stay as long as a kept one shows them, its fallback lists do not.
    """
    dead = connection.execute(
        "SELECT version, version IN (SELECT l.layer FROM version_layers AS l JOIN publication_log AS kept"
        " ON kept.version = l.version WHERE kept.status IN ('live', 'retired', 'rolled_back'))"
        " FROM publication_log WHERE has_rows AND status IN ('failed', 'superseded', 'removed')"
    )
    for version, shown in dead.fetchall():
        if shown:
            with transaction(connection):
                connection.execute("DELETE FROM fallback_rows WHERE version = ?", (version,))
        else:
            _delete(connection, version)


def _insert(connection: sqlite3.Connection, version: int, columns: list[list[Any]]) -> None:
    flat = tuple(chain.from_iterable(zip(repeat(version), *columns, strict=False)))
    width = len(columns) + 1
    step = width * _STATEMENT_ROWS
    whole = len(flat) - len(flat) % step
    connection.executemany(_INSERT_ROWS, (flat[start : start + step] for start in range(0, whole, step)))
    connection.executemany(_INSERT_ROW, (flat[start : start + width] for start in range(whole, len(flat), width)))


def _repeated(connection: sqlite3.Connection, version: int, columns: list[list[Any]]) -> StoreError:
    """Say which row the primary key refused: insert them one by one until it does, then undo."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for row in zip(*columns, strict=True):
            try:
                connection.execute(_INSERT_ROW, (version, *row))
            except sqlite3.IntegrityError:
                return _rules.second_row(dict(zip(RECOMMENDATIONS.columns, row, strict=True)))
    finally:
        connection.rollback()
    return StoreError("recommendations: the store refused a row that it then accepted; publish again")


def _rows_of(connection: sqlite3.Connection, version: int, user_id: int) -> int:
    """How many rows a user has in a version's own layer."""
    asked = "SELECT count(*) FROM recommendation_rows WHERE version = ? AND user_id = ?"
    return int(connection.execute(asked, (version, user_id)).fetchone()[0])


def _delete(connection: sqlite3.Connection, version: int) -> None:
    query = "SELECT user_id FROM recommendation_rows WHERE version = ? ORDER BY user_id LIMIT 1 OFFSET ?"
    while last := connection.execute(query, (version, _TRANSACTION_ROWS)).fetchone():
        with transaction(connection):
            connection.execute("DELETE FROM recommendation_rows WHERE version = ? AND user_id <= ?", (version, *last))
    with transaction(connection):
        connection.execute("DELETE FROM recommendation_rows WHERE version = ?", (version,))
        connection.execute("DELETE FROM fallback_rows WHERE version = ?", (version,))
        connection.execute("DELETE FROM delta_lists WHERE version = ?", (version,))
        connection.execute("UPDATE publication_log SET has_rows = 0 WHERE version = ?", (version,))
