"""What the homepage's own routes answer, and to whom."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving import SqliteStore
from serving.http import create_app
from tests.serving.builders import fallback, publication, rows
from tests.serving.http import world
from tests.serving.http.clients import LOCAL, config
from tests.serving.http.conftest import published

FILES = ("icon.svg", "style.css", "dom.js", "thumbnail.js", "cards.js", "app.js")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("home")
    world.make(found)
    return found


def browser(home: Path, at: str = world.NOW, lake: Path | None = None) -> TestClient:
    store = SqliteStore(home / "store" / "recommendations.sqlite")
    moment = datetime.fromisoformat(at)
    app = create_app(store, config(page=True), None, lake or home / "lake", clock=lambda: moment)
    return TestClient(app, base_url=LOCAL, raise_server_exceptions=False)


def homepage(home: Path, query: str, **options: Any) -> dict[str, Any]:
    answer = browser(home, **options).get(f"/page-data/homepage?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def texts(ids: list[int]) -> list[str]:
    """What JavaScript is told: its numbers would round ids beyond 53 bits."""
    return [str(one) for one in ids]


class TestFiles:
    def test_are_served_with_their_kinds_and_ask_nobody_else(self, home: Path) -> None:
        page = browser(home)
        index = page.get("/")
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        texts = [index.text]
        for name in FILES:
            answer = page.get(f"/page/{name}")
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache"), name
            texts.append(answer.text.replace("http://www.w3.org/2000/svg", ""))
        assert not [text for text in texts if "http://" in text or "https://" in text]
        assert "style=" not in index.text
        assert "onclick" not in index.text

    def test_nothing_else_is(self, home: Path) -> None:
        page = browser(home)
        for name in ("none.js", "..%2F_page.py", "%2Fetc%2Fpasswd"):
            assert page.get(f"/page/{name}").status_code == 404

    @pytest.mark.parametrize("ranges", ["bytes=abc", "bytes=99999-", "lines=1-2", "bytes=0-3", "bytes=0-0,2-2"])
    def test_they_are_served_whole_whatever_range_is_asked_for(self, home: Path, ranges: str) -> None:
        page = browser(home)
        answer = page.get("/page/dom.js", headers={"Range": ranges})
        assert (answer.status_code, answer.content) == (200, page.get("/page/dom.js").content)

    def test_they_are_not_part_of_the_public_interface(self, home: Path) -> None:
        assert not [path for path in browser(home).get("/openapi.json").json()["paths"] if "page" in path or path == "/"]


class TestStart:
    def test_says_what_is_live_and_suggests_a_few_users_who_have_lists(self, home: Path) -> None:
        found = browser(home).get("/page-data/start").json()
        assert (found["live"]["state"], found["live"]["version"], found["live"]["age_hours"]) == ("fresh", 1, 5.0)
        assert [user["user_id"] for user in found["users"]] == ["42", "43", "44"]  # 50 has none, though they did something
        assert found["segments"] == {"country": ["DE"], "language": ["de"]}
        assert [one["status"] for one in found["publications"]] == ["live"]
        assert found["remarks"] == []

    def test_the_live_publication_is_told_however_far_back_it_lies(self, tmp_path: Path) -> None:
        store = world.make(tmp_path)
        for day, generation in [(9, 2), *((7, attempt) for attempt in range(3, 10))]:
            store.publish(publication(day, generation), rows(day, generation), fallback(day, generation), 3)
            if day == 9:
                store.rollback(reason="a test")
        found = browser(tmp_path).get("/page-data/start").json()
        versions = [(one["version"], one["status"]) for one in found["publications"]]
        assert versions == [*((version, "superseded") for version in range(9, 3, -1)), (1, "live")]

    def test_says_that_it_is_stale(self, home: Path) -> None:
        found = browser(home, world.STALE).get("/page-data/start").json()
        assert found["live"]["state"] == "stale"

    def test_without_a_lake_it_says_so(self, home: Path, tmp_path: Path) -> None:
        found = browser(home, lake=tmp_path).get("/page-data/start").json()
        assert found["users"] == []
        assert [remark.partition(" table")[0] for remark in found["remarks"]] == [
            "found no fallback_recommendations", "found no user_features",
        ]  # fmt: skip

    def test_before_the_first_publication(self, home: Path, tmp_path: Path) -> None:
        app = create_app(SqliteStore(tmp_path / "empty.sqlite"), config(page=True), None, home / "lake")
        found = TestClient(app, base_url=LOCAL).get("/page-data/start").json()
        assert (found["live"]["state"], found["live"]["version"], found["users"]) == ("nothing is live", None, [])


class TestHomepage:
    def test_of_a_user(self, home: Path) -> None:
        found = homepage(home, "user_id=42")
        assert found["homepage"]["user_id"] == "42"
        assert [item["video_id"] for item in found["homepage"]["items"]] == texts(world.videos_of(42, world.DAYS[1]))
        assert found["videos"]["1142"] == {
            "title": "A piano with nine keys (1142)", "tags": ["music", "new"], "language": "en", "creator_id": "18",
            "duration_seconds": 1182.0, "view_count": 42254, "uploaded_at": "2026-01-05T09:00:00Z",
        }  # fmt: skip
        assert found["watched"]["videos"] == [
            {"video_id": "1142", "at": "2026-01-07T22:00:00Z"}, {"video_id": "1101", "at": "2026-01-06T23:00:00Z"},
        ]  # fmt: skip
        assert (found["before"]["day"], found["before"]["videos"]) == ("2026-01-06", texts(world.videos_of(42, world.DAYS[0])))
        wanted = {*world.videos_of(42, world.DAYS[0]), *world.videos_of(42, world.DAYS[1]), 1142, 1101}
        assert {int(video) for video in found["videos"]} == wanted

    @pytest.mark.parametrize(
        ("query", "segment"), [("", "all"), ("country=DE&language=de&device=tv", "country=DE|language=de")]
    )
    def test_of_a_new_visitor(self, home: Path, query: str, segment: str) -> None:
        found = homepage(home, query)
        assert (found["homepage"]["user_id"], found["homepage"]["segment"]) == (None, segment)
        assert found["homepage"]["items"][0]["reason"] == f"popular in {segment}"
        assert (len(found["before"]["videos"]), found["watched"]["videos"]) == (world.K, [])

    def test_of_an_unknown_user(self, home: Path) -> None:
        found = homepage(home, "user_id=999")
        assert (found["homepage"]["why"], found["homepage"]["segment"]) == ("missing", "all")
        assert found["watched"]["remark"] == "user 999 is not in user_features, dt=2026-01-07"

    def test_without_a_lake_lists_are_shown_by_id(self, home: Path, tmp_path: Path) -> None:
        found = homepage(home, "user_id=42", lake=tmp_path)
        assert len(found["homepage"]["items"]) == world.K
        assert found["videos"] == {}
        assert found["before"]["remark"] == "the lake has no recommendations of 2026-01-06"
        assert found["watched"]["remark"].startswith("found no user_features table")

    def test_a_damaged_lake_does_not_hide_the_lists(self, home: Path, tmp_path: Path) -> None:
        shutil.copytree(home / "lake", tmp_path / "lake")
        for file in (tmp_path / "lake").rglob("*.parquet"):
            file.write_bytes(b"no parquet")
        found = homepage(home, "user_id=42", lake=tmp_path / "lake")
        assert len(found["homepage"]["items"]) == world.K
        assert "cannot be read" in found["watched"]["remark"]
        assert "cannot be read" in found["before"]["remark"]
        assert "cannot be read" in found["remarks"][0]

    def test_why_a_video_is_there(self, home: Path) -> None:
        page, video = browser(home), world.videos_of(42, world.DAYS[1])[0]
        row = page.get(f"/page-data/users/42/videos/{video}").json()["row"]
        assert (row["user_id"], row["video_id"]) == ("42", str(video))
        assert (row["rank"], row["rules"], row["propensity"], row["score_ranker"]) == (1, "creators:1>2", 1.0, 1.0)
        assert page.get("/page-data/users/42/videos/5").json() == {"row": None}

    @pytest.mark.parametrize(
        ("path", "which"),
        [
            (f"users/42/videos/{2**63}", "path video_id"),
            (f"users/42/videos/{-(2**63) - 1}", "path video_id"),
            (f"users/{2**63}/videos/5", "path user_id"),
            (f"homepage?user_id={2**63}", "query user_id"),
        ],
    )
    def test_an_id_beyond_64_bits_is_refused(self, home: Path, path: str, which: str) -> None:
        answer = browser(home).get(f"/page-data/{path}")
        assert (answer.status_code, answer.json()["which"]) == (422, which)


class TestPrivacy:
    """The page shows what people watched: it is for a browser on the same machine."""

    PATHS = ("/", "/page/app.js", "/page-data/start", "/page-data/homepage?user_id=42", "/page-data/users/42/videos/1072")

    @pytest.mark.parametrize("path", PATHS)
    def test_not_by_another_name(self, home: Path, path: str) -> None:
        assert browser(home).get(path, headers={"Host": "evil.example"}).status_code == 421

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
    @pytest.mark.parametrize("path", PATHS)
    def test_not_through_a_proxy(self, home: Path, path: str, header: str) -> None:
        assert browser(home).get(path, headers={header: "10.0.0.1"}).status_code == 403

    def test_not_unless_it_is_asked_for(self, new_store: Callable[[], SqliteStore], home: Path) -> None:
        store = new_store()
        published(store)
        page = TestClient(create_app(store, config(), None, home / "lake", clock=lambda: datetime.now(UTC)), base_url=LOCAL)
        assert [page.get(path).status_code for path in self.PATHS] == [404] * len(self.PATHS)
