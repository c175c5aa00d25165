"""Whose lists a version of the Redis store wrote: pieces of user ids, so that no key is ever searched for.

A piece is written before the lists of its users, so whatever a publisher that died has left can be found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from serving.redis._keys import Keys
from serving.redis._server import Client, Pipeline
from serving.redis._values import HEAD_BYTES, count

__all__ = ["Users", "delete", "note", "parts", "pieces", "rows_seen", "users_of", "without"]

Users = npt.NDArray[np.int64]
"""User ids, int64 (n_users,)."""

_AT_ONCE = 1_000
"""So many users are asked for, or removed, in one command or pipeline."""


def note(pipe: Pipeline, keys: Keys, version: int, number: int, users: Users) -> None:
    """Put a piece into a transaction."""
    pipe.set(keys.piece(version, number), users.astype("<i8").tobytes())
    bounds = f"{users.min()} {users.max()}" if len(users) else ""
    pipe.hset(keys.pieces(version), str(number), bounds)


def pieces(client: Client, keys: Keys, version: int) -> Iterator[tuple[int, Users]]:
    """Yield a version's pieces by number."""
    for number in sorted(map(int, client.hkeys(keys.pieces(version)))):
        yield number, np.frombuffer(client.get(keys.piece(version, number)) or b"", "<i8")


def without(client: Client, keys: Keys, version: int, user_id: int) -> list[tuple[int, Users]]:
    """The pieces that hold a user, by number, as they are without."""
    found = []
    for number, bounds in client.hgetall(keys.pieces(version)).items():
        first, _, last = bounds.partition(b" ")
        if bounds and int(first) <= user_id <= int(last):
            users = np.frombuffer(client.get(keys.piece(version, int(number))) or b"", "<i8")
            if user_id in users:
                found.append((int(number), users[users != user_id]))
    return found


def users_of(client: Client, keys: Keys, version: int) -> Users:
    """Everybody whose list a version wrote, ascending."""
    found = [users for _, users in pieces(client, keys, version)]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def rows_seen(client: Client, keys: Keys, layers: Sequence[int], users: Users) -> tuple[int, int]:
    """How many of these users a reader sees with a list, and how many rows.

    Args:
        client: the server.
        keys: names of keys.
        layers: the versions whose lists are shown, the full publication's first.
        users: who is asked for.
    """
    of = np.full(len(users), layers[0])
    for layer in layers[1:]:
        of[np.isin(users, users_of(client, keys, layer))] = layer
    seen, rows = 0, 0
    for part in parts(len(users)):
        pipe = client.pipeline(transaction=False)
        for user, layer in zip(users[part].tolist(), of[part].tolist(), strict=True):
            pipe.getrange(keys.list(layer, user), 0, HEAD_BYTES - 1)
        counts = [count(head) for head in pipe.execute()]
        seen += sum(map(bool, counts))
        rows += sum(counts)
    return seen, rows


def delete(client: Client, keys: Keys, version: int) -> None:
    """Remove a version's lists, and then what it knows of its users; a start at the end of one that was broken off."""
    for number, users in pieces(client, keys, version):
        for part in parts(len(users)):
            client.unlink(*keys.of_users(version, users[part].tolist()))
        with client.pipeline(transaction=False) as pipe:
            pipe.unlink(keys.piece(version, number))
            pipe.hdel(keys.pieces(version), str(number))
            pipe.execute()


def parts(length: int) -> Iterator[slice]:
    """Cut so many users into commands."""
    return (slice(start, start + _AT_ONCE) for start in range(0, length, _AT_ONCE))
