"""The serving store in PostgreSQL: the same relations as in SQLite, for many machines at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
import pyarrow as pa

from serving import _checks, _rules
from serving._protocol import (
    Erased,
    Publication,
    PublicationRecord,
    PublishResult,
    Recommendation,
    Snapshot,
    Status,
    Switch,
    UserList,
)
from serving._reads import SnapshotReads
from serving.postgres import _layers, _lists, _load, _log
from serving.postgres._connection import Connection, ReaderPool, Server, alone

__all__ = ["PostgresStore"]

_LOG = logging.getLogger(__name__)


class PostgresStore(SnapshotReads):
    """A :class:`~serving.ServingStore` in schema ``reelflow`` of a database, made on the first write. Threads may share one."""

    def __init__(self, url: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._server = Server(url)
        self._clock = clock
        self._readers = ReaderPool(self._server)

    # ------------------------------------------------------------------------------------------------------- writing

    def next_generation(self) -> int:
        """Return a number higher than every one returned before, to whichever process."""
        with self._writing("take a generation") as connection:
            row = connection.execute("UPDATE generation_counter SET value = value + 1 RETURNING value").fetchone()
            assert row is not None
            return int(row[0])

    def publish(
        self, publication: Publication, batches: Iterable[pa.RecordBatch], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """Load a version beside the live one, verify it, and make it live in one transaction if it is the newest.

        See :meth:`serving.ServingStore.publish`. A publisher that dies at any point leaves what was live; the next one
        clears up behind it.
        """
        delta = publication.base is not None

        def load(connection: Connection, version: int) -> int:
            return _load.load(connection, version, batches, delta=delta)

        return self._publish(publication, load, fallback, keep_versions)

    def publish_parts(
        self, publication: Publication, spread: Callable[[int], int], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """As :meth:`publish`, from many processes or machines at once.

        See :meth:`serving.ParallelStore.publish_parts`.
        """
        delta = publication.base is not None

        def load(connection: Connection, version: int) -> int:
            said = spread(version)
            _load.settle(connection, version, delta=delta)
            return said

        return self._publish(publication, load, fallback, keep_versions)

    def load_part(self, version: int, part: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Load some rows of a version, all or none of them, once; see :meth:`serving.ParallelStore.load_part`."""
        with self._writing("load a part") as connection:
            delta = _log.record(connection, version).base is not None
            return _load.load_part(connection, version, part, batches, delta=delta)

    def rollback(self, to_version: int | None = None, *, reason: str = "") -> PublicationRecord:
        """Make a kept version live again, mark every newer one as rolled back, and record it.

        See :meth:`serving.ServingStore.rollback`. A version that was itself rolled back can be named until the next
        publication; it then goes live again, and what was live meanwhile is retired.
        """
        with self._writing("roll back") as connection, alone(connection):
            return _log.roll_back(connection, to_version, at=self._now(), reason=reason)

    def erase(self, user_id: int) -> list[Erased]:
        """Remove a user's lists from every version in one transaction.

        See :meth:`serving.ServingStore.erase`. The server overwrites the bytes when it vacuums the tables next.
        """
        _checks.reading(1, user_id)
        with self._writing("erase a user") as connection, alone(connection):
            return _lists.erase(connection, user_id)

    # ------------------------------------------------------------------------------------------------------- reading

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open one consistent view of what is live now."""
        with self._readers.lend(_log.LIVE) as (connection, rows):
            yield _PostgresSnapshot(connection, _log.of_row(rows[0]) if rows else None)

    def publications(self) -> list[PublicationRecord]:
        """Return every version that was ever begun, newest first."""
        with self._readers.lend(_log.LIVE) as (connection, _):
            return _log.records(connection) if connection else []

    def switches(self) -> list[Switch]:
        """Return every change of the live version, newest first."""
        with self._readers.lend(_log.LIVE) as (connection, _):
            return _log.switches(connection) if connection else []

    def close(self) -> None:
        """Close the connections that are not in use; the store opens new ones when it is used again."""
        self._readers.close()

    # -------------------------------------------------------------------------------------- the steps of a publication

    def _publish(
        self, publication: Publication, load: Callable[[Connection, int], int], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """Publish what ``load`` writes to the version that it is given; it returns how many rows were handed in."""
        _rules.refuse_negative(keep_versions)
        lists = _checks.fallback_rows(fallback)
        with self._writing("publish") as connection:
            version, claimed = self._claim(connection, publication)
            self._clear(connection)
            if claimed is Status.SUPERSEDED:
                return PublishResult(version=version, status=claimed, users=0, rows=0)
            try:
                _load.load_fallback(connection, version, lists)
                loaded = self._verify(connection, version, load(connection, version))
                status = self._switch(connection, version, publication, keep_versions)
            except BaseException:
                self._abandon(connection, version)
                raise
            self._clear(connection)
        return PublishResult(version=version, status=status, users=loaded.users, rows=loaded.rows)

    def _claim(
        self, connection: Connection, publication: Publication
    ) -> tuple[int, Literal[Status.LOADING, Status.SUPERSEDED]]:
        """Enter the publication in the log, with its lease, and bury the dead; superseded where something newer is live."""
        with alone(connection):
            _log.bury(connection)
            if not _log.is_newest(connection, publication):
                return _log.enter(connection, publication, Status.SUPERSEDED), Status.SUPERSEDED
            version = _log.enter(connection, publication, Status.LOADING)
            if publication.base is None:
                _lists.make_room(connection, version)
            return version, Status.LOADING

    def _verify(self, connection: Connection, version: int, said: int) -> PublicationRecord:
        """Compare what the server took with what was handed in; every list was judged when it was packed.

        Raises:
            StoreError: rows are missing.
        """
        found = _log.record(connection, version)
        _rules.refuse_incomplete(version, found.rows, said, delta=found.base is not None)
        return found

    def _switch(
        self, connection: Connection, version: int, publication: Publication, keep_versions: int
    ) -> Literal[Status.LIVE, Status.SUPERSEDED]:
        """Make a loaded version live if it still is the newest: the one transaction that readers notice."""
        with alone(connection):
            _log.refuse_unless_loading(connection, version)
            if not _log.is_newest(connection, publication):
                _log.set_status(connection, version, Status.SUPERSEDED)
                return Status.SUPERSEDED
            _lists.erase_noted(connection, version)
            _log.activate(connection, version, self._now())
            _log.retire_old(connection, keep_versions)
            return Status.LIVE

    def _abandon(self, connection: Connection, version: int) -> None:
        """Mark a version as failed and remove its rows; left to the next publisher where the server refuses."""
        with suppress(psycopg.Error), alone(connection):
            connection.execute(
                "UPDATE publication_log SET status = 'failed' WHERE version = %s AND status = 'loading'", (version,)
            )
        self._clear(connection)

    def _clear(self, connection: Connection) -> None:
        """Remove the rows of versions that nobody will read again.

        A failure is logged, not raised: what is live is not touched, and the next publisher tries again.
        """
        try:
            _lists.remove(connection)
        except psycopg.Error as error:
            _LOG.warning(
                "store %s: rows of old versions were not removed (%s); the next publication will", self._server.name, error
            )

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

    @contextmanager
    def _writing(self, doing: str) -> Iterator[Connection]:
        connection = self._server.open_writer()
        try:
            with self._server.translated(doing):
                yield connection
        finally:
            connection.close()


class _PostgresSnapshot:
    """Reads within the read transaction of one connection; None while there is no store."""

    def __init__(self, connection: Connection | None, live: PublicationRecord | None) -> None:
        self._connection = connection
        self.live = live

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` recommendations by rank."""
        found = self.read_lists([user_id], k).get(user_id)
        return list(found.rows) if found is not None else []

    def read_lists(self, user_ids: Sequence[int], k: int) -> dict[int, UserList]:
        """Return the first ``k`` recommendations of each of these users who has any."""
        _checks.reading(k, *user_ids)
        if self._connection is None or self.live is None or not user_ids:
            return {}
        return _lists.of_users(self._connection, self.live, user_ids, k)

    def published_by(self, user_id: int) -> PublicationRecord | None:
        """Return the publication that a user's list is of; the live one's root for a user who has none."""
        _checks.reading(1, user_id)
        if self._connection is None or self.live is None:
            return None
        found = self.read_lists([user_id], 1).get(user_id)
        return _log.record(self._connection, self.live.root) if found is None else found.publication

    def publications(self) -> list[PublicationRecord]:
        """Return the publications whose lists it shows: the full one, and the deltas over it."""
        if self._connection is None or self.live is None:
            return []
        layers = _layers.layers(self._connection, self.live.version)
        return [_log.record(self._connection, layer) for layer in layers]

    def users_of(self, delta: int) -> list[int]:
        """Return the users whose list is of this delta, ascending."""
        return _layers.users_of(self._connection, delta) if self._connection is not None else []

    def showing(self, video_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return user and video of every row that shows one of these videos."""
        if self._connection is None or self.live is None:
            return []
        return _lists.showing(self._connection, self.live, video_ids)

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` videos by rank."""
        _checks.reading(k)
        if self._connection is None or self.live is None:
            return []
        return _lists.read_fallback(self._connection, self.live.version, segment, k)

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of a video's row in a user's list; None where it is not in it."""
        _checks.reading(1, user_id)
        if self._connection is None or self.live is None:
            return None
        return _lists.read_row(self._connection, self.live, user_id, video_id)
