"""Loading a version into the Redis store: rows come in batches, go in as one value a user, and are checked on the way.

Rows that come by user and rank are written as they come, in bounded memory. From the first that does not, the rest is
collected and sorted; lists that were written before are then read back and written again with the rows that they lacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from schemas import RECOMMENDATIONS
from schemas import columns as col
from serving import _checks, _rules
from serving.redis import _users, _values
from serving.redis._keys import Keys
from serving.redis._server import Client
from serving.redis._users import Users

__all__ = ["Load"]

_CHUNK_ROWS = 50_000
_PART_ROWS = 10_000
_SENDERS = 2
"""So many threads encode and send: Arrow and the network let others go on meanwhile."""
_COMMAND_USERS = 20
"""Users whose lists one command sets. With one, sending costs twice as much; many keep other clients waiting."""

_ORDER = [(col.USER_ID, "ascending"), (col.RANK, "ascending")]


class Load:
    """The loading of one version by one publisher."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        version: int,
        *,
        claim: Callable[[int, Users], None],
        go_on: Callable[[], None],
    ) -> None:
        """Nothing is written yet.

        Args:
            client: the server.
            keys: names of keys.
            version: what is loaded.
            claim: notes a piece of users, before their lists are written, or refuses where the version was given up.
            go_on: asked before lists are written; refuses where this publisher may be taken for dead.
        """
        self._client, self._keys, self._version = client, keys, version
        self._claim, self._go_on = claim, go_on
        self._present = np.empty(0, np.int64)
        self._pieces = 0
        self._last: int | None = None
        self._broken: set[int] = set()
        self.rows = 0
        """Rows that were handed in."""
        self.users = 0
        """Users whose lists were written."""

    def run(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write all rows; a list is there when the next batch is asked for, but for the last user's, which may go on.

        Raises:
            StoreError: a row breaks a rule, or the version is not being loaded any more.
        """
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="reelflow-redis") as senders:
            for table in _by_user(_checks.chunks(batches, _CHUNK_ROWS)):
                self._write(table, senders)
                self.rows += table.num_rows

    def missing(self) -> int:
        """How many of the values that were written the server does not hold."""
        held = 0
        for _, users in _users.pieces(self._client, self._keys, self._version):
            for part in _users.parts(len(users)):
                held += int(self._client.exists(*self._keys.of_users(self._version, users[part].tolist())))
        return 2 * self.users - held

    def remove(self) -> None:
        """Remove what was written; where others cleared up already, what was written since."""
        _users.delete(self._client, self._keys, self._version)
        for part in _users.parts(len(self._present)):
            self._client.unlink(*self._keys.of_users(self._version, self._present[part].tolist()))

    def refuse_broken(self) -> None:
        """Refuse lists with a gap in the ranks or a video twice.

        Raises:
            StoreError: there is one.
        """
        first = []
        for user in sorted(self._broken)[: _checks.SHOWN]:
            rows = self._read([user])
            ranks = [row[col.RANK] for row in rows]
            told = {"user_id": user, "rows": len(rows), "first_rank": min(ranks), "last_rank": max(ranks)}
            first.append({**told, "distinct_videos": len({row[col.VIDEO_ID] for row in rows})})
        _rules.refuse_broken(len(self._broken), self.users, first)

    def _write(self, table: pa.Table, senders: ThreadPoolExecutor) -> None:
        """Write the lists of a table's users, of which none stands in the table before unless rows came out of order."""
        starts, broken = _examined(table)
        users = table[col.USER_ID].to_numpy()[starts[:-1]]
        known = self._known(users)
        if len(known):
            before = pa.Table.from_pylist(self._read(known.tolist()), schema=table.schema)
            table = pa.concat_tables([before, table]).sort_by(_ORDER).combine_chunks()
            starts, broken = _examined(table)
        new = np.setdiff1d(users, known, assume_unique=True) if len(known) else users
        self._present = users
        self._claim(self._pieces, new)
        self._pieces += 1
        self._last = max(int(users[-1]), users[-1] if self._last is None else self._last)
        self.users += len(new)
        self._broken.difference_update(known.tolist())
        self._broken.update(users[broken].tolist())
        step = max(1, _PART_ROWS * len(users) // table.num_rows)
        sent = []
        for first in range(0, len(users), step):
            bounds = starts[first : first + step + 1]
            part = table.slice(bounds[0], bounds[-1] - bounds[0])
            whole = not broken[first : first + step].any()
            own = users[first : first + step].tolist()
            sent.append(senders.submit(self._send, own, part, bounds - bounds[0], ranks=not whole))
        for done in sent:
            done.result()

    def _send(self, users: list[int], table: pa.Table, starts: Users, *, ranks: bool) -> None:
        """Encode lists and set them."""
        lists, whys = _values.encode(table, starts, ranks=ranks)
        self._go_on()
        names = self._keys.of_users(self._version, users)
        values = zip(names, chain.from_iterable(zip(lists, whys, strict=True)), strict=True)
        pipe = self._client.pipeline(transaction=False)
        while some := dict(islice(values, 2 * _COMMAND_USERS)):
            pipe.mset(some)
        pipe.execute()

    def _known(self, users: Users) -> Users:
        """Those users whose lists were written before; none while rows come in order."""
        asked = users[users <= self._last] if self._last is not None else users[:0]
        held = []
        for part in _users.parts(len(asked)):
            pipe = self._client.pipeline(transaction=False)
            for user in asked[part].tolist():
                pipe.exists(self._keys.list(self._version, user))
            held += pipe.execute()
        return asked[np.array(held, np.bool_)]

    def _read(self, users: list[int]) -> list[dict[str, Any]]:
        """Read lists back that this publisher wrote."""
        rows = []
        for part in _users.parts(len(users)):
            found = self._client.mget(list(self._keys.of_users(self._version, users[part])))
            for user, value, why in zip(users[part], found[::2], found[1::2], strict=True):
                rows += _values.full_rows(user, value, why) if value and why else []
        return rows


def _by_user(chunks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows in tables by user and rank, each with all rows of its users that follow each other."""
    held: pa.Table | None = None
    last: int | None = None
    for chunk in chunks:
        table = (pa.concat_tables([held, chunk]) if held is not None else chunk).combine_chunks()
        if not _ordered(table, last):
            rest = pa.concat_tables([table, *chunks]).sort_by(_ORDER).combine_chunks()
            yield from _cut(rest)
            return
        user_ids = table[col.USER_ID].to_numpy()
        cut = int(np.searchsorted(user_ids, user_ids[-1]))  # the last user's rows may go on in the next chunk
        held = table.slice(cut)
        if cut:
            last = int(user_ids[cut - 1])
            yield table.slice(0, cut)
    if held is not None:
        yield held


def _cut(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a sorted table between users."""
    user_ids = table[col.USER_ID].to_numpy()
    start = 0
    while start < len(user_ids):
        end = min(start + _CHUNK_ROWS, len(user_ids))
        end = int(np.searchsorted(user_ids, user_ids[end - 1], side="right"))
        yield table.slice(start, end - start)
        start = end


def _ordered(table: pa.Table, last: int | None) -> bool:
    """Whether rows come by user and rank, all of them after user ``last``."""
    users, ranks = table[col.USER_ID].to_numpy(), table[col.RANK].to_numpy()
    same = users[1:] == users[:-1]
    rising = (users[1:] > users[:-1]) | (same & (ranks[1:] >= ranks[:-1]))
    return bool(rising.all()) and (last is None or bool(users[0] > last))


def _examined(table: pa.Table) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Look at sorted lists: where each begins, and the end, int64 (n_users + 1,); whether each is broken, bool (n_users,).

    Raises:
        StoreError: a user's rank stands twice.
    """
    users, ranks, videos = (table[name].to_numpy() for name in (col.USER_ID, col.RANK, col.VIDEO_ID))
    same = users[1:] == users[:-1]
    twice = np.flatnonzero(same & (ranks[1:] == ranks[:-1]))
    if len(twice):
        raise _rules.second_row(table.slice(int(twice[0]) + 1, 1).select(RECOMMENDATIONS.columns).to_pylist()[0])
    starts = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(users)]])
    of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    wrong = ranks != np.arange(len(users)) - starts[of] + 1
    broken = np.zeros(len(starts) - 1, np.bool_)
    broken[of[wrong]] = True
    # Sorting one number a row tells a video that stands twice, in a tenth of the time of sorting two. Two rows with one number
    # are then looked at, so numbers that are alike by accident do no harm.
    mixed = np.sort(videos.view(np.uint64) * _ODD + of.astype(np.uint64) * _OTHER_ODD)
    if (mixed[1:] == mixed[:-1]).any():
        order = np.lexsort((videos, of))
        repeated = (of[order][1:] == of[order][:-1]) & (videos[order][1:] == videos[order][:-1])
        broken[of[order][1:][repeated]] = True
    return starts, broken


_ODD, _OTHER_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
