"""The API over real servers of every kind of store, in a process of its own that knows the store by its URL alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving import ServingStore, store_at
from tests.serving.builders import expected
from tests.serving.http.clients import serving
from tests.serving.http.conftest import published
from tests.serving.postgres import Server as PostgresServer
from tests.serving.redis_server import running

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Kind:
    """A store of one kind, and a way to take its server away."""

    url: str
    stopped: Callable[[], AbstractContextManager[None]]
    unreadable: bool = True
    """Whether it then cannot be read: a SQLite file that is missing is a store that nobody has published to."""


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    if request.param == "sqlite":
        file = tmp_path / "store.sqlite"
        yield Kind(str(file), lambda: _elsewhere(file), unreadable=False)
    elif request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        yield Kind(server.url(), server.stopped)
    else:
        folder = tmp_path / "redis"
        folder.mkdir()
        with running(folder, "--save", "3600 1000000") as redis:

            @contextmanager
            def stopped() -> Iterator[None]:
                redis.client.save()
                redis.stop()
                yield
                redis.start()

            yield Kind(redis.url, stopped)


@pytest.fixture
def store(kind: Kind) -> ServingStore:
    return store_at(kind.url)


@contextmanager
def _elsewhere(file: Path) -> Iterator[None]:
    away = file.rename(file.with_suffix(".away"))
    yield
    away.rename(file)


@pytest.fixture
def browser(kind: Kind, store: ServingStore, tmp_path: Path) -> Iterator[httpx.Client]:
    published(store)
    with (
        serving(tmp_path, environment={"REELFLOW_STORE_URL": kind.url}) as server,
        httpx.Client(base_url=server.url, timeout=30) as found,
    ):
        yield found


def videos(body: dict[str, list[dict[str, int]]]) -> list[int]:
    return [item["video_id"] for item in body["items"]]


class TestEveryKind:
    def test_answers_a_users_own_list(self, browser: httpx.Client) -> None:
        body = browser.get("/users/7/recommendations", params={"k": 3}).raise_for_status().json()
        assert (body["why"], body["fallback"], body["version"], body["model_version"]) == ("own", False, 1, "model-8")
        assert videos(body) == expected(8, 1)[:3]
        assert body["items"][1] == {
            "rank": 2, "video_id": expected(8, 1)[1], "score": 0.5, "sources": "retrieval:2", "reason": "day 8"
        }  # fmt: skip

    def test_answers_a_strangers_fallback_list(self, browser: httpx.Client) -> None:
        asked = {"country": "DE", "language": "de"}
        body = browser.get("/users/999/recommendations", params=asked).raise_for_status().json()
        assert (body["why"], body["segment"]) == ("missing", "country=DE|language=de")
        assert videos(body) == [video + 500 for video in expected(8, 1)]

    def test_answers_many_at_once(self, browser: httpx.Client) -> None:
        wanted = {"user_ids": [999, *range(1, 21)]}
        pages = browser.post("/recommendations:batch", json=wanted).raise_for_status().json()["homepages"]
        assert [page["user_id"] for page in pages] == wanted["user_ids"]
        assert [page["why"] for page in pages] == ["missing", *["own"] * 20]
        assert all(videos(page) == expected(8, 1) for page in pages[1:])

    def test_shows_a_new_version_at_once_and_the_old_one_after_a_rollback(
        self, browser: httpx.Client, store: ServingStore
    ) -> None:
        tag = browser.get("/users/7/recommendations").headers["etag"]
        assert browser.get("/users/7/recommendations", headers={"If-None-Match": tag}).status_code == 304
        published(store, hours_ago=4)
        body = browser.get("/users/7/recommendations", headers={"If-None-Match": tag}).raise_for_status().json()
        assert body["version"] == 2
        store.rollback()
        assert browser.get("/users/7/recommendations").json()["version"] == 1

    def test_is_ready_and_tells_figures(self, browser: httpx.Client) -> None:
        assert browser.get("/ready").raise_for_status().json()["version"] == 1
        said = browser.get("/metrics").text
        assert "reelflow_store_readable 1.0" in said
        assert "reelflow_live_users 20.0" in said

    def test_says_so_while_the_store_is_away_and_goes_on_when_it_is_back(self, browser: httpx.Client, kind: Kind) -> None:
        assert browser.get("/users/7/recommendations").status_code == 200
        with kind.stopped():
            refused = browser.get("/users/7/recommendations")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["which"] == "the serving store"
            assert browser.get("/ready").status_code == 503
            assert browser.get("/health").status_code == 200
            assert f"reelflow_store_readable {float(not kind.unreadable)}" in browser.get("/metrics").text
        body = browser.get("/users/7/recommendations").raise_for_status().json()
        assert videos(body) == expected(8, 1)


def test_a_password_is_never_told(postgres: PostgresServer, tmp_path: Path) -> None:
    """Wrong, it is in neither the answer nor the log."""
    postgres.run("CREATE ROLE app_of_http LOGIN PASSWORD 'right'")
    postgres.admit_by_password("app_of_http")
    wrong = {"REELFLOW_STORE_URL": postgres.url("app_of_http", password="dont-tell-me")}
    with serving(tmp_path, environment=wrong) as server:
        refused = httpx.get(f"{server.url}/users/7/recommendations", timeout=30)
        server.process.terminate()
        log = "".join(server.process.communicate(timeout=30))
    assert refused.status_code == 503
    assert "password" in log
    assert "dont-tell-me" not in refused.text + log
