"""The serving store in one SQLite file: plain SQL for every app, write-ahead logging so that readers never wait."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from serving import _checks, _rules
from serving._lease import Lease, held
from serving._protocol import (
    Erased,
    Publication,
    PublicationRecord,
    PublishResult,
    Recommendation,
    Snapshot,
    Status,
    Switch,
    UnfinishedErasureError,
    UserList,
    to_text,
)
from serving._reads import SnapshotReads
from serving.sqlite import _layers, _log, _rows
from serving.sqlite._file import WRITER_WAIT_SECONDS, ReaderPool, open_writer, transaction, translated

__all__ = ["SqliteStore"]

_LOG = logging.getLogger(__name__)


class SqliteStore(SnapshotReads):
    """A :class:`~serving.ServingStore` in a SQLite file, made on the first write. Threads may share one."""

    def __init__(self, path: Path | str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = Path(path)
        self._clock = clock
        self._readers = ReaderPool(self.path)

    # ------------------------------------------------------------------------------------------------------- writing

    def next_generation(self) -> int:
        """Return a number higher than every one returned before, to whichever process."""
        with self._writing("take a generation") as connection, transaction(connection):
            connection.execute("UPDATE generation_counter SET value = value + 1")
            return int(connection.execute("SELECT value FROM generation_counter").fetchone()[0])

    def publish(
        self, publication: Publication, batches: Iterable[pa.RecordBatch], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """Load a version beside the live one, verify it, and make it live in one transaction if it is the newest.

        See :meth:`serving.ServingStore.publish`. A publisher that dies at any point leaves what was live; the next one
        clears up behind it.
        """
        _rules.refuse_negative(keep_versions)
        lists = _checks.fallback_rows(fallback)
        with self._writing("publish") as connection:
            version, lease = self._claim(connection, publication)
            self._clear(connection)
            if lease is None:
                return PublishResult(version=version, status=Status.SUPERSEDED, users=0, rows=0)
            try:
                _rows.load_fallback(connection, version, lists)
                said = _rows.load(connection, version, batches)
                users, rows = _rows.verify(connection, version, said)
                status = self._switch(connection, version, publication, keep_versions)
            except BaseException:
                self._abandon(connection, version)
                raise
            finally:
                lease.release()
            self._clear(connection)
        return PublishResult(version=version, status=status, users=users, rows=rows)

    def rollback(self, to_version: int | None = None, *, reason: str = "") -> PublicationRecord:
        """Make a kept version live again, mark every newer one as rolled back, and record it.

        See :meth:`serving.ServingStore.rollback`. A version that was itself rolled back can be named until the next
        publication; it then goes live again, and what was live meanwhile is retired.
        """
        with self._writing("roll back") as connection, _durably(connection), transaction(connection):
            return _log.roll_back(connection, to_version, at=self._now(), reason=reason)

    def erase(self, user_id: int) -> list[Erased]:
        """Remove a user's rows from every version in one transaction, and from the file's free pages.

        See :meth:`serving.ServingStore.erase`.
        """
        _checks.reading(1, user_id)
        if not self.path.exists():
            return []
        with self._writing("erase a user") as connection:
            with _durably(connection), transaction(connection):
                found = _rows.erase(connection, user_id)
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # old pages are there until then
        if busy:
            raise UnfinishedErasureError(
                f"store {self.path}: the user's rows are deleted, but their bytes are still in the file: a reader has held a "
                f"snapshot open for {WRITER_WAIT_SECONDS} s or more; end that program, then erase the user again",
                found,
            )
        return found

    # ------------------------------------------------------------------------------------------------------- reading

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open one consistent view of what is live now."""
        with self._readers.lend() as connection:
            yield _SqliteSnapshot(connection)

    def publications(self) -> list[PublicationRecord]:
        """Return every version that was ever begun, newest first."""
        with self._readers.lend() as connection:
            return _log.records(connection) if connection else []

    def switches(self) -> list[Switch]:
        """Return every change of the live version, newest first."""
        with self._readers.lend() as connection:
            return _log.switches(connection) if connection else []

    def close(self) -> None:
        """Close the connections that are not in use; the store opens new ones when it is used again."""
        self._readers.close()

    # -------------------------------------------------------------------------------------- the steps of a publication

    def _claim(self, connection: sqlite3.Connection, publication: Publication) -> tuple[int, Lease | None]:
        """Enter the publication in the log and take its lease; no lease where something newer is live already.

        One transaction does this and buries the dead, so no publisher can be seen between its entry and its lease.
        """
        lease = None
        try:
            with transaction(connection):
                self._bury(connection)
                if not _log.is_newest(connection, publication):
                    return _log.enter(connection, publication, Status.SUPERSEDED), None
                version = _log.enter(connection, publication, Status.LOADING)
                lease = Lease.take(self._lock(version))
        except BaseException:
            if lease is not None:
                lease.release()
            raise
        return version, lease

    def _bury(self, connection: sqlite3.Connection) -> None:
        """Mark as failed what publishers were loading that live no more, and remove their lock files."""
        for version in _log.loading(connection):
            if not held(self._lock(version)):
                _log.set_status(connection, version, Status.FAILED)
        for file in self.path.parent.glob(f"{escape(self.path.name)}.publisher-*.lock"):
            if not held(file):
                file.unlink(missing_ok=True)

    def _switch(
        self, connection: sqlite3.Connection, version: int, publication: Publication, keep_versions: int
    ) -> Literal[Status.LIVE, Status.SUPERSEDED]:
        """Make a loaded version live if it still is the newest: the one transaction that readers notice."""
        with _durably(connection), transaction(connection):
            _rows.refuse_unless_loading(connection, version)
            if not _log.is_newest(connection, publication):
                _log.set_status(connection, version, Status.SUPERSEDED)
                return Status.SUPERSEDED
            _log.activate(connection, version, self._now())
            _log.retire_old(connection, keep_versions)
            return Status.LIVE

    def _abandon(self, connection: sqlite3.Connection, version: int) -> None:
        """Mark a version as failed and remove its rows; left to the next publisher where the file refuses."""
        with suppress(sqlite3.Error), transaction(connection):
            if version in _log.loading(connection):
                _log.set_status(connection, version, Status.FAILED)
        self._clear(connection)

    def _clear(self, connection: sqlite3.Connection) -> None:
        """Delete the rows of versions that nobody will read again.

        A failure is logged, not raised: what is live is not touched, and the next publisher tries again.
        """
        try:
            _rows.delete(connection)
        except sqlite3.Error as error:
            _LOG.warning("store %s: rows of old versions were not removed (%s); the next publication will", self.path, error)

    def _now(self) -> str:
        return to_text(self._clock().replace(microsecond=0))

    def _lock(self, version: int) -> Path:
        return self.path.with_name(f"{self.path.name}.publisher-{version}.lock")

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        connection = open_writer(self.path)
        try:
            with translated(self.path, doing):
                yield connection
        finally:
            with suppress(sqlite3.Error):
                connection.close()


