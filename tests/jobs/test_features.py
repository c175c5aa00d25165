import random

import duckdb
import pyarrow as pa
import pytest

from jobs import examples, features
from jobs._tables import Partition
from models.popularity import counters_as_of
from schemas import EXAMPLES, USER_FEATURES, VIDEO_COUNTS, VIDEO_FEATURES
from tests.builders import MADE_BY_HAND, arrow, interaction, moment, seconds, tree, window, write_catalogue, write_interactions

AS_OF = moment("2026-01-08T00:00")
ATTRIBUTES = ("age", "gender", "language", "country", "city", "device", "interaction_count", "watched")
DAYS = window("2026-01-05T00:00", "2026-01-08T00:00")
ARGUMENTS = ("--start", "2026-01-05T00:00:00Z", "--end", "2026-01-08T00:00:00Z")


def example(key, at, video=10, weight=1.0, **more):
    """An impression whose label is known at a time and that led to nothing."""
    flags = dict.fromkeys(("clicked", "completed", "liked", "shared", "disliked"), False)
    row = {"event_id": key, "user_id": 1, "video_id": video, "exposure": "impression", "known_at": at, **flags, "label": 0}
    rate = {"missed": True, "watch_seconds": 0.0, "sample_rate": 1 / weight, "weight": weight}
    return {**row, **rate, "occurred_at": at - seconds(600), **more}


def by_id(rows, key):
    return {row[key]: row for row in rows}


@pytest.fixture(scope="module")
def made(new_workspace):
    """Three days by hand: what was known of video 10 on the 5th and the 7th, and the acts of users 1, 2 and 50."""
    space = new_workspace({"features": {"popularity_half_life_days": 2.0}})
    fifth, seventh = moment("2026-01-05T09:10"), moment("2026-01-07T23:59:59")
    known = [
        example("a", fifth, clicked=True, liked=True, label=1),
        example("b", fifth, weight=5.0),
        example("c", fifth, weight=5.0, clicked=True),
        example("d", seventh, label=1, liked=True, exposure="organic"),
        example("e", seventh, video=11, weight=5.0),
        example("f", seventh, video=77, weight=5.0),
    ]
    for hour in {row["known_at"].replace(minute=0, second=0) for row in known}:
        rows = [row for row in known if row["known_at"].replace(minute=0, second=0) == hour]
        space.lake.write(EXAMPLES, Partition.hour(hour), arrow(EXAMPLES, rows), MADE_BY_HAND)
    acts = [
        interaction("1", "watch", moment("2026-01-05T09:00"), 1, 30, device="tv"),
        interaction("2", "like", moment("2026-01-06T09:00"), 1, 10, device="phone"),
        interaction("3", "click", moment("2026-01-06T09:00"), 1, 10),
        interaction("4", "dislike", moment("2026-01-07T09:00"), 1, 20),
        interaction("5", "impression", moment("2026-01-07T09:00"), 1, 40),
        interaction("6", "share", moment("2026-01-07T09:00"), 1, 41),
        interaction("7", "search", moment("2026-01-07T09:30"), 1, None, query="cats"),
        interaction("8", "impression", moment("2026-01-07T10:00"), 2, 10, device="tablet"),
        interaction("9", "click", moment("2026-01-07T23:00"), 50, 10, device="a"),
        interaction("91", "click", moment("2026-01-07T23:00"), 50, 10, device="b"),
        interaction("x", "click", moment("2026-01-04T23:59:59"), 3, 10, device="before"),
    ]
    write_interactions(space.lake, acts, window("2026-01-04T23:00", "2026-01-08T00:00"))
    videos = [
        {"video_id": 10, "creator_id": 4, "language": "de", "blocked_countries": ["FR", "DE"]},
        {"video_id": 11, "removed": True, "duration_seconds": 0.0},
        {"video_id": 12, "uploaded_at": moment("2026-01-07T23:59:59")},
        {"video_id": 13, "uploaded_at": AS_OF},
        {"video_id": 14, "uploaded_at": moment("2026-01-09T00:00")},
    ]
    users = [
        {"user_id": 1, "age": 30, "gender": "f", "city": "Ulm", "country": "DE", "language": "de"},
        {"user_id": 2},
        {"user_id": 3},
    ]
    write_catalogue(space.lake, moment("00:00"), videos, users)
    return space, space.run(features, *ARGUMENTS)


