"""The serving store in Redis: lists in memory, one key a user, for apps that read a great many homepages a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pyarrow as pa
from redis import exceptions

from serving import _checks, _rules
from serving._protocol import (
    Erased,
    Publication,
    PublicationRecord,
    PublishResult,
    Snapshot,
    Switch,
)
from serving._reads import SnapshotReads
from serving.redis import _erase
from serving.redis._keys import Keys
from serving.redis._log import Log, entry_of, switch_of
from serving.redis._publish import Publisher
from serving.redis._server import Pipeline, Server
from serving.redis._snapshot import Live, RedisSnapshot

__all__ = ["RedisStore"]


class RedisStore(SnapshotReads):
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
        self._clock = clock
        self._publisher = Publisher(
            self._server, self._keys, lease_seconds=lease_seconds, grace_seconds=grace_seconds, now=self._now
        )
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
            return self._publisher.publish(publication, batches, lists, keep_versions)

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
            try:
                return self._server.transact(Log.watched(self._keys), work)
            except exceptions.OutOfMemoryError:  # so nothing was done
                self._publisher.clear()
                return self._server.transact(Log.watched(self._keys), work)

    def erase(self, user_id: int) -> list[Erased]:
        """Remove a user's rows from every version in one transaction; in two, lists first, where the server has no memory left.

        See :meth:`serving.ServingStore.erase`. The server's files hold old bytes until it rewrites them: ``docs/redis.md``.
        """
        _checks.reading(1, user_id)
        return _erase.erase(self._server, self._keys, user_id, self._publisher.clear)

    # ------------------------------------------------------------------------------------------------------- reading

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open one consistent view of what is live now. Keep it short: see ``grace_seconds``."""
        with self._server.translated("read"):
            value = self._server.client.get(self._keys.live)
            yield RedisSnapshot(self._server.client, self._keys, self._live_of(value), self._server.where)

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

    def _live_of(self, value: bytes | None) -> Live | None:
        """Read what is live; parsed once for as long as it stays the same."""
        if value is None:
            return None
        seen = self._seen
        if seen is None or seen[0] != value:
            self._seen = seen = (value, Live.of(value))
        return seen[1]

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)
