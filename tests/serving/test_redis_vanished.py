"""Readers of the Redis store whose version is removed between two of their commands: they read what is live then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from serving import RecommendationReader, Snapshot, VanishedVersionError
from serving.redis import RedisStore
from tests.serving.builders import expected, publish
from tests.serving.http.clients import client
from tests.serving.redis_server import RedisServer

OTHERS = [video + 500 for video in expected(9, 2)]


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    """With version 1, of day 8; nothing stays that was let go of."""
    store = RedisStore(server.url, grace_seconds=0)
    publish(store, 8)
    yield store
    store.close()


class Overtaken(RedisStore):
    """A store whose snapshots are overtaken, so often as is asked for: the version goes when they have learnt its number."""

    def __init__(self, url: str, publish: Callable[[], object], *, times: int = 1) -> None:
        super().__init__(url)
        self.publish_now, self.times = publish, times

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with super().snapshot() as snapshot:
            if self.times:
                self.times -= 1
                self.publish_now()
            yield snapshot


@pytest.fixture
def overtaken(server: RedisServer, store: RedisStore) -> Overtaken:
    return Overtaken(server.url, lambda: publish(store, 9, keep=0))


class TestOnce:
    def test_homepages_are_read_from_the_version_after_it(self, overtaken: Overtaken) -> None:
        pages = RecommendationReader(overtaken).get_many([1, 20, 999])
        assert {page.version for page in pages.values()} == {2}
        assert [[row.video_id for row in page.rows] for page in pages.values()] == [expected(9, 2), expected(9, 2), OTHERS]

    @pytest.mark.parametrize(("user", "videos"), [(3, expected(9, 2)), (999, OTHERS)])
    def test_so_is_one(self, overtaken: Overtaken, user: int, videos: list[int]) -> None:
        page = RecommendationReader(overtaken).get(user)
        assert (page.version, page.model_version, [row.video_id for row in page.rows]) == (2, "model-9-2", videos)

    def test_so_is_what_the_store_reads_itself(self, overtaken: Overtaken) -> None:
        assert [row.video_id for row in overtaken.read(3, 9)] == expected(9, 2)

    def test_so_is_a_fallback_list(self, overtaken: Overtaken) -> None:
        assert [row.video_id for row in overtaken.read_fallback("all", 9)] == OTHERS

    def test_so_is_a_row(self, overtaken: Overtaken) -> None:
        assert (overtaken.read_row(3, expected(9, 2)[1]) or {})["rank"] == 2

    @pytest.mark.parametrize(
        ("path", "videos"),
        [
            ("/users/3/recommendations", expected(9, 2)),
            ("/users/999/recommendations", OTHERS),
            ("/fallback/country=DE", OTHERS),
        ],
    )
    def test_so_is_what_http_answers(self, overtaken: Overtaken, path: str, videos: list[int]) -> None:
        answer = client(overtaken).get(path)
        assert answer.status_code == 200, answer.text
        assert answer.json()["version"] == 2
        assert [item["video_id"] for item in answer.json()["items"]] == videos


def test_what_goes_again_and_again_is_reported(server: RedisServer, store: RedisStore) -> None:
    for read in (lambda reader: reader.get(3), lambda reader: reader.get(999)):
        overtaken = Overtaken(server.url, lambda: publish(store, 9, keep=0), times=2)
        with pytest.raises(VanishedVersionError, match=r"version \d was removed while a snapshot read it.*open a new one"):
            read(RecommendationReader(overtaken))
