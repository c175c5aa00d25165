"""The serving store in Redis: lists in memory, one key a user, for apps that read a great many homepages a second."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import pyarrow as pa
from redis import exceptions

from schemas import columns as col
from serving import _checks, _redis_layers, _redis_users, _redis_values, _rules
from serving._protocol import (
    Erased,
    Publication,
    PublicationRecord,
    PublishResult,
    Recommendation,
    Snapshot,
    Status,
    Switch,
)
from serving._redis_keys import Keys
from serving._redis_lease import Lease, take
from serving._redis_load import Load
from serving._redis_log import Log, entry_of, refuse_unless_loading, switch_of
from serving._redis_server import Pipeline, Server
from serving._redis_snapshot import Live, RedisSnapshot

__all__ = ["RedisStore"]

_LOG = logging.getLogger(__name__)


class RedisStore:
    """A :class:`~serving.ServingStore` in a database of a Redis server. Threads may share one."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "reelflow",
        lease_seconds: float = 30.0,
        grace_seconds: float = 60.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Connect when first used.

        Args:
            url: ``redis://``, ``rediss://`` or ``unix://``; the password is best given in ``REELFLOW_STORE_PASSWORD``.
            prefix: what keys begin with.
            lease_seconds: a publisher that gave no sign for so long is taken for dead.
            grace_seconds: lists stay at least so long after their version was let go of, for snapshots that read it.
            clock: what ``published_at`` and switches are written down by.

        Raises:
            StoreError: the URL is not one of Redis.
        """
        self._server = Server(url)
        self._keys = Keys(prefix)
        self._lease_seconds, self._grace_seconds, self._clock = lease_seconds, grace_seconds, clock
        self._seen: tuple[bytes, Live] | None = None

    # ------------------------------------------------------------------------------------------------------- writing

    def next_generation(self) -> int:
        """Return a number higher than every one returned before, to whichever process."""
        with self._server.translated("take a generation"):
            return int(self._server.client.incr(self._keys.generation))

    def publish(
        self, publication: Publication, batches: Iterable[pa.RecordBatch], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """Load a version beside the live one, verify it, and make it live in one transaction if it is the newest.

        See :meth:`serving.ServingStore.publish`. A publisher that dies at any point leaves what was live; one that comes when
        its lease has run out clears up behind it.
        """
        _rules.refuse_negative(keep_versions)
        lists = _checks.fallback_rows(fallback)
        with self._server.translated("publish"):
            self._server.require()
            self._clear()  # first: a server without memory takes nothing in, but does remove
            version, status = self._claim(publication)
            if status is Status.SUPERSEDED:
                return PublishResult(version=version, status=status, users=0, rows=0)
            with Lease(self._server.client, self._keys, version, self._lease_seconds).renewed() as lease:
                claim = partial(self._note_users, version)
                load = Load(self._server.client, self._keys, version, claim=claim, go_on=lease.require)
                try:
                    self._load_fallback(version, lists)
                    load.run(batches)
                    users, rows = self._verify(version, load)
                    ended = self._switch(version, publication, keep_versions)
                except BaseException:
                    self._abandon(version, load)
                    raise
            self._clear()
        return PublishResult(version=version, status=ended, users=users, rows=rows)

    def rollback(self, to_version: int | None = None, *, reason: str = "") -> PublicationRecord:
        """Make a kept version live again, mark every newer one as rolled back, and record it.

        See :meth:`serving.ServingStore.rollback`. A version that was itself rolled back can be named until the next
        publication; it then goes live again, and what was live meanwhile is retired.
        """

        def work(pipe: Pipeline) -> PublicationRecord:
            log = Log(pipe, self._keys)
            record = log.roll_back(to_version, at=self._now(), reason=reason)
            pipe.multi()
            log.write(pipe, self._keys)
            return record

        with self._server.translated("roll back"):
            return self._server.transact(Log.watched(self._keys), work)

    def erase(self, user_id: int) -> list[Erased]:
        """Remove a user's rows from every version in one transaction.

        See :meth:`serving.ServingStore.erase`. The server's files hold old bytes until it rewrites them: ``docs/redis.md``.
        """
        _checks.reading(1, user_id)
        client, keys = self._server.client, self._keys

        def work(pipe: Pipeline) -> list[Erased]:
            log = Log(pipe, self._keys)
            names = [name for version in log.held for name in keys.of_users(version, [user_id])]
            if not names:
                return []
            pipe.watch(*names)  # a publisher may be writing them
            held = dict(zip(log.held, map(_redis_values.count, pipe.mget(names[::2])), strict=True))
            pieces = {version: _redis_users.without(client, keys, version, user_id) for version in log.held if held[version]}
            _redis_layers.erase(log, held)
            pipe.multi()
            pipe.delete(*names)
            for version, without in pieces.items():
                for number, users in without:
                    _redis_users.note(pipe, keys, version, number, users)
            log.write(pipe, keys)
            return [Erased(version, rows) for version, rows in held.items() if rows]

        with self._server.translated("erase a user"):
            return self._server.transact(Log.watched(keys), work)

    # ------------------------------------------------------------------------------------------------------- reading

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open one consistent view of what is live now. Keep it short: see ``grace_seconds``."""
        with self._server.translated("read"):
            value = self._server.client.get(self._keys.live)
            yield RedisSnapshot(self._server.client, self._keys, self._live_of(value), self._server.where)

    def live(self) -> PublicationRecord | None:
        """Return the live version; None before the first publication."""
        with self.snapshot() as snapshot:
            return snapshot.live

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` live recommendations by rank; empty for a user who has none."""
        with self.snapshot() as snapshot:
            return snapshot.read(user_id, k)

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` live videos by rank; empty for a segment that has no list."""
        with self.snapshot() as snapshot:
            return snapshot.read_fallback(segment, k)

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of a video's row in a user's live list; None where it is not in it."""
        with self.snapshot() as snapshot:
            return snapshot.read_row(user_id, video_id)

    def publications(self) -> list[PublicationRecord]:
        """Return every version that was ever begun, newest first."""
        with self._server.translated("read"):
            found = [entry_of(value).record for value in self._server.client.hvals(self._keys.publications)]
        return sorted(found, key=lambda record: record.version, reverse=True)

    def switches(self) -> list[Switch]:
        """Return every change of the live version, newest first."""
        with self._server.translated("read"):
            return [switch_of(value) for value in self._server.client.lrange(self._keys.switches, 0, -1)]

    def close(self) -> None:
        """Close the connections; the store opens new ones when it is used again."""
        self._server.close()

    # -------------------------------------------------------------------------------------- the steps of a publication

    def _claim(self, publication: Publication) -> tuple[int, Literal[Status.LOADING, Status.SUPERSEDED]]:
        """Enter the publication in the log and take its lease; superseded where something newer is live already.

        One transaction does this and buries the dead, so no publisher can be seen between its entry and its lease.
        """

        def work(pipe: Pipeline) -> tuple[int, Literal[Status.LOADING, Status.SUPERSEDED]]:
            log = Log(pipe, self._keys)
            for version in log.with_status(Status.LOADING):
                if not pipe.exists(self._keys.lease(version)):
                    log.set_status(version, Status.FAILED)
            status: Literal[Status.LOADING, Status.SUPERSEDED]
            status = Status.LOADING if log.is_newest(publication) else Status.SUPERSEDED
            version = log.enter(publication, status)
            pipe.multi()
            log.write(pipe, self._keys)
            if status is Status.LOADING:
                pipe.sadd(self._keys.holding, version)
                take(pipe, self._keys.lease(version), self._lease_seconds)
            return version, status

        return self._server.transact(Log.watched(self._keys), work)

    def _load_fallback(self, version: int, lists: pa.Table) -> None:
        """Write the checked fallback lists, each as one value."""
        shown = [col.SEGMENT, col.RANK, col.VIDEO_ID, col.SCORE, col.SOURCES, col.REASON]
        by_segment: dict[str, list[tuple[Any, ...]]] = {}
        for segment, _, *row in sorted(zip(*_checks.values(lists.select(shown)), strict=True)):
            by_segment.setdefault(segment, []).append(tuple(row))
        values = {segment: _redis_values.encode_rows(rows) for segment, rows in by_segment.items()}
        with self._server.client.pipeline(transaction=True) as pipe:
            pipe.sadd(self._keys.holding, version)
            pipe.hset(self._keys.fallback(version), mapping=values)
            pipe.execute()

    def _note_users(self, version: int, number: int, users: _redis_users.Users) -> None:
        """Note whose lists come next, or refuse where another publisher has given the version up."""
        with self._server.client.pipeline(transaction=True) as pipe:
            pipe.sadd(self._keys.holding, version)  # again: a version that was cleared meanwhile is to be cleared once more
            _redis_users.note(pipe, self._keys, version, number, users)
            pipe.hget(self._keys.publications, str(version))
            *_, value = pipe.execute()
        refuse_unless_loading(version, _status(value))

    def _verify(self, version: int, load: Load) -> tuple[int, int]:
        """Compare what the server holds with what was handed in; note and return its users and rows.

        Raises:
            StoreError: rows are missing, ranks have a gap, or a user has a video twice.
        """

        def work(pipe: Pipeline) -> tuple[int, int]:
            log = Log(pipe, self._keys)
            refuse_unless_loading(version, log.status(version))
            entry = log[version]
            users, rows = load.users + entry.own_users, load.rows + entry.own_rows  # less by who was erased
            _rules.refuse_incomplete(version, rows, load.rows, delta=entry.record.base is not None)
            _redis_layers.refuse_missing(version, load.missing() + 2 * entry.own_users)
            load.refuse_broken()
            log.change(replace(entry, own_users=users, own_rows=rows), users=users, rows=rows)
            pipe.multi()
            log.write(pipe, self._keys)
            return users, rows

        return self._server.transact(Log.watched(self._keys), work)

    def _switch(self, version: int, publication: Publication, keep_versions: int) -> Literal[Status.LIVE, Status.SUPERSEDED]:
        """Make a loaded version live if it still is the newest: the one transaction that readers notice."""

        def work(pipe: Pipeline) -> Literal[Status.LIVE, Status.SUPERSEDED]:
            log = Log(pipe, self._keys)
            refuse_unless_loading(version, log.status(version))
            newest = log.is_newest(publication)
            if newest:
                _redis_layers.lay(log, version, self._server.client, self._keys)
                log.activate(version, self._now())
                log.retire_old(keep_versions, self._seconds())
            else:
                log.set_status(version, Status.SUPERSEDED)
            pipe.multi()
            log.write(pipe, self._keys)
            if newest:
                pipe.set(self._keys.kept(version), "")
            return Status.LIVE if newest else Status.SUPERSEDED

        return self._server.transact(Log.watched(self._keys), work)

    def _abandon(self, version: int, load: Load) -> None:
        """Remove what was loaded and mark the version as failed; left to a later publisher where the server refuses."""

        def work(pipe: Pipeline) -> None:
            log = Log(pipe, self._keys)
            pipe.multi()
            pipe.unlink(self._keys.fallback(version))
            if log.status(version) is Status.LOADING:
                log.set_status(version, Status.FAILED)
                log.write(pipe, self._keys)

        with suppress(exceptions.RedisError):
            value = self._server.client.hget(self._keys.publications, str(version))
            if _status(value) in (Status.LOADING, Status.FAILED):  # first, so that there is memory for what follows
                load.remove()
            self._server.transact(Log.watched(self._keys), work)
        self._clear()

    def _clear(self) -> None:
        """Delete the lists of versions that nobody will read again.

        A failure is logged, not raised: what is live is not touched, and the next publisher tries again.
        """
        try:
            _redis_layers.clear(self._server, self._keys, self._seconds() - self._grace_seconds)
        except exceptions.RedisError as error:
            _LOG.warning(
                "store %s: lists of old versions were not removed (%s); the next publication will", self._server.where, error
            )

    def _live_of(self, value: bytes | None) -> Live | None:
        """Read what is live; parsed once for as long as it stays the same."""
        if value is None:
            return None
        seen = self._seen
        if seen is None or seen[0] != value:
            self._seen = seen = (value, Live.of(value))
        return seen[1]

    def _seconds(self) -> int:
        """The server's clock: that of every publisher."""
        return int(self._server.client.time()[0])

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)


def _status(value: bytes | None) -> Status | None:
    """Where a version stands, by what the log says of it."""
    return entry_of(value).record.status if value else None
