"""Reading the Redis store: what was live when it was asked, for as long as its lists are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import _checks
from serving._protocol import PublicationRecord, Recommendation, UserList, VanishedVersionError
from serving.redis import _users, _values
from serving.redis._keys import Keys
from serving.redis._log import Entry, entry_of
from serving.redis._server import Client

__all__ = ["Live", "RedisSnapshot"]


@dataclass(frozen=True, slots=True)
class Live:
    """What the key ``live`` says."""

    entry: Entry
    layers: tuple[Entry, ...]
    """The publications whose lists it shows, topmost first."""

    @classmethod
    def of(cls, value: bytes) -> Live:
        """Read the key's value."""
        read = json.loads(value)
        layers = tuple(map(entry_of, read["publications"]))
        return cls(next(layer for layer in layers if layer.record.version == read["version"]), layers)


class RedisSnapshot:
    """One version; nothing is locked. Every read sees that the version is still there, in the same step."""

    def __init__(self, client: Client, keys: Keys, live: Live | None, where: str) -> None:
        self._client, self._keys, self._of_live, self._where = client, keys, live, where
        self._layers: dict[int, PublicationRecord] = {}

    @property
    def live(self) -> PublicationRecord | None:
        """The version that this snapshot reads; None before the first publication."""
        return self._of_live.entry.record if self._of_live else None

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` recommendations by rank."""
        found = self.read_lists([user_id], k)
        return list(found[user_id].rows) if found else []

    def read_lists(self, user_ids: Sequence[int], k: int) -> dict[int, UserList]:
        """Return the first ``k`` recommendations of each of these users who has any, in one round trip."""
        _checks.reading(k, *user_ids)
        lists = {}
        for user, (layer, value) in self._values(user_ids).items():
            self._layers[user] = layer
            lists[user] = UserList(tuple(_values.recommendations(value, k)), layer)
        return lists

    def published_by(self, user_id: int) -> PublicationRecord | None:
        """Return the publication that a user's list is of; the live one's root for a user who has none."""
        _checks.reading(1, user_id)
        if self._of_live is None:
            return None
        if user_id not in self._layers:
            layer, _ = self._values([user_id]).get(user_id, (self._of_live.layers[-1].record, b""))
            self._layers[user_id] = layer
        return self._layers[user_id]

    def publications(self) -> list[PublicationRecord]:
        """Return the publications whose lists it shows: the full one, and the deltas over it."""
        return [layer.record for layer in reversed(self._of_live.layers)] if self._of_live else []

    def users_of(self, delta: int) -> list[int]:
        """Return the users whose list is of this delta, ascending."""
        layers = [layer.record.version for layer in self._of_live.layers] if self._of_live else []
        if delta not in layers[:-1]:
            return []
        users = _users.users_of(self._client, self._keys, delta)
        for above in layers[: layers.index(delta)]:
            users = np.setdiff1d(users, _users.users_of(self._client, self._keys, above))
        self._refuse_unless_kept()
        return [int(user) for user in users]

    def showing(self, video_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return user and video of every row that shows one of these videos."""
        wanted, found = set(map(int, video_ids)), []
        above: set[int] = set()
        for layer in self._of_live.layers if self._of_live else ():
            for _, users in _users.pieces(self._client, self._keys, layer.record.version):
                own = [user for user in users.tolist() if user not in above]
                for part in _users.parts(len(own)):
                    values = self._client.mget([self._keys.list(layer.record.version, user) for user in own[part]])
                    for user, value in zip(own[part], values, strict=True):
                        shown = json.loads(value)["videos"] if value else ()
                        found += [(user, video) for video in shown if video in wanted]
                if layer.record.base is not None:
                    above.update(own)
        self._refuse_unless_kept()
        return sorted(found)

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` videos by rank."""
        _checks.reading(k)
        if self._of_live is None:
            return []
        value = self._client.hget(self._keys.fallback(self._of_live.entry.record.version), segment)
        if value is None:
            self._refuse_unless_kept()  # else there is no such list
            return []
        return _values.recommendations(value, k)

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of a video's row in a user's list; None where it is not in it."""
        _checks.reading(1, user_id)
        for _ in range(2):  # a list and its numbers are two reads, and an erasure may come between
            found = self._values([user_id]).get(user_id)
            if found is None:
                return None
            layer, value = found
            if why := self._client.get(self._keys.why(layer.version, user_id)):
                return _values.full_row(user_id, value, why, video_id)
        self._refuse_unless_kept()
        return None

    def _values(self, user_ids: Sequence[int]) -> dict[int, tuple[PublicationRecord, bytes]]:
        """Each user's topmost list, of those who have any, and the publication that it is of."""
        if self._of_live is None or not user_ids:
            return {}
        users = dict.fromkeys(map(int, user_ids))
        layers = [layer.record for layer in self._of_live.layers]
        names = [self._keys.list(layer.version, user) for layer in layers for user in users]
        # One command is one moment: whoever removes lists has removed the last of these keys before.
        *values, kept = self._client.mget([*names, self._keys.kept(self._of_live.entry.record.version)])
        if kept is None:
            raise self._gone()
        found: dict[int, tuple[PublicationRecord, bytes]] = {}
        for place, layer in enumerate(layers):
            of_layer = values[place * len(users) : (place + 1) * len(users)]
            for user, value in zip(users, of_layer, strict=True):
                if value is not None and user not in found:
                    found[user] = (layer, value)
        return found

    def _refuse_unless_kept(self) -> None:
        if self._of_live is not None and not self._client.exists(self._keys.kept(self._of_live.entry.record.version)):
            raise self._gone()

    def _gone(self) -> VanishedVersionError:
        assert self._of_live is not None
        return VanishedVersionError(
            f"store {self._where}: version {self._of_live.entry.record.version} was removed while a snapshot read it; expected "
            "snapshots to be short, as old versions go some time after others are live; open a new one and read again"
        )
