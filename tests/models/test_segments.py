import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import conf
from models.segments import FittedPopularity, PopularityConfig, fit_popularity, segment_name
from schemas.errors import ReelflowError

AT = dt.datetime(2026, 1, 8, tzinfo=dt.UTC)
CONFIG = PopularityConfig(segment_prior_events=2.0)
EVERYBODY = np.array([10, 20, 30, 99])


def times(days_ago):
    return pa.array([AT - dt.timedelta(days=days) for days in days_ago], pa.timestamp("us", tz="UTC"))


def fitted(config=CONFIG, rows=None, at=AT):
    """Rows of (user, video, days ago, label)."""
    rows = rows or [
        (1, 10, 0, 1), (1, 20, 0, 1), (2, 10, 0, 1), (2, 10, 2, 1), (3, 30, 0, 1), (4, 30, 4, 1),
        (1, 99, 0, 0),  # shown, and not liked
        (1, 20, -1, 1),  # known only tomorrow
    ]  # fmt: skip
    users, videos, ages, labels = zip(*rows, strict=True)
    examples = pa.table({
        "user_id": users, "video_id": videos, "occurred_at": times(ages), "known_at": times(ages),
        "label": pa.array(labels, pa.int32()), "weight": [1.0] * len(rows),
    })  # fmt: skip
    # User 2 lived in France until yesterday, 4 is unknown, and nothing is known of 3.
    versions = pa.table({
        "user_id": [1, 2, 2, 3], "valid_from": times([9, 9, 1, 9]),
        "country": ["DE", "FR", "DE", None], "language": ["de", "fr", "fr", None],
    })  # fmt: skip
    return fit_popularity(config, examples, versions, at=at, half_life_days=2.0)


def test_counts_halve_with_age_and_only_what_was_known_counts():
    model = fitted()
    assert model.scores(EVERYBODY).tolist() == [2.5, 1.0, 1.25, 0.0]
    assert model.scores(np.array([99, 10])).tolist() == [0.0, 2.5]
    later = fitted(at=AT + dt.timedelta(days=2))
    assert later.scores(EVERYBODY) == pytest.approx([1.25, 0.5 + 0.5**0.5, 0.625, 0.0])


def test_a_segment_is_what_its_users_were_then_mixed_with_everybody():
    model = fitted()
    assert model.segments == ("country=DE", "country=FR", "language=de", "language=fr")
    total = 4.75
    # DE: user 1's two videos and user 2's of today; FR: user 2's of two days ago, which weighs a half.
    german = (np.array([2.0, 1.0, 0.0, 0.0]) * total + 2.0 * model.scores(EVERYBODY)) / (3.0 + 2.0)
    french = (np.array([0.5, 0.0, 0.0, 0.0]) * total + 2.0 * model.scores(EVERYBODY)) / (0.5 + 2.0)
    np.testing.assert_allclose(model.scores(EVERYBODY, "country=DE"), german)
    np.testing.assert_allclose(model.scores(EVERYBODY, "country=FR"), french)
    assert model.scores(EVERYBODY, "country=FR").sum() == pytest.approx(total)
    assert model.scores(EVERYBODY, "country=JP").tolist() == model.scores(EVERYBODY).tolist()


def test_a_large_segment_stands_on_its_own_and_a_small_one_backs_off():
    rows = [(1, 10, 0, 1)] * 5000 + [(2, 20, 0, 1)] * 1 + [(3, 30, 0, 1)] * 5000
    model = fitted(PopularityConfig(segment_prior_events=50.0), rows)
    shares = model.scores(EVERYBODY, "country=DE") / 10_001
    assert shares[0] > 0.99
    small = model.scores(EVERYBODY, "language=fr") / 10_001
    np.testing.assert_allclose(small, [0.49, 0.02, 0.49, 0.0], atol=0.01)


def test_a_user_gets_the_mean_of_the_segments_that_are_known():
    model = fitted()
    both = model.scores(EVERYBODY, "country=DE"), model.scores(EVERYBODY, "language=fr")
    np.testing.assert_allclose(model.scores_of_user(EVERYBODY, "DE", "fr"), np.mean(both, axis=0))
    assert model.scores_of_user(EVERYBODY, None, "fr").tolist() == both[1].tolist()
    assert model.scores_of_user(EVERYBODY, "JP", None).tolist() == model.scores(EVERYBODY).tolist()
    assert segment_name("country", None) is None


def test_a_model_survives_the_disk(tmp_path):
    model = fitted()
    model.save(tmp_path)
    again = FittedPopularity.load(tmp_path)
    for segment in (None, *model.segments):
        assert again.scores(EVERYBODY, segment).tolist() == model.scores(EVERYBODY, segment).tolist()
    assert (again.config, again.half_life_days, again.videos) == (CONFIG, 2.0, model.videos)
    np.save(tmp_path / "everybody.npy", np.zeros(2))
    with pytest.raises(ReelflowError, match=r"found counts of 2 videos and 4 segments, expected 3 and 4"):
        FittedPopularity.load(tmp_path)
    (tmp_path / "popularity.json").write_text('{"format_version": 9}')
    with pytest.raises(ReelflowError, match="found format 9"):
        FittedPopularity.load(tmp_path)
    (tmp_path / "indptr.npy").unlink()
    with pytest.raises(ReelflowError, match="cannot be read"):
        FittedPopularity.load(tmp_path)


def test_without_anything_relevant_nothing_is_popular():
    model = fitted(rows=[(1, 10, 0, 0)])
    assert model.scores(EVERYBODY).tolist() == [0.0] * 4
    assert model.scores_of_user(EVERYBODY, "DE", "de").tolist() == [0.0] * 4


def test_the_section_of_base_yaml_is_valid():
    assert conf.load("popularity", PopularityConfig).segment_prior_events > 0
