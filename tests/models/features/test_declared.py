"""What is declared, against the tables that it is read from and the configuration that makes them."""

from __future__ import annotations

import conf
from jobs._example_features import FeaturesConfig
from jobs._history import HistoryConfig
from models.features import FEATURES, Bucket, Clock, Embedding, Number, OneHot, Sequence, TextMean, Vector
from models.towers import TowersConfig
from schemas import (
    EXAMPLE_FEATURES,
    EXAMPLES,
    TRENDS,
    USER_FEATURES,
    USER_VERSIONS,
    VIDEO_COUNTERS,
    VIDEO_FEATURES,
    VIDEO_TEXT,
    VIDEO_VERSIONS,
)


def of(kind):
    return [feature for feature in FEATURES if isinstance(feature, kind)]


def columns(feature):
    if isinstance(feature, Number):
        return feature.columns
    return (feature.column, feature.ages) if isinstance(feature, Sequence) else (feature.column,)


def test_names_are_distinct():
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)


def test_ids_and_categories():
    assert [feature.name for feature in of(Embedding)] == ["user_id", "video_id", "creator_id"]
    assert [(feature.side, feature.column) for feature in of(OneHot)] == [
        ("user", "gender"), ("user", "language"), ("user", "country"), ("user", "city"), ("context", "device"),
        ("video", "language"),
    ]  # fmt: skip
    assert [(feature.name, feature.edges) for feature in of(Bucket)] == [("age", (18, 25, 35, 45, 55))]
    assert [(feature.unit, feature.width) for feature in of(Clock)] == [("hour", 3), ("weekday", 1)]


def test_every_counter_and_trend_is_a_number():
    logs = {feature.columns[0] for feature in of(Number) if feature.form == "log"}
    assert logs == {"duration_seconds"} | {field.name for field in VIDEO_COUNTERS} | {trend.column for trend in TRENDS}
    assert {feature.name: feature.columns for feature in of(Number) if feature.form == "rate"} == {
        "relevance_rate": ("relevant", "impressions"),
        "view_rate_last_hour": ("views_last_hour", "impressions_last_hour"),
        "view_rate_last_day": ("views_last_day", "impressions_last_day"),
        "view_rate_last_week": ("views_last_week", "impressions_last_week"),
    }


def test_training_and_inference_both_have_what_each_feature_reads():
    video_counters = {field.name for field in VIDEO_COUNTERS}
    training = {
        "user": {*USER_VERSIONS.columns, *EXAMPLE_FEATURES.columns},
        "context": set(EXAMPLES.columns),
        "video": {*VIDEO_VERSIONS.columns, *VIDEO_TEXT.columns, *EXAMPLE_FEATURES.columns, *video_counters},
    }
    user = set(USER_FEATURES.columns)
    inference = {"user": user, "context": user, "video": {*VIDEO_FEATURES.columns, *VIDEO_TEXT.columns}}
    for feature in FEATURES:
        if not isinstance(feature, Clock):
            assert set(columns(feature)) <= training[feature.side] & inference[feature.side], feature.name


def test_histories_are_no_longer_than_the_log_keeps_them():
    kept = conf.load("features", FeaturesConfig).history
    assert isinstance(kept, HistoryConfig)
    lengths = {f.name: f.length for f in of(Sequence) + of(TextMean)}
    assert lengths.keys() == kept.model_dump().keys()
    assert all(length <= kept.longest(name) for name, length in lengths.items())
    assert conf.load("towers", TowersConfig).retrieval.history == kept.watched


def test_sequences_are_coded_by_a_vocabulary_that_is_there():
    assert {feature.vocabulary for feature in of(Sequence)} <= {feature.name for feature in of(Embedding)}


def test_vectors_are_those_of_the_text():
    assert {feature.column for feature in of(Vector)} == {"title_vector", "tags_vector"}
