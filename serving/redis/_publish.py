"""How a version is published in the Redis store: claimed, loaded beside the live one, verified, switched, cleared up behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Literal

import pyarrow as pa
from redis import exceptions

from schemas import columns as col
from serving import _checks, _rules
from serving._protocol import Publication, PublishResult, Status, StoreError
from serving.redis import _layers, _users, _values
from serving.redis._attempt import Attempt
from serving.redis._keys import Keys
from serving.redis._lease import Lease, take
from serving.redis._load import Load
from serving.redis._log import Log
from serving.redis._server import Client, Pipeline, Server

__all__ = ["Publisher"]

_LOG = logging.getLogger(__name__)


class Publisher:
    """Publishes to one store."""

    def __init__(
        self, server: Server, keys: Keys, *, lease_seconds: float, grace_seconds: float, now: Callable[[], datetime]
    ) -> None:
        """Nothing is asked of the server yet.

        Args:
            server: where to.
            keys: names of keys.
            lease_seconds: a publisher that gave no sign for so long is taken for dead.
            grace_seconds: lists stay at least so long after their version was let go of.
            now: what switches are written down by, in whole seconds.
        """
        self._server, self._keys = server, keys
        self._lease_seconds, self._grace_seconds, self._now = lease_seconds, grace_seconds, now

    def publish(
        self, publication: Publication, batches: Iterable[pa.RecordBatch], lists: pa.Table, keep_versions: int
    ) -> PublishResult:
        """Load a version, with checked fallback lists, and make it live if it is the newest; see the store's ``publish``."""
        self._server.require()
        self.clear()  # first: a server without memory takes nothing in, but does remove
        attempt, status = self._claim(publication)
        version = attempt.version
        if status is Status.SUPERSEDED:
            return PublishResult(version=version, status=status, users=0, rows=0)
        lease = Lease(self._server, attempt, self._lease_seconds)
        with lease.renewed(), self._server.guarded(attempt.require_on) as client:
            claim = partial(self._note_users, client, attempt)
            load = Load(client, self._keys, version, claim=claim, go_on=lease.require)
            try:
                self._load_fallback(client, version, lists)
                load.run(batches)
                users, rows = self._verify(attempt, load)
                ended = self._switch(attempt, publication, keep_versions)
            except BaseException:
                self._abandon(attempt, load)
                raise
        self.clear()
        return PublishResult(version=version, status=ended, users=users, rows=rows)

    def _claim(self, publication: Publication) -> tuple[Attempt, Literal[Status.LOADING, Status.SUPERSEDED]]:
        """Enter the publication in the log and take its lease; superseded where something newer is live already.

        One transaction does this and buries the dead, so no publisher can be seen between its entry and its lease.
        """

        def work(pipe: Pipeline) -> tuple[Attempt, Literal[Status.LOADING, Status.SUPERSEDED]]:
            log = Log(pipe, self._keys)
            dead = [version for version in log.with_status(Status.LOADING) if not pipe.exists(self._keys.lease(version))]
            for version in dead:
                log.set_status(version, Status.FAILED)
            status: Literal[Status.LOADING, Status.SUPERSEDED]
            status = Status.LOADING if log.is_newest(publication) else Status.SUPERSEDED
            attempt = Attempt(self._keys, log.enter(publication, status))
            pipe.multi()
            log.write(pipe, self._keys)
            for version in dead:
                pipe.delete(self._keys.attempt(version))
            if status is Status.LOADING:
                pipe.sadd(self._keys.holding, attempt.version)
                pipe.set(attempt.key, attempt.token)
                take(pipe, self._keys.lease(attempt.version), self._lease_seconds)
            return attempt, status

        return self._server.transact(Log.watched(self._keys), work)

    def _load_fallback(self, client: Client, version: int, lists: pa.Table) -> None:
        """Write the checked fallback lists, each as one value."""
        shown = [col.SEGMENT, col.RANK, col.VIDEO_ID, col.SCORE, col.SOURCES, col.REASON]
        by_segment: dict[str, list[tuple[Any, ...]]] = {}
        for segment, _, *row in sorted(zip(*_checks.values(lists.select(shown)), strict=True)):
            by_segment.setdefault(segment, []).append(tuple(row))
        values = {segment: _values.encode_rows(rows) for segment, rows in by_segment.items()}
        with client.pipeline(transaction=True) as pipe:
            pipe.sadd(self._keys.holding, version)
            pipe.hset(self._keys.fallback(version), mapping=values)
            pipe.execute()

    def _note_users(self, client: Client, attempt: Attempt, number: int, users: _users.Users) -> None:
        """Note whose lists come next, or refuse where the version is not this publisher's any more."""
        with client.pipeline(transaction=True) as pipe:
            pipe.sadd(self._keys.holding, attempt.version)  # again: what was cleared meanwhile is to be cleared once more
            _users.note(pipe, self._keys, attempt.version, number, users)
            attempt.ask(pipe)
            *_, entry, token = pipe.execute()
        attempt.require(entry, token)

    def _verify(self, attempt: Attempt, load: Load) -> tuple[int, int]:
        """Compare what the server holds with what was handed in; note and return its users and rows.

        Raises:
            StoreError: rows are missing, ranks have a gap, or a user has a video twice.
        """
        version = attempt.version

        def work(pipe: Pipeline) -> tuple[int, int]:
            log = Log(pipe, self._keys)
            attempt.refuse_unless_own(log.status(version), pipe.get(attempt.key))
            entry = log[version]
            users, rows = load.users + entry.own_users, load.rows + entry.own_rows  # less by who was erased
            _rules.refuse_incomplete(version, rows, load.rows, delta=entry.record.base is not None)
            _layers.refuse_missing(version, load.missing() + 2 * entry.own_users)
            load.refuse_broken()
            log.change(replace(entry, own_users=users, own_rows=rows), users=users, rows=rows)
            pipe.multi()
            log.write(pipe, self._keys)
            return users, rows

        return self._server.transact(attempt.watched, work)

    def _switch(
        self, attempt: Attempt, publication: Publication, keep_versions: int
    ) -> Literal[Status.LIVE, Status.SUPERSEDED]:
        """Make a loaded version live if it still is the newest: the one transaction that readers notice."""
        version = attempt.version

        def work(pipe: Pipeline) -> Literal[Status.LIVE, Status.SUPERSEDED]:
            log = Log(pipe, self._keys)
            attempt.refuse_unless_own(log.status(version), pipe.get(attempt.key))
            newest = log.is_newest(publication)
            if newest:
                _layers.lay(log, version, self._server.client, self._keys)
                log.activate(version, self._now())
                log.retire_old(keep_versions, self._seconds())
            else:
                log.set_status(version, Status.SUPERSEDED)
            pipe.multi()
            log.write(pipe, self._keys)
            pipe.delete(attempt.key, self._keys.lease(version))
            if newest:
                pipe.set(self._keys.kept(version), "")
            return Status.LIVE if newest else Status.SUPERSEDED

        return self._server.transact(attempt.watched, work)

    def _abandon(self, attempt: Attempt, load: Load) -> None:
        """Give the version up, remove what was loaded, and mark it as failed; left to a later publisher where that is refused.

        In this order, as a server without memory marks nothing before something was removed. From the first step on the
        version cannot become live, however late a switch arrives whose reply was not waited for. Was it done, nothing is.
        """

        def bury(pipe: Pipeline) -> None:
            log = Log(pipe, self._keys)
            dead = log.status(attempt.version) is Status.LOADING and not pipe.exists(attempt.key)
            pipe.multi()
            if dead:
                log.set_status(attempt.version, Status.FAILED)
                log.write(pipe, self._keys)

        with suppress(exceptions.RedisError):
            if attempt.give_up(self._server.client):
                with suppress(StoreError):  # a new connection is refused now; then clearing up removes it
                    load.remove()
                self._server.transact(attempt.watched, bury)
        self.clear()

    def clear(self) -> None:
        """Delete the lists of versions that nobody will read again.

        A failure is logged, not raised: what is live is not touched, and the next publisher tries again.
        """
        try:
            _layers.clear(self._server, self._keys, self._seconds() - self._grace_seconds)
        except exceptions.RedisError as error:
            _LOG.warning(
                "store %s: lists of old versions were not removed (%s); the next publication will", self._server.where, error
            )

    def _seconds(self) -> int:
        """The server's clock: that of every publisher."""
        return int(self._server.client.time()[0])
