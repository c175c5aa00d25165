"""What the routes answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from schemas.errors import ReelflowError
from serving import SqliteStore
from serving.http._answers import GREATEST_ID, LEAST_ID, HomepageAnswer, Homepages
from tests.serving.builders import expected
from tests.serving.http.clients import client
from tests.serving.http.conftest import published

DAY_8 = expected(8, 1)
POPULAR = [video + 500 for video in DAY_8]


def videos(body: dict[str, Any]) -> list[int]:
    return [item["video_id"] for item in body["items"]]


class TestRecommendations:
    def test_a_user_gets_their_own_list(self, store: SqliteStore) -> None:
        body = client(store).get("/users/7/recommendations?k=3").json()
        live = store.live()
        assert live is not None
        assert (body["user_id"], body["version"], body["model_version"]) == (7, 1, "model-8")
        assert (body["fallback"], body["why"], body["segment"], body["stale"]) == (False, "own", None, False)
        assert datetime.fromisoformat(body["as_of"]) == live.as_of
        assert datetime.fromisoformat(body["expires_at"]) == live.expires_at
        assert body["items"][0] == {
            "rank": 1, "video_id": 8001001, "score": 1.0, "sources": "retrieval:1", "reason": "day 8",
        }  # fmt: skip
        assert videos(body) == DAY_8[:3]

    def test_the_answer_is_as_described(self, store: SqliteStore) -> None:
        answer = client(store).get("/users/7/recommendations")
        found = HomepageAnswer.model_validate_json(answer.content, strict=False)
        assert set(answer.json()) == set(HomepageAnswer.model_fields)
        assert [item.rank for item in found.items] == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize(
        ("query", "segment"),
        [
            ("", "all"),
            ("?country=DE", "country=DE"),
            ("?country=DE&language=de&device=tv", "country=DE|language=de"),
            ("?language=de", "language=de"),
            ("?country=XX&device=tv", "all"),
            ("?country=&language=", "all"),
        ],
    )
    def test_an_unknown_user_gets_the_fallback_list(self, store: SqliteStore, query: str, segment: str) -> None:
        answer = client(store).get(f"/users/999/recommendations{query}")
        body = answer.json()
        assert answer.status_code == 200
        assert (body["fallback"], body["why"], body["segment"]) == (True, "missing", segment)
        assert videos(body) == POPULAR

    def test_an_expired_list_gives_way_to_a_fresh_fallback(self, new_store: Callable[[], SqliteStore]) -> None:
        store = new_store()
        full = published(store, hours_ago=60)
        published(store, hours_ago=2, number=9, base=full, users=3)
        browser = client(store)
        fresh, expired = (browser.get(f"/users/{user}/recommendations").json() for user in (2, 10))
        assert (fresh["why"], videos(fresh)) == ("own", expected(9, 1))
        assert (expired["why"], expired["segment"], expired["stale"]) == ("expired", "all", False)
        assert videos(expired) == [video + 500 for video in expected(9, 1)]

    def test_where_everything_has_expired_the_own_list_is_shown_as_stale(self, new_store: Callable[[], SqliteStore]) -> None:
        store = new_store()
        published(store, hours_ago=60)
        browser = client(store)
        own, other = (browser.get(f"/users/{user}/recommendations").json() for user in (7, 999))
        assert (own["why"], own["stale"], videos(own)) == ("own", True, DAY_8)
        assert (other["why"], other["stale"], videos(other)) == ("missing", True, POPULAR)

    @pytest.mark.parametrize("user", [LEAST_ID, -1, 0, GREATEST_ID])
    def test_any_64_bit_user_may_be_asked_for(self, store: SqliteStore, user: int) -> None:
        assert client(store).get(f"/users/{user}/recommendations").json()["user_id"] == user


class TestTags:
    def test_the_same_list_is_not_sent_twice(self, store: SqliteStore) -> None:
        browser = client(store)
        first = browser.get("/users/7/recommendations")
        tag = first.headers["etag"]
        assert re.fullmatch(r'W/"[0-9a-f]{24}"', tag)
        assert first.headers["cache-control"] == "private, no-cache"
        for asked in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = browser.get("/users/7/recommendations", headers={"If-None-Match": asked, "X-Request-Id": "r-2"})
            assert (again.status_code, again.content) == (304, b"")
            assert (again.headers["etag"], again.headers["x-request-id"]) == (tag, "r-2")

    def test_another_question_or_version_has_another_tag(self, store: SqliteStore) -> None:
        browser = client(store)
        paths = ("/users/7/recommendations", "/users/7/recommendations?k=2", "/users/8/recommendations", "/fallback/all")
        tags = [browser.get(path).headers["etag"] for path in paths]
        assert len(set(tags)) == len(paths)
        published(store, hours_ago=1)
        for path, tag in zip(paths, tags, strict=True):
            assert browser.get(path, headers={"If-None-Match": tag}).status_code == 200

    def test_an_erased_user_is_not_kept_by_the_tag(self, store: SqliteStore) -> None:
        browser = client(store)
        tag = browser.get("/users/7/recommendations").headers["etag"]
        store.erase(7)
        again = browser.get("/users/7/recommendations", headers={"If-None-Match": tag})
        assert (again.status_code, again.json()["why"]) == (200, "missing")


class TestRequestIds:
    def test_an_id_is_echoed_in_header_and_body(self, store: SqliteStore) -> None:
        answer = client(store).get("/users/7/recommendations", headers={"X-Request-Id": "home.2026_01-08"})
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "home.2026_01-08"

    def test_one_is_made_where_there_is_none(self, store: SqliteStore) -> None:
        browser = client(store)
        made = [browser.get("/users/7/recommendations") for _ in range(2)]
        assert all(one.headers["x-request-id"] == one.json()["request_id"] for one in made)
        assert len({one.json()["request_id"] for one in made}) == 2

    @pytest.mark.parametrize("wrong", ["", "a b", "x" * 65, "naïve".encode(), "a/b"])
    def test_another_form_is_refused(self, store: SqliteStore, wrong: str | bytes) -> None:
        answer = client(store).get("/users/7/recommendations", headers={"X-Request-Id": wrong})
        assert answer.status_code == 422
        assert answer.json()["which"] == "header X-Request-Id"
        assert answer.json()["request_id"] == answer.headers["x-request-id"] != wrong


class TestBatch:
    def test_answers_each_user_once_in_the_order_asked(self, store: SqliteStore) -> None:
        answer = client(store).post("/recommendations:batch?k=2&country=DE", json={"user_ids": [9, 999, 3, 9]})
        found = Homepages.model_validate_json(answer.content, strict=False).homepages
        assert [(one.user_id, one.why, one.segment) for one in found] == [
            (9, "own", None), (999, "missing", "country=DE"), (3, "own", None),
        ]  # fmt: skip
        assert [[item.video_id for item in one.items] for one in found] == [DAY_8[:2], POPULAR[:2], DAY_8[:2]]
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        ("body", "which"),
        [
            ({"user_ids": []}, "body user_ids"),
            ({"user_ids": list(range(101))}, "body user_ids"),
            ({"user_ids": ["7"]}, "body user_ids.0"),
            ({"user_ids": [True]}, "body user_ids.0"),
            ({"user_ids": [7.5]}, "body user_ids.0"),
            ({"user_ids": [2**63]}, "body user_ids.0"),
            ({"user_ids": [7], "k": 3}, "body k"),
            ({}, "body user_ids"),
        ],
    )
    def test_another_body_is_refused(self, store: SqliteStore, body: object, which: str) -> None:
        answer = client(store).post("/recommendations:batch", json=body)
        assert (answer.status_code, answer.json()["which"]) == (422, which)

    @pytest.mark.parametrize(
        ("body", "which"),
        [(r'{"user_ids": ["\ud800"]}', "body user_ids.0"), (r'{"\udfff": 1, "user_ids": [1]}', "body"), (r'"\ud800"', "body")],
    )
    def test_half_a_character_is_refused_like_any_other_text(self, store: SqliteStore, body: str, which: str) -> None:
        answer = client(store).post("/recommendations:batch", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["which"], answer.json()["found"]) == (422, which, "?")

    def test_what_json_takes_for_an_integer_is_one(self, store: SqliteStore) -> None:
        answer = client(store).post("/recommendations:batch", json={"user_ids": [7.0]})
        assert [page["user_id"] for page in answer.json()["homepages"]] == [7]

    def test_a_body_that_is_too_large_is_refused(self, store: SqliteStore) -> None:
        answer = client(store).post(
            "/recommendations:batch", content=b"[" * 20_000, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"


class TestFallback:
    def test_exactly_this_list(self, store: SqliteStore) -> None:
        body = client(store).get("/fallback/country=DE%7Clanguage=de?k=2").json()
        assert (body["segment"], body["version"], body["stale"], videos(body)) == (
            "country=DE|language=de",
            1,
            False,
            POPULAR[:2],
        )

    def test_a_list_that_there_is_not(self, store: SqliteStore) -> None:
        answer = client(store).get("/fallback/country=XX")
        assert answer.status_code == 404
        assert answer.json()["which"] == "segment country=XX"


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "which", "found"),
        [
            ("/users/7/recommendations?k=0", "query k", "0"),
            ("/users/7/recommendations?k=101", "query k", "101"),
            ("/users/7/recommendations?k=many", "query k", "many"),
            ("/users/anna/recommendations", "path user_id", "anna"),
            (f"/users/{2**63}/recommendations", "path user_id", str(2**63)),
            ("/users/7/recommendations?country=a%00b", "query country", "a\0b"),
            ("/users/7/recommendations?country=DE%7Clanguage=de", "query country", "DE|language=de"),
            (f"/users/7/recommendations?device={'x' * 200}", "query device", f"{'x' * 100}…"),
        ],
    )
    def test_a_mistake_is_told_in_four_parts(self, store: SqliteStore, path: str, which: str, found: str) -> None:
        answer = client(store).get(path)
        body = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert (body["status"], body["which"], body["found"]) == (422, which, found)
        assert body["expected"]
        assert body["do"]

    def test_no_way_lists_users(self, store: SqliteStore) -> None:
        browser = client(store)
        for path in ("/users", "/users/", "/users//recommendations", "/recommendations", "/", "/page-data/start", "/docs"):
            answer = browser.get(path)
            assert (answer.status_code, answer.json()["title"]) == (404, "Not Found"), path

    def test_another_method_says_which_are_known(self, store: SqliteStore) -> None:
        answer = client(store).delete("/users/7/recommendations")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert answer.json()["which"] == "DELETE /users/7/recommendations"

    def test_a_store_that_cannot_be_read_tells_strangers_nothing(
        self, store: SqliteStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.path.write_bytes(b"no database" * 500)
        answer = client(store).get("/users/7/recommendations", headers={"X-Request-Id": "r-1"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert str(store.path) not in answer.text
        assert "request r-1: store" in caplog.text
        assert str(store.path) in caplog.text

    def test_a_defect_is_answered_and_logged(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(SqliteStore, "snapshot", lambda _: 1 / 0)
        answer = client(store).get("/users/7/recommendations", headers={"X-Request-Id": "r-3"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "r-3")
        assert "ZeroDivisionError" not in answer.text
        assert "ZeroDivisionError" in caplog.text
        said = [record.message for record in caplog.records if record.name == "serving.http._guard"]
        assert said == ["request r-3: GET /users/{user_id}/recommendations failed"]  # not whose


class TestReadiness:
    def test_health_does_not_ask_the_store(self, new_store: Callable[[], SqliteStore]) -> None:
        assert client(new_store()).get("/health").json() == {"status": "ok"}

    def test_ready_once_something_is_live(self, new_store: Callable[[], SqliteStore]) -> None:
        store = new_store()
        browser = client(store)
        before = browser.get("/ready")
        assert (before.status_code, before.json()["found"]) == (503, "nothing is live")
        published(store, hours_ago=60)
        after = browser.get("/ready")
        assert (after.status_code, after.json()["status"], after.json()["version"]) == (200, "stale", 1)
        published(store)
        assert browser.get("/ready").json()["status"] == "fresh"

    def test_not_ready_where_the_store_cannot_be_read(self, store: SqliteStore) -> None:
        store.path.write_bytes(b"no database" * 500)
        answer = client(store).get("/ready")
        assert (answer.status_code, answer.json()["which"]) == (503, "the serving store")


def figures(text: str) -> dict[str, float]:
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")}


class TestMetrics:
    def test_requests_fallbacks_and_freshness_are_counted(self, new_store: Callable[[], SqliteStore]) -> None:
        store = new_store()
        full = published(store, hours_ago=60)
        published(store, hours_ago=2, number=9, base=full, users=3)
        browser = client(store)
        for path in ("1", "10", "11", "999"):
            browser.get(f"/users/{path}/recommendations")
        browser.get("/users/x/recommendations")
        browser.get("/nowhere")
        answer = browser.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        found = figures(answer.text)
        route = "/users/{user_id}/recommendations"
        assert found[f'reelflow_http_requests_total{{route="{route}",status="200"}}'] == 4
        assert found[f'reelflow_http_requests_total{{route="{route}",status="422"}}'] == 1
        assert found['reelflow_http_requests_total{route="other",status="404"}'] == 1
        assert found[f'reelflow_http_request_seconds_count{{route="{route}"}}'] == 5
        assert found['reelflow_http_fallbacks_total{why="missing"}'] == 1
        assert found['reelflow_http_fallbacks_total{why="expired"}'] == 2
        assert (found["reelflow_live_version"], found["reelflow_stale"], found["reelflow_store_readable"]) == (2, 0, 1)
        assert 7200 <= found["reelflow_staleness_seconds"] < 7300

    def test_they_tell_that_nothing_is_fresh_any_more(self, new_store: Callable[[], SqliteStore]) -> None:
        store = new_store()
        published(store, hours_ago=60)
        browser = client(store)
        browser.get("/users/1/recommendations")
        found = figures(browser.get("/metrics").text)
        assert (found["reelflow_stale"], found["reelflow_http_stale_lists_total"]) == (1, 1)
        store.path.write_bytes(b"no database" * 500)
        found = figures(browser.get("/metrics").text)
        assert found["reelflow_store_readable"] == 0
        assert "reelflow_live_version" not in found


def test_a_store_that_needs_threads_is_read_in_them(store: SqliteStore) -> None:
    """Any other store than SQLite's is read outside the event loop, with the same answers and errors."""

    class Other:
        def __getattr__(self, name: str) -> Any:
            if name == "live":
                raise ReelflowError("no way there")
            return getattr(store, name)

    browser = client(Other())  # type: ignore[arg-type]
    assert videos(browser.get("/users/7/recommendations").json()) == DAY_8
    assert videos(browser.get("/fallback/all").json()) == POPULAR
    assert browser.get("/ready").status_code == 503


def test_openapi_describes_every_route_with_examples(store: SqliteStore) -> None:
    described = client(store).get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/users/{user_id}/recommendations", "/recommendations:batch", "/fallback/{segment}", "/health", "/ready", "/metrics",
    }  # fmt: skip
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert "HTTPValidationError" not in str(operation)
    schemas = described["components"]["schemas"]
    assert {"HomepageAnswer", "Homepages", "Fallback", "Batch", "Problem", "Ready"} <= set(schemas)
    assert all(schemas[name]["examples"] for name in ("HomepageAnswer", "Homepages", "Fallback", "Batch", "Problem", "Ready"))
    assert HomepageAnswer.model_validate(schemas["HomepageAnswer"]["examples"][0])
    assert client(store, docs=False).get("/openapi.json").status_code == 404
