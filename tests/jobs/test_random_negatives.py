"""Random unwatched videos for logs without skipped impressions (L3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs._tables import Lake, Partition
from jobs._training import RandomNegativesConfig, TrainingSet, with_random_negatives
from jobs._window import HOUR, Window
from schemas import EXAMPLE_FEATURES, EXAMPLES, VIDEO_COUNTERS, VIDEO_COUNTS, VIDEO_HOURS
from schemas import columns as col
from tests.builders import MADE_BY_HAND, NO_HISTORY, NO_TRENDS, arrow, interaction, write_interactions

START = datetime(2026, 1, 6, 12, tzinfo=UTC)
CONFIG = RandomNegativesConfig(per_positive=3, unless_missed_share=0.5, seed=1)

LATE, UPLOADED = 59, START + timedelta(hours=10)


def example(number: int, user: int, video: int, *, label: int, missed: bool) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(EXAMPLES.columns)
    flags = dict.fromkeys((col.CLICKED, col.COMPLETED, col.LIKED, col.SHARED, col.DISLIKED), False)
    at = START + timedelta(hours=number)
    row |= flags | {col.MISSED: missed, col.LABEL: label, col.EXPOSURE: "impression", col.WEIGHT: 1.0, col.SAMPLE_RATE: 1.0}
    row |= {col.EVENT_ID: f"e{number}", col.USER_ID: user, col.VIDEO_ID: video, col.OCCURRED_AT: at, col.KNOWN_AT: at}
    known = {**NO_HISTORY, **NO_TRENDS, col.WATCHED_HISTORY: [number], col.WATCHED_AGES: [1], col.VIEWS_DAY: 99}
    return row | known | {col.WATCH_SECONDS: 0.0} | {field.name: 0.0 for field in VIDEO_COUNTERS}


def training_set(rows: list[dict[str, object]]) -> TrainingSet:
    features = (field for field in EXAMPLE_FEATURES.arrow if field.name != col.EVENT_ID)
    schema = pa.schema([*EXAMPLES.arrow, *features, *(field.arrow for field in VIDEO_COUNTERS)])
    counts = pa.table(
        {
            col.VIDEO_ID: [50],
            col.IMPRESSIONS: [9.0],
            col.VIEWS: [4.0],
            col.LIKES: [2.0],
            col.RELEVANT: [3.0],
            col.DT: [START.date()],
        }
    )
    halves = np.arange(len(rows)) < len(rows) // 2
    uploaded = [None if video != LATE else UPLOADED for video in range(10, 60)]
    return TrainingSet(
        examples=pa.Table.from_pylist(rows, schema=schema),
        users=pa.table({col.USER_ID: [1, 2]}),
        videos=pa.table({col.VIDEO_ID: np.arange(10, 60), col.UPLOADED_AT: pa.array(uploaded, pa.timestamp("us", tz="UTC"))}),
        watches=pa.table({}),
        user_versions=pa.table({}),
        video_versions=pa.table({}),
        queries=pa.table({}),
        counts=counts,
        train=halves,
        validation=~halves,
        test=np.zeros(len(rows), dtype=bool),
        validation_start=START,
        test_start=START,
        half_life_days=1.0,
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Of which trends are counted: video 50 was watched once an hour, at a quarter past."""
    found = Lake(tmp_path_factory.mktemp("lake"))
    hours = Window(START - 2 * HOUR, START + 24 * HOUR)
    watches = [interaction(f"{n:02}", "watch", hour + timedelta(minutes=15), 1, 50) for n, hour in enumerate(hours.hours())]
    write_interactions(found, watches, hours)
    for hour in hours.hours():
        counts = [{col.VIDEO_ID: 50, col.IMPRESSIONS: 0, col.VIEWS: 1, col.LIKES: 0}]
        found.write(VIDEO_HOURS, Partition.hour(hour), arrow(VIDEO_HOURS, counts), MADE_BY_HAND)
    return found


ALL_WATCHED = [example(i, 1 + i % 2, 10 + i, label=int(i % 3 == 0), missed=False) for i in range(24)]


def test_a_log_with_skipped_impressions_needs_none(lake):
    rows = [example(i, 1, 10 + i, label=int(i == 0), missed=i > 0) for i in range(10)]
    data = training_set(rows)
    assert with_random_negatives(lake, data, CONFIG) is data


