"""The log of versions in the SQLite store: what each is, which is live, and where a rollback goes."""

from __future__ import annotations

import sqlite3

from serving._protocol import (
    Action,
    Publication,
    PublicationRecord,
    Status,
    StoreError,
    Switch,
    from_text,
    to_text,
)

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

_COLUMNS = "version, as_of, generation, model_version, expires_at, status, users, rows, published_at"
_KEPT = (Status.RETIRED, Status.ROLLED_BACK)


def enter(connection: sqlite3.Connection, publication: Publication, status: Status) -> int:
    """Add a publication to the log and return its version; only one that is loading will have rows."""
    cursor = connection.execute(
        "INSERT INTO publication_log (as_of, generation, model_version, expires_at, status, has_rows)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            to_text(publication.as_of),
            publication.generation,
            publication.model_version,
            to_text(publication.expires_at),
            status,
            status is Status.LOADING,
        ),
    )
    return int(cursor.lastrowid or 0)


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
    """Whether a publication is newer than the live one."""
    current = live(connection)
    return current is None or (publication.as_of, publication.generation) > (current.as_of, current.generation)


def set_status(connection: sqlite3.Connection, version: int, status: Status) -> None:
    """Change where a version stands."""
    connection.execute("UPDATE publication_log SET status = ? WHERE version = ?", (status, version))


def activate(connection: sqlite3.Connection, version: int, at: str) -> None:
    """Make a loaded version live, retire the one before it, and note the switch."""
    before = live(connection)
    if before is not None:
        set_status(connection, before.version, Status.RETIRED)
    connection.execute("UPDATE publication_log SET status = 'live', published_at = ? WHERE version = ?", (at, version))
    note_switch(connection, Action.PUBLISH, before.version if before else None, version, at=at)


def retire_old(connection: sqlite3.Connection, keep_versions: int) -> None:
    """Give up the rows of all but the newest retired versions, and of what was rolled back."""
    connection.execute(
        "UPDATE publication_log SET status = 'removed' WHERE status = 'rolled_back' OR (status = 'retired' AND version NOT IN"
        " (SELECT version FROM publication_log WHERE status = 'retired' ORDER BY as_of DESC, generation DESC LIMIT ?))",
        (keep_versions,),
    )


def roll_back(connection: sqlite3.Connection, to_version: int | None, *, at: str, reason: str) -> PublicationRecord:
    """Make a kept version live again and note the switch.

    Raises:
        StoreError: nothing is live, or the version is not kept.
    """
    current = live(connection)
    if current is None:
        raise StoreError("rollback: found no live version, so there is none to go back from; publish first")
    target = _target(connection, current, to_version)
    if (target.as_of, target.generation) > (current.as_of, current.generation):
        set_status(connection, current.version, Status.RETIRED)
    else:
        set_status(connection, current.version, Status.ROLLED_BACK)
        # What lies between was skipped on purpose: a later rollback must not land on it.
        connection.execute(
            "UPDATE publication_log SET status = 'rolled_back' WHERE status = 'retired' AND (as_of, generation) > (?, ?)",
            (to_text(target.as_of), target.generation),
        )
    set_status(connection, target.version, Status.LIVE)
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


def _select(connection: sqlite3.Connection, where: str, *parameters: int) -> list[PublicationRecord]:
    found = connection.execute(f"SELECT {_COLUMNS} FROM publication_log {where}", parameters)
    return [
        PublicationRecord(
            version=version,
            as_of=from_text(as_of),
            generation=generation,
            model_version=model_version,
            expires_at=from_text(expires_at),
            status=Status(status),
            users=users,
            rows=rows,
            published_at=from_text(published_at) if published_at else None,
        )
        for version, as_of, generation, model_version, expires_at, status, users, rows, published_at in found
    ]


def _target(connection: sqlite3.Connection, current: PublicationRecord, to_version: int | None) -> PublicationRecord:
    kept = [item for item in _select(connection, "ORDER BY as_of DESC, generation DESC") if item.status in _KEPT]
    for item in kept:
        earlier = (item.as_of, item.generation) < (current.as_of, current.generation)
        if item.version == to_version or (to_version is None and earlier and item.status is Status.RETIRED):
            return item
    wanted = "the version before" if to_version is None else f"version {to_version}"
    listed = ", ".join(f"{item.version} (as of {to_text(item.as_of)}, {item.status})" for item in kept) or "none"
    raise StoreError(
        f"rollback to {wanted}: live is version {current.version}, and other versions with rows are: {listed}; "
        "expected one of those; publish.keep_versions says how many are kept"
    )