class _SqliteSnapshot:
    """Reads within the read transaction of one connection."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self.live = _log.live(connection) if connection else None

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` recommendations by rank."""
        _checks.reading(k, user_id)
        if self._connection is None or self.live is None:
            return []
        return _rows.read(self._connection, _layers.layer_of(self._connection, self.live, user_id), user_id, k)

    def read_lists(self, user_ids: Sequence[int], k: int) -> dict[int, UserList]:
        """Return the first ``k`` recommendations of each of these users who has any."""
        _checks.reading(k, *user_ids)
        if self._connection is None or self.live is None:
            return {}
        layers = _layers.layers_of(self._connection, self.live, user_ids)
        known = {layer: self._of(layer) for layer in sorted(set(layers.values()))}
        found = ((user, _rows.read(self._connection, layer, user, k)) for user, layer in layers.items())
        return {user: UserList(tuple(rows), known[layers[user]]) for user, rows in found if rows}

    def published_by(self, user_id: int) -> PublicationRecord | None:
        """Return the publication that a user's list is of; the live one's root for a user who has none."""
        _checks.reading(1, user_id)
        if self._connection is None or self.live is None:
            return None
        layer = _layers.layer_of(self._connection, self.live, user_id)
        return self._of(layer)

    def publications(self) -> list[PublicationRecord]:
        """Return the publications whose lists it shows: the full one, and the deltas over it."""
        if self._connection is None or self.live is None:
            return []
        if self.live.layers == 1:
            return [self.live]
        layers = _layers.layers(self._connection, self.live.version)
        return [_log.record(self._connection, layer) for layer in layers]

    def users_of(self, delta: int) -> list[int]:
        """Return the users whose list is of this delta, ascending."""
        if self._connection is None or self.live is None or self.live.layers == 1:
            return []
        return _layers.users_of(self._connection, delta)

    def showing(self, video_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return user and video of every row that shows one of these videos."""
        return _rows.showing(self._connection, video_ids) if self._connection is not None else []

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` videos by rank."""
        _checks.reading(k)
        if self._connection is None or self.live is None:
            return []
        return _rows.read_fallback(self._connection, self.live.version, segment, k)

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of a video's row in a user's list; None where it is not in it."""
        _checks.reading(1, user_id)
        if self.live is None or self._connection is None:
            return None
        layer = _layers.layer_of(self._connection, self.live, user_id)
        return _rows.read_row(self._connection, layer, user_id, video_id)

    def _of(self, layer: int) -> PublicationRecord:
        """The publication that wrote a layer."""
        assert self._connection is not None
        assert self.live is not None
        return self.live if layer == self.live.version else _log.record(self._connection, layer)


@contextmanager
def _durably(connection: sqlite3.Connection) -> Iterator[None]:
    """Let commits inside survive a power cut, together with everything loaded before."""
    connection.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA synchronous = NORMAL")
