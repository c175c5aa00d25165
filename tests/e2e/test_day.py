"""Two days of a small platform through every stage: what is published, and who sees it."""

from __future__ import annotations

import json
import re

import duckdb
import pytest

from jobs import publish, summary
from jobs._tables import Partition
from jobs._window import compact
from schemas import (
    EXAMPLES,
    FALLBACK_RECOMMENDATIONS,
    INTERACTIONS,
    RECOMMENDATIONS,
    REJECTED,
    USER_FEATURES,
    USERS,
    VIDEO_FEATURES,
    VIDEOS,
)
from tests.e2e.day import (
    AFTER_BOTH,
    AFTER_FIRST,
    DATA,
    FIRST,
    FIRST_DAY,
    SECOND,
    SECOND_DAY,
    SETTINGS,
    TODAY,
    K,
    aliases,
    log,
    published,
    raw_rows,
    read,
)

pytestmark = pytest.mark.spark


class TestWhatIsPublished:
    def test_no_row_is_lost_between_raw_logs_and_the_lake(self, world):
        lake, sums = world.both.lake, {"read": 0, "kept": 0, "duplicate": 0, "rejected": 0}
        for hour in DATA.hours():
            kept, refused = (lake.manifest(table, Partition.hour(hour)) for table in (INTERACTIONS, REJECTED))
            counts = refused.counts
            assert counts["read"] == kept.rows + counts.get("duplicate", 0) + refused.rows
            sums["read"] += counts["read"]
            sums["kept"] += kept.rows
            sums["duplicate"] += counts.get("duplicate", 0)
            sums["rejected"] += refused.rows
        assert min(sums.values()) > 0  # there was something to refuse
        assert sums["read"] == raw_rows(world.both.raw)
        assert lake.manifest(USERS, TODAY).rows == lake.manifest(USER_FEATURES, TODAY).rows
        assert lake.manifest(VIDEOS, TODAY).rows >= lake.manifest(VIDEO_FEATURES, TODAY).rows > 500
        rows = lake.manifest(RECOMMENDATIONS, TODAY).rows
        assert len(published(world.both)["rows"]) == rows > 0
        assert len(published(world.both)["fallback"]) == lake.manifest(FALLBACK_RECOMMENDATIONS, TODAY).rows

    def test_every_user_has_a_full_list_of_videos_that_may_be_shown(self, world):
        lists: dict[int, list[tuple[int, int]]] = {}
        for row in published(world.both)["rows"]:
            lists.setdefault(row[0], []).append(row[1:3])
        users = world.both.lake.read(USER_FEATURES, [TODAY]).to_pylist()
        videos = world.both.lake.read(VIDEO_FEATURES, [TODAY]).to_pylist()
        assert lists.keys() == {user["user_id"] for user in users}
        assert any(user["watched"] for user in users)
        assert any(video["removed"] for video in videos)
        assert any(video["blocked_countries"] for video in videos)
        for user in users:
            may = {
                video["video_id"]
                for video in videos
                if not video["removed"] and user["country"] not in video["blocked_countries"]
            } - set(user["watched"])
            shown = [video for _, video in lists[user["user_id"]]]
            assert [rank for rank, _ in lists[user["user_id"]]] == list(range(1, min(K, len(may)) + 1))
            assert len(set(shown)) == len(shown)
            assert set(shown) <= may

    def test_watched_is_what_the_clean_events_say(self, world):
        files = [str(file) for file in world.both.lake.files(INTERACTIONS, [Partition.hour(hour) for hour in DATA.hours()])]
        acts = duckdb.sql(
            f"SELECT DISTINCT user_id, video_id FROM read_parquet({files}, hive_partitioning = false) "
            "WHERE interaction_type IN ('click', 'watch', 'like', 'dislike') AND video_id IS NOT NULL"
        ).fetchall()
        expected: dict[int, set[int]] = {}
        for user, video in acts:
            expected.setdefault(user, set()).add(video)
        found = world.both.lake.read(USER_FEATURES, [TODAY]).to_pylist()
        assert {user["user_id"]: set(user["watched"]) for user in found if user["watched"]} == {
            user: videos for user, videos in expected.items() if user in {row["user_id"] for row in found}
        }
        shown = {(row[0], row[2]) for row in published(world.both)["rows"]}
        assert not shown & set(acts)

    def test_fallback_lists_obey_countries(self, world):
        videos = {row["video_id"]: row for row in world.both.lake.read(VIDEO_FEATURES, [TODAY]).to_pylist()}
        lists: dict[str, list[dict]] = {}
        scores: dict[str, list[float]] = {}
        parents = {row[0]: row[-1] for row in published(world.both)["fallback"]}
        for row in published(world.both)["fallback"]:
            lists.setdefault(row[0], []).append(videos[row[2]])
            scores.setdefault(row[0], []).append(row[3])
        countries = {country for video in videos.values() for country in video["blocked_countries"]}
        assert lists.keys() >= {"all", *(f"country={country}" for country in countries)}
        assert any("|device=" in segment for segment in lists)
        assert all(parent in lists for segment, parent in parents.items() if segment != "all")
        for segment, shown in lists.items():
            country = segment.partition("|")[0].removeprefix("country=")
            assert len({video["video_id"] for video in shown}) == len(shown) == K
            assert not any(video["removed"] or country in video["blocked_countries"] for video in shown)
            assert scores[segment] == sorted(scores[segment], reverse=True)
            assert segment.startswith("country=") or not any(video["blocked_countries"] for video in shown)

    def test_every_row_says_which_model_made_it_and_until_when_it_holds(self, world):
        ((version, *times),) = {row[6:9] for row in published(world.both)["rows"]}
        assert re.fullmatch(r"20260108T000000Z-[0-9a-f]{12}", version)
        assert times == [SECOND, "2026-01-10T00:00:00Z"]

    def test_the_second_day_was_judged_against_the_first(self, world):
        runs = world.both.home / "runs"
        first, verdict = (json.loads((runs / compact(day) / "verdict.json").read_text()) for day in (FIRST_DAY, SECOND_DAY))
        assert first["passed"]
        assert (first["incumbent"], first["correlation"]) == ({}, None)
        assert verdict["passed"]
        assert verdict["incumbent"] == {"wals": FIRST, "towers": FIRST}
        assert verdict["correlation"]["pooled_pearson"] >= SETTINGS["gate"]["min_correlation"]

    def test_aliases_name_the_days(self, world):
        assert aliases(world.both) == AFTER_BOTH
        assert aliases(world.eve) == AFTER_FIRST

    def test_the_log_tells_both_days(self, world):
        assert [row[:2] for row in log(world.both)] == [(FIRST_DAY, "retired"), (SECOND_DAY, "live")]


