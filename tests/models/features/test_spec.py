"""The policy for values, by hand."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from models.features import (
    FEATURES,
    Embedding,
    FeatureSpec,
    Number,
    OneHot,
    Sequence,
    TextMean,
    Vector,
    example_users,
    example_videos,
    with_text,
)
from schemas import VIDEO_TEXT
from schemas.errors import ReelflowError
from tests.models.features.rows import (
    COUNTED,
    DAY,
    FACTS,
    HOUR,
    LONG_AGO,
    MONDAY,
    QUERIES,
    SHOWN,
    USERS,
    VIDEOS,
    examples,
    queries,
    table,
    users,
    videos,
    with_column,
)

SEQUENCES = {feature.name: feature for feature in FEATURES if isinstance(feature, Sequence)}
MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3600, 86_400


def fit(shown=SHOWN, min_count=2, **more):
    return FeatureSpec.fit(shown, USERS, VIDEOS, QUERIES, min_count=min_count, **more)


@pytest.fixture(scope="module")
def spec():
    return fit()


def timestamps(*moments):
    return pa.array(moments, pa.timestamp("us", tz="UTC"))


def codes(spec, side, rows, at=None):
    """Codes of each feature, by name."""
    found = spec.codes(side, rows, at)
    assert (found.dtype, found.shape) == (np.int64, (rows.num_rows, len(spec.coded(side))))
    return dict(zip(spec.coded(side), found.T.tolist(), strict=True))


def counted(rows=VIDEOS, **columns):
    """Videos with counters: zeros, unless given."""
    for name in sorted({*COUNTED} - {*FACTS}):
        rows = rows.append_column(name, pa.array(columns.get(name, [0.0] * rows.num_rows), pa.float64()))
    return rows


def scaled(spec, rows, at, name):
    return spec.numbers(rows, at)[:, [feature.name for feature in spec.of(Number)].index(name)]


def number(spec, rows, at, name):
    """A number of each video before it was scaled."""
    mean, deviation = spec.scales[name]
    return (scaled(spec, rows, at, name).astype(float) * deviation + mean).tolist()


class TestCodes:
    def test_of_users_as_they_were(self, spec):
        assert codes(spec, "user", USERS) == {
            "user_id": [2, 3, 3, 1],  # user 3 is in no example, user 9 in one only
            "age": [2, 0, 3, 7],
            "gender": [2, 2, 1, 1],  # one example's user is m
            "user_language": [2, 3, 3, 3],
            "country": [2, 1, 2, 1],
            "city": [0, 0, 0, 0],
        }

    def test_of_videos(self, spec):
        assert codes(spec, "video", VIDEOS) == {
            "video_id": [2, 1, 1],  # only video 10 was seen twice
            "creator_id": [2, 0, 2],
            "video_language": [2, 1, 0],
        }

    def test_sizes_are_those_of_the_codes(self, spec):
        assert spec.coded("user") == {
            "user_id": 4, "age": 8, "gender": 3, "user_language": 4, "country": 3, "city": 2
        }  # fmt: skip
        assert spec.coded("user", "context") == {**spec.coded("user"), "hour_bucket": 10, "day_of_week": 9, "device": 3}
        assert spec.ids == ("user_id", "video_id", "creator_id")

    @pytest.mark.parametrize(
        ("age", "code"), [(None, 0), (0, 2), (17, 2), (18, 3), (24, 3), (25, 4), (54, 6), (55, 7), (150, 7)]
    )
    def test_ages_are_cut_at_their_edges(self, spec, age, code):
        assert codes(spec, "user", users({"user_id": 1, "age": age}))["age"] == [code]

    def test_the_clock(self, spec):
        shown = examples({"device": "web"}, {}, {"device": "tv"}, {})
        midnight = MONDAY.replace(hour=0, minute=0)
        last = midnight + 7 * DAY - timedelta(microseconds=1)
        found = codes(spec, "context", shown, timestamps(MONDAY, midnight, MONDAY + 6 * DAY + 9 * HOUR, last))

        assert found == {
            "hour_bucket": [2 + 2, 2 + 0, 2 + 5, 2 + 7],
            "day_of_week": [2 + 0, 2 + 0, 2 + 6, 2 + 6],
            "device": [2, 0, 1, 0],
        }

    def test_the_clock_is_that_of_utc(self, spec):
        elsewhere = MONDAY.astimezone(timezone(timedelta(hours=9)))
        shown = examples({}, {})

        assert codes(spec, "context", shown, elsewhere) == codes(spec, "context", shown, timestamps(MONDAY, MONDAY))
        with pytest.raises(ValueError, match="no time zone"):
            spec.codes("context", shown, MONDAY.replace(tzinfo=None))


class TestNumbers:
    def test_a_logarithm_adds_one(self, spec):
        views = counted(views=[4.0, 0.0, 9.0])

        assert number(spec, views, MONDAY, "log_views") == pytest.approx([math.log(5), 0, math.log(10)], abs=1e-5)

    def test_an_unknown_duration_is_the_mean_and_flagged(self, spec):
        found = counted(with_column(VIDEOS, "duration_seconds", [60.0, 0.0, None]))

        assert number(spec, found, MONDAY, "log_duration")[0] == pytest.approx(math.log(61))
        assert scaled(spec, found, MONDAY, "log_duration")[1:].tolist() == [0.0, 0.0]
        assert scaled(spec, found, MONDAY, "duration_unknown").tolist() == [0.0, 1.0, 1.0]

    def test_age_is_counted_in_days_at_the_moment(self, spec):
        at = timestamps(MONDAY, MONDAY + 2 * DAY + 12 * HOUR, MONDAY)

        assert number(spec, counted(), MONDAY, "log_age_days") == pytest.approx(
            [math.log(4), math.log(2), 0], abs=1e-6
        )  # the last one is not uploaded yet
        assert number(spec, counted(), at, "log_age_days") == pytest.approx([math.log(4), math.log(4.5), 0], abs=1e-6)

    def test_a_rate_is_drawn_to_that_of_all(self, spec):
        found = counted(relevant=[4.0, 0.0, 30.0], impressions=[4.0, 0.0, 250.0])
        prior = (2 + 2 + 2) / (10 + 10 + 40)

        assert spec.priors["relevance_rate"] == pytest.approx(prior)
        assert number(spec, found, MONDAY, "relevance_rate") == pytest.approx(
            [(4 + 50 * prior) / 54, prior, (30 + 50 * prior) / 300], abs=1e-6
        )

    def test_each_trend_has_its_own_rate(self, spec):
        other = fit(with_column(SHOWN, "views_last_hour", [0, 0, 1, 0, 0]))

        assert spec.priors["view_rate_last_hour"] == 0.0
        assert other.priors == {**spec.priors, "view_rate_last_hour": 1 / 4}
        found = counted(views_last_hour=[3.0, 0.0, 0.0], impressions_last_hour=[10.0, 0.0, 0.0])
        assert number(other, found, MONDAY, "view_rate_last_hour")[0] == pytest.approx((3 + 50 / 4) / 60, abs=1e-6)

    def test_training_numbers_have_mean_zero_and_deviation_one(self, spec):
        then = example_videos(SHOWN, VIDEOS)
        found = np.stack(
            [
                scaled(spec, then, SHOWN["occurred_at"], name)
                for name in ("log_views", "relevance_rate", "log_impressions_last_hour")
            ]
        )

        assert found.mean(axis=1) == pytest.approx([0, 0, 0], abs=1e-6)
        assert found.std(axis=1) == pytest.approx([1, 1, 1], rel=1e-5)

    def test_what_never_varies_is_zero(self, spec):
        assert spec.scales["log_likes"] == (0.0, 1.0)

    def test_far_beyond_training_they_are_clipped(self, spec):
        assert scaled(spec, counted(views=[1e300, 0.0, 0.0]), MONDAY, "log_views")[0] == 8.0


class TestVectors:
    def test_null_is_zeros(self, spec):
        found = spec.vectors(VIDEOS)

        assert {name: (vectors.dtype, vectors.tolist()) for name, vectors in found.items()} == {
            "title": (np.float32, [[1, 0, 2], [0, 0, 0], [0, 1, 0]]),
            "tags": (np.float32, [[0, 0], [0.5, -0.5], [0, 0]]),
        }

    def test_all_null_is_zeros(self, spec):
        assert spec.vectors(videos({"video_id": 1}, {"video_id": 2}))["title"].tolist() == [[0, 0, 0], [0, 0, 0]]

    def test_another_length_is_an_error_that_says_what_to_do(self, spec):
        longer = videos({"video_id": 10, "title_vector": [1.0, 2.0, 3.0, 4.0]})
        with pytest.raises(
            ReelflowError, match=r"found vectors of 4 numbers, expected 3 as in training; .*train the model again"
        ):
            spec.vectors(longer)

    def test_without_any_in_training_there_is_one_zero(self):
        none = FeatureSpec.fit(SHOWN, USERS, videos({"video_id": 10}), queries(), min_count=2)

        assert none.dims == {"title": 0, "tags": 0, "searched": 0}
        assert {none.width(feature) for feature in (*none.of(Vector), *none.of(TextMean))} == {1}
        assert none.vectors(videos({"video_id": 10}))["title"].tolist() == [[0]]

    def test_what_training_never_saw_is_not_read_later(self):
        none = FeatureSpec.fit(SHOWN, USERS, videos({"video_id": 10}), queries(), min_count=2)

        assert none.vectors(VIDEOS)["title"].tolist() == [[0], [0], [0]]
        assert none.text_vectors(QUERIES)["searched"].tolist() == [[0], [0], [0]]
        assert none.texts(examples({"searched_history": ["soup"]}), QUERIES)["searched"].tolist() == [[2, 0, 0, 0, 0]]


class TestHistories:
    def test_order_codes_and_padding(self, spec):
        shown = examples(
            {"watched_history": [20, 10, 99, 10], "watched_ages_seconds": [5, 70, 70, 700]},
            {},
            {
                "watched_history": [10],
                "watched_ages_seconds": [DAY_SECONDS],
                "liked_history": [10, 30],
                "liked_ages_seconds": [0, 60],
            },
        )
        found = spec.histories(shown)

        assert {name: (h.codes.shape, h.codes.dtype, h.ages.dtype) for name, h in found.items()} == {
            "watched": ((3, 30), np.int32, np.int8), "liked": ((3, 10), np.int32, np.int8), "seen": ((3, 20), np.int32, np.int8)
        }  # fmt: skip
        assert found["watched"].codes[:, :5].tolist() == [[1, 2, 1, 2, 0], [0] * 5, [2, 0, 0, 0, 0]]
        assert found["watched"].ages[:, :5].tolist() == [[1, 2, 2, 3, 0], [0] * 5, [6, 0, 0, 0, 0]]
        assert found["liked"].codes[2].tolist() == [2, 1] + [0] * 8
        assert found["liked"].ages[2].tolist() == [1, 2] + [0] * 8
        assert not found["watched"].codes[:, 5:].any()
        assert not found["seen"].codes.any()

    def test_what_is_unknown_is_still_there(self, spec):
        history = spec.histories(examples({"seen_history": [99], "seen_ages_seconds": [1]}))["seen"]

        assert (history.codes[0, 0], history.ages[0, 0]) == (1, 1)

    @pytest.mark.parametrize("name", SEQUENCES)
    def test_the_newest_are_kept(self, spec, name):
        length = SEQUENCES[name].length
        full = [10] * length + [20] * 3
        shown = {f"{name}_history": full, f"{name}_ages_seconds": list(range(len(full)))}
        history = spec.histories(examples(shown, {}, shown))[name]

        assert history.codes.tolist() == [[2] * length, [0] * length, [2] * length]
        assert (history.ages[1] == 0).all()

    @pytest.mark.parametrize(
        ("seconds", "bucket"),
        [
            (0, 1), (MINUTE_SECONDS - 1, 1), (MINUTE_SECONDS, 2), (10 * MINUTE_SECONDS - 1, 2), (10 * MINUTE_SECONDS, 3),
            (HOUR_SECONDS - 1, 3), (HOUR_SECONDS, 4), (6 * HOUR_SECONDS - 1, 4), (6 * HOUR_SECONDS, 5), (DAY_SECONDS - 1, 5),
            (DAY_SECONDS, 6), (3 * DAY_SECONDS - 1, 6), (3 * DAY_SECONDS, 7), (7 * DAY_SECONDS - 1, 7), (7 * DAY_SECONDS, 8),
            (99 * DAY_SECONDS, 8),
        ],
    )  # fmt: skip
    def test_ages_are_cut_at_their_edges(self, spec, seconds, bucket):
        history = spec.histories(examples({"watched_history": [10], "watched_ages_seconds": [seconds]}))["watched"]

        assert history.ages[0, 0] == bucket

    def test_part_of_the_rows_is_that_part(self, spec):
        shown = examples(*({"seen_history": [10, 20] * n, "seen_ages_seconds": [90, 30] * n} for n in range(12)))
        whole, part = spec.histories(shown)["seen"], spec.histories(shown.slice(3, 7))["seen"]

        assert part.codes.tolist() == whole.codes[3:10].tolist()
        assert part.ages.tolist() == whole.ages[3:10].tolist()


class TestTexts:
    def test_texts_are_normalised_and_looked_up(self, spec):
        shown = examples({"searched_history": ["soup", " BREAD\t", "bread"]}, {}, {"searched_history": ["ｂｒｅａｄ"]})

        assert spec.texts(shown, QUERIES)["searched"].tolist() == [[2, 1, 1, 0, 0], [0] * 5, [1, 0, 0, 0, 0]]
        assert spec.text_vectors(QUERIES)["searched"].tolist() == [[0, 0], [1, 2], [3, 4]]

    def test_unknown_blank_and_vectorless_texts_are_padding(self, spec):
        shown = examples({"searched_history": ["never seen", "soup", "nothing", " ", "soup"]})

        assert spec.texts(shown, QUERIES)["searched"].tolist() == [[0, 2, 0, 0, 2]]

    def test_the_newest_are_kept(self, spec):
        shown = examples({"searched_history": ["soup"] * 5 + ["bread"] * 5})

        assert spec.texts(shown, QUERIES)["searched"].tolist() == [[2] * 5]

    def test_without_queries_there_is_padding(self, spec):
        assert spec.texts(examples({"searched_history": ["soup"]}), queries())["searched"].tolist() == [[0] * 5]
        assert spec.text_vectors(queries())["searched"].tolist() == [[0, 0]]


class TestFit:
    def test_no_examples_is_an_error(self):
        with pytest.raises(ReelflowError, match="no training examples"):
            fit(SHOWN.slice(0, 0))

    def test_users_and_videos_in_no_example_teach_nothing(self, spec):
        more_users = pa.concat_tables([USERS, users({"user_id": 4, "age": 1, "gender": "x"}, {"user_id": 5, "gender": "x"})])
        more_videos = pa.concat_tables([VIDEOS, videos({"video_id": 40, "creator_id": 8, "duration_seconds": 9e9})])

        assert FeatureSpec.fit(SHOWN, more_users, more_videos, QUERIES, min_count=2) == spec

    def test_what_becomes_of_them_later_teaches_nothing(self, spec):
        after = MONDAY + 13 * HOUR
        later_users = pa.concat_tables([USERS, users({"user_id": 3, "valid_from": after, "gender": "x"})])
        later = {"video_id": 30, "valid_from": after, "creator_id": 8, "language": "fr", "duration_seconds": 9e9}
        later_videos = pa.concat_tables([VIDEOS, videos(later)])

        assert FeatureSpec.fit(SHOWN, later_users, later_videos, QUERIES, min_count=2) == spec

    def test_a_value_needs_its_count(self):
        assert fit(min_count=1).vocabularies["video_id"].values.to_pylist() == [10, 20, 30, 99]
        assert fit(min_count=2).vocabularies["video_id"].values.to_pylist() == [10]
        assert fit(min_count=3).vocabularies["video_id"].values.to_pylist() == []


class TestLeaveOut:
    OUT = ("age", "city", "device", "hour_bucket", "liked", "log_views", "relevance_rate", "searched", "tags")

    def test_what_is_left_out_is_nowhere(self, spec):
        less = fit(leave_out=self.OUT)

        assert [f.name for f in less.features] == [f.name for f in FEATURES if f.name not in self.OUT]
        assert list(less.coded("user", "context")) == ["user_id", "gender", "user_language", "country", "day_of_week"]
        assert less.codes("context", SHOWN, MONDAY).tolist() == [[2]] * 5
        assert less.numbers(counted(), MONDAY).shape == (3, len(spec.of(Number)) - 2)
        assert list(less.vectors(VIDEOS)) == ["title"]
        assert list(less.histories(SHOWN)) == ["watched", "seen"]
        assert less.texts(SHOWN, QUERIES) == less.text_vectors(QUERIES) == {}

    def test_what_stays_is_as_it_was(self, spec):
        less = fit(leave_out=self.OUT)

        assert less.scales == {name: scale for name, scale in spec.scales.items() if name not in self.OUT}
        assert codes(less, "video", VIDEOS) == codes(spec, "video", VIDEOS)
        assert (
            scaled(less, counted(), MONDAY, "log_age_days").tolist() == scaled(spec, counted(), MONDAY, "log_age_days").tolist()
        )

    def test_everything_but_one_can_go(self):
        alone = fit(leave_out=[feature.name for feature in FEATURES if feature.name != "gender"])

        assert alone.codes("user", USERS).tolist() == [[2], [2], [1], [1]]
        assert alone.codes("video", VIDEOS).shape == alone.numbers(counted(), MONDAY).shape == (3, 0)

    def test_an_unknown_name_is_an_error_that_lists_the_known_ones(self):
        with pytest.raises(ReelflowError, match=r"found agee, cuty in towers.leave_out, expected names among user_id, age, "):
            fit(leave_out=("cuty", "age", "agee"))

    def test_sequences_need_their_codes(self):
        with pytest.raises(ReelflowError, match="leave_out names video_id, whose codes sequences need; leave those out too"):
            fit(leave_out=("video_id", "watched", "liked"))
        assert "video_id" not in fit(leave_out=("video_id", *SEQUENCES)).vocabularies


class TestJson:
    @pytest.mark.parametrize("out", [(), TestLeaveOut.OUT], ids=["all", "fewer"])
    def test_the_round_trip_is_exact(self, out):
        before = fit(leave_out=out)
        again = FeatureSpec.from_json(before.to_json())

        assert again == before
        assert again.to_json() == before.to_json()
        assert again.coded("user", "context", "video") == before.coded("user", "context", "video")
        assert again.numbers(counted(), MONDAY).tobytes() == before.numbers(counted(), MONDAY).tobytes()

    def test_it_reads_what_other_code_declared(self, spec):
        content = json.loads(spec.to_json())
        content["features"][1]["edges"] = [40]
        older = FeatureSpec.from_json(json.dumps(content))

        assert older.coded("user")["age"] == 4
        assert codes(older, "user", USERS)["age"] == [2, 0, 2, 3]

    def test_another_format_is_refused(self, spec):
        with pytest.raises(ReelflowError, match="found format 1, expected 2; train the model again"):
            FeatureSpec.from_json(spec.to_json().replace('"format_version": 2', '"format_version": 1'))

    def test_a_kind_that_is_not_known_is_refused(self, spec):
        with pytest.raises(ReelflowError, match="train again"):
            FeatureSpec.from_json(spec.to_json().replace('"one_hot"', '"two_hot"'))


class TestThen:
    def test_users_as_they_were(self):
        found = example_users(SHOWN, USERS)

        assert found["user_id"].to_pylist() == [2, 1, 2, 1, 9]
        assert found["age"].to_pylist() == [None, 17, 18, 17, None]
        assert found["country"].to_pylist() == ["GB", "DE", "DE", "DE", None]

    def test_before_the_first_version_it_is_the_first(self):
        early = with_column(SHOWN, "occurred_at", [LONG_AGO - DAY] * 5)

        assert example_users(early, USERS)["gender"].to_pylist() == ["f", "f", "f", "f", None]

    def test_videos_as_they_were_with_the_counters_of_the_example(self):
        changed = videos(*VIDEOS.to_pylist()[:1], {"video_id": 10, "valid_from": MONDAY + 3 * HOUR, "creator_id": 8})
        found = example_videos(SHOWN, changed)

        assert found["video_id"].to_pylist() == [10, 10, 20, 30, 99]
        assert found["creator_id"].to_pylist() == [7, 8, None, None, None]
        assert found["views"].to_pylist() == [5, 5, 0, 8, 0]
        assert found["impressions_last_hour"].to_pylist() == [0, 0, 4, 0, 0]

    def test_a_video_that_no_snapshot_names_keeps_its_id_and_counters(self, spec):
        then = example_videos(SHOWN, VIDEOS.slice(1))
        at = SHOWN["occurred_at"]

        assert codes(spec, "video", then)["video_id"] == [2, 2, 1, 1, 1]
        assert codes(spec, "video", then)["creator_id"] == [0, 0, 0, 2, 0]
        assert scaled(spec, then, at, "log_age_days")[0] == 0.0
        assert scaled(spec, then, at, "duration_unknown")[0] == 1.0
        assert number(spec, then, at, "log_views")[0] == pytest.approx(math.log(6), rel=1e-5)

    def test_one_at_a_time_is_the_same_as_all(self, spec):
        then, at = example_videos(SHOWN, VIDEOS), SHOWN["occurred_at"]
        all_numbers, all_codes = spec.numbers(then, at), spec.codes("context", SHOWN, at)
        for row, moment in enumerate(at.to_pylist()):
            assert isinstance(moment, datetime)
            assert spec.numbers(then.slice(row, 1), moment)[0].tobytes() == all_numbers[row].tobytes()
            assert spec.codes("context", SHOWN.slice(row, 1), moment)[0].tolist() == all_codes[row].tolist()


class TestWithText:
    TEXT = table(
        VIDEO_TEXT,
        rows=[
            {"video_id": 10, "valid_from": LONG_AGO, "title_vector": [1.0], "tags_vector": [2.0]},
            {"video_id": 10, "valid_from": MONDAY, "title_vector": [3.0]},
            {"video_id": 20, "valid_from": LONG_AGO, "title_vector": [4.0]},
            {"video_id": 50, "valid_from": LONG_AGO, "title_vector": [5.0]},
        ],
    )

    def test_the_newest_version_counts(self):
        found = with_text(pa.table({"video_id": pa.array([20, 30, 10], pa.int64())}), self.TEXT)

        assert found.to_pydict() == {
            "video_id": [20, 30, 10], "title_vector": [[4.0], None, [3.0]], "tags_vector": [None, None, None],
        }  # fmt: skip

    def test_without_text_there_are_nulls(self):
        found = with_text(pa.table({"video_id": pa.array([20], pa.int64())}), self.TEXT.slice(0, 0))

        assert found.to_pydict() == {"video_id": [20], "title_vector": [None], "tags_vector": [None]}


def test_every_category_has_a_vocabulary(spec):
    assert list(spec.vocabularies) == [f.name for f in FEATURES if isinstance(f, Embedding | OneHot)]