def test_each_positive_brings_unseen_videos_at_its_own_time_and_on_its_own_side(lake):
    data = training_set(ALL_WATCHED)
    more = with_random_negatives(lake, data, CONFIG)
    added = more.examples.slice(data.examples.num_rows).to_pylist()
    train, both = ({(row[col.USER_ID], row[col.VIDEO_ID]) for row in ALL_WATCHED[:end]} for end in (12, 24))
    positives = {(row[col.USER_ID], row[col.OCCURRED_AT]) for row in ALL_WATCHED if row[col.LABEL]}
    assert 8 * 3 // 2 < len(added) <= 8 * 3  # 8 positives; a few draws hit a video that the user has seen
    assert {(row[col.USER_ID], row[col.OCCURRED_AT]) for row in added} == positives
    pairs = [(row[col.USER_ID], row[col.VIDEO_ID]) for row in added]
    assert not {pair for pair, own in zip(pairs, more.train[24:], strict=True) if own} & train
    assert not {pair for pair, own in zip(pairs, more.validation[24:], strict=True) if own} & both
    assert {(row[col.LABEL], row[col.WEIGHT]) for row in added} == {(0, 1.0)}
    middle = ALL_WATCHED[12][col.OCCURRED_AT]
    assert more.train[24:].tolist() == [row[col.OCCURRED_AT] < middle for row in added]
    assert more.validation[24:].tolist() == [row[col.OCCURRED_AT] >= middle for row in added]
    assert set(VIDEO_COUNTS.columns) <= set(more.examples.column_names)


def test_what_later_splits_hold_is_no_reason_to_be_left_out(lake):
    many = RandomNegativesConfig(per_positive=200, unless_missed_share=0.5, seed=2)
    more = with_random_negatives(lake, training_set(ALL_WATCHED), many)
    added = more.examples.slice(24).to_pylist()
    train = {(row[col.USER_ID], row[col.VIDEO_ID]) for row, own in zip(added, more.train[24:], strict=True) if own}
    later = {(row[col.USER_ID], row[col.VIDEO_ID]) for row in ALL_WATCHED[12:]}
    earlier = {(row[col.USER_ID], row[col.VIDEO_ID]) for row in ALL_WATCHED[:12]}
    assert train & (later - earlier)


def test_videos_are_not_drawn_before_they_are_uploaded(lake):
    many = RandomNegativesConfig(per_positive=200, unless_missed_share=0.5, seed=2)
    added = with_random_negatives(lake, training_set(ALL_WATCHED), many).examples.slice(24).to_pylist()
    moments = {row[col.OCCURRED_AT] for row in added if row[col.VIDEO_ID] == LATE}
    assert moments
    assert min(moments) >= UPLOADED
    assert min(row[col.OCCURRED_AT] for row in added) < UPLOADED


def test_counters_are_those_of_the_drawn_video_at_the_midnight_before(lake):
    rows = with_random_negatives(
        lake, training_set(ALL_WATCHED), RandomNegativesConfig(per_positive=200, unless_missed_share=0.5, seed=2)
    )
    added = rows.examples.slice(24).to_pylist()
    counted = [row for row in added if row[col.VIDEO_ID] == 50]
    assert {(row[col.OCCURRED_AT].date() > START.date(), row[col.RELEVANT], row[col.POPULARITY]) for row in counted} == {
        (False, 0.0, 0.0),
        (True, 3.0, 3.0),
    }
    assert {row[col.RELEVANT] for row in added if row[col.VIDEO_ID] != 50} == {0.0}


def test_histories_are_those_of_the_user_and_trends_those_of_the_drawn_video_at_that_second(lake):
    many = RandomNegativesConfig(per_positive=200, unless_missed_share=0.5, seed=2)
    added = with_random_negatives(lake, training_set(ALL_WATCHED), many).examples.slice(24).to_pylist()
    history = {(row[col.USER_ID], row[col.OCCURRED_AT]): row[col.WATCHED_HISTORY] for row in ALL_WATCHED}
    assert all(row[col.WATCHED_HISTORY] == history[row[col.USER_ID], row[col.OCCURRED_AT]] for row in added)
    own = [row for row in added if row[col.VIDEO_ID] == 50]
    hours = [(row[col.OCCURRED_AT] - START) // HOUR for row in own]
    assert {0, 21} <= set(hours)
    assert [(row[col.VIEWS_HOUR], row[col.VIEWS_DAY], row[col.VIEWS_WEEK]) for row in own] == [
        (1, hour + 2, hour + 2) for hour in hours
    ]
    assert {(row[col.VIEWS_HOUR], row[col.VIEWS_DAY]) for row in added if row[col.VIDEO_ID] != 50} == {(0, 0)}


def test_none_when_switched_off(lake):
    data = training_set(ALL_WATCHED)
    assert with_random_negatives(lake, data, CONFIG.model_copy(update={"per_positive": 0})) is data
