"""Removing a user from the Redis store: in one step, or in two where the server has no memory left and refuses what is written.

Without memory, deleting is not refused, so lists go in any case. What else knows the user, counts and the pieces of users, has
to be written. A server that cannot write its files refuses deleting too: nothing is done then, and it is to be done again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from redis import exceptions

from serving._protocol import Erased
from serving.redis import _layers, _users, _values
from serving.redis._keys import Keys
from serving.redis._log import Log
from serving.redis._server import Pipeline, Server

__all__ = ["erase"]


def erase(server: Server, keys: Keys, user_id: int, clear: Callable[[], None]) -> list[Erased]:
    """Remove a user's rows from every version; say how many each had, 0 where its list went before.

    Args:
        server: the server.
        keys: names of keys.
        user_id: who.
        clear: makes room where there is no memory.

    Raises:
        StoreError: the server refused, and nothing was removed; without memory, lists are removed and the rest is to be done by
            erasing again.
    """
    watched = Log.watched(keys)
    with server.translated("erase a user"):
        try:
            return server.transact(watched, lambda pipe: _remove(pipe, server, keys, user_id, {}))
        except exceptions.OutOfMemoryError:  # so nothing was done
            names, before = server.transact(watched, lambda pipe: _read_lists(pipe, keys, user_id))
            server.client.unlink(*names)  # not in a transaction, into which nothing is taken without memory
    clear()
    with server.translated("take a user out of the log, whose lists are removed"):
        return server.transact(watched, lambda pipe: _remove(pipe, server, keys, user_id, before))


def _remove(pipe: Pipeline, server: Server, keys: Keys, user_id: int, before: Mapping[int, int]) -> list[Erased]:
    """Put everything into a transaction; ``before`` tells the rows of lists that are removed already."""
    log = Log(pipe, keys)
    names, found = _lists(pipe, log, keys, user_id)
    rows = {version: count or before.get(version, 0) for version, count in found.items()}
    shown = log.shown(math.inf)  # there, users and lists belong together unless an erasure was broken off
    asked = [version for version in log.held if rows[version] or version in shown]
    pieces = {version: _users.without(server.client, keys, version, user_id) for version in asked}
    held = {version: rows[version] for version in asked if rows[version] or pieces[version]}
    _layers.erase(log, held)
    pipe.multi()
    if held:
        pipe.delete(*names)
        for version, without in pieces.items():
            for number, users in without:
                _users.note(pipe, keys, version, number, users)
        log.write(pipe, keys)
    return [Erased(version, count) for version, count in held.items()]


def _read_lists(pipe: Pipeline, keys: Keys, user_id: int) -> tuple[list[str], dict[int, int]]:
    """As :func:`_lists`, in a transaction that writes nothing."""
    found = _lists(pipe, Log(pipe, keys), keys, user_id)
    pipe.multi()
    return found


def _lists(pipe: Pipeline, log: Log, keys: Keys, user_id: int) -> tuple[list[str], dict[int, int]]:
    """A user's keys, watched, as a publisher may be writing them; and rows by version."""
    names = [name for version in log.held for name in keys.of_users(version, [user_id])]
    if not names:
        return [], {}
    pipe.watch(*names)
    return names, dict(zip(log.held, map(_values.count, pipe.mget(names[::2])), strict=True))
