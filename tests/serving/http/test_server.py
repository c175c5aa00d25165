"""A server in a process of its own: how it begins, ends, dies, and refuses to begin."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from serving import SqliteStore
from serving.http.__main__ import main
from tests.ports import free_port
from tests.serving.builders import expected
from tests.serving.http.clients import Server, begin, serving
from tests.serving.http.conftest import published

pytestmark = pytest.mark.slow

DAY_8 = expected(8, 1)
WHOLE = b"GET /users/7/recommendations HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SLOW = {  # what is sent at first, and then again and again
    "silent": (b"", b""),
    "blank": (b"\r\n", b"\r\n"),
    "half a head": (WHOLE[:20], b""),
    "a head without an end": (WHOLE[:-4], b"\r\nX: y"),
    "a body that nobody waits for": (WHOLE[:-2] + b"Content-Length: 9999\r\n\r\n", b"x"),
}


def videos(answer: httpx.Response) -> list[int]:
    return [item["video_id"] for item in answer.json()["items"]]


def batch_of(*users: int) -> tuple[bytes, bytes]:
    """Head and body of a request for these users' lists."""
    body = json.dumps({"user_ids": users}).encode()
    head = (
        "POST /recommendations:batch HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode(), body


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("REELFLOW_CONF", raising=False)
    return tmp_path


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "keys", "message"),
        [
            (("--host", "0.0.0.0"), "", "http.host: found 0.0.0.0, which other machines reach, and no API keys"),
            (("--host", "0.0.0.0", "--page"), "k" * 24, "http.page: found it on at 0.0.0.0"),
            (("--page",), "k" * 24, "http.page: found it on with API keys"),
            (("--host", "203.0.113.9"), "k" * 24, "http: cannot listen at 203.0.113.9 port 8090"),
            (("--store", "nosql://x"), "", "store nosql://...: found an unknown kind of store"),
            (("--at", "noon"), "", "--at 'noon': expected ISO 8601"),
            (("--port", "99999"), "", "configuration: http.port = 99999: Input should be less than or equal to 65535"),
            ((), "short", "REELFLOW_API_KEYS: found 5 characters in key 1"),
            ((), " ", "REELFLOW_API_KEYS: found no key"),
        ],
    )
    def test_are_one_line(
        self,
        *,
        home: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
        keys: str,
        message: str,
    ) -> None:
        monkeypatch.delenv("REELFLOW_API_KEYS", raising=False)
        if keys:
            monkeypatch.setenv("REELFLOW_API_KEYS", keys)
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"reelflow | http | error: {message}")
        assert len(said.err.splitlines()) == 1
        assert not keys.strip() or keys not in said.err

    def test_a_port_that_is_taken(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            assert main(["--port", str(taken.getsockname()[1])]) == 2
        assert "expected an address of this machine and a free port" in capsys.readouterr().err


def test_sigterm_drains(tmp_path: Path, store: SqliteStore) -> None:
    """What was begun is answered, nothing new is taken, and the process ends."""
    head, body = batch_of(1, 2)
    with serving(tmp_path, store.path) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as begun:
        assert httpx.get(f"{server.url}/ready").status_code == 200
        begun.sendall(head + body[:5])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        assert server.process.poll() is None
        begun.sendall(body[5:])
        answer = b""
        while part := begun.recv(65536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["homepages"][1]["user_id"] == 2
        server.process.communicate(timeout=20)
    assert server.process.returncode in (0, -signal.SIGTERM)


class TestSlowClients:
    """A connection is there for requests: one that brings none in time is closed, and the others are answered meanwhile."""

    @pytest.fixture(scope="class")
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        home = tmp_path_factory.mktemp("home")
        store = SqliteStore(home / "store.sqlite")
        published(store)
        with serving(home, store.path, settings={"request_seconds": 2}) as found:
            yield found

    @pytest.mark.parametrize("before", [b"", WHOLE], ids=["at once", "after an answer"])
    def test_a_head_that_does_not_come(self, server: Server, before: bytes) -> None:
        began, waiting = time.monotonic(), {}
        for name, (first, then) in SLOW.items():
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            if before:
                connection.sendall(before)
                assert connection.recv(12) == b"HTTP/1.1 200"
            connection.sendall(first)
            connection.settimeout(0.02)
            waiting[name] = connection, then
        assert httpx.get(f"{server.url}/health").status_code == 200
        while waiting:
            assert time.monotonic() < began + 20, list(waiting)
            for name, (connection, then) in [*waiting.items()]:
                if closed(connection):
                    assert time.monotonic() > began + 1.9, name
                    connection.close()
                    del waiting[name]
                else:
                    with suppress(ConnectionError):
                        connection.sendall(then)

    def test_a_body_that_does_not_come(self, server: Server) -> None:
        head, body = batch_of(1, 2)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head + body[:5])
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 408")
        problem = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (problem["title"], problem["found"]) == ("Request Timeout", "no whole body within 2 s")

    def test_who_is_slow_but_in_time_is_answered(self, server: Server) -> None:
        """Each head has its own two seconds, and so has the body after it."""
        head, body = batch_of(1)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            for _ in range(2):
                for part in (head[:9], head[9:], body):
                    connection.sendall(part)
                    time.sleep(1.2)
                answer = HTTPResponse(connection)
                answer.begin()
                assert (answer.status, len(json.loads(answer.read())["homepages"])) == (200, 1)


def closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it; reads what there is."""
    try:
        return not connection.recv(65536)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_sigkill_in_the_middle_and_another_server_goes_on(tmp_path: Path, store: SqliteStore) -> None:
    """Clients see a broken connection or a whole right answer, never a part of one; the next server finds the store whole."""
    whole: list[int] = []
    broken: list[Exception] = []
    stop = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url) as browser:
            while not stop.is_set():
                try:
                    answer = browser.get("/users/7/recommendations")
                except httpx.TransportError as error:
                    broken.append(error)
                    return
                assert answer.status_code == 200
                assert videos(answer) == DAY_8
                whole.append(1)

    server = Server(tmp_path, store.path)
    askers = [threading.Thread(target=ask, args=(server.url,)) for _ in range(4)]
    for asker in askers:
        asker.start()
    while len(whole) < 200:
        time.sleep(0.01)
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    for asker in askers:
        asker.join(timeout=20)
    stop.set()
    assert len(broken) == 4
    with serving(tmp_path, store.path, port=server.port) as again:
        assert videos(httpx.get(f"{again.url}/users/7/recommendations")) == DAY_8
    assert [row.video_id for row in store.read(7, 5)] == DAY_8


def test_workers_share_the_port_and_count_together(tmp_path: Path, store: SqliteStore) -> None:
    with serving(tmp_path, store.path, settings={"workers": 2}) as server:
        limits = httpx.Limits(max_keepalive_connections=0)  # a new connection each time, so that both workers get some
        with httpx.Client(base_url=server.url, limits=limits) as browser:
            for _ in range(40):
                assert videos(browser.get("/users/7/recommendations")) == DAY_8
            text = browser.get("/metrics").text
        assert 'reelflow_http_requests_total{route="/users/{user_id}/recommendations",status="200"} 40.0' in text
        assert "reelflow_live_version 1.0" in text
        assert server.end() == 0


class TestKilled:
    """A server that is killed at some step leaves the store whole, and its port free for the next one."""

    @pytest.fixture
    def port(self) -> int:
        return free_port()

    @pytest.mark.parametrize("seconds", [0.05, 0.2, 0.4, 0.6, 0.8, 1.0])
    def test_while_it_starts(self, tmp_path: Path, store: SqliteStore, port: int, seconds: float) -> None:
        process = begin(tmp_path, store.path, port=port)
        time.sleep(seconds)
        process.kill()
        process.communicate(timeout=30)
        self._goes_on(tmp_path, store, port)

    @pytest.mark.parametrize("step", ["idle", "receiving", "answering", "draining"])
    def test_while_it_serves(self, tmp_path: Path, store: SqliteStore, step: str) -> None:
        server = Server(tmp_path, store.path)
        head, body = batch_of(*range(1, 101))
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as browser:
            if step != "idle":
                browser.sendall(head + (body if step == "answering" else body[:9]))
            if step == "answering":
                assert browser.recv(9) == b"HTTP/1.1 "
            if step == "draining":
                time.sleep(0.3)
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                assert server.process.poll() is None
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
        self._goes_on(tmp_path, store, server.port)

    def test_one_worker_of_two(self, tmp_path: Path, store: SqliteStore) -> None:
        """The other answers meanwhile, and another takes its place."""
        with serving(tmp_path, store.path, settings={"workers": 2}) as server:
            before = workers(server, 2)
            os.kill(min(before), signal.SIGKILL)
            for _ in range(20):
                answer = httpx.get(f"{server.url}/users/7/recommendations", timeout=30)
                assert (answer.status_code, videos(answer)) == (200, DAY_8)
            after = workers(server, 2, other_than=before)
            assert len(after & before) == 1

    def test_the_supervisor_of_two_workers(self, tmp_path: Path, store: SqliteStore) -> None:
        """Its workers end too: else nobody could have the port."""
        server = Server(tmp_path, store.path, settings={"workers": 2})
        orphans = workers(server, 2)
        server.process.kill()
        server.process.wait(timeout=20)
        deadline = time.monotonic() + 20
        while any(alive(one) for one in orphans):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self._goes_on(tmp_path, store, server.port)

    def _goes_on(self, home: Path, store: SqliteStore, port: int) -> None:
        """Another server answers at the port, and shows what is published then."""
        with serving(home, store.path, port=port) as again:
            assert videos(httpx.get(f"{again.url}/users/7/recommendations")) == DAY_8
            published(store, hours_ago=4, number=9)
            assert videos(httpx.get(f"{again.url}/users/7/recommendations")) == expected(9, 1)
        with closing(sqlite3.connect(store.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def workers(server: Server, count: int, other_than: frozenset[int] = frozenset()) -> frozenset[int]:
    """The processes that answer for a server, once there are so many, and not the same ones as before."""
    deadline = time.monotonic() + 60
    while True:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        found = frozenset(int(one) for one in children if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text())
        if len(found) == count and found != other_than:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
