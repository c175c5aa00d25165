"""What a version of the Redis store consists of: the lists of a full publication, and over them those of later deltas.

A *layer* is a version's own lists. A user's list is the one in the topmost layer that has any, which a reader asks for all at
once. So a publication writes what it brings and nothing else, and a layer goes when nothing that is kept shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from serving import _rules
from serving._protocol import Status, StoreError
from serving.redis import _users
from serving.redis._keys import Keys
from serving.redis._log import Log
from serving.redis._server import Client, Pipeline, Server

__all__ = ["clear", "erase", "lay", "refuse_missing"]


def lay(log: Log, version: int, client: Client, keys: Keys) -> None:
    """Say what a version consists of that is about to become live, and count what its readers will see.

    A delta lies over everything that is live. Over a full publication stay those layers that know more: deltas as of a later
    time, which hours published while a day was computed.
    """
    new, live = log[version], log.live
    below = live.shows if live is not None else ()
    if new.record.base is not None:
        assert live is not None
        shows = (*below, version)
        own = _users.users_of(client, keys, version)
        hidden = _users.rows_seen(client, keys, below, own)
        users, rows = live.record.users, live.record.rows
        shown = (new.own_users, new.own_rows)
    else:
        later = _rules.later((log[delta].record for delta in below[1:]), new.record)
        shows = (version, *(delta.version for delta in later))
        over = [_users.users_of(client, keys, delta) for delta in shows[1:]]
        of_deltas = np.unique(np.concatenate(over)) if over else np.empty(0, np.int64)
        users, rows = new.own_users, new.own_rows
        hidden = _users.rows_seen(client, keys, shows[:1], of_deltas)
        shown = _users.rows_seen(client, keys, shows, of_deltas)
    log.change(
        replace(new, shows=shows),
        layers=len(shows),
        users=users - hidden[0] + shown[0],
        rows=rows - hidden[1] + shown[1],
    )


def erase(log: Log, held: Mapping[int, int]) -> None:
    """Take a user out of what versions say that they hold, and that their readers see.

    Args:
        log: all versions.
        held: how many rows of the user each has, by version; 0 where only the user was left of a list.
    """
    for version in log.with_status(*Status):
        entry = log[version]
        shown = [held[layer] for layer in reversed(entry.shows) if layer in held][:1]
        own = [held[version]] if version in held else []
        if shown or own:
            log.change(
                replace(entry, own_users=entry.own_users - len(own), own_rows=entry.own_rows - sum(own)),
                users=entry.record.users - len(shown),
                rows=entry.record.rows - sum(shown),
            )


def refuse_missing(version: int, values: int) -> None:
    """Refuse a version of which the server has lost something.

    Raises:
        StoreError: it has.
    """
    if values:
        raise StoreError(
            f"publication {version}: found {values} values fewer in the store than were written, expected none; nothing was "
            "published: see whether the server evicts keys, was restarted, or something else deletes them, then publish again"
        )


def clear(server: Server, keys: Keys, since: float) -> None:
    """Delete the lists of versions that nobody will read again: what failed, and what was let go of before ``since``.

    Lists of a version that is removed itself stay as long as a kept one shows them, its fallback lists do not. Nothing is
    deleted within a transaction: a server without memory takes no command into one.
    """

    def work(pipe: Pipeline) -> tuple[list[tuple[int, bool, bool]], list[int]]:
        """Which versions are dead, whether their lists are, and whether nobody need bury them; whose publishers are silent."""
        log = Log(pipe, keys)
        shown = log.shown(since)
        dead, silent = [], []
        for version in log.held:
            status = log.status(version)
            orphan = status is Status.LOADING and not pipe.exists(keys.attempt(version))
            gone = status is Status.REMOVED and (log[version].removed_at or 0) <= since
            if orphan or gone or status in (None, Status.FAILED, Status.SUPERSEDED):
                dead.append((version, version not in shown, not orphan))
            elif status is Status.LOADING and not pipe.exists(keys.lease(version)):
                silent.append(version)
        pipe.multi()
        return dead, silent

    while True:
        dead, silent = server.transact(Log.watched(keys), work)
        if not silent:
            break
        server.client.delete(*map(keys.attempt, silent))  # who wakes cannot switch now; who just did is not dead: look again
    if dead:  # readers are told first
        server.client.delete(*(keys.kept(version) for version, _, _ in dead))
    for version, lists, buried in dead:
        server.client.unlink(keys.fallback(version))
        if lists:
            _users.delete(server.client, keys, version)
            if buried:
                server.client.srem(keys.holding, version)
