"""Random unwatched videos for logs without skipped impressions (L3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from jobs._training import RandomNegativesConfig, TrainingSet, with_random_negatives
from schemas import EXAMPLES, VIDEO_COUNTERS, VIDEO_COUNTS
from schemas import columns as col

START = datetime(2026, 1, 6, 12, tzinfo=UTC)
CONFIG = RandomNegativesConfig(per_positive=3, unless_missed_share=0.5, seed=1)


def example(number: int, user: int, video: int, *, label: int, missed: bool) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(EXAMPLES.columns)
    flags = dict.fromkeys((col.CLICKED, col.COMPLETED, col.LIKED, col.SHARED, col.DISLIKED), False)
    at = START + timedelta(hours=number)
    row |= flags | {col.MISSED: missed, col.LABEL: label, col.EXPOSURE: "impression", col.WEIGHT: 1.0, col.SAMPLE_RATE: 1.0}
    row |= {col.EVENT_ID: f"e{number}", col.USER_ID: user, col.VIDEO_ID: video, col.OCCURRED_AT: at, col.KNOWN_AT: at}
    return row | {col.WATCH_SECONDS: 0.0} | {field.name: 0.0 for field in VIDEO_COUNTERS}


def training_set(rows: list[dict[str, object]]) -> TrainingSet:
    schema = pa.schema([*EXAMPLES.arrow, *(field.arrow for field in VIDEO_COUNTERS)])
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
    return TrainingSet(
        examples=pa.Table.from_pylist(rows, schema=schema),
        users=pa.table({col.USER_ID: [1, 2]}),
        videos=pa.table({col.VIDEO_ID: np.arange(10, 60)}),
        counts=counts,
        train=halves,
        validation=~halves,
        test=np.zeros(len(rows), dtype=bool),
        validation_start=START,
        test_start=START,
        half_life_days=1.0,
    )


ALL_WATCHED = [example(i, 1 + i % 2, 10 + i, label=int(i % 3 == 0), missed=False) for i in range(24)]


def test_a_log_with_skipped_impressions_needs_none():
    rows = [example(i, 1, 10 + i, label=int(i == 0), missed=i > 0) for i in range(10)]
    data = training_set(rows)
    assert with_random_negatives(data, CONFIG) is data


def test_each_positive_brings_unseen_videos_at_its_own_time_and_on_its_own_side():
    data = training_set(ALL_WATCHED)
    more = with_random_negatives(data, CONFIG)
    added = more.examples.slice(data.examples.num_rows).to_pylist()
    seen = {(row[col.USER_ID], row[col.VIDEO_ID]) for row in ALL_WATCHED}
    positives = {(row[col.USER_ID], row[col.OCCURRED_AT]) for row in ALL_WATCHED if row[col.LABEL]}
    assert 8 * 3 // 2 < len(added) <= 8 * 3  # 8 positives; a few draws hit a video that the user has seen
    assert {(row[col.USER_ID], row[col.OCCURRED_AT]) for row in added} == positives
    assert not {(row[col.USER_ID], row[col.VIDEO_ID]) for row in added} & seen
    assert {(row[col.LABEL], row[col.WEIGHT]) for row in added} == {(0, 1.0)}
    middle = ALL_WATCHED[12][col.OCCURRED_AT]
    assert more.train[24:].tolist() == [row[col.OCCURRED_AT] < middle for row in added]
    assert more.validation[24:].tolist() == [row[col.OCCURRED_AT] >= middle for row in added]
    assert set(VIDEO_COUNTS.columns) <= set(more.examples.column_names)


def test_counters_are_those_of_the_drawn_video_at_the_midnight_before():
    rows = with_random_negatives(
        training_set(ALL_WATCHED), RandomNegativesConfig(per_positive=200, unless_missed_share=0.5, seed=2)
    )
    added = rows.examples.slice(24).to_pylist()
    counted = [row for row in added if row[col.VIDEO_ID] == 50]
    assert {(row[col.OCCURRED_AT].date() > START.date(), row[col.RELEVANT], row[col.POPULARITY]) for row in counted} == {
        (False, 0.0, 0.0),
        (True, 3.0, 3.0),
    }
    assert {row[col.RELEVANT] for row in added if row[col.VIDEO_ID] != 50} == {0.0}


def test_none_when_switched_off():
    data = training_set(ALL_WATCHED)
    assert with_random_negatives(data, CONFIG.model_copy(update={"per_positive": 0})) is data