class TestReader:
    def test_a_known_user_sees_their_own_page(self, world):
        rows = published(world.both)["rows"]
        user = rows[0][0]
        own = [row for row in rows if row[0] == user]
        titles = {row["video_id"]: row["title"] for row in world.both.lake.read(VIDEOS, [TODAY]).to_pylist()}
        page = read(world.both, str(user), "--k", "5").splitlines()
        assert page[0] == f"user {user}: 5 recommendations"
        assert page[1].startswith(f"version 2 of model {own[0][6]}, fresh until 2026-01-10T00:00:00Z")
        assert [line.split()[0] for line in page[-5:]] == ["1", "2", "3", "4", "5"]
        for line, row in zip(page[-5:], own, strict=False):
            assert titles[row[2]][:30].strip() in line
            assert f"{row[3]:.4f}" in line
            assert row[4] in line

    def test_an_unknown_user_sees_the_fallback(self, world):
        assert read(world.both, "999999999").startswith("user 999999999: no list of their own; fallback list 'all'\n")
        country = next(row[0] for row in published(world.both)["fallback"] if row[0] != "all")
        page = read(world.both, "999999999", "--country", country.removeprefix("country="))
        assert page.startswith(f"user 999999999: no list of their own; fallback list {country!r}\n")
        assert "local:1" in page

    def test_a_page_past_its_time_says_so(self, world):
        user = published(world.both)["rows"][0][0]
        assert "STALE since 2026-01-10T00:00:00Z" in read(world.both, str(user), at="2026-01-10T00:00:00Z")


class TestSummary:
    def test_it_tells_the_day_in_numbers_that_add_up(self, both):
        both.command(publish, "--as-of", SECOND)
        status, _, error = both.command(summary, "--as-of", SECOND)
        assert (status, error) == (0, "")
        said = (both.home / "runs" / "20260108T000000Z" / "summary.txt").read_text(encoding="utf-8")
        rows = published(both)["rows"]
        assert "(balanced)" in said
        assert f"{raw_rows(both.raw):,} rows in" in said
        assert f"{len({row[0] for row in rows}):,} users, {len(rows):,} rows, expires 2026-01-10T00:00:00Z" in said
        assert "from this run" in said


def test_examples_of_both_days_are_there(world):
    """The last impressions wait for their label: the newest example is known before the end of the data."""
    rows = world.both.rows(EXAMPLES, DATA)
    assert len({row["event_id"] for row in rows}) == len(rows) > 1000
    assert max(row["known_at"] for row in rows) < SECOND_DAY
