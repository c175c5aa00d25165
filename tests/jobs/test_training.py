import math
from datetime import timedelta

import numpy as np
import pytest

from jobs import _training
from jobs._tables import Partition
from jobs._tower_data import tower_data
from jobs._window import HOUR, Window, floor_hour
from schemas import (
    EXAMPLE_FEATURES,
    EXAMPLES,
    QUERY_TEXT,
    USER_FEATURES,
    USER_VERSIONS,
    VIDEO_COUNTS,
    VIDEO_FEATURES,
    VIDEO_TEXT,
    VIDEO_VERSIONS,
)
from schemas.errors import ReelflowError
from tests.builders import MADE_BY_HAND, NO_TRENDS, stage_context
from tests.jobs.planted import HALF_LIFE_DAYS, SECOND, START, VIDEOS, examples, planted, write_examples

pytestmark = pytest.mark.slow

LATEST = (USER_FEATURES, VIDEO_FEATURES, USER_VERSIONS, VIDEO_VERSIONS, VIDEO_TEXT, QUERY_TEXT)
ARGUMENTS = ("--as-of", "2026-01-08T00:00:00Z")


def context_of():
    return stage_context("train_wals", *ARGUMENTS)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("home"), {"split": {"validation_fraction": 0.2, "test_fraction": 0.15}})


@pytest.fixture(scope="module")
def data(space):
    with space.environment():
        return _training.read(context_of())


@pytest.fixture(scope="module")
def rows(data):
    """The examples with the side of the split that each is on."""
    sides = zip(data.train.tolist(), data.validation.tolist(), data.test.tolist(), strict=True)
    names = [
        [name for name, inside in zip(("train", "validation", "test"), side, strict=True) if inside] or ["none"]
        for side in sides
    ]
    assert all(len(found) == 1 for found in names)
    return [{**row, "side": found[0]} for row, found in zip(data.examples.to_pylist(), names, strict=True)]


@pytest.fixture(scope="module")
def cuts():
    """The last moment of training and of validation: order statistics of the times, by hand."""
    times = sorted(row["occurred_at"] for row in examples())
    return [times[math.floor((len(times) - 1) * share)] for share in (1 - 0.2 - 0.15, 1 - 0.15)]


class TestSplit:
    def test_examples_come_in_order_of_time(self, rows):
        assert [row["event_id"] for row in rows] == [
            row["event_id"] for row in sorted(examples(), key=lambda row: (row["occurred_at"], row["event_id"]))
        ]

    def test_sides_are_cut_by_time(self, rows, cuts):
        last_train, last_validation = cuts
        for row in rows:
            if row["known_at"] <= last_train:
                expected = "train"
            elif row["occurred_at"] > last_train and row["known_at"] <= last_validation:
                expected = "validation"
            elif row["occurred_at"] > last_validation:
                expected = "test"
            else:
                expected = "none"
            assert row["side"] == expected

    def test_nothing_of_training_is_known_after_the_cut(self, rows, cuts):
        assert max(row["known_at"] for row in rows if row["side"] == "train") <= cuts[0]
        assert min(row["occurred_at"] for row in rows if row["side"] == "validation") > cuts[0]
        assert max(row["known_at"] for row in rows if row["side"] == "validation") <= cuts[1]
        assert min(row["occurred_at"] for row in rows if row["side"] == "test") > cuts[1]

    def test_straddlers_belong_to_neither_side(self, rows, cuts):
        straddling = [row["side"] for row in rows if any(row["occurred_at"] <= cut < row["known_at"] for cut in cuts)]
        assert straddling
        assert set(straddling) == {"none"}
        assert sum(row["side"] == "none" for row in rows) == len(straddling)

    def test_shares_are_those_asked_for(self, rows, cuts):
        share = {side: sum(row["side"] == side for row in rows) / len(rows) for side in ("train", "validation", "test")}
        lost = timedelta(minutes=10) / timedelta(days=3) * 2
        assert share["test"] == pytest.approx(0.15, abs=0.002)
        assert share["validation"] == pytest.approx(0.20, abs=lost + 0.002)
        assert share["train"] == pytest.approx(0.65, abs=lost + 0.002)

    def test_the_test_starts_where_the_evaluation_will_stand(self, data, cuts):
        assert data.test_start == cuts[1]


