"""Publishers of the PostgreSQL store that die or race, a server that dies, and readers that never notice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pyarrow as pa
import pytest

from schemas.errors import ReelflowError
from serving import RecommendationReader, ServingStore
from serving.postgres import PostgresStore
from tests.serving.builders import day, expected, fallback, publication, publish, rows, videos
from tests.serving.deltas import delta, of_hour
from tests.serving.disks import small_disk
from tests.serving.postgres import Server
from tests.serving.test_crashes import finish, read_in_process, read_until, start

pytestmark = pytest.mark.slow

KILLED = -signal.SIGKILL


@pytest.fixture
def store(postgres: Server) -> Iterator[PostgresStore]:
    with closing(PostgresStore(postgres.url())) as store:
        yield store


def status(store: ServingStore) -> list[str]:
    return [str(record.status) for record in store.publications()]


def run(postgres: Server, how: str, *, base: int = 0) -> tuple[int, str, str]:
    """Let a publisher of day 9 run to its end, and wait until the server has noticed it."""
    end = finish(start(postgres.url(), 9, 9, how, base=base))
    postgres.await_no_publisher()
    return end


class TestDeath:
    @pytest.mark.parametrize("how", ["die-loading", "die-loaded", "die-before-switch", "die-in-switch"])
    def test_killed_before_the_switch_leaves_the_old_version_whole(
        self, store: PostgresStore, postgres: Server, how: str
    ) -> None:
        publish(store, 8, 1)
        assert run(postgres, how)[0] == KILLED
        assert status(store) == ["loading", "live"]
        assert all(videos(store, user) == expected(8, 1) for user in range(1, 21))
        assert postgres.run("SELECT count(*) FROM reelflow.recommendations") == [(100,)]

        assert publish(store, 8, 3).status == "live"  # the next publisher clears up
        assert status(store) == ["live", "failed", "retired"]
        assert postgres.partitions() == ["full_lists_1", "full_lists_3"]
        assert postgres.run("SELECT DISTINCT version FROM reelflow.fallback_rows ORDER BY 1") == [(1,), (3,)]

    @pytest.mark.parametrize("how", ["die-loading", "die-loaded", "die-before-switch", "die-laying", "die-in-switch"])
    def test_killed_delta_leaves_what_was_live_whole(self, store: PostgresStore, postgres: Server, how: str) -> None:
        publish(store, 8, 1)
        assert delta(store, 1, (1, 2), base=1).version == 2
        sql = "SELECT * FROM reelflow.recommendations ORDER BY user_id, rank"
        before = postgres.run(sql)
        assert run(postgres, how, base=2)[0] == KILLED
        live = store.live()
        assert live is not None
        assert (live.version, live.users) == (2, 20)
        assert postgres.run(sql) == before
        assert [videos(store, user) for user in (1, 2, 3, 1500)] == [of_hour(1), of_hour(1), expected(8, 1), []]

        assert delta(store, 2, (2, 3), base=2).status == "live"  # the next publisher clears up
        assert status(store) == ["live", "failed", "retired", "retired"]
        for table in ("fallback_rows", "delta_lists", "version_layers"):
            assert postgres.run(f"SELECT count(*) FROM reelflow.{table} WHERE version = 3") == [(0,)]
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(2), of_hour(2)]

    @pytest.mark.parametrize("how", ["die-clearing", "die-deleting"])
    def test_killed_after_the_switch_leaves_the_new_version_whole(
        self, store: PostgresStore, postgres: Server, how: str
    ) -> None:
        publish(store, 8, 1)
        assert run(postgres, how)[0] == KILLED
        assert videos(store, 1500) == expected(9, 9, 100)
        assert postgres.run("SELECT count(*) FROM reelflow.recommendations") == [(150_000,)]
        publish(store, 10, 10, keep=0)
        assert postgres.partitions() == ["full_lists_3"]

    def test_killed_first_publisher_leaves_an_empty_store(self, store: PostgresStore, postgres: Server) -> None:
        assert run(postgres, "die-loading")[0] == KILLED
        assert store.live() is None
        with pytest.raises(ReelflowError, match="nothing has been published yet"):
            RecommendationReader(store).get(1)
        assert publish(store, 9, 10).status == "live"

    def test_a_server_that_crashes_while_a_version_loads_comes_back_with_what_was_live(
        self, store: PostgresStore, postgres: Server
    ) -> None:
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)

        def crashing() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 2, users=700, k=100, per_batch=600)
            (publisher,) = postgres.publishers()
            os.kill(publisher, signal.SIGKILL)  # the server ends all sessions and recovers from its log
            yield from rows(9, 2, users=700, k=100, first_user=1_000)

        with pytest.raises(ReelflowError, match=r"cannot publish: .*; what was live still is"):
            store.publish(publication(9, 2), crashing(), fallback(9, 2), 3)
        postgres.await_recovery()
        assert videos(store) == expected(8, 1)
        assert publish(store, 9, 3).status == "live"
        assert status(store) == ["live", "failed", "retired"]

    def test_a_server_that_is_stopped_is_reported_and_found_again(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
        with postgres.stopped():
            with pytest.raises(ReelflowError, match=r"cannot read: .*the server cannot be reached"):
                videos(store)
            with pytest.raises(ReelflowError, match=r"cannot open: .*the server cannot be reached"):
                publish(store, 9, 2)
        assert videos(store) == expected(8, 1)
        assert publish(store, 9, 2).status == "live"


class TestRaces:
    def test_living_publisher_is_not_cleaned_up_by_another(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 7, 1)
        slow = start(postgres.url(), 9, 2, "wait")
        assert slow.stdout is not None
        assert slow.stdout.readline() == "waiting\n"
        assert publish(store, 8, 3).status == "live"
        assert status(store) == ["live", "loading", "retired"]
        assert slow.stdin is not None
        slow.stdin.write("go on\n")
        slow.stdin.flush()
        assert finish(slow)[:2] == (0, "live")
        assert videos(store, 1500) == expected(9, 2, 100)

    @pytest.mark.parametrize("first", [True, False])
    def test_of_two_racing_processes_the_newer_wins(self, store: PostgresStore, postgres: Server, first: bool) -> None:
        numbers = (9, 8) if first else (8, 9)
        racers = {number: start(postgres.url(), number, number, "slow", users=2000) for number in numbers}
        ends = {number: finish(process) for number, process in racers.items()}
        assert ends[9][:2] == (0, "live"), ends
        assert ends[8][0] == 0, ends
        assert ends[8][1] in ("live", "superseded")  # live where it was done before the newer one
        assert videos(store, 2000) == expected(9, 9, 100)
        assert status(store).count("live") == 1

    def test_of_many_attempts_at_one_day_the_highest_generation_is_live(self, store: PostgresStore, postgres: Server) -> None:
        racers = [start(postgres.url(), 8, 0, "slow", users=600) for _ in range(4)]  # also race to make the schema
        ends = [finish(process) for process in racers]
        assert {(code, out in ("live", "superseded")) for code, out, _ in ends} == {(0, True)}, ends
        live = store.live()
        assert live is not None
        assert live.generation == 4
        assert videos(store, 600) == expected(8, 4, 100)


def read_deltas_until(postgres: Server, stop: Callable[[], bool], report: Callable[[object], None]) -> None:
    """Read lists that are each of one hour, by the reader and by plain SQL: a rank is the last two digits of its video."""
    reads, last, versions = 0, 0, set()
    with closing(PostgresStore(postgres.url())) as store, postgres.connected() as connection:
        reader = RecommendationReader(store)
        while not stop():
            for user in (1, 2, 20):
                page = reader.get(user)
                sql = "SELECT video_id, as_of FROM reelflow.recommendations WHERE user_id = %s ORDER BY rank"
                plain = connection.execute(sql, (user,)).fetchall()
                found = [row.video_id for row in page.rows]
                for shown, times in ((found, {page.as_of}), ([v for v, _ in plain], {at for _, at in plain})):
                    if shown != [shown[0] + rank for rank in range(5)] or len(times) != 1 or page.version < last:
                        report(f"mixture: {page}, {plain}")
                if (user == 20) != (found[0] == expected(8, 1)[0]):
                    report(f"another user's list: {page}")
                last = page.version
                versions.add(page.version)
                reads += 1
    report((reads, len(versions)))


class TestReaders:
    SWITCHES = 1_000  # two to three minutes

    def test_readers_never_see_an_error_a_mixture_or_an_older_version(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, keep=1)
        context = multiprocessing.get_context("spawn")
        stop, queue = context.Event(), context.Queue()
        process = context.Process(target=read_in_process, args=(postgres.url(), stop, queue))
        process.start()
        found: list[object] = []
        done = threading.Event()
        # Two rest between reads: they share an interpreter with the publisher, and would hold it up. The process does not rest.
        args = (postgres.url(), lambda: done.wait(0.01), found.append)
        threads = [threading.Thread(target=read_until, args=args) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert queue.get(timeout=60) == "ready"
        for attempt in range(2, self.SWITCHES + 2):
            assert publish(store, 8, keep=1).status == "live"
            assert videos(store) == expected(8, attempt)  # no stale version once it is said to be live
        done.set()
        stop.set()
        for thread in threads:
            thread.join(30)
        found.append(queue.get(timeout=30))
        process.join(30)
        assert process.exitcode == 0
        assert len(found) == 3, found
        assert all(isinstance(entry, tuple) for entry in found), found
        assert min(reads for reads, _ in found) > 1_000, found  # type: ignore[misc]
        assert min(versions for _, versions in found) > 100, found  # type: ignore[misc]

    def test_readers_never_see_a_mixture_of_a_list_and_the_one_that_replaces_it(
        self, store: PostgresStore, postgres: Server
    ) -> None:
        publish(store, 8, 1)
        delta(store, 1, (1, 2), base=1)
        found: list[object] = []
        done = threading.Event()
        args = (postgres, lambda: done.wait(0.01), found.append)
        threads = [threading.Thread(target=read_deltas_until, args=args) for _ in range(3)]
        for thread in threads:
            thread.start()
        version = 2
        for hours in range(2, 102):
            version = delta(store, hours, (1, 2, 3), base=version, keep=1).version
        done.set()
        for thread in threads:
            thread.join(30)
        assert len(found) == 3, found
        assert all(isinstance(entry, tuple) for entry in found), found
        assert min(reads for reads, _ in found) > 100, found  # type: ignore[misc]
        assert min(versions for _, versions in found) > 10, found  # type: ignore[misc]

    def test_one_store_serves_many_threads(self, store: PostgresStore) -> None:
        publish(store, 8, 1)
        wrong: list[object] = []

        def work() -> None:
            try:
                wrong.extend(user for user in range(1, 21) if videos(store, user) != expected(8, 1))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(40)]  # more than there are connections
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert wrong == []


class TestDisk:
    @pytest.fixture
    def small_disk(self, postgres: Server) -> Iterator[None]:
        """New tables lie on a disk of 8 MB."""
        folder = postgres.folder / "small"
        with small_disk(folder, 8):
            postgres.own(folder)
            postgres.run(f"CREATE TABLESPACE small LOCATION '{folder}'")
            postgres.run("ALTER DATABASE reelflow SET default_tablespace = small")
            yield
            postgres.run("ALTER DATABASE reelflow RESET default_tablespace")
            postgres.empty()
            postgres.run("DROP TABLESPACE small")

    @pytest.mark.usefixtures("small_disk")
    def test_full_disk_is_reported_and_changes_nothing(self, store: PostgresStore) -> None:
        publish(store, 8, 1)
        with pytest.raises(ReelflowError, match=r"cannot publish: .*\(53100\); the server's disk is full; free some space"):
            publish(store, 9, 2, users=1_500, k=100)
        assert videos(store) == expected(8, 1)
        assert status(store) == ["failed", "live"]
        assert publish(store, 9, 3).status == "live"
        assert store.live().as_of == day(9)  # type: ignore[union-attr]
