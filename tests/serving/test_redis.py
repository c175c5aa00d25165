"""The Redis store on a real server: the contracts, and its documented keys."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pytest
import redis

from schemas import RECOMMENDATIONS, SCORE_PARTS
from schemas.errors import ReelflowError
from serving import RecommendationReader, Status, store_at
from serving.redis import RedisStore, _load
from tests.serving.builders import K, batch, day, expected, fallback, publication, publish, rows, video, videos
from tests.serving.contract import Factory, StoreContract
from tests.serving.deltas import DeltaContract, delta, of_hour
from tests.serving.redis_server import RedisServer


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    return redis_server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client as client:
        yield client


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    store = RedisStore(server.url)
    yield store
    store.close()


class _OnRedis:
    @pytest.fixture
    def open_store(self, server: RedisServer) -> Iterator[Factory]:
        opened: list[RedisStore] = []

        def opening() -> RedisStore:
            opened.append(RedisStore(server.url))
            return opened[-1]

        yield opening
        for store in opened:
            store.close()


class TestRedisStore(_OnRedis, StoreContract):
    pass


class TestRedisDeltas(_OnRedis, DeltaContract):
    pass


class TestKeys:
    """As an app would read them, with nothing of ours."""

    def test_a_list_is_read_in_two_commands(self, store: RedisStore, client: redis.Redis) -> None:
        publish(store, 8)
        delta(store, 1, (3, 999), base=1)
        live = json.loads(client.get("{reelflow}:live"))
        assert live["version"] == 2
        assert [(one["version"], one["as_of"], one["model_version"]) for one in live["publications"]] == [
            (2, "2026-01-08T01:00:00Z", "hour-1"),
            (1, "2026-01-08T00:00:00Z", "model-8-1"),
        ]
        for user, found in ((3, of_hour(1)), (4, expected(8, 1)), (999, of_hour(1))):
            values = client.mget([f"reelflow:list:{one['version']}:{user}" for one in live["publications"]])
            mine = json.loads(next(value for value in values if value))
            assert mine["videos"] == found
            assert mine["rows"] == len(found)
        assert mine == {
            "rows": 5,
            "videos": of_hour(1),
            "scores": [1 / rank for rank in range(1, 6)],
            "sources": [f"retrieval:{rank}" for rank in range(1, 6)],
            "reasons": ["day 8"],
            "reason": [0] * 5,
        }
        everybody = json.loads(client.hget("reelflow:fallback:2", "all"))
        assert everybody["videos"] == [1_000_500 + rank for rank in range(1, 6)]
        assert everybody["reasons"] == ["popular on day 1 in all"]
        assert set(client.hkeys("reelflow:fallback:2")) == {b"all", b"country=DE"}

    @pytest.mark.parametrize("now", [day(9), day(10), day(11)])
    def test_an_app_chooses_as_the_reader_does(self, store: RedisStore, client: redis.Redis, now: datetime) -> None:
        """Lists of day 8 expire on day 10, that of user 3 and the fallback lists on day 11."""
        publish(store, 8)
        delta(store, 24, (3,), base=1)
        reader = RecommendationReader(store)
        for user in (3, 4, 999):
            live = json.loads(client.get("{reelflow}:live"))
            expires = {one["version"]: datetime.fromisoformat(one["expires_at"]) for one in live["publications"]}
            values = client.mget([f"reelflow:list:{version}:{user}" for version in expires])
            own = next(((version, value) for version, value in zip(expires, values, strict=True) if value), None)
            if own is None or (now >= expires[own[0]] and now < expires[live["version"]]):
                shown, version = client.hget(f"reelflow:fallback:{live['version']}", "all"), live["version"]
            else:
                version, shown = own
            page = reader.get(user, now=now)
            assert [row.video_id for row in page.rows] == json.loads(shown)["videos"]
            assert (page.expires_at, page.stale) == (expires[version], now >= expires[version])

    def test_what_led_to_a_list_is_a_line_and_packed_numbers(self, store: RedisStore, client: redis.Redis) -> None:
        publish(store, 8)
        line, _, packed = client.get("reelflow:why:1:3").partition(b"\n")
        assert json.loads(line) == ["creators:1>2", "", "creators:3>4", "", "creators:5>6"]
        found = list(struct.iter_unpack("<d8f", packed))
        assert found == [(1 / rank, *(rank + place / 8 for place in range(len(SCORE_PARTS)))) for rank in range(1, 6)]

    def test_the_log_is_json(self, store: RedisStore, client: redis.Redis) -> None:
        publish(store, 8)
        publish(store, 9, keep=0)
        store_log = {int(version): json.loads(value) for version, value in client.hgetall("{reelflow}:publications").items()}
        assert {version: (one["status"], one["users"]) for version, one in store_log.items()} == {
            1: ("removed", 20),
            2: ("live", 20),
        }
        switch = json.loads(client.lindex("{reelflow}:switches", 0))
        assert (switch["action"], switch["from_version"], switch["to_version"]) == ("publish", 1, 2)

    def test_prefixes_keep_stores_apart(self, server: RedisServer, client: redis.Redis) -> None:
        ours, theirs = RedisStore(server.url), RedisStore(server.url, prefix="films")
        publish(ours, 8)
        assert theirs.live() is None
        publish(theirs, 9)
        assert videos(ours) == expected(8, 1)
        assert videos(theirs) == expected(9, 1)
        names = {key.partition(b":")[0] for key in client.scan_iter()}
        assert names == {b"reelflow", b"{reelflow}", b"films", b"{films}"}

    def test_url_opens_it(self, server: RedisServer) -> None:
        store = store_at(server.url)
        publish(store, 8)
        assert videos(store_at(f"unix://{server.folder}/s?db=0")) == expected(8, 1)
        assert store_at(server.url.removesuffix("0") + "1").live() is None


class TestLoading:
    @pytest.fixture(autouse=True)
    def chunks_of_fifty_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_load, "_CHUNK_ROWS", 50)

    def test_texts_need_not_be_plain(self, store: RedisStore) -> None:
        texts = ['a "b"', "back\\slash", "line\nbreak\ttab\x01", "", "日本 🎬", "plain"]
        part = batch([(1, rank, rank) for rank in range(1, 7)])
        for name in ("sources", "reason", "rules"):
            part = part.set_column(part.schema.get_field_index(name), RECOMMENDATIONS.arrow.field(name), pa.array(texts))
        store.publish(publication(8, 1), [part], fallback(8, 1), 3)
        assert [(row.sources, row.reason) for row in store.read(1, 9)] == [(text, text) for text in texts]
        assert [(store.read_row(1, rank) or {})["rules"] for rank in range(1, 7)] == texts

    def test_lists_that_come_in_parts_far_from_each_other_are_put_together(self, store: RedisStore) -> None:
        """User 5's ranks come at the beginning, in the middle and at the end of far more rows than are held at once."""
        parts = [
            batch([(5, 1, 51)]),
            *rows(8, 1, users=60, k=1, per_batch=60, first_user=100),
            batch([(5, 3, 53), (7, 1, 71)]),
            *rows(8, 1, users=60, k=1, per_batch=60, first_user=1000),
            batch([(5, 2, 52), (100, 2, 9)]),
        ]
        result = store.publish(publication(8, 1), iter(parts), fallback(8, 1), 3)
        assert (result.users, result.rows) == (122, 125)
        assert videos(store, 5) == [51, 52, 53]
        assert videos(store, 100) == [video(8, 1, 1), 9]
        assert [videos(store, user) for user in (7, 159, 1059)] == [[71], expected(8, 1, 1), expected(8, 1, 1)]
        assert (store.read_row(5, 53) or {})["rules"] == "creators:3>4"

    @pytest.mark.parametrize(
        ("late", "message"),
        [
            ((5, 3, 9), "1 of 61 users.*user_id=5, rows=2, first_rank=1, last_rank=3"),
            ((5, 2, 51), "video twice.*user_id=5, rows=2.*distinct_videos=1"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, store: RedisStore, late: tuple[int, int, int], message: str) -> None:
        parts = [batch([(5, 1, 51)]), *rows(8, 1, users=60, k=1, per_batch=60, first_user=100), batch([late])]
        with pytest.raises(ReelflowError, match=message):
            store.publish(publication(8, 1), iter(parts), fallback(8, 1), 3)

    def test_nothing_of_a_refused_publication_stays(self, store: RedisStore, client: redis.Redis) -> None:
        publish(store, 8)
        before = sorted(client.scan_iter("reelflow:*"))
        with pytest.raises(ReelflowError, match="1 of 61 users"):
            store.publish(
                publication(9, 2),
                [*rows(9, 2, users=60, k=1, per_batch=60), batch([(70_000, 2, 1)])],
                fallback(9, 2),
                3,
            )
        assert sorted(client.scan_iter("reelflow:*")) == before
        assert client.smembers("{reelflow}:holding") == {b"1"}
        assert list(client.scan_iter("{reelflow}:lease:*")) == []

    def test_values_that_the_server_lost_are_noticed(self, store: RedisStore, client: redis.Redis) -> None:
        def losing() -> Iterator[pa.RecordBatch]:
            yield from rows(8, 1, users=60, k=1, per_batch=60)
            assert client.delete("reelflow:list:1:7", "reelflow:why:1:8") == 2

        with pytest.raises(ReelflowError, match="publication 1: found 2 values fewer in the store than were written"):
            store.publish(publication(8, 1), losing(), fallback(8, 1), 3)
        assert store.live() is None


class TestRemoval:
    def test_lists_go_when_the_grace_is_over(self, server: RedisServer, client: redis.Redis) -> None:
        store = RedisStore(server.url, grace_seconds=0)
        publish(store, 8, keep=0)
        with store.snapshot() as snapshot:
            assert [row.video_id for row in snapshot.read(1, 9)] == expected(8, 1)
            publish(store, 9, keep=0)
            for late in (lambda: snapshot.read(1, 9), lambda: snapshot.read_fallback("all", 1), lambda: snapshot.showing([1])):
                with pytest.raises(ReelflowError, match="version 1 was removed while a snapshot read it"):
                    late()
        assert {key.split(b":")[2] for key in client.scan_iter("reelflow:*")} == {b"2"}
        assert client.smembers("{reelflow}:holding") == {b"2"}

    def test_lists_stay_until_the_grace_is_over(self, server: RedisServer, client: redis.Redis) -> None:
        store = RedisStore(server.url, grace_seconds=2)
        publish(store, 8, keep=0)
        publish(store, 9, keep=0)
        assert {key.split(b":")[2] for key in client.scan_iter("reelflow:*")} == {b"1", b"2"}
        time.sleep(3)
        publish(store, 10, keep=0)
        assert {key.split(b":")[2] for key in client.scan_iter("reelflow:*")} == {b"2", b"3"}

    def test_lists_of_a_removed_delta_stay_as_long_as_they_are_shown(self, server: RedisServer, client: redis.Redis) -> None:
        store = RedisStore(server.url, grace_seconds=0)
        publish(store, 8)
        for hours in (1, 2, 3):
            delta(store, hours, (hours,), base=hours, keep=0)
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(2), of_hour(3)]
        assert sorted(key.split(b":")[2] for key in client.scan_iter("reelflow:fallback:*")) == [b"4"]
        publish(store, 9, keep=0)
        assert {key.split(b":")[2] for key in client.scan_iter("reelflow:*")} == {b"5"}

    def test_erased_user_is_in_no_key(self, server: RedisServer, client: redis.Redis) -> None:
        store = RedisStore(server.url)
        user = 4_242_424_242
        for number in (8, 9):
            store.publish(
                publication(number, number), [batch([(1, 1, 5), (user, 1, 5), (user, 2, 6)])], fallback(number, number), 3
            )
        assert [(one.version, one.rows) for one in store.erase(user)] == [(1, 2), (2, 2)]
        for key in client.scan_iter():
            kind = client.type(key)
            value = client.dump(key) if kind != b"hash" else repr(client.hgetall(key)).encode()
            assert str(user).encode() not in key + value
            assert struct.pack("<q", user) not in value
        assert client.hgetall("reelflow:pieces:1") == {b"0": b"1 1", b"1": b""}
        assert (store.live().users, store.live().rows) == (1, 1)  # type: ignore[union-attr]


def test_a_user_who_is_erased_between_two_reads_of_a_row_has_none(store: RedisStore, client: redis.Redis) -> None:
    publish(store, 8)
    with store.snapshot() as snapshot:
        assert snapshot.published_by(3) == store.live()
        assert (snapshot.read_row(3, video(8, 1, K)) or {})["rank"] == K
        store.erase(3)
        assert snapshot.read_row(3, video(8, 1, K)) is None
    assert store.publications()[0].status is Status.LIVE
    assert client.exists("{reelflow}:kept:1") == 1
