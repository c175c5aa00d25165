"""What a version of the SQLite store consists of: the rows of a full publication, and over them those of later deltas.

A *layer* is a version's own rows. A full publication is one layer; a delta lies over all layers of the version that was live,
and a user's list is the one in the topmost layer that has any. ``version_layers`` says this of every version that is kept;
``live_lists`` says, of the live one, which users' lists are not the full publication's. So both a publication and a read cost
what the delta costs, however many users there are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from serving._protocol import PublicationRecord, to_text

__all__ = ["lay", "layer_of", "layers", "layers_of", "newest_as_of", "point", "shows", "users_of"]


def newest_as_of(connection: sqlite3.Connection, version: int) -> str:
    """The latest ``as_of`` of any list that a kept version shows."""
    found = connection.execute(
        "SELECT max(q.as_of) FROM version_layers AS l JOIN publication_log AS q ON q.version = l.layer WHERE l.version = ?",
        (version,),
    ).fetchone()[0]
    return str(found or connection.execute("SELECT as_of FROM publication_log WHERE version = ?", (version,)).fetchone()[0])


def lay(connection: sqlite3.Connection, new: PublicationRecord, live: PublicationRecord | None) -> None:
    """Say what a version consists of that is about to become live, and count what its readers will see.

    A delta lies over everything that is live. Over a full publication stay those layers that know more: deltas as of a later
    time, which hours published while a day was computed.
    """
    below = layers(connection, live.version) if live is not None else []
    own = [*below, new.version] if new.base is not None else [new.version, *_later(connection, below[1:], new)]
    connection.executemany(
        "INSERT INTO version_layers (version, layer, position) VALUES (?, ?, ?)",
        [(new.version, layer, position) for position, layer in enumerate(own)],
    )
    connection.execute("UPDATE publication_log SET layers = ? WHERE version = ?", (len(own), new.version))
    if new.base is not None:
        assert live is not None
        users, rows = _behind(connection, new.version, new.root)
        _count(connection, new.version, live.users - users + new.users, live.rows - rows + new.rows)
        _put_on_top(connection, new.version)
    else:
        point(connection, new.version)
        if len(own) > 1:
            _count(connection, new.version, *_seen(connection, new))


def point(connection: sqlite3.Connection, version: int) -> None:
    """Let readers find the lists of a version's deltas."""
    connection.execute("DELETE FROM live_lists")
    for layer in layers(connection, version)[1:]:
        _put_on_top(connection, layer)


def layer_of(connection: sqlite3.Connection, live: PublicationRecord, user_id: int) -> int:
    """The version that wrote what a user's list is, of the live version."""
    if live.layers == 1:  # nothing lies over it; and a file of an older version has nothing to ask
        return live.root
    found = connection.execute("SELECT layer FROM live_lists WHERE user_id = ?", (user_id,)).fetchone()
    return int(found[0]) if found else live.root


def layers_of(connection: sqlite3.Connection, live: PublicationRecord, user_ids: Sequence[int]) -> dict[int, int]:
    """The version that wrote what each of these users' lists is, of the live version."""
    found = dict.fromkeys(map(int, user_ids), live.root)
    if live.layers > 1:
        wanted = json.dumps(list(found))
        asked = "SELECT user_id, layer FROM live_lists WHERE user_id IN (SELECT value FROM json_each(?))"
        found.update(connection.execute(asked, (wanted,)).fetchall())
    return found


def layers(connection: sqlite3.Connection, version: int) -> list[int]:
    """The layers of a kept version, the full publication's first."""
    found = connection.execute("SELECT layer FROM version_layers WHERE version = ? ORDER BY position", (version,))
    return [layer for (layer,) in found] or [version]


def shows(connection: sqlite3.Connection, held: Mapping[int, int]) -> dict[int, int]:
    """How many rows of a user each version that is kept shows, where it shows any; ``held`` says how many each layer has."""
    kept = connection.execute("SELECT version, layer FROM version_layers ORDER BY version, position")
    return {version: held[layer] for version, layer in kept if held.get(layer)}  # the topmost comes last


def users_of(connection: sqlite3.Connection, delta: int) -> list[int]:
    """The users whose live list is of this delta, ascending."""
    found = connection.execute("SELECT user_id FROM live_lists WHERE layer = ? ORDER BY user_id", (delta,))
    return [user for (user,) in found]


def _put_on_top(connection: sqlite3.Connection, layer: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO live_lists (user_id, layer) SELECT user_id, version FROM delta_lists WHERE version = ?",
        (layer,),
    )


def _behind(connection: sqlite3.Connection, delta: int, root: int) -> tuple[int, int]:
    """Users and rows of what is live that a delta hides."""
    found = connection.execute(
        "SELECT count(DISTINCT r.user_id), count(*) FROM delta_lists AS d LEFT JOIN live_lists AS c ON c.user_id = d.user_id"
        " CROSS JOIN recommendation_rows AS r ON r.version = coalesce(c.layer, ?) AND r.user_id = d.user_id"
        " WHERE d.version = ?",
        (root, delta),
    ).fetchone()
    return int(found[0]), int(found[1])


def _seen(connection: sqlite3.Connection, full: PublicationRecord) -> tuple[int, int]:
    """Users and rows that readers see of a full publication under what was carried over."""
    found = connection.execute(
        "SELECT count(DISTINCT r.user_id), count(*) FROM live_lists AS c"
        " CROSS JOIN recommendation_rows AS r ON r.version = ? AND r.user_id = c.user_id",
        (full.version,),
    ).fetchone()
    over = connection.execute(
        "SELECT count(DISTINCT r.user_id), count(*) FROM live_lists AS c"
        " CROSS JOIN recommendation_rows AS r ON r.version = c.layer AND r.user_id = c.user_id"
    ).fetchone()
    return full.users - int(found[0]) + int(over[0]), full.rows - int(found[1]) + int(over[1])


def _count(connection: sqlite3.Connection, version: int, users: int, rows: int) -> None:
    connection.execute("UPDATE publication_log SET users = ?, rows = ? WHERE version = ?", (users, rows, version))


def _later(connection: sqlite3.Connection, deltas: list[int], full: PublicationRecord) -> list[int]:
    """Those deltas that are as of a later time than a full publication."""
    found = connection.execute("SELECT version FROM publication_log WHERE as_of > ?", (to_text(full.as_of),))
    later = {version for (version,) in found}
    return [delta for delta in deltas if delta in later]
