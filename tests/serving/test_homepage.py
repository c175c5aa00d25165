"""Which list a user is shown, and which fallback lists fit a visitor."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from serving import Homepage, RecommendationReader, SqliteStore, StoreError, segments_of
from tests.serving.builders import day, expected, fallback, publication, publish, rows
from tests.serving.deltas import delta, of_hour

NAMES = ("all", "country=DE", "country=DE|language=de", "country=FR", "language=de", "language=de|device=tv")
VISITORS = (
    (("DE", "de", "tv"), "country=DE|language=de"),
    (("DE", "fr", "tv"), "country=DE"),
    (("FR", None, "tv"), "country=FR"),
    (("JP", "de", "tv"), "language=de|device=tv"),
    ((None, "de", "phone"), "language=de"),
    ((None, None, "tv"), "all"),
    (("JP", "ja", None), "all"),
)


def test_segments_go_from_the_most_specific_to_everybody() -> None:
    assert segments_of("DE", "de", "tv") == (
        "country=DE|language=de|device=tv",
        "country=DE|language=de",
        "country=DE",
        "language=de|device=tv",
        "language=de",
        "all",
    )
    assert segments_of() == ("all",)
    assert segments_of(country="DE", device="tv") == ("country=DE", "all")
    assert segments_of(language="de") == ("language=de", "all")
    assert segments_of("", "", "tv") == ("all",)


@pytest.mark.parametrize(("visitor", "segment"), VISITORS)
def test_the_reader_and_plain_sql_choose_the_same_list(
    tmp_path: Path, visitor: tuple[str | None, str | None, str | None], segment: str
) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.publish(publication(8, 1), rows(8, 1), fallback(8, 1, NAMES), 3)
    wanted = segments_of(*visitor)
    assert RecommendationReader(store).get(999, segments=wanted).segment == segment
    page = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    sql = next(block for block in page.split("```sql\n")[1:] if ":country" in block).partition("```")[0]
    connection = sqlite3.connect(store.path)
    found = connection.execute(sql, dict(zip(("country", "language", "device"), visitor, strict=True))).fetchall()
    connection.close()
    assert {row[0] for row in found} == {segment}
    assert [row[1] for row in found] == [1, 2, 3, 4, 5]


HOUR = timedelta(hours=1)
POPULAR_24 = [video + 500 for video in expected(24, 0)]


@pytest.fixture
def reader(tmp_path: Path) -> RecommendationReader:
    """Everybody's lists expire on day 10, those of users 1 to 3 and the fallback lists on day 11."""
    store = SqliteStore(tmp_path / "store.sqlite")
    full = publish(store, 8)
    delta(store, 24, (1, 2, 3), full.version)
    return RecommendationReader(store)


def told(page: Homepage) -> tuple[str, bool, str | None, bool]:
    return page.why, page.fallback, page.segment, page.stale


class TestWhichList:
    def test_a_fresh_list_is_shown(self, reader: RecommendationReader) -> None:
        for user, videos, as_of in ((2, of_hour(24), day(9)), (10, expected(8, 1), day(8))):
            page = reader.get(user, now=day(10) - HOUR)
            assert told(page) == ("own", False, None, False)
            assert ([row.video_id for row in page.rows], page.as_of, page.version) == (videos, as_of, 2)

    def test_an_expired_one_gives_way_to_a_fresh_fallback(self, reader: RecommendationReader) -> None:
        page = reader.get(10, segments=segments_of("DE"), now=day(10))
        assert told(page) == ("expired", True, "country=DE", False)
        assert ([row.video_id for row in page.rows], page.as_of, page.expires_at) == (POPULAR_24, day(9), day(11))
        assert page.model_version == "hour-24"
        assert told(reader.get(2, now=day(10))) == ("own", False, None, False)

    def test_but_not_to_a_stale_one(self, reader: RecommendationReader) -> None:
        page = reader.get(10, now=day(11))
        assert told(page) == ("own", False, None, True)
        assert ([row.video_id for row in page.rows], page.expires_at) == (expected(8, 1), day(10))

    def test_nor_to_one_that_there_is_not(self, reader: RecommendationReader) -> None:
        assert told(reader.get(10, segments="country=XX", now=day(10))) == ("own", False, None, True)

    @pytest.mark.parametrize(("now", "stale"), [(day(10), False), (day(11), True)])
    def test_who_has_none_gets_the_fallback_fresh_or_not(
        self, reader: RecommendationReader, now: datetime, stale: bool
    ) -> None:
        page = reader.get(999, now=now)
        assert told(page) == ("missing", True, "all", stale)
        assert [row.video_id for row in page.rows] == POPULAR_24

    def test_where_there_is_nothing_at_all_it_says_so(self, reader: RecommendationReader) -> None:
        page = reader.get(999, segments=())
        assert (told(page)[:3], page.rows) == (("missing", True, None), ())

    def test_one_segment_may_be_given_as_a_text(self, reader: RecommendationReader) -> None:
        assert reader.get(999, 2, "country=DE").segment == "country=DE"


class TestManyUsers:
    def test_each_is_as_if_asked_alone(self, reader: RecommendationReader) -> None:
        for now in (day(9), day(10), day(11)):
            users = [10, 2, 999, 11]
            pages = reader.get_many(users, 3, segments_of("DE"), now=now)
            assert list(pages) == users
            assert pages == {user: reader.get(user, 3, segments_of("DE"), now=now) for user in users}

    def test_nobody_is_answered_for_nobody(self, reader: RecommendationReader) -> None:
        assert reader.get_many([]) == {}

    def test_before_the_first_publication_it_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="nothing has been published yet"):
            RecommendationReader(SqliteStore(tmp_path / "empty.sqlite")).get(1)


def test_without_a_store_the_configured_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("REELFLOW_STORE_URL", raising=False)
    publish(SqliteStore(tmp_path / "store" / "recommendations.sqlite"), 8)
    assert RecommendationReader().get(3, now=day(8)).version == 1
    monkeypatch.setenv("REELFLOW_STORE_URL", str(tmp_path / "other.sqlite"))
    with pytest.raises(StoreError, match="nothing has been published yet"):
        RecommendationReader().get(3)
