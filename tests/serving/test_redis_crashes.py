"""Publishers of the Redis store that die, are held up, or race, and readers that never notice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from redis import exceptions

from schemas.errors import ReelflowError
from serving import RecommendationReader
from serving.redis import RedisStore, _users, _values
from serving.redis._load import Load
from tests.serving.builders import day, expected, fallback, publication, publish, rows, videos
from tests.serving.deltas import delta, of_hour
from tests.serving.redis_publisher import LEASE_SECONDS
from tests.serving.redis_server import RedisServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, lease_seconds=LEASE_SECONDS, grace_seconds=0)


def start(server: RedisServer, number: int, generation: int, how: str, *, base: int = 0) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.serving.redis_publisher",
        server.url,
        *map(str, (number, generation, how, 1500, base)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=60)
    return process.returncode, out.strip(), error


def lists(server: RedisServer) -> set[int]:
    """The versions that have keys of their own."""
    with server.client as client:
        return {int(key.split(b":")[2]) for key in client.scan_iter("reelflow:*", count=1000)}


class TestDeath:
    @pytest.mark.parametrize(
        "how", ["die-noted", "die-loading", "die-loaded", "die-before-switch", "die-laying", "die-in-switch"]
    )
    @pytest.mark.parametrize("base", [0, 2])
    def test_killed_before_the_switch_leaves_what_was_live_whole(
        self, server: RedisServer, store: RedisStore, how: str, base: int
    ) -> None:
        publish(store, 8, 1)
        assert delta(store, 1, (1, 2), base=1).version == 2
        assert finish(start(server, 9, 3, how, base=base))[0] == -signal.SIGKILL
        live = store.live()
        assert live is not None
        assert (live.version, live.users) == (2, 20)
        assert [videos(store, user) for user in (1, 2, 3, 20)] == [of_hour(1), of_hour(1), expected(8, 1), expected(8, 1)]
        assert store.read(1500, 9) == []
        assert [str(record.status) for record in store.publications()] == ["loading", "live", "retired"]

        time.sleep(LEASE_SECONDS)
        assert delta(store, 2, (2, 3), base=2).status == "live"  # the next publisher clears up
        assert [str(record.status) for record in store.publications()] == ["live", "failed", "retired", "retired"]
        assert lists(server) == {1, 2, 4}
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(2), of_hour(2)]

    @pytest.mark.parametrize("how", ["die-switched", "die-deleting"])
    def test_killed_after_the_switch_leaves_the_new_version_whole(
        self, server: RedisServer, store: RedisStore, how: str
    ) -> None:
        publish(store, 8, 1)
        assert finish(start(server, 9, 2, how))[0] == -signal.SIGKILL
        assert [videos(store, user) for user in (1, 1500)] == [expected(9, 2, 100)] * 2
        publish(store, 10, 3, keep=0)
        assert lists(server) == {3}

    def test_killed_first_publisher_leaves_an_empty_store(self, server: RedisServer, store: RedisStore) -> None:
        assert finish(start(server, 9, 1, "die-loading"))[0] == -signal.SIGKILL
        assert store.live() is None
        with pytest.raises(ReelflowError, match="nothing has been published yet"):
            RecommendationReader(store).get(1)
        time.sleep(LEASE_SECONDS)
        assert publish(store, 9, 2).status == "live"
        assert lists(server) == {2}


class TestLeases:
    def test_living_publisher_is_not_cleared_up_by_another(self, server: RedisServer, store: RedisStore) -> None:
        publish(store, 7, 1)
        slow = start(server, 9, 2, "wait")
        assert slow.stdout is not None
        assert slow.stdout.readline() == "waiting\n"
        time.sleep(2 * LEASE_SECONDS)  # it does nothing, but lives
        assert publish(store, 8, 3).status == "live"
        assert [str(record.status) for record in store.publications()] == ["live", "loading", "retired"]
        out, _ = slow.communicate("go on\n", timeout=60)
        assert (slow.returncode, out.strip()) == (0, "live")
        assert videos(store, 1500) == expected(9, 2, 100)

    def test_publisher_that_was_taken_for_dead_is_refused_and_leaves_nothing(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        publish(store, 7, 1)
        held_up = start(server, 9, 2, "wait")
        assert held_up.stdout is not None
        assert held_up.stdout.readline() == "waiting\n"
        assert 2 in lists(server)
        held_up.send_signal(signal.SIGSTOP)
        time.sleep(2 * LEASE_SECONDS)
        assert publish(store, 8, 3).status == "live"
        assert lists(server) == {1, 3}
        held_up.send_signal(signal.SIGCONT)
        _, error = held_up.communicate("go on\n", timeout=60)
        assert held_up.returncode == 2
        assert "publication 2: found" in error
        assert "Traceback" not in error
        assert lists(server) == {1, 3}
        assert [str(record.status) for record in store.publications()] == ["live", "failed", "retired"]
        with server.client as client:
            assert client.exists("{reelflow}:lease:2") == 0

    @pytest.mark.parametrize("how", ["stop-before-switch", "stop-in-switch"])
    def test_publisher_that_wakes_while_its_lists_are_removed_does_not_switch(
        self, server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        publish(store, 8, 1)
        held_up = start(server, 9, 2, how)
        stopped = os.waitpid(held_up.pid, os.WUNTRACED)[1]
        assert os.WIFSTOPPED(stopped)
        time.sleep(1.5 * LEASE_SECONDS)
        ends, delete = [], _users.delete

        def woken(client: redis.Redis, keys: object, version: int) -> None:
            if not ends:
                held_up.send_signal(signal.SIGCONT)
                ends.append((version, *finish(held_up)))
            delete(client, keys, version)  # type: ignore[arg-type]

        monkeypatch.setattr(_users, "delete", woken)
        assert publish(store, 7, 3).status == "superseded"
        ((version, code, _, error),) = ends
        assert (version, code) == (2, 2)
        assert "publication 2: found status failed, expected loading; another publisher took this one for dead" in error
        assert [str(record.status) for record in store.publications()] == ["superseded", "failed", "live"]
        assert videos(store) == expected(8, 1)
        assert lists(server) == {1}

    def test_of_two_racing_processes_the_newer_wins(self, server: RedisServer, store: RedisStore) -> None:
        racers = {number: start(server, number, number, "run") for number in (9, 8)}
        ends = {number: finish(process) for number, process in racers.items()}
        assert ends[9][:2] == (0, "live"), ends
        assert ends[8][0] == 0, ends
        assert ends[8][1] in ("live", "superseded")
        assert videos(store, 1500) == expected(9, 9, 100)


class TestDoubt:
    """A switch of which the publisher cannot know whether it was done."""

    def test_switch_that_was_done_stays_when_its_reply_is_lost(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(store, 8, 1)
        done, execute = [], redis.client.Pipeline._execute_transaction

        def lost(pipe: redis.client.Pipeline, connection: redis.Connection, commands: list[object], *given: object) -> object:
            replies = execute(pipe, connection, commands, *given)
            if "LPUSH" in str(commands) and not done:
                done.append(replies)
                connection.disconnect()
                raise exceptions.ConnectionError("Connection closed by server.")
            return replies

        monkeypatch.setattr(redis.client.Pipeline, "_execute_transaction", lost)
        with pytest.raises(ReelflowError, match=r"cannot publish: Connection closed by server"):
            publish(store, 9, 2)
        assert [str(record.status) for record in store.publications()] == ["live", "retired"]
        assert videos(store) == expected(9, 2)
        assert [row.video_id - 500 for row in store.read_fallback("all", 9)] == expected(9, 2)
        assert publish(store, 10, 3).status == "live"

    def test_switch_that_comes_late_is_not_done(
        self, server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(store, 8, 1)
        arrived, remove = threading.Event(), Load.remove

        def slowly(load: Load) -> None:
            remove(load)
            assert arrived.wait(20)

        monkeypatch.setattr(Load, "remove", slowly)
        with _late(server.port, b"LPUSH", 1.5, arrived) as port:
            through = RedisStore(f"redis://127.0.0.1:{port}/0?socket_timeout=0.7", grace_seconds=0)
            with pytest.raises(ReelflowError, match=r"cannot publish: .*the server gave no answer in time"):
                publish(through, 9, 2)
            through.close()
        assert [str(record.status) for record in store.publications()] == ["failed", "live"]
        assert videos(store) == expected(8, 1)
        assert lists(server) == {1}


@contextmanager
def _late(port: int, word: bytes, seconds: float, arrived: threading.Event) -> Iterator[int]:
    """Stand before a port and keep what holds a word for a while, as a network that has to send it again; yields where."""

    def copy(source: socket.socket, target: socket.socket, *, late: bool) -> None:
        try:
            while data := source.recv(1 << 20):
                if late and word in data:
                    time.sleep(seconds)
                    target.sendall(data)
                    time.sleep(0.2)  # until it is done
                    arrived.set()
                else:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                outer, _ = listener.accept()
            except OSError:
                return
            inner = socket.create_connection(("127.0.0.1", port))
            for source, target, late in ((outer, inner, True), (inner, outer, False)):
                threading.Thread(target=copy, args=(source, target), kwargs={"late": late}, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class TestLoss:
    """The server loses its data while a version loads, and gives the version's number to another publisher."""

    @pytest.fixture
    def store(self, server: RedisServer) -> RedisStore:
        return RedisStore(server.url)  # whose lease outlasts all this

    def test_publisher_is_refused_while_the_other_one_loads(self, server: RedisServer, store: RedisStore) -> None:
        others = []

        def meanwhile() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 1, users=2_000, k=5)
            server.stop()
            server.start()
            others.append(start(server, 8, 1, "wait"))
            assert others[0].stdout.readline() == "waiting\n"  # type: ignore[union-attr]
            yield from rows(9, 1, users=20_000, k=5, per_batch=5_000, first_user=3_000)

        with pytest.raises(ReelflowError, match=r"publication 1: found no record of it in the store.*lost its data"):
            store.publish(publication(9, 1), meanwhile(), fallback(9, 1), 3)
        out, error = others[0].communicate("go on\n", timeout=60)
        assert (others[0].returncode, out.strip()) == (0, "live"), error
        self.is_whole(server, store)

    def test_lists_that_are_on_their_way_do_not_mix_with_those_of_the_other_one(
        self, server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ends, lock, encode = [], threading.Lock(), _values.encode

        def slowly(*given: object, **options: object) -> object:
            with lock:
                if not ends:
                    server.stop()
                    server.start()
                    ends.append(finish(start(server, 8, 1, "run")))
            return encode(*given, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(_values, "encode", slowly)
        with pytest.raises(ReelflowError, match=r"publication 1: found no record of it in the store.*lost its data"):
            store.publish(publication(9, 1), rows(9, 1, users=3_000, k=5), fallback(9, 1), 3)
        assert ends[0][:2] == (0, "live"), ends
        self.is_whole(server, store)

    def is_whole(self, server: RedisServer, store: RedisStore) -> None:
        assert [(record.version, record.model_version, record.users) for record in store.publications()] == [
            (1, "model-8-1", 1_500)
        ]
        assert {tuple(videos(store, user)) for user in range(1, 1_501)} == {tuple(expected(8, 1, 100))}
        assert [row.video_id - 500 for row in store.read_fallback("all", 9)] == expected(8, 1)
        with server.client as client:
            users = {int(key.split(b":")[3]) for key in client.scan_iter("reelflow:list:*", count=1000)}
        assert users == set(range(1, 1_501))


def _read_until(url: str, stop: Callable[[], bool], published: Callable[[], int], report: Callable[[object], None]) -> None:
    """Read homepages until told to stop; report what is wrong, then how many were read and of how many versions.

    A list tells its generation, so a mixture shows; what was published before a read began must not be older than it finds.
    """
    reader, reads, versions = RecommendationReader(RedisStore(url)), 0, set()
    while not stop():
        for user, segment in ((1, None), (20, None), (99, "all")):
            least = published()
            page = reader.get(user)
            attempt = int(page.model_version.rsplit("-", 1)[1])
            shift = 0 if segment is None else 500
            found = [row.video_id - shift for row in page.rows]
            if found != expected(8, attempt) or page.segment != segment or page.version < least:
                report(f"mixture, or older than {least}: {page}")
            versions.add(page.version)
            reads += 1
    report((reads, len(versions)))


def _read_in_process(url: str, stop: object, published: object, report: object) -> None:
    try:
        report.put("ready")  # type: ignore[attr-defined]
        _read_until(url, stop.is_set, lambda: published.value, report.put)  # type: ignore[attr-defined]
    except BaseException as error:
        report.put(repr(error))  # type: ignore[attr-defined]
        raise


class TestReaders:
    SWITCHES = 1_000

    def test_readers_never_see_an_error_a_mixture_or_an_old_version(self, server: RedisServer) -> None:
        store = RedisStore(server.url, grace_seconds=1)
        publish(store, 8, keep=1)
        context = multiprocessing.get_context("spawn")
        stop, queue, published = context.Event(), context.Queue(), context.Value("q", 1)
        process = context.Process(target=_read_in_process, args=(server.url, stop, published, queue))
        process.start()
        found: list[object] = []
        done = threading.Event()
        thread = threading.Thread(target=_read_until, args=(server.url, done.is_set, lambda: published.value, found.append))
        thread.start()
        assert queue.get(timeout=60) == "ready"
        for _ in range(self.SWITCHES):
            result = publish(store, 8, keep=1)
            assert result.status == "live"
            published.value = result.version
        done.set()
        stop.set()
        thread.join(30)
        found.append(queue.get(timeout=30))
        process.join(30)
        assert process.exitcode == 0
        assert len(found) == 2, found
        for entry in found:
            assert isinstance(entry, tuple), found
        assert min(reads for reads, _ in found) > 1_000, found  # type: ignore[misc]
        assert min(versions for _, versions in found) > 100, found  # type: ignore[misc]

    def test_readers_see_each_list_whole_while_hours_replace_it(self, server: RedisServer) -> None:
        store = RedisStore(server.url, grace_seconds=1)
        publish(store, 8, 1)
        delta(store, 1, (1, 2), base=1)
        wrong: list[object] = []
        reads, done = [0], threading.Event()

        def read() -> None:
            reader = RecommendationReader(RedisStore(server.url))
            try:
                while not done.is_set():
                    for user in (1, 2, 20):
                        page = reader.get(user)
                        found = [row.video_id for row in page.rows]
                        hours = int(page.model_version.removeprefix("hour-")) if user != 20 else 0
                        if found != (of_hour(hours) if hours else expected(8, 1)):
                            wrong.append(page)
                        reads[0] += 1
            except BaseException as error:
                wrong.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        version = 2
        for hours in range(2, 52):
            version = delta(store, hours, (1, 2), base=version, keep=1).version
        done.set()
        thread.join(30)
        assert wrong == []
        assert reads[0] > 100

    def test_store_is_usable_after_a_fork(self, store: RedisStore) -> None:
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
        child = os.fork()
        if child == 0:
            os._exit(0 if videos(store) == expected(8, 1) else 1)
        assert os.waitpid(child, 0)[1] == 0
        publish(store, 9, 2)
        assert store.live().as_of == day(9)  # type: ignore[union-attr]
