"""The stages with a server as the serving store: nothing but the setting is another."""

import os
import shutil
import subprocess
import sys

import pytest

from jobs import _served, erase, publish, rollback
from jobs._window import iso
from schemas import RECOMMENDATION_HISTORY
from serving import RecommendationReader, freshness, open_store
from tests.builders import stage_context
from tests.jobs.erasing import receipts, removed
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, train
from tests.jobs.test_publish import index_by_hand, write_rows
from tests.serving.postgres import Server
from tests.serving.redis_server import running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Two days whose models the gate passed; nothing is published."""
    space = planted(tmp_path_factory.mktemp("judged"))
    for end, shift in ((FIRST, 5), (SECOND, 0)):
        train(space, end)
        index_by_hand(space, end)
        write_rows(space, end, shift)
    return space


@pytest.fixture
def postgresql(monkeypatch):
    """The name of the class that speaks to the server that is the store."""
    found = Server()
    monkeypatch.setenv("REELFLOW_STORE_URL", found.url())
    yield "PostgresStore"
    found.close()


@pytest.fixture
def redis(tmp_path, monkeypatch):
    """The same of another server."""
    with running(tmp_path) as found:
        monkeypatch.setenv("REELFLOW_STORE_URL", found.url)
        yield "RedisStore"


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_publish_roll_back_and_erase_on_a_server(judged, kind, tmp_path, request):
    server = request.getfixturevalue(kind)
    space = judged.copy_to(tmp_path / "home", SETTINGS)
    for end in (FIRST, SECOND):
        assert space.run(publish, "--as-of", iso(end)).facts["status"] == "live"
    assert space.run(publish, "--as-of", iso(SECOND)).notes == ["version 2 is live"]
    assert space.run(publish, "--as-of", iso(FIRST), "--force").facts["status"] == "superseded"
    assert not (space.home / "store").exists()
    with space.environment():
        store = open_store()
        assert type(store).__name__ == server
        assert [(one.version, str(one.status)) for one in store.publications()] == [
            (3, "superseded"),
            (2, "live"),
            (1, "retired"),
        ]
        assert freshness.main(["--at", iso(SECOND)]) == 0
        rollback.main(["--reason", "too many cats", "--by", "ann"])
        assert store.switches()[0].reason == "ann: too many cats"
        assert [row.video_id for row in RecommendationReader().get(1, now=FIRST).rows] == [106, 107, 108]
        context = stage_context("publish", "--as-of", iso(SECOND))
        history = context.lake.read(RECOMMENDATION_HISTORY, context.lake.every(RECOMMENDATION_HISTORY))
        assert history.num_rows == 12
        assert not _served.behind(store, context.lake)
        erase.main(["--user", "1"])
        (receipt,) = receipts(space)
        assert removed(receipt, "store") == {"store/version 1": 3, "store/version 2": 3}
        assert [(user, bool(store.read(user, 9))) for user in (1, 2)] == [(1, False), (2, True)]
        store.close()


def test_a_server_that_is_gone_is_one_line(judged, tmp_path, monkeypatch):
    space = judged.copy_to(tmp_path / "home", SETTINGS)
    for url in ("postgresql://writer:s3cret@127.0.0.1:1/reelflow", "redis://:s3cret@127.0.0.1:1/0"):
        monkeypatch.setenv("REELFLOW_STORE_URL", url)
        status, out, error = space.command(publish, "--as-of", iso(SECOND))
        assert status != 0
        assert "127.0.0.1" in error
        assert "Traceback" not in error
        assert "s3cret" not in out + error
    shutil.rmtree(space.home)


@pytest.mark.usefixtures("postgresql")
def test_workers_of_spark_load_what_is_much(judged, tmp_path):
    """In a process of its own: workers have the environment with which the session's began."""
    space = judged.copy_to(tmp_path / "home", SETTINGS | {"fan_out": {"session_above_mb": 0}})
    write_rows(space, SECOND, users=range(1, 41), files=3)
    command = [sys.executable, "-m", "jobs.publish", "--as-of", iso(SECOND)]
    done = subprocess.run(command, env=os.environ | space.variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with space.environment(), open_store().snapshot() as snapshot:
        assert (snapshot.live.users, snapshot.live.rows) == (40, 120)
        assert all([row.video_id for row in snapshot.read(user, 9)] == [101, 102, 103] for user in range(1, 41))
    assert space.run(publish, "--as-of", iso(SECOND)).up_to_date
