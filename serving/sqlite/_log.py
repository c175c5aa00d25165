"""The log of versions in the SQLite store: what each is, which is live, and where a rollback goes."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import Any

from serving import _rules
from serving._protocol import (
    Action,
    Publication,
    PublicationRecord,
    Status,
    Switch,
    from_text,
    to_text,
)
from serving.sqlite import _layers

__all__ = [
    "activate",
    "enter",
    "is_newest",
    "live",
    "loading",
    "note_switch",
    "record",
    "records",
    "retire_old",
    "roll_back",
    "set_status",
    "switches",
]


def enter(connection: sqlite3.Connection, publication: Publication, status: Status) -> int:
    """Add a publication to the log and return its version; only one that is loading will have rows."""
    cursor = connection.execute(
        "INSERT INTO publication_log (as_of, generation, model_version, expires_at, status, has_rows, base)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            to_text(publication.as_of),
            publication.generation,
            publication.model_version,
            to_text(publication.expires_at),
            status,
            status is Status.LOADING,
            publication.base,
        ),
    )
    version = int(cursor.lastrowid or 0)
    connection.execute(
        "UPDATE publication_log AS p SET (root, root_as_of, root_generation) = (SELECT root, root_as_of, root_generation"
        " FROM (SELECT root, root_as_of, root_generation, 0 AS own FROM publication_log WHERE version = p.base"
        " UNION ALL SELECT p.version, p.as_of, p.generation, 1) ORDER BY own LIMIT 1) WHERE version = ?",
        (version,),
    )
    return version


def records(connection: sqlite3.Connection) -> list[PublicationRecord]:
    """Return every version, newest first."""
    return _select(connection, "ORDER BY version DESC")


def record(connection: sqlite3.Connection, version: int) -> PublicationRecord:
    """Return one version that is known to be there."""
    return _select(connection, "WHERE version = ?", version)[0]


def live(connection: sqlite3.Connection) -> PublicationRecord | None:
    """Return the live version; None before the first publication."""
    return next(iter(_select(connection, "WHERE status = 'live'")), None)


def loading(connection: sqlite3.Connection) -> list[int]:
    """Return the versions that publishers are loading, or were when they died."""
    return [version for (version,) in connection.execute("SELECT version FROM publication_log WHERE status = 'loading'")]


def switches(connection: sqlite3.Connection) -> list[Switch]:
    """Return every change of the live version, newest first."""
    return [
        Switch(at=from_text(at), action=Action(action), from_version=old, to_version=new, reason=reason)
        for at, action, old, new, reason in connection.execute(
            "SELECT at, action, from_version, to_version, reason FROM switch_log ORDER BY id DESC"
        )
    ]


def is_newest(connection: sqlite3.Connection, publication: Publication) -> bool:
    """Whether a publication may replace what is live."""
    current = live(connection)
    asked = publication.base is not None and current is not None
    newest = _layers.newest_as_of(connection, current.version) if asked and current else None
    return _rules.is_newest(publication, current, None if newest is None else from_text(newest))


def set_status(connection: sqlite3.Connection, version: int, status: Status) -> None:
    """Change where a version stands."""
    connection.execute("UPDATE publication_log SET status = ? WHERE version = ?", (status, version))


def activate(connection: sqlite3.Connection, version: int, at: str) -> None:
    """Make a loaded version live, over or instead of the one before it, retire that, and note the switch."""
    before = live(connection)
    _layers.lay(connection, record(connection, version), before)
    if before is not None:
        set_status(connection, before.version, Status.RETIRED)
    connection.execute("UPDATE publication_log SET status = 'live', published_at = ? WHERE version = ?", (at, version))
    note_switch(connection, Action.PUBLISH, before.version if before else None, version, at=at)


def retire_old(connection: sqlite3.Connection, keep_versions: int) -> None:
    """Let go of what was rolled back, and of old versions."""
    current = live(connection)
    assert current is not None
    for version in _rules.removed(records(connection), current, keep_versions):
        set_status(connection, version, Status.REMOVED)
        connection.execute("DELETE FROM version_layers WHERE version = ?", (version,))


def roll_back(connection: sqlite3.Connection, to_version: int | None, *, at: str, reason: str) -> PublicationRecord:
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
    note_switch(connection, Action.ROLLBACK, current.version, target.version, at=at, reason=reason)
    return record(connection, target.version)


def note_switch(
    connection: sqlite3.Connection, action: Action, old: int | None, new: int, *, at: str, reason: str = ""
) -> None:
    """Write down a change of the live version."""
    connection.execute(
        "INSERT INTO switch_log (at, action, from_version, to_version, reason) VALUES (?, ?, ?, ?, ?)",
        (at, action, old, new, reason),
    )


def _select(connection: sqlite3.Connection, where: str, *parameters: int | str) -> list[PublicationRecord]:
    # Every column: a file of an older version does not know all of them.
    cursor = connection.execute(f"SELECT * FROM publication_log {where}", parameters)
    names = tuple(item[0] for item in cursor.description)
    return [_record(names, row) for row in cursor]


@lru_cache(maxsize=128)  # readers ask for the same few a thousand times a second
def _record(names: tuple[str, ...], values: tuple[Any, ...]) -> PublicationRecord:
    row = dict(zip(names, values, strict=True))
    return PublicationRecord(
        version=row["version"],
        as_of=from_text(row["as_of"]),
        generation=row["generation"],
        model_version=row["model_version"],
        expires_at=from_text(row["expires_at"]),
        status=Status(row["status"]),
        users=row["users"],
        rows=row["rows"],
        published_at=from_text(row["published_at"]) if row["published_at"] else None,
        base=row.get("base"),
        root=row.get("root") or row["version"],
        root_as_of=from_text(row.get("root_as_of") or row["as_of"]),
        root_generation=row.get("root_generation") or row["generation"],
        layers=row.get("layers", 1),
    )
