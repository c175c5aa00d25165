"""What a version of the PostgreSQL store consists of: the lists of a full publication, and over them those of later deltas.

The same as in :mod:`serving.sqlite._layers`: a *layer* is a version's own lists, ``version_layers`` names those of every
version that is kept, and ``live_lists`` says, of the live one, which users' lists are not the full publication's.
"""

from __future__ import annotations

from datetime import datetime

from serving._protocol import PublicationRecord
from serving.postgres._connection import Connection

__all__ = ["lay", "layers", "newest_as_of", "point", "shows", "users_of"]


def newest_as_of(connection: Connection, version: int) -> datetime | None:
    """The latest ``as_of`` of any list that a kept version shows."""
    row = connection.execute(
        "SELECT max(q.as_of) FROM version_layers AS l JOIN publication_log AS q ON q.version = l.layer WHERE l.version = %s",
        (version,),
    ).fetchone()
    return row[0] if row else None


def lay(connection: Connection, new: PublicationRecord, live: PublicationRecord | None) -> None:
    """Say what a version consists of that is about to become live, and count what its readers will see.

    A delta lies over everything that is live. Over a full publication stay those layers that know more: deltas as of a later
    time, which hours published while a day was computed.
    """
    below = layers(connection, live.version) if live is not None else []
    own = [*below, new.version] if new.base is not None else [new.version, *_later(connection, below[1:], new)]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO version_layers (version, layer, position) VALUES (%s, %s, %s)",
            [(new.version, layer, position) for position, layer in enumerate(own)],
        )
    users, rows = new.users, new.rows
    if new.base is None:
        point(connection, new.version)
        if len(own) > 1:
            hidden, over = _hidden(connection, new.version), _over(connection)
            users, rows = users - hidden[0] + over[0], rows - hidden[1] + over[1]
    else:
        assert live is not None
        hidden = _behind(connection, new.version, new.root)
        users, rows = live.users - hidden[0] + users, live.rows - hidden[1] + rows
        _put_on_top(connection, new.version)
    connection.execute(
        "UPDATE publication_log SET layers = %s, users = %s, rows = %s WHERE version = %s", (len(own), users, rows, new.version)
    )


def point(connection: Connection, version: int) -> None:
    """Let readers find the lists of a version's deltas."""
    connection.execute("DELETE FROM live_lists")
    for layer in layers(connection, version)[1:]:
        _put_on_top(connection, layer)


def layers(connection: Connection, version: int) -> list[int]:
    """The layers of a kept version, the full publication's first."""
    found = connection.execute("SELECT layer FROM version_layers WHERE version = %s ORDER BY position", (version,))
    return [layer for (layer,) in found]


def shows(connection: Connection, held: dict[int, int]) -> dict[int, int]:
    """How many rows of a user each version that is kept shows, where it shows any; ``held`` says how many each layer has."""
    kept = connection.execute(
        "SELECT version, layer FROM version_layers WHERE layer = ANY(%s) ORDER BY version, position", (list(held),)
    )
    return {version: held[layer] for version, layer in kept}  # the topmost comes last


def users_of(connection: Connection, delta: int) -> list[int]:
    """The users whose live list is of this delta, ascending."""
    found = connection.execute("SELECT user_id FROM live_lists WHERE layer = %s ORDER BY user_id", (delta,))
    return [user for (user,) in found]


def _put_on_top(connection: Connection, layer: int) -> None:
    connection.execute(
        "INSERT INTO live_lists (user_id, layer) SELECT user_id, version FROM delta_lists WHERE version = %s"
        " ON CONFLICT (user_id) DO UPDATE SET layer = excluded.layer",
        (layer,),
    )


def _behind(connection: Connection, delta: int, root: int) -> tuple[int, int]:
    """Users and rows of what is live that a delta hides."""
    return _sums(
        connection,
        "SELECT count(coalesce(o.rows, f.rows)), coalesce(sum(coalesce(o.rows, f.rows)), 0)::bigint"
        " FROM delta_lists AS d LEFT JOIN live_lists AS c ON c.user_id = d.user_id"
        " LEFT JOIN delta_lists AS o ON o.version = c.layer AND o.user_id = d.user_id"
        " LEFT JOIN full_lists AS f ON f.version = %s AND f.user_id = d.user_id AND c.user_id IS NULL WHERE d.version = %s",
        root,
        delta,
    )


def _hidden(connection: Connection, full: int) -> tuple[int, int]:
    """Users and rows of a full publication that are under what was carried over."""
    return _sums(
        connection,
        "SELECT count(*), coalesce(sum(l.rows), 0)::bigint FROM live_lists AS c"
        " JOIN full_lists AS l ON l.version = %s AND l.user_id = c.user_id",
        full,
    )


def _over(connection: Connection) -> tuple[int, int]:
    """Users and rows of what lies over the live version's full publication."""
    return _sums(
        connection,
        "SELECT count(*), coalesce(sum(l.rows), 0)::bigint FROM live_lists AS c"
        " JOIN delta_lists AS l ON l.version = c.layer AND l.user_id = c.user_id",
    )


def _later(connection: Connection, deltas: list[int], full: PublicationRecord) -> list[int]:
    """Those deltas that are as of a later time than a full publication."""
    found = connection.execute(
        "SELECT version FROM publication_log WHERE version = ANY(%s) AND as_of > %s", (deltas, full.as_of)
    ).fetchall()
    return [delta for delta in deltas if (delta,) in found]


def _sums(connection: Connection, query: str, *parameters: int) -> tuple[int, int]:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])