class TestCounters:
    def test_counters_are_those_of_the_midnight_before(self, rows):
        known = examples()
        for row in rows[:: max(1, len(rows) // 300)]:
            today = row["occurred_at"].date()
            before = [e for e in known if e["video_id"] == row["video_id"] and e["known_at"].date() < today]
            expected = {
                "impressions": sum(e["weight"] for e in before),
                "views": sum(e["weight"] for e in before if e["clicked"]),
                "likes": sum(e["weight"] for e in before if e["liked"]),
                "relevant": sum(e["weight"] for e in before if e["label"]),
                "popularity": sum(
                    e["weight"] * 0.5 ** (((today - e["known_at"].date()).days - 1) / HALF_LIFE_DAYS)
                    for e in before
                    if e["label"]
                ),
            }
            assert {name: row[name] for name in expected} == pytest.approx(expected)

    def test_the_first_day_knows_nothing_and_the_last_one_something(self, rows):
        first = [row for row in rows if row["occurred_at"] < START + timedelta(days=1)]
        assert {row["impressions"] for row in first} == {0.0}
        assert min(row["impressions"] for row in rows if row["occurred_at"] >= SECOND - timedelta(days=1)) > 0

    def test_counts_carry_their_days(self, data):
        totals = {}
        for row in data.counts.to_pylist():
            totals[row["dt"]] = totals.get(row["dt"], 0.0) + row["impressions"]
        expected = {}
        for row in examples():
            day = row["known_at"].date()
            expected[day] = expected.get(day, 0.0) + row["weight"]
        assert totals == expected


class TestInputs:
    def test_digests_follow_the_content_of_each_table(self, tmp_path):
        space = planted(tmp_path / "home")
        with space.environment():
            before = _training.inputs(context_of())
            assert before.keys() == {
                "examples", "example_features", "video_counts", "user_features", "video_features", "user_versions",
                "video_versions", "video_text", "query_text", "interactions",
            }  # fmt: skip
            assert _training.inputs(context_of()) == before
            hour = Partition.hour(START)
            rows = space.lake.read(EXAMPLES, [hour])
            space.lake.write(EXAMPLES, hour, rows, MADE_BY_HAND)
            assert _training.inputs(context_of()) == before
            space.lake.write(EXAMPLES, hour, rows.slice(1), MADE_BY_HAND)
            after = _training.inputs(context_of())
            assert {name for name in before if after[name] != before[name]} == {"examples"}

    def test_what_lies_outside_of_the_window_does_not_count(self, tmp_path):
        space = planted(tmp_path / "home")
        with space.environment():
            before = _training.inputs(context_of())
            outside = Partition(SECOND.date(), 0)
            space.lake.write(EXAMPLES, outside, space.lake.read(EXAMPLES, [Partition.hour(START)]), MADE_BY_HAND)
            assert _training.inputs(context_of()) == before
            assert _training.read(context_of()).examples.num_rows == len(examples())

    @pytest.mark.parametrize("table", LATEST, ids=lambda table: table.name)
    def test_missing_features_name_the_command(self, tmp_path, table):
        space = planted(tmp_path / "home")
        (space.home / "lake" / table.name / "dt=2026-01-07" / "_manifest.json").unlink()
        expected = (
            f"table {table.name}: no partition dt=2026-01-07; run ingest, text and features --as-of 2026-01-08T00:00:00Z first"
        )
        with space.environment(), pytest.raises(ReelflowError, match=expected):
            _training.inputs(context_of())

    def test_nothing_relevant_is_an_error_that_says_what_to_do(self, workspace):
        row = {**examples()[0], "label": 0}
        hour = floor_hour(row["known_at"])
        write_examples(workspace, [row], Window(hour, hour + HOUR))
        with pytest.raises(ReelflowError, match=r"1 in .* none of them relevant; .*widen window\.lookback_days"):
            _training.read(context_of())

    def test_no_examples_at_all_are_the_same_error(self, workspace):
        with pytest.raises(ReelflowError, match="examples: 0 in 2025-12-08T00:00:00Z to 2026-01-08T00:00:00Z"):
            _training.read(context_of())


class TestOwnFeatures:
    @pytest.fixture
    def marked(self, tmp_path):
        """Examples whose histories and trends tell which example they are of."""
        space = planted(tmp_path / "home")
        rows = [
            row
            | {"watched_history": [int(row["event_id"])], "watched_ages_seconds": [1], "views_last_day": int(row["event_id"])}
            for row in examples()
        ]
        write_examples(space, rows, Window(START, SECOND))
        return space

    @pytest.mark.parametrize("at_once", [1, 500, 1_000_000])
    def test_each_example_has_its_own(self, marked, monkeypatch, at_once):
        monkeypatch.setattr(_training, "_HISTORIES_AT_ONCE", at_once)
        with marked.environment():
            data = _training.read(context_of())
            parts = list(data.histories())
        found, stored = data.examples, [key for part in parts for [key] in part["watched_history"].to_pylist()]
        ids = [int(key) for key in found["event_id"].to_pylist()]
        assert ids != sorted(ids)
        assert [stored[row] for row in found["history_row"].to_pylist()] == ids
        assert found["views_last_day"].to_pylist() == ids
        assert (len(parts) == 1) == (at_once == 1_000_000)

    def test_towers_find_those_of_any_examples_in_any_order(self, marked):
        with marked.environment():
            data = _training.read(context_of())
            ids = data.examples["event_id"].to_pylist()
            chosen = np.array([4, 0, 2, 0])
            found = {}
            for places, part in tower_data(data).parts(chosen):
                found |= dict(zip(places.tolist(), part["watched_history"].to_pylist(), strict=True))
        assert [found[place] for place in range(4)] == [[int(ids[row])] for row in chosen]

    def test_without_them_there_are_the_examples_alone(self, marked):
        with marked.environment():
            found, whole = (_training.read(context_of(), features=wanted).examples for wanted in (False, True))
        assert set(whole.column_names) - set(found.column_names) == {"history_row", *NO_TRENDS}
        assert found.equals(whole.select(found.column_names))

    def test_features_of_other_examples_are_refused(self, marked):
        hour = Partition.hour(START + HOUR)
        rows = marked.lake.read(EXAMPLE_FEATURES, [hour])
        marked.lake.write(EXAMPLE_FEATURES, hour, rows.take(list(range(rows.num_rows))[::-1]), MADE_BY_HAND)
        with marked.environment(), pytest.raises(ReelflowError, match=r"its rows are not those of examples; .*run features"):
            _training.read(context_of())

    def test_features_that_were_not_made_are_named(self, marked):
        (marked.home / "lake" / "example_features" / "dt=2026-01-06" / "hr=03" / "_manifest.json").unlink()
        expected = "table example_features: no partition dt=2026-01-06/hr=03; run features for that window first"
        with marked.environment(), pytest.raises(ReelflowError, match=expected):
            _training.read(context_of())
        with marked.environment():
            assert _training.read(context_of(), features=False).examples.num_rows == len(examples())


def test_videos_and_their_versions_carry_their_text(data):
    titles = [[1.0, 0.0] if video % 2 else [0.0, 1.0] for video in VIDEOS]
    for rows in (data.videos, data.video_versions):
        assert rows["video_id"].to_pylist() == list(VIDEOS)
        assert rows["title_vector"].to_pylist() == titles
        assert rows["tags_vector"].to_pylist() == [None if video % 5 else [1.0] for video in VIDEOS]
    assert data.queries.to_pylist() == [{"query": "cats", "vector": [1.0, 0.0]}]


def test_days_without_counts_leave_counters_at_zero(tmp_path):
    space = planted(tmp_path / "home")
    for day in ("2026-01-05", "2026-01-06", "2026-01-07"):
        (space.home / "lake" / VIDEO_COUNTS.name / f"dt={day}" / "_manifest.json").unlink()
    with space.environment():
        data = _training.read(context_of())
    assert data.counts.num_rows == 0
    assert np.count_nonzero(data.examples["popularity"].to_numpy()) == 0
