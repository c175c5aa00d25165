"""Publishers that die, race, or run out of disk, and readers that never notice."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.errors import ReelflowError
from serving import RecommendationReader, SqliteStore, store_at
from serving._lease import Lease, held
from tests.serving.builders import day, expected, publish, videos
from tests.serving.deltas import delta, of_hour

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
_NOBODY = 65534  # root may write everywhere, so a test of permissions must be someone else


def start(
    where: Path | str, number: int, generation: int, how: str, *, users: int = 1500, base: int = 0, **options: object
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.serving.publisher", *map(str, (where, number, generation, how, users, base))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=60)
    return process.returncode, out.strip(), error


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def count(path: Path, sql: str) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute(sql).fetchone()[0])
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


class TestDeath:
    @pytest.mark.parametrize("how", ["die-loading", "die-loaded", "die-before-switch", "die-in-switch"])
    def test_killed_before_the_switch_leaves_the_old_version_whole(self, path: Path, how: str) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        assert finish(start(path, 9, 2, how))[0] == -signal.SIGKILL
        assert store.live() is not None
        assert store.live().as_of == day(8)
        assert all(videos(store, user) == expected(8, 1) for user in range(1, 21))
        assert count(path, "SELECT count(*) FROM recommendations") == 100
        assert count(path, "SELECT count(*) FROM publications WHERE status = 'loading'") == 1
        assert len(list(path.parent.glob("*.lock"))) == 1

        assert publish(store, 8, 3).status == "live"  # the next publisher clears up
        assert [str(record.status) for record in store.publications()] == ["live", "failed", "retired"]
        assert count(path, "SELECT count(*) FROM recommendation_rows WHERE version = 2") == 0
        assert count(path, "SELECT count(*) FROM fallback_rows WHERE version = 2") == 0
        assert list(path.parent.glob("*.lock")) == []

    @pytest.mark.parametrize(
        "how", ["die-loading", "die-loaded", "die-before-switch", "die-listing", "die-laying", "die-in-switch"]
    )
    def test_killed_delta_leaves_what_was_live_whole(self, path: Path, how: str) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        assert delta(store, 1, (1, 2), base=1).version == 2
        before = query(path, "SELECT * FROM recommendations ORDER BY user_id, rank")
        assert finish(start(path, 9, 3, how, base=2))[0] == -signal.SIGKILL
        live = store.live()
        assert live is not None
        assert (live.version, live.users) == (2, 20)
        assert query(path, "SELECT * FROM recommendations ORDER BY user_id, rank") == before
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(1), expected(8, 1)]
        assert store.read(1500, 9) == []
        assert query(path, "SELECT user_id, layer FROM live_lists") == [(1, 2), (2, 2)]

        assert delta(store, 2, (2, 3), base=2).status == "live"  # the next publisher clears up
        assert [str(record.status) for record in store.publications()] == ["live", "failed", "retired", "retired"]
        for table in ("recommendation_rows", "fallback_rows", "delta_lists", "version_layers"):
            assert count(path, f"SELECT count(*) FROM {table} WHERE version = 3") == 0
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(2), of_hour(2)]
        assert list(path.parent.glob("*.lock")) == []

    @pytest.mark.parametrize("how", ["die-clearing", "run"])
    def test_delta_killed_after_the_switch_is_live_whole(self, path: Path, how: str) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        code = finish(start(path, 9, 2, how, base=1))[0]
        assert code == (0 if how == "run" else -signal.SIGKILL)
        assert [videos(store, user) for user in (1, 1500)] == [expected(9, 2, 100)] * 2
        assert count(path, "SELECT count(*) FROM recommendations") == 150_000

    @pytest.mark.parametrize("how", ["die-clearing", "die-deleting"])
    def test_killed_after_the_switch_leaves_the_new_version_whole(self, path: Path, how: str) -> None:
        store = SqliteStore(path)
        if how == "die-deleting":
            publish(store, 8, 1)
        assert finish(start(path, 9, 2, how))[0] == -signal.SIGKILL
        assert videos(store, 1500) == expected(9, 2, 100)
        assert count(path, "SELECT count(*) FROM recommendations") == 150_000
        publish(store, 10, 3, keep=0)
        assert count(path, "SELECT count(*) FROM recommendation_rows") == 100

    def test_killed_first_publisher_leaves_an_empty_store(self, path: Path) -> None:
        assert finish(start(path, 9, 1, "die-loading"))[0] == -signal.SIGKILL
        store = SqliteStore(path)
        assert store.live() is None
        with pytest.raises(ReelflowError, match="nothing has been published yet"):
            RecommendationReader(store).get(1)
        assert publish(store, 9, 2).status == "live"

    def test_lease_ends_with_its_holder(self, tmp_path: Path) -> None:
        file = tmp_path / "a.lock"
        assert not held(file)
        lease = Lease.take(file)
        assert held(file)
        with pytest.raises(ReelflowError, match=r"lock file .*a\.lock"):
            Lease.take(file)
        lease.release()
        assert not held(file)
        assert not file.exists()
        file.touch()
        assert not held(file)


class TestRaces:
    def test_living_publisher_is_not_cleaned_up_by_another(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 7, 1)
        slow = start(path, 9, 2, "wait")
        assert slow.stdout is not None
        assert slow.stdout.readline() == "waiting\n"
        assert publish(store, 8, 3).status == "live"
        assert [str(record.status) for record in store.publications()] == ["live", "loading", "retired"]
        assert slow.stdin is not None
        slow.stdin.write("go on\n")
        slow.stdin.flush()
        assert finish(slow)[:2] == (0, "live")
        assert videos(store, 1500) == expected(9, 2, 100)

    @pytest.mark.parametrize("first", [True, False])
    def test_of_two_racing_processes_the_newer_wins(self, path: Path, first: bool) -> None:
        numbers = (9, 8) if first else (8, 9)
        racers = {number: start(path, number, number, "slow", users=2000) for number in numbers}
        ends = {number: finish(process) for number, process in racers.items()}
        assert ends[9][:2] == (0, "live"), ends
        assert ends[8][0] == 0, ends
        assert ends[8][1] in ("live", "superseded")  # live where it was done before the newer one
        store = SqliteStore(path)
        assert videos(store, 2000) == expected(9, 9, 100)
        assert count(path, "SELECT count(*) FROM recommendations") == 200_000
        assert count(path, "SELECT count(*) FROM publications WHERE status = 'live'") == 1

    def test_of_many_attempts_at_one_day_the_highest_generation_is_live(self, path: Path) -> None:
        racers = [start(path, 8, 0, "slow", users=600) for _ in range(4)]  # also race to create the file
        ends = [finish(process) for process in racers]
        assert {(code, out in ("live", "superseded")) for code, out, _ in ends} == {(0, True)}, ends
        live = SqliteStore(path).live()
        assert live is not None
        assert live.generation == 4
        assert videos(SqliteStore(path), 600) == expected(8, 4, 100)


def read_until(where: Path | str, stop: Callable[[], bool], report: Callable[[object], None]) -> None:
    """Read homepages until told to stop; report what is wrong, then how many were read and of how many versions."""
    reader, reads, last, versions = RecommendationReader(store_at(where)), 0, 0, set()
    while not stop():
        for user, segment in ((1, None), (20, None), (99, "all")):
            page = reader.get(user)
            attempt = int(page.model_version.rsplit("-", 1)[1])
            shift = 0 if segment is None else 500
            found = [row.video_id - shift for row in page.rows]
            if found != expected(8, attempt) or page.segment != segment or page.version < last:
                report(f"mixture: {page}")
            last = page.version
            versions.add(page.version)
            reads += 1
    report((reads, len(versions)))


def _read_deltas_until(path: Path, stop: Callable[[], bool], report: Callable[[object], None]) -> None:
    """As ``read_until``, of lists that are each of one hour: a rank is the last two digits of its video."""
    store, reads, last, versions = SqliteStore(path), 0, 0, set()
    reader = RecommendationReader(store)
    connection = sqlite3.connect(path)
    try:
        while not stop():
            for user in (1, 2, 20):
                page = reader.get(user)
                found = [row.video_id for row in page.rows]
                sql = connection.execute("SELECT video_id, as_of FROM recommendations WHERE user_id = ? ORDER BY rank", (user,))
                plain = sql.fetchall()
                for videos, times in ((found, {page.as_of}), ([v for v, _ in plain], {at for _, at in plain})):
                    one = videos[0] - 1
                    if videos != [one + rank for rank in range(1, 6)] or len(times) != 1 or page.version < last:
                        report(f"mixture: {page}, {plain}")
                if (user == 20) != (found[0] == expected(8, 1)[0]):
                    report(f"another user's list: {page}")
                last = page.version
                versions.add(page.version)
                reads += 1
    finally:
        connection.close()
    report((reads, len(versions)))


def read_in_process(where: Path | str, stop: object, report: object) -> None:
    try:
        report.put("ready")  # type: ignore[attr-defined]
        read_until(where, stop.is_set, report.put)  # type: ignore[attr-defined]
    except BaseException as error:
        report.put(repr(error))  # type: ignore[attr-defined]
        raise


class TestReaders:
    SWITCHES = 50

    def test_readers_never_see_an_error_or_a_mixture(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, keep=1)
        context = multiprocessing.get_context("spawn")
        stop, queue = context.Event(), context.Queue()
        process = context.Process(target=read_in_process, args=(path, stop, queue))
        process.start()
        found: list[object] = []
        done = threading.Event()
        threads = [threading.Thread(target=read_until, args=(path, done.is_set, found.append)) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert queue.get(timeout=30) == "ready"
        for _ in range(self.SWITCHES):
            assert publish(store, 8, keep=1).status == "live"
        done.set()
        stop.set()
        for thread in threads:
            thread.join(30)
        found.append(queue.get(timeout=30))
        process.join(30)
        assert process.exitcode == 0
        assert len(found) == 3, found
        for entry in found:
            assert isinstance(entry, tuple), found
        assert min(reads for reads, _ in found) > 100, found  # type: ignore[misc]
        assert min(versions for _, versions in found) > 10, found  # type: ignore[misc]

    def test_readers_never_see_a_mixture_of_a_list_and_the_one_that_replaces_it(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        delta(store, 1, (1, 2), base=1)
        found: list[object] = []
        done = threading.Event()
        threads = [threading.Thread(target=_read_deltas_until, args=(path, done.is_set, found.append)) for _ in range(3)]
        for thread in threads:
            thread.start()
        version = 2
        for hours in range(2, 2 + self.SWITCHES):
            result = delta(store, hours, (1, 2, 3), base=version, keep=1)
            assert result.status == "live"
            version = result.version
        done.set()
        for thread in threads:
            thread.join(30)
        assert len(found) == 3, found
        for entry in found:
            assert isinstance(entry, tuple), found
        assert min(reads for reads, _ in found) > 100, found  # type: ignore[misc]
        assert min(versions for _, versions in found) > 10, found  # type: ignore[misc]

    def test_one_store_serves_many_threads(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        wrong: list[object] = []

        def work() -> None:
            try:
                wrong.extend(user for user in range(1, 21) if videos(store, user) != expected(8, 1))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert wrong == []

    def test_store_is_usable_after_a_fork(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
        child = os.fork()
        if child == 0:
            os._exit(0 if videos(store) == expected(8, 1) else 1)
        assert os.waitpid(child, 0)[1] == 0
        publish(store, 9, 2)
        assert videos(store) == expected(9, 2)

    def test_long_read_does_not_hold_up_a_publisher(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        with SqliteStore(path).snapshot() as snapshot:
            for generation in range(2, 7):
                publish(store, 8, generation, keep=0)
            assert [row.video_id for row in snapshot.read(1, 9)] == expected(8, 1)


class TestDisk:
    def test_full_disk_is_reported_and_changes_nothing(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)

        def limit() -> None:  # no file above 3 MB: the system refuses to write, as on a full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

        code, _, error = finish(start(path, 9, 2, "run", preexec_fn=limit))
        assert code == 2, error
        assert "the disk" in error
        assert "what was live still is" in error
        assert "Traceback" not in error
        assert videos(store) == expected(8, 1)
        assert publish(store, 9, 3).status == "live"
        assert count(path, "SELECT count(DISTINCT version) FROM recommendation_rows") == 2

    @pytest.fixture
    def locked(self) -> Iterator[Path]:
        """A store in a folder that this process may not write to."""
        folder = Path(tempfile.mkdtemp())
        path = folder / "store.sqlite"
        publish(SqliteStore(path), 8, 1)
        path.chmod(0o444)
        (folder / "hidden").mkdir(mode=0o000)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(_NOBODY)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
            shutil.rmtree(folder)

    def test_folder_that_may_not_be_written_to_is_reported(self, locked: Path) -> None:
        for use in (SqliteStore.next_generation, SqliteStore.rollback):
            with pytest.raises(ReelflowError, match=f"store {locked}: cannot .* may be written to"):
                use(SqliteStore(locked))
        with pytest.raises(ReelflowError, match="SQLite's readers too keep a -shm file there"):
            SqliteStore(locked).live()

    def test_folder_in_which_nothing_may_be_made_is_reported(self, locked: Path) -> None:
        with pytest.raises(ReelflowError, match="its folder cannot be made: Permission denied"):
            SqliteStore(locked.parent / "below" / "store.sqlite").next_generation()
        with pytest.raises(ReelflowError, match="may be written to"):
            SqliteStore(locked.with_name("new.sqlite")).next_generation()

    def test_folder_that_may_not_be_looked_into_is_reported(self, locked: Path) -> None:
        for use in (SqliteStore.live, SqliteStore.next_generation):
            with pytest.raises(ReelflowError, match="cannot be looked at: Permission denied"):
                use(SqliteStore(locked.parent / "hidden" / "store.sqlite"))
