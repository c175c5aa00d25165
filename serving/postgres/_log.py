"""The log of versions in the PostgreSQL store: what each is, which is live, and where a rollback goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from serving import _rules
from serving._protocol import Action, Publication, PublicationRecord, Status, Switch
from serving.postgres import _layers
from serving.postgres._connection import LOCKS, Connection

__all__ = [
    "COLUMNS",
    "LIVE",
    "activate",
    "bury",
    "count",
    "count_part",
    "enter",
    "enter_part",
    "is_newest",
    "live",
    "of_row",
    "record",
    "records",
    "refuse_unless_loading",
    "retire_old",
    "roll_back",
    "set_status",
    "switches",
]

_FIELDS = tuple(field.name for field in fields(PublicationRecord))
COLUMNS = ", ".join(f"p.{name}" for name in _FIELDS)
"""Of ``publication_log AS p``, in the order that :func:`of_row` reads."""

LIVE = f"SELECT {COLUMNS} FROM publication_log AS p WHERE p.status = 'live'"


def of_row(row: Sequence[Any]) -> PublicationRecord:
    """The record of a row of :data:`COLUMNS`."""
    found = dict(zip(_FIELDS, row, strict=True))
    return PublicationRecord(**found | {"status": Status(found["status"])})


def enter(connection: Connection, publication: Publication, status: Status) -> int:
    """Add a publication to the log and return its version; one that is loading has its lease with it.

    Inside :func:`~serving.postgres._connection.alone`, so that nobody sees it between its entry and its lease.
    """
    row = connection.execute(
        "INSERT INTO publication_log (version, as_of, generation, model_version, expires_at, status, has_rows, base,"
        " root, root_as_of, root_generation) SELECT n.version, n.as_of, n.generation, %(model_version)s, %(expires_at)s,"
        " %(status)s, %(has_rows)s, %(base)s, coalesce(b.root, n.version), coalesce(b.root_as_of, n.as_of),"
        " coalesce(b.root_generation, n.generation) FROM (SELECT coalesce(max(version), 0) + 1 AS version,"
        " %(as_of)s::timestamptz AS as_of, %(generation)s::bigint AS generation FROM publication_log) AS n"
        " LEFT JOIN publication_log AS b ON b.version = %(base)s RETURNING version",
        {
            "as_of": publication.as_of,
            "generation": publication.generation,
            "model_version": publication.model_version,
            "expires_at": publication.expires_at,
            "status": status,
            "has_rows": status is Status.LOADING,
            "base": publication.base,
        },
    ).fetchone()
    assert row is not None
    if status is Status.LOADING:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS, row[0]))
    return int(row[0])


def bury(connection: Connection) -> None:
    """Mark as failed what publishers were loading that live no more: whose lease anybody can have."""
    for (version,) in connection.execute("SELECT version FROM publication_log WHERE status = 'loading'").fetchall():
        free = connection.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (LOCKS, version)).fetchone()
        if free == (True,):
            set_status(connection, version, Status.FAILED)


def records(connection: Connection) -> list[PublicationRecord]:
    """Return every version, newest first."""
    found = connection.execute(f"SELECT {COLUMNS} FROM publication_log AS p ORDER BY version DESC")
    return [of_row(row) for row in found]


def record(connection: Connection, version: int) -> PublicationRecord:
    """Return one version that is known to be there."""
    row = connection.execute(f"SELECT {COLUMNS} FROM publication_log AS p WHERE version = %s", (version,)).fetchone()
    assert row is not None
    return of_row(row)


def live(connection: Connection) -> PublicationRecord | None:
    """Return the live version; None before the first publication."""
    row = connection.execute(LIVE).fetchone()
    return None if row is None else of_row(row)


def switches(connection: Connection) -> list[Switch]:
    """Return every change of the live version, newest first."""
    found = connection.execute("SELECT at, action, from_version, to_version, reason FROM switch_log ORDER BY id DESC")
    return [
        Switch(at=at, action=Action(action), from_version=old, to_version=new, reason=reason)
        for at, action, old, new, reason in found
    ]


def is_newest(connection: Connection, publication: Publication) -> bool:
    """Whether a publication may replace what is live."""
    current = live(connection)
    asked = publication.base is not None and current is not None
    newest = _layers.newest_as_of(connection, current.version) if asked and current else None
    return _rules.is_newest(publication, current, newest)


def refuse_unless_loading(connection: Connection, version: int) -> None:
    """Stop a publisher whose version was given up by another one.

    Raises:
        StoreError: the version is not loading.
    """
    because = "its session on the server had ended; look at the server's log and publish again"
    _rules.refuse_unless_loading(version, record(connection, version).status, because)


def count(connection: Connection, version: int, users: int, rows: int) -> None:
    """Count lists that are written to a version that is loading, in the transaction that writes them.

    Raises:
        StoreError: the version is not loading.
    """
    done = connection.execute(
        "UPDATE publication_log SET users = users + %s, rows = rows + %s WHERE version = %s AND status = 'loading'",
        (users, rows, version),
    )
    if not done.rowcount:
        refuse_unless_loading(connection, version)


def enter_part(connection: Connection, version: int, part: str) -> int | None:
    """Note that a part is being loaded, in the transaction that does; its rows where it is there already.

    One that somebody else is loading, who was given up or is too slow, is waited for.
    """
    entered = connection.execute(
        "INSERT INTO loaded_parts (version, part) VALUES (%s, %s) ON CONFLICT DO NOTHING", (version, part)
    )
    if entered.rowcount:
        return None
    row = connection.execute("SELECT rows FROM loaded_parts WHERE version = %s AND part = %s", (version, part)).fetchone()
    assert row is not None
    return int(row[0])


def count_part(connection: Connection, version: int, part: str, rows: int) -> None:
    """Note how many rows of a part were handed in."""
    connection.execute("UPDATE loaded_parts SET rows = %s WHERE version = %s AND part = %s", (rows, version, part))


def set_status(connection: Connection, version: int, status: Status) -> None:
    """Change where a version stands."""
    connection.execute("UPDATE publication_log SET status = %s WHERE version = %s", (status, version))


def activate(connection: Connection, version: int, at: datetime) -> None:
    """Make a loaded version live, over or instead of the one before it, retire that, and note the switch."""
    before = live(connection)
    _layers.lay(connection, record(connection, version), before)
    if before is not None:
        set_status(connection, before.version, Status.RETIRED)
    connection.execute("UPDATE publication_log SET status = 'live', published_at = %s WHERE version = %s", (at, version))
    _note_switch(connection, Action.PUBLISH, before.version if before else None, version, at=at)


def retire_old(connection: Connection, keep_versions: int) -> None:
    """Let go of what was rolled back, and of old versions."""
    current = live(connection)
    assert current is not None
    gone = _rules.removed(records(connection), current, keep_versions)
    connection.execute(
        "UPDATE publication_log SET status = 'removed', removed_by = pg_current_xact_id() WHERE version = ANY(%s)", (gone,)
    )
    connection.execute("DELETE FROM version_layers WHERE version = ANY(%s)", (gone,))


def roll_back(connection: Connection, to_version: int | None, *, at: datetime, reason: str) -> PublicationRecord:
    """Make a kept version live again and note the switch.

    Raises:
        StoreError: nothing is live, or the version is not kept.
    """
    every, current = records(connection), live(connection)
    target = _rules.rollback_target(every, current, to_version)
    assert current is not None
    for version, status in _rules.passed_over(every, current, target).items():
        set_status(connection, version, status)
    set_status(connection, target.version, Status.LIVE)
    _layers.point(connection, target.version)
    _note_switch(connection, Action.ROLLBACK, current.version, target.version, at=at, reason=reason)
    return record(connection, target.version)


def _note_switch(connection: Connection, action: Action, old: int | None, new: int, *, at: datetime, reason: str = "") -> None:
    connection.execute(
        "INSERT INTO switch_log (at, action, from_version, to_version, reason) VALUES (%s, %s, %s, %s, %s)",
        (at, action, old, new, reason),
    )
