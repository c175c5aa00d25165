"""The lists of versions in the PostgreSQL store: reading, erasing and removing them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from psycopg import errors, sql

from schemas import RECOMMENDATIONS
from schemas import columns as col
from serving._protocol import Erased, PublicationRecord, Recommendation, UserList
from serving.postgres import _layers, _log
from serving.postgres._connection import Connection
from serving.postgres._schema import LISTED, STORAGE, relation, settled

__all__ = ["erase", "erase_noted", "make_room", "of_users", "read_fallback", "read_row", "remove", "showing"]

_LOG = logging.getLogger(__name__)

_DROP_ATTEMPTS = 5
_DROP_PAUSE_SECONDS = 0.05
_MOST_ROWS = 2**31 - 1  # a rank's largest value, and a subscript's
_SHOWN = ", ".join(f"l.{name}[:%(k)s]" for name in (col.VIDEO_ID, col.SCORE, col.SOURCES, col.REASON))
_OF_DELTAS = (
    f"SELECT {_log.COLUMNS}, l.user_id, {_SHOWN} FROM live_lists AS c"
    " JOIN delta_lists AS l ON l.version = c.layer AND l.user_id = c.user_id"
    " JOIN publication_log AS p ON p.version = c.layer WHERE c.user_id = ANY(%(users)s::bigint[])"
)
_OF_ROOT = (
    f"SELECT {_log.COLUMNS}, l.user_id, {_SHOWN} FROM full_lists AS l"
    " JOIN publication_log AS p ON p.version = %(root)s WHERE l.version = %(root)s AND l.user_id = ANY(%(users)s::bigint[])"
)
_OF_ALL = f"{_OF_ROOT} AND NOT EXISTS (SELECT FROM live_lists AS c WHERE c.user_id = l.user_id) UNION ALL {_OF_DELTAS}"


def of_users(connection: Connection, live: PublicationRecord, user_ids: Sequence[int], k: int) -> dict[int, UserList]:
    """Return the first ``k`` rows of each of these users who has any, in one round trip."""
    found = connection.execute(
        _OF_ROOT if live.layers == 1 else _OF_ALL,
        {"root": live.root, "users": list(user_ids), "k": min(k, _MOST_ROWS)},
        prepare=True,
        binary=True,
    )
    known: dict[int, PublicationRecord] = {live.version: live}
    lists = {}
    for *publication, user, videos, scores, sources, reasons in found:
        version = publication[0]
        if version not in known:
            known[version] = _log.of_row(publication)
        rows = map(Recommendation, range(1, len(videos) + 1), videos, scores, sources, reasons)
        lists[user] = UserList(tuple(rows), known[version])
    return lists


def read_row(connection: Connection, live: PublicationRecord, user_id: int, video_id: int) -> dict[str, Any] | None:
    """Return every column of a user's row of a video; None where it is not in the list."""
    columns = ", ".join(f"l.{field.name}[r.rank]" for field in LISTED)
    row = connection.execute(
        f"SELECT l.user_id, r.rank::integer, {columns} FROM (SELECT l.* FROM full_lists AS l WHERE l.version = %(root)s"
        " AND l.user_id = %(user)s AND NOT EXISTS (SELECT FROM live_lists AS c WHERE c.user_id = l.user_id)"
        " UNION ALL SELECT l.* FROM live_lists AS c JOIN delta_lists AS l ON l.version = c.layer AND l.user_id = c.user_id"
        " WHERE c.user_id = %(user)s) AS l CROSS JOIN array_position(l.video_id, %(video)s::bigint) AS r (rank)"
        " WHERE r.rank IS NOT NULL",
        {"root": live.root, "user": user_id, "video": video_id},
        binary=True,
    ).fetchone()
    return None if row is None else dict(zip(RECOMMENDATIONS.columns, row, strict=True))


def read_fallback(connection: Connection, version: int, segment: str, k: int) -> list[Recommendation]:
    """Return a segment's first ``k`` rows by rank."""
    found = connection.execute(
        "SELECT rank, video_id, score, sources, reason FROM fallback_rows"
        " WHERE version = %s AND segment = %s ORDER BY rank LIMIT %s",
        (version, segment, min(k, _MOST_ROWS)),
        prepare=True,
        binary=True,
    )
    return [Recommendation(*row) for row in found]


