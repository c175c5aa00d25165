"""The Redis store when its server's disk is full: the server then refuses all that is written, and goes on being read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
from redis import exceptions

from serving import RecommendationReader, StoreError
from serving.redis import RedisStore, _load
from tests.serving.builders import expected, fallback, publication, publish, rows, videos
from tests.serving.deltas import delta, of_hour
from tests.serving.disks import filled, small_disk
from tests.serving.redis_server import RedisServer, running

pytestmark = pytest.mark.slow

LEASE_SECONDS = 0.5
WRITTEN = {"snapshots": ("--save", "1", "1"), "aof": ("--appendonly", "yes")}
ADVICE = r"MISCONF .*; the server cannot write its files, .*: free its disk, .*; what was live still is"


@pytest.fixture(params=WRITTEN)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that writes its files to a disk of 8 MB."""
    with small_disk(tmp_path / "disk", 8), running(tmp_path / "disk", *WRITTEN[request.param]) as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, lease_seconds=LEASE_SECONDS, grace_seconds=0)


def await_writable(server: RedisServer, *, writable: bool) -> None:
    """Write until the server refuses it, or takes it again, which it tries after 5 s."""
    deadline = time.monotonic() + 20
    with server.client as client:
        while True:
            try:
                client.set("another application's", "1")
                found = True
            except exceptions.ResponseError as error:
                assert "MISCONF" in str(error)
                found = False
            if found is writable:
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


def keys(server: RedisServer) -> dict[bytes, bytes]:
    """Everything that the store has, but for what runs out by itself."""
    with server.client as client:
        names = {*client.scan_iter("reelflow:*"), *client.scan_iter("{reelflow}:*")}
        return {name: client.dump(name) for name in names if b":lease:" not in name}


def versions(server: RedisServer) -> set[int]:
    """The versions that have keys of their own."""
    with server.client as client:
        return {int(key.split(b":")[2]) for key in client.scan_iter("reelflow:*")}


def is_as_published(server: RedisServer) -> None:
    """Version 2, a delta over 1, is read whole by somebody who comes now."""
    other = RedisStore(server.url)
    pages = RecommendationReader(other).get_many([1, 3, 999])
    assert {page.version for page in pages.values()} == {2}
    assert [[row.video_id for row in pages[user].rows] for user in (1, 3)] == [expected(8, 1), of_hour(1)]
    assert pages[999].segment == "all"
    assert other.live() == other.publications()[-2]
    other.close()


def test_all_that_is_written_is_refused_and_changes_nothing(server: RedisServer, store: RedisStore) -> None:
    publish(store, 8, 1)
    delta(store, 1, (3, 4), base=1)
    writes: tuple[tuple[str, Callable[[], object]], ...] = (
        ("publish", lambda: publish(store, 9, 2)),
        ("erase a user", lambda: store.erase(3)),
        ("roll back", store.rollback),
        ("take a generation", store.next_generation),
    )
    with filled(server.folder):
        await_writable(server, writable=False)
        before = keys(server)
        for doing, write in writes:
            with pytest.raises(StoreError, match=f"cannot {doing}: {ADVICE}") as caught:
                write()
            assert len(str(caught.value).splitlines()) == 1
        assert keys(server) == before
        is_as_published(server)
    await_writable(server, writable=True)
    is_as_published(server)
    assert [(erased.version, erased.rows) for erased in store.erase(3)] == [(1, 5), (2, 5)]
    assert publish(store, 9, 2).status == "live"
    assert videos(store) == expected(9, 2)
    assert store.read(3, 9) != []


def test_what_was_being_loaded_is_never_live_and_is_removed_when_there_is_space(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_load, "_CHUNK_ROWS", 50)
    publish(store, 8, 1)
    delta(store, 1, (3, 4), base=1)
    with ExitStack() as full:

        def filling() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 2)
            full.enter_context(filled(server.folder))
            await_writable(server, writable=False)
            assert 3 in versions(server)
            yield from rows(9, 2, first_user=21)

        with pytest.raises(StoreError, match=f"cannot publish: {ADVICE}"):
            store.publish(publication(9, 2), filling(), fallback(9, 2), 3)
        assert versions(server) == {1, 2, 3}
        assert [str(record.status) for record in store.publications()] == ["loading", "live", "retired"]
        is_as_published(server)
    await_writable(server, writable=True)
    time.sleep(LEASE_SECONDS)
    assert publish(store, 10, 3).status == "live"
    assert [str(record.status) for record in store.publications()] == ["live", "failed", "retired", "removed"]
    assert versions(server) == {1, 2, 4}
    assert len(store.erase(3)) == 3


def test_server_that_must_write_every_change_stops_and_has_what_was_live_when_it_is_started_again(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", 8),
        running(tmp_path / "disk", "--appendonly", "yes", "--appendfsync", "always") as server,
    ):
        store = RedisStore(server.url, lease_seconds=LEASE_SECONDS, grace_seconds=0)
        publish(store, 8, 1)
        delta(store, 1, (3, 4), base=1)
        with filled(server.folder), pytest.raises(StoreError, match=r"cannot publish: .*start it or mend store\.url"):
            publish(store, 9, 2, users=500)
        assert server.process is not None
        assert server.process.wait(10) == 1
        server.start()
        is_as_published(server)
        time.sleep(LEASE_SECONDS)
        assert publish(store, 9, 2).status == "live"