class TestUsers:
    def test_attributes_and_what_was_watched(self, made):
        found = by_id(made[0].rows(USER_FEATURES, DAYS), "user_id")[1]
        assert {name: value for name, value in found.items() if not name.endswith(("_history", "_seconds"))} == {
            "user_id": 1, "age": 30, "gender": "f", "language": "de", "country": "DE", "city": "Ulm",
            "device": "phone", "interaction_count": 6, "watched": [10, 20, 30],
        }  # fmt: skip

    def test_histories_as_of_the_end(self, made):
        found = by_id(made[0].rows(USER_FEATURES, DAYS), "user_id")[1]
        assert {name: value for name, value in found.items() if name.endswith(("_history", "_seconds"))} == {
            "watched_history": [30], "watched_ages_seconds": [63 * 3600],
            "liked_history": [10], "liked_ages_seconds": [39 * 3600],
            "seen_history": [40], "seen_ages_seconds": [15 * 3600],
            "searched_history": ["cats"], "searched_ages_seconds": [14 * 3600 + 1800],
        }  # fmt: skip

    def test_an_impression_is_no_act_but_tells_the_device(self, made):
        found = by_id(made[0].rows(USER_FEATURES, DAYS), "user_id")[2]
        assert (found["interaction_count"], found["watched"], found["device"]) == (0, [], "tablet")

    def test_what_lies_before_the_window_is_not_seen(self, made):
        found = by_id(made[0].rows(USER_FEATURES, DAYS), "user_id")[3]
        assert (found["interaction_count"], found["watched"], found["device"], found["age"]) == (0, [], None, None)

    def test_a_user_of_the_log_alone_has_a_row(self, made):
        rows = made[0].rows(USER_FEATURES, DAYS)
        assert [row["user_id"] for row in rows] == [1, 2, 3, 50]
        assert {name: rows[3][name] for name in ("user_id", *ATTRIBUTES)} == {
            "user_id": 50, "age": None, "gender": None, "language": None, "country": None, "city": None,
            "device": "b", "interaction_count": 2, "watched": [10],
        }  # fmt: skip


class TestVideos:
    def test_counters_and_decay_by_hand(self, made):
        found = by_id(made[0].rows(VIDEO_FEATURES, DAYS), "video_id")[10]
        # 5th: one example of weight 1 and two of weight 5. 7th: an organic like, which is no impression.
        assert (found["impressions"], found["views"], found["likes"], found["relevant"]) == (11.0, 6.0, 2.0, 2.0)
        assert found["popularity"] == pytest.approx(1 + 0.5 ** (2 / 2.0), rel=1e-12)
        facts = {"creator_id": 4, "language": "de", "duration_seconds": 100.0, "uploaded_at": moment("2026-01-01T00:00")}
        assert {name: found[name] for name in facts} == facts

    def test_trends_as_of_the_end(self, made):
        found = by_id(made[0].rows(VIDEO_FEATURES, DAYS), "video_id")[10]
        assert {name: value for name, value in found.items() if "_last_" in name} == {
            "impressions_last_hour": 0, "impressions_last_day": 1, "impressions_last_week": 1,
            "views_last_hour": 0, "views_last_day": 0, "views_last_week": 0,
            "likes_last_hour": 0, "likes_last_day": 0, "likes_last_week": 1,
        }  # fmt: skip

    def test_what_must_not_be_shown_is_said(self, made):
        found = by_id(made[0].rows(VIDEO_FEATURES, DAYS), "video_id")
        assert {key: (row["blocked_countries"], row["removed"]) for key, row in found.items()} == {
            10: (["DE", "FR"], False), 11: ([], True), 12: ([], False),
        }  # fmt: skip
        assert (found[11]["impressions"], found[11]["duration_seconds"], found[12]["popularity"]) == (5.0, 0.0, 0.0)

    def test_a_video_uploaded_at_or_after_the_end_is_absent(self, made):
        assert [row["video_id"] for row in made[0].rows(VIDEO_FEATURES, DAYS)] == [10, 11, 12]

    def test_days_are_counted_by_when_it_was_known(self, made):
        space = made[0]
        assert [p.path for p in space.lake.partitions(VIDEO_COUNTS, DAYS)] == ["dt=2026-01-05", "dt=2026-01-07"]
        first, second = (space.lake.read(VIDEO_COUNTS, [p]).to_pylist() for p in space.lake.partitions(VIDEO_COUNTS, DAYS))
        assert first == [{"video_id": 10, "impressions": 11.0, "views": 6.0, "likes": 1.0, "relevant": 1.0}]
        assert [(row["video_id"], row["impressions"], row["relevant"]) for row in second] == [
            (10, 0, 1),
            (11, 5, 0),
            (77, 5, 0),
        ]


