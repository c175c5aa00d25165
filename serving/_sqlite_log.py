"""The log of versions in the SQLite store: what each is, which is live, and where a rollback goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from serving import _sqlite_layers
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

_KEPT = (Status.RETIRED, Status.ROLLED_BACK)


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
    current, own = live(connection), (publication.as_of, publication.generation)
    if publication.base is None:
        return current is None or own > (current.root_as_of, current.root_generation)
    if current is None or current.version != publication.base or own <= (current.as_of, current.generation):
        return False
    return to_text(publication.as_of) >= _sqlite_layers.newest_as_of(connection, current.version)


def set_status(connection: sqlite3.Connection, version: int, status: Status) -> None:
    """Change where a version stands."""
    connection.execute("UPDATE publication_log SET status = ? WHERE version = ?", (status, version))


def activate(connection: sqlite3.Connection, version: int, at: str) -> None:
    """Make a loaded version live, over or instead of the one before it, retire that, and note the switch."""
    before = live(connection)
    _sqlite_layers.lay(connection, record(connection, version), before)
    if before is not None:
        set_status(connection, before.version, Status.RETIRED)
    connection.execute("UPDATE publication_log SET status = 'live', published_at = ? WHERE version = ?", (at, version))
    note_switch(connection, Action.PUBLISH, before.version if before else None, version, at=at)


def retire_old(connection: sqlite3.Connection, keep_versions: int) -> None:
    """Let go of what was rolled back, and of retired versions.

    Kept are the newest of those over the live root, and that root; and of as many roots before it the last version of each.
    """
    current = live(connection)
    retired = sorted(_with_status(connection, [Status.RETIRED]), key=lambda item: item.order, reverse=True)
    root = None if current is None else current.root
    of_root = [item for item in retired if item.root == root]
    last = {item.root: item for item in reversed(retired) if item.root != root}
    earlier = sorted(last.values(), key=lambda item: item.order, reverse=True)
    kept = {item.version for item in (*of_root[:keep_versions], *earlier[:keep_versions])}
    kept |= {item.version for item in of_root if keep_versions and item.version == root}
    gone = [item.version for item in retired if item.version not in kept]
    gone += [item.version for item in _with_status(connection, [Status.ROLLED_BACK])]
    for version in gone:
        set_status(connection, version, Status.REMOVED)
        connection.execute("DELETE FROM version_layers WHERE version = ?", (version,))


def roll_back(connection: sqlite3.Connection, to_version: int | None, *, at: str, reason: str) -> PublicationRecord:
    """Make a kept version live again and note the switch.

    Raises:
        StoreError: nothing is live, or the version is not kept.
    """
    current = live(connection)
    if current is None:
        raise StoreError("rollback: found no live version, so there is none to go back from; publish first")
    target = _target(connection, current, to_version)
    if target.order > current.order:
        set_status(connection, current.version, Status.RETIRED)
    else:
        set_status(connection, current.version, Status.ROLLED_BACK)
        # What lies between was skipped on purpose: a later rollback must not land on it.
        for item in _with_status(connection, [Status.RETIRED]):
            if item.order > target.order:
                set_status(connection, item.version, Status.ROLLED_BACK)
    set_status(connection, target.version, Status.LIVE)
    _sqlite_layers.point(connection, target.version)
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


def _with_status(connection: sqlite3.Connection, statuses: Sequence[Status]) -> list[PublicationRecord]:
    return _select(connection, f"WHERE status IN ({', '.join('?' * len(statuses))})", *statuses)


def _select(connection: sqlite3.Connection, where: str, *parameters: int | str) -> list[PublicationRecord]:
    # Every column: a file of an older version does not know all of them.
    cursor = connection.execute(f"SELECT * FROM publication_log {where}", parameters)
    names = [item[0] for item in cursor.description]
    return [_record(dict(zip(names, row, strict=True))) for row in cursor]


def _record(row: dict[str, Any]) -> PublicationRecord:
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


def _target(connection: sqlite3.Connection, current: PublicationRecord, to_version: int | None) -> PublicationRecord:
    kept = sorted(_with_status(connection, _KEPT), key=lambda item: item.order, reverse=True)
    for item in kept:
        earlier = item.order < current.order
        if item.version == to_version or (to_version is None and earlier and item.status is Status.RETIRED):
            return item
    wanted = "the version before" if to_version is None else f"version {to_version}"
    listed = ", ".join(f"{item.version} (as of {to_text(item.as_of)}, {item.status})" for item in kept) or "none"
    raise StoreError(
        f"rollback to {wanted}: live is version {current.version}, and other versions with rows are: {listed}; "
        "expected one of those; publish.keep_versions says how many are kept"
    )
