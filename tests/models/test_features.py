"""Features: the policy for values by hand, and the same facts giving the same codes in training and at inference."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from models._vocabulary import Vocabulary
from models.rows import look_up
from models.features import COUNTERS, DAY_OF_WEEK, HOUR_BUCKET, NUMERIC, FeatureSpec, example_videos
from schemas.errors import ReelflowError

MONDAY = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)


def timestamps(*moments):
    return pa.array(moments, type=pa.timestamp("us", tz="UTC"))


USERS = pa.table({
    "user_id": pa.array([1, 2, 3], pa.int64()),
    "age_bucket": ["18-24", None, "55+"],
    "gender": ["f", "f", "m"],
    "language": ["de", "en", "en"],
    "country": ["DE", "GB", "GB"],
    "city": pa.array([None, None, None], pa.string()),
    "device": ["web", None, "watch"],
})  # fmt: skip

VIDEOS = pa.table({
    "video_id": pa.array([10, 20, 30], pa.int64()),
    "creator_id": pa.array([7, None, 7], pa.int64()),
    "language": ["de", "en", None],
    "duration_seconds": [60.0, 0.0, 120.0],
    "uploaded_at": timestamps(MONDAY - timedelta(days=3), MONDAY - timedelta(days=1), MONDAY + timedelta(days=1)),
    **{name: [4.0, 0.0, 9.0] for name in COUNTERS},
})  # fmt: skip

EXAMPLES = pa.table({
    "user_id": pa.array([2, 1, 2, 1, 9], pa.int64()),
    "video_id": pa.array([10, 10, 20, 30, 99], pa.int64()),
    "occurred_at": timestamps(*(MONDAY + timedelta(hours=3 * hour) for hour in range(5))),
    "device": ["web", "web", "tv", None, "web"],
    "impressions": [10.0, 10.0, 0.0, 40.0, 0.0],
    "views": [5.0, 5.0, 0.0, 8.0, 0.0],
    "likes": [1.0, 1.0, 0.0, 2.0, 0.0],
    "relevant": [2.0, 2.0, 0.0, 2.0, 0.0],
    "popularity": [1.5, 1.5, 0.0, 1.0, 0.0],
})  # fmt: skip


@pytest.fixture(scope="module")
def spec():
    return FeatureSpec.fit(EXAMPLES, USERS, VIDEOS, min_count=2)


def number(spec, scaled, name, row):
    place = NUMERIC.index(name)
    return scaled[row, place] * spec.deviation[place] + spec.mean[place]


def test_vocabulary_keeps_frequent_values_in_order():
    vocabulary = Vocabulary.fit(pa.array(["b", "c", "b", "a", "c", "c", None, None]), min_count=2)

    assert vocabulary.values.to_pylist() == ["b", "c"]
    assert vocabulary.size == 4
    assert vocabulary.encode(pa.array(["c", "a", None, "new", "b"])).tolist() == [3, 1, 0, 1, 2]


def test_vocabulary_of_nothing_knows_nothing():
    vocabulary = Vocabulary.fit(pa.array([None, None], pa.string()), min_count=1)

    assert vocabulary.encode(pa.array([None, "x"])).tolist() == [0, 1]


def test_look_up_keeps_order_and_fills_nulls():
    found = look_up(pa.array([30, 99, 10], pa.int64()), VIDEOS, "video_id", ["creator_id"])

    assert found.to_pydict() == {"video_id": [30, 99, 10], "creator_id": [7, None, 7]}


def test_user_codes_by_hand(spec):
    codes = spec.encode_users(USERS)

    assert codes["user_id"].tolist() == [2, 3, 1]  # user 3 is in no example, user 9 in one only
    assert codes["age_bucket"].tolist() == [2, 0, 1]
    assert codes["gender"].tolist() == [2, 2, 1]
    assert codes["language"].tolist() == [2, 3, 3]
    assert codes["city"].tolist() == [0, 0, 0]


def test_video_codes_by_hand(spec):
    codes, _ = spec.encode_videos(VIDEOS, MONDAY)

    assert codes["video_id"].tolist() == [2, 1, 1]  # only video 10 was seen twice
    assert codes["creator_id"].tolist() == [2, 0, 2]
    assert codes["language"].tolist() == [2, 1, 0]


def test_context_codes_by_hand(spec):
    moments = timestamps(MONDAY, MONDAY.replace(hour=0, minute=0), MONDAY + timedelta(days=6, hours=16))
    codes = spec.encode_context(moments, pa.array(["web", None, "tv"]))

    assert codes[HOUR_BUCKET].tolist() == [2 + 2, 2 + 0, 2 + 7]
    assert codes[DAY_OF_WEEK].tolist() == [2 + 0, 2 + 0, 2 + 6]
    assert codes["device"].tolist() == [2, 0, 1]


def test_context_is_utc(spec):
    elsewhere = MONDAY.astimezone(timezone(timedelta(hours=9)))
    device = pa.array(["web"])

    assert spec.encode_context(elsewhere, device)[HOUR_BUCKET] == spec.encode_context(MONDAY, device)[HOUR_BUCKET]
    with pytest.raises(ValueError, match="no time zone"):
        spec.encode_context(MONDAY.replace(tzinfo=None), device)


def test_numbers_by_hand(spec):
    _, scaled = spec.encode_videos(VIDEOS, MONDAY)

    assert scaled.shape == (3, len(NUMERIC))
    assert scaled.dtype == np.float32
    assert number(spec, scaled, "log_duration", 0) == pytest.approx(math.log1p(60))
    assert scaled[1, NUMERIC.index("log_duration")] == 0.0  # unknown: the mean
    assert scaled[:, NUMERIC.index("duration_unknown")].tolist() == [0.0, 1.0, 0.0]
    assert number(spec, scaled, "log_age_days", 0) == pytest.approx(math.log1p(3), rel=1e-5)
    assert number(spec, scaled, "log_age_days", 2) == pytest.approx(0.0, abs=1e-6)  # not yet uploaded
    assert number(spec, scaled, "log_views", 2) == pytest.approx(math.log1p(9), rel=1e-5)
    prior = 6 / 60
    assert spec.relevance_prior == pytest.approx(prior)
    assert number(spec, scaled, "relevance_rate", 1) == pytest.approx(prior)
    assert number(spec, scaled, "relevance_rate", 0) == pytest.approx((4 + 50 * prior) / 54, rel=1e-5)


def test_training_numbers_have_mean_zero_and_deviation_one(spec):
    scaled = spec.scale_videos(example_videos(EXAMPLES, VIDEOS), EXAMPLES.column("occurred_at"))
    rows = [NUMERIC.index(name) for name in ("log_views", "relevance_rate")]

    assert scaled[:, rows].mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-6)
    assert scaled[:, rows].std(axis=0) == pytest.approx([1.0, 1.0], rel=1e-5)


def test_numbers_far_beyond_training_are_clipped(spec):
    grown = VIDEOS.set_column(VIDEOS.column_names.index("views"), "views", pa.array([1e300, 0.0, 0.0]))

    assert spec.scale_videos(grown, MONDAY)[0, NUMERIC.index("log_views")] == 8.0


def test_training_and_inference_see_identical_tensors_for_the_same_facts(spec):
    then = example_videos(EXAMPLES, VIDEOS)
    codes, numbers = spec.encode_videos(then, EXAMPLES.column("occurred_at"))
    context = spec.encode_context(EXAMPLES.column("occurred_at"), EXAMPLES.column("device"))
    for row in range(EXAMPLES.num_rows):
        moment = EXAMPLES.column("occurred_at")[row].as_py()
        one_codes, one_numbers = spec.encode_videos(then.slice(row, 1), moment)
        one_context = spec.encode_context(moment, EXAMPLES.column("device").slice(row, 1))

        assert {name: values[row] for name, values in codes.items()} == {name: values[0] for name, values in one_codes.items()}
        assert one_numbers[0].tobytes() == numbers[row].tobytes()
        assert {name: values[row] for name, values in context.items()} == {
            name: values[0] for name, values in one_context.items()
        }


def test_a_video_missing_from_the_catalogue_keeps_its_id_and_counters(spec):
    codes, numbers = spec.encode_videos(example_videos(EXAMPLES, VIDEOS.slice(1)), EXAMPLES.column("occurred_at"))

    assert codes["video_id"].tolist() == [2, 2, 1, 1, 1]
    assert codes["creator_id"].tolist() == [0, 0, 0, 2, 0]
    assert numbers[0, NUMERIC.index("log_age_days")] == 0.0
    assert number(spec, numbers, "log_views", 0) == pytest.approx(math.log1p(5), rel=1e-5)


def test_catalogue_counters_do_not_reach_the_statistics(spec):
    changed = VIDEOS
    for name in COUNTERS:
        changed = changed.set_column(changed.column_names.index(name), name, pa.array([1e6, 1e6, 1e6]))

    assert FeatureSpec.fit(EXAMPLES, USERS, changed, min_count=2) == spec


def test_json_round_trip_is_exact(spec):
    again = FeatureSpec.from_json(spec.to_json())

    assert again == spec
    assert again.to_json() == spec.to_json()
    assert again.user_sizes == spec.user_sizes
    assert list(again.video_sizes) == ["video_id", "creator_id", "language"]


def test_json_of_other_features_is_refused(spec):
    with pytest.raises(ReelflowError, match="train the model again"):
        FeatureSpec.from_json(spec.to_json().replace("log_views", "views"))


def test_no_examples_is_an_error():
    with pytest.raises(ReelflowError, match="no training examples"):
        FeatureSpec.fit(EXAMPLES.slice(0, 0), USERS, VIDEOS, min_count=1)