def showing(connection: Connection, live: PublicationRecord, video_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return user and video of every live row that shows one of these videos."""
    found = connection.execute(
        "SELECT l.user_id, r.video_id FROM (SELECT l.user_id, l.video_id FROM full_lists AS l WHERE l.version = %(root)s"
        " AND NOT EXISTS (SELECT FROM live_lists AS c WHERE c.user_id = l.user_id) UNION ALL SELECT l.user_id, l.video_id"
        " FROM live_lists AS c JOIN delta_lists AS l ON l.version = c.layer AND l.user_id = c.user_id) AS l"
        " CROSS JOIN unnest(l.video_id) AS r (video_id) WHERE r.video_id = ANY(%(videos)s::bigint[])",
        {"root": live.root, "videos": [int(video) for video in video_ids]},
    )
    return sorted((user, video) for user, video in found)


def erase(connection: Connection, user_id: int) -> list[Erased]:
    """Remove a user's lists from every version, and from what each says that its readers see.

    Lists that are being loaded or packed at this moment are not seen yet, or locked, and nobody waits for them: the user is
    noted, and :func:`erase_noted` removes them.
    """
    versions = [(version,) for version in sorted(record.version for record in _log.records(connection))]
    own = {"user": user_id, "versions": [version for (version,) in versions]}
    held: dict[int, int] = {}
    for table in ("full_lists", "delta_lists"):
        held.update(
            connection.execute(
                f"DELETE FROM {table} WHERE user_id = %(user)s AND version = ANY(ARRAY(SELECT version FROM {table}"
                " WHERE version = ANY(%(versions)s) AND user_id = %(user)s FOR UPDATE SKIP LOCKED)) RETURNING version, rows",
                own,
            ).fetchall()
        )
    kept = _layers.shows(connection, held)
    loading = {version: rows for version, rows in held.items() if version not in kept}
    for version, rows in {**kept, **loading}.items():
        connection.execute(
            "UPDATE publication_log SET users = users - 1, rows = rows - %s WHERE version = %s"
            " AND status IN ('live', 'retired', 'rolled_back', 'loading')",
            (rows, version),
        )
    staged = connection.execute(
        "DELETE FROM staged_rows WHERE ctid = ANY(ARRAY(SELECT ctid FROM staged_rows WHERE version = ANY(%(versions)s)"
        " AND user_id = %(user)s FOR UPDATE SKIP LOCKED)) RETURNING version",
        own,
    ).fetchall()
    for (version,) in staged:
        held[version] = held.get(version, 0) + 1
    connection.execute("DELETE FROM live_lists WHERE user_id = %(user)s", own)
    connection.execute(
        "INSERT INTO erased_users SELECT version, %(user)s FROM publication_log WHERE status = 'loading'"
        " ON CONFLICT DO NOTHING",
        own,
    )
    return [Erased(version, rows) for version, rows in sorted(held.items())]


def erase_noted(connection: Connection, version: int) -> None:
    """Remove from a version what came, after their erasure, of users who were erased while it loaded."""
    noted = connection.execute("SELECT user_id FROM erased_users WHERE version = %s", (version,)).fetchall()
    if noted:
        table = relation(version, delta=_log.record(connection, version).base is not None)
        connection.execute(
            f"WITH gone AS (DELETE FROM {table} WHERE version = %(version)s AND user_id = ANY(%(users)s::bigint[])"
            " RETURNING rows) UPDATE publication_log AS p SET users = p.users - g.users, rows = p.rows - g.rows FROM"
            " (SELECT count(*) AS users, coalesce(sum(rows), 0)::bigint AS rows FROM gone) AS g WHERE p.version = %(version)s",
            {"version": version, "users": [user for (user,) in noted]},
        )
    _forget_loading(connection, version)


def _forget_loading(connection: Connection, version: int) -> None:
    for table in ("staged_rows", "loaded_parts", "erased_users"):
        connection.execute(f"DELETE FROM {table} WHERE version = %s", (version,))


def make_room(connection: Connection, version: int) -> None:
    """Make the partition that a full publication's lists go into."""
    table = relation(version, delta=False)
    connection.execute(f"CREATE TABLE {table} (LIKE full_lists INCLUDING ALL) {STORAGE}")
    settled(connection, table)
    connection.execute(f"ALTER TABLE full_lists ATTACH PARTITION {table} FOR VALUES IN ({version:d})")


def remove(connection: Connection) -> None:
    """Remove the rows of versions that nobody will read again.

    Lists of a version that is removed itself stay as long as a kept one shows them, its fallback lists do not.
    """
    dead = connection.execute(
        "SELECT version, base IS NOT NULL, version IN (SELECT l.layer FROM version_layers AS l JOIN publication_log AS kept"
        " ON kept.version = l.version WHERE kept.status IN ('live', 'retired', 'rolled_back'))"
        " FROM publication_log WHERE has_rows AND status IN ('failed', 'superseded', 'removed') ORDER BY version"
    ).fetchall()
    for version, delta, shown in dead:
        with connection.transaction():
            connection.execute("SET LOCAL synchronous_commit = off")
            connection.execute("DELETE FROM fallback_rows WHERE version = %s", (version,))
            _forget_loading(connection, version)
        if shown:
            continue
        if not delta:
            _drop(connection, version)
            continue
        with connection.transaction():
            connection.execute("DELETE FROM delta_lists WHERE version = %s", (version,))
            connection.execute("UPDATE publication_log SET has_rows = false WHERE version = %s", (version,))


def _drop(connection: Connection, version: int) -> None:
    """Drop a partition, unless somebody may still read it; then the next publication will.

    Dropping a table, unlike deleting rows, also takes it from transactions that began before. So it waits until no session has
    a snapshot from before the last version that showed it was let go of, in this cluster: what a dump of another one brought
    was let go of before anybody read here, and may look as if it were to come. And it does not queue for its lock for long:
    readers would queue behind it.
    """
    for attempt in range(_DROP_ATTEMPTS):
        if attempt:
            time.sleep(_DROP_PAUSE_SECONDS)
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '20ms'")
                seen = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
                    " AND age(backend_xmin) >= (SELECT age(removed_by::xid) FROM publication_log WHERE root = %s"
                    " AND removed_by < pg_snapshot_xmax(pg_current_snapshot()) ORDER BY removed_by DESC LIMIT 1)",
                    (version,),
                ).fetchone()
                if seen == (0,):
                    connection.execute(
                        sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(relation(version, delta=False)))
                    )
                    connection.execute("UPDATE publication_log SET has_rows = false WHERE version = %s", (version,))
                    return
        except errors.LockNotAvailable:
            pass
    _LOG.info("version %s: its lists are still in use; the next publication will remove them", version)