def test_the_report_and_a_second_run(made):
    space, report = made
    assert report.wrote == {
        "video hours": 4, "user history": 8, "example features": 6, "video counts": 4, "user features": 4, "video features": 3,
    }  # fmt: skip
    before = tree(space.lake.root)
    assert space.run(features, *ARGUMENTS).up_to_date
    assert space.run(features, *ARGUMENTS, "--force").wrote == report.wrote
    assert tree(space.lake.root) == before


@pytest.fixture(scope="module")
def random_log(new_workspace):
    """Three days of random events, labelled by the examples stage."""
    rng = random.Random(3)
    space = new_workspace({"examples": {"negative_sample_rate": 0.25}})
    kinds = ["impression"] * 12 + ["click", "watch", "like", "dislike", "search"]
    start = moment("2026-01-05T00:00")
    rows = []
    for n in range(1500):
        kind, at, video = rng.choice(kinds), start + seconds(rng.randrange(3 * 86400)), rng.randrange(12)
        rows.append(interaction(f"e{n}", kind, at, rng.randrange(4), video, watch_seconds=60.0 if kind == "watch" else None))
    write_interactions(space.lake, rows, DAYS)
    write_catalogue(space.lake, moment("00:00"), [{"video_id": n} for n in range(15)], [])
    space.run(examples, *ARGUMENTS)
    space.run(features, *ARGUMENTS)
    return space


def test_counts_agree_with_duckdb(random_log):
    lake = random_log.lake
    query = f"""
        select dt::varchar as dt, video_id,
               coalesce(sum(weight) filter (exposure = 'impression'), 0) as impressions,
               coalesce(sum(weight) filter (clicked), 0) as views,
               coalesce(sum(weight) filter (liked), 0) as likes,
               coalesce(sum(weight) filter (label = 1), 0) as relevant
        from read_parquet('{lake.root}/examples/*/*/*.parquet', hive_partitioning = true)
        group by all order by all
    """
    expected = duckdb.sql(query).fetchall()
    found = [
        (str(p.dt), *row.values())
        for p in lake.partitions(VIDEO_COUNTS, DAYS)
        for row in lake.read(VIDEO_COUNTS, [p]).to_pylist()
    ]
    assert found == expected
    assert len(found) == 36
    assert {row["weight"] for row in random_log.rows(EXAMPLES, DAYS)} == {1.0, 4.0}


def test_counters_agree_with_those_that_training_sees(random_log):
    lake = random_log.lake
    parts = [(p, lake.read(VIDEO_COUNTS, [p])) for p in lake.partitions(VIDEO_COUNTS, DAYS)]
    counts = pa.concat_tables([part.append_column("dt", pa.array([str(p.dt)] * part.num_rows)) for p, part in parts])
    found = lake.read(VIDEO_FEATURES, lake.partitions(VIDEO_FEATURES, DAYS))
    days = pa.array([AS_OF.date()] * found.num_rows)
    expected = counters_as_of(counts, found["video_id"].to_numpy(), days, half_life_days=3.0)
    for name in ("impressions", "views", "likes", "relevant"):
        assert found[name].to_pylist() == expected[name].tolist()
    assert found["popularity"].to_pylist() == pytest.approx(expected["popularity"].tolist(), rel=1e-12)
    assert sum(found["popularity"].to_pylist()) > 10


def test_without_a_catalogue_there_is_a_clear_error(workspace):
    status, _, error = workspace.command(features, *ARGUMENTS)
    assert status == 2
    assert "table videos: no partition dt=2026-01-07; run ingest as of 2026-01-08" in error
