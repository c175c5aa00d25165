import numpy as np
import pyarrow as pa
import pytest

import conf
from models import facts
from models.recommend import RecommendConfig
from schemas import VIDEO_FEATURES
from tests.builders import NO_TRENDS, arrow, moment

AT = moment("2026-01-08T00:00")
CONFIG = conf.load("recommend", RecommendConfig).catalogue


def videos(*rows):
    counted = dict.fromkeys(("impressions", "views", "likes", "relevant", "popularity"), 0.0)
    basic = {"duration_seconds": 1.0, "uploaded_at": AT, "blocked_countries": [], "removed": False, **counted, **NO_TRENDS}
    return arrow(VIDEO_FEATURES, [{"video_id": n, **basic, **row} for n, row in enumerate(rows)])


def test_facts_are_those_of_the_rows():
    rows = videos(
        {"creator_id": 77, "language": "en", "uploaded_at": moment("2026-01-06T12:00"), "impressions": 9.0},
        {"creator_id": None, "misinformation_score": 0.5, "clickbait_score": 0.25, "sponsored_boost": 2.0},
        {"creator_id": 77, "language": "xx", "uploaded_at": moment("2026-01-09T00:00")},
    )
    found = facts.video_facts(CONFIG, rows, ("de", "en"), AT)
    assert found.creator.tolist() == [0, -1, 0]
    assert found.language.tolist() == [1, -1, -1]
    assert found.age_days.tolist() == [1.5, 0.0, 0.0]
    assert found.impressions.tolist() == [9.0, 0.0, 0.0]
    assert (found.misinformation.tolist(), found.clickbait.tolist()) == ([0, 0.5, 0], [0, 0.25, 0])
    assert found.sponsored.tolist() == [0, 2, 0]
    assert found.same_as.tolist() == [0, 1, 2]
    assert not found.content.any()


def test_a_steady_video_is_no_trend_a_rising_one_is_and_a_falling_one_is_the_opposite():
    steady = {"views_last_hour": 10, "views_last_day": 240, "views_last_week": 1680}
    rising = {"views_last_hour": 100, "views_last_day": 300, "views_last_week": 1680}
    falling = {"views_last_hour": 0, "views_last_day": 20, "views_last_week": 1680}
    rows = videos(steady, rising, falling, {}, {"views_last_hour": 1, "views_last_day": 1, "views_last_week": 1})
    found = facts.trend_scores(rows, np.full(5, 24.0 * 30), 6.0)
    assert found[0] == pytest.approx(0, abs=1e-4)
    assert found[1] > 5
    assert found[2] < -5
    assert found[3] == 0
    assert 0 < found[4] < 1  # one view is no trend


def test_a_new_video_with_a_steady_rate_is_no_trend():
    """Ten views an hour since its upload, five hours ago."""
    rows = videos({"views_last_hour": 10, "views_last_day": 50, "views_last_week": 50})
    assert facts.trend_scores(rows, np.array([5.0]), 6.0)[0] == pytest.approx(0, abs=1e-4)


def test_the_trend_is_a_standard_score():
    """Poisson counts of a steady rate: mean 0, deviation at most 1, because the week's own rate is the expectation."""
    rng = np.random.default_rng(0)
    n = 4000
    hour, rest, before = rng.poisson(5, n), rng.poisson(5 * 23, n), rng.poisson(5 * 144, n)
    rows = videos(
        *(
            {"views_last_hour": h, "views_last_day": h + r, "views_last_week": h + r + b}
            for h, r, b in zip(hour, rest, before, strict=True)
        )
    )
    found = facts.trend_scores(rows, np.full(n, 1e4), 6.0)
    assert found.mean() == pytest.approx(0, abs=0.05)
    assert 0.6 < found.std() <= 1.0


def test_pressed_vectors_keep_inner_products_of_what_lies_in_few_dimensions():
    rng = np.random.default_rng(1)
    vectors = (rng.standard_normal((50, 4)) @ rng.standard_normal((4, 20))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    found = facts.pressed(vectors, 4)
    assert found.shape == (50, 4)
    np.testing.assert_allclose(found @ found.T, vectors @ vectors.T, atol=1e-5)
    assert facts.pressed(vectors, 20) is vectors


def test_mean_content_is_of_the_newest_known_videos():
    content = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    lists = pa.chunked_array([[[0, 1, 2], [9, 2], [], None, [0, 2]]], pa.list_(pa.int64()))
    flat = np.array([0, 1, 2, -1, 2, 0, 2])  # 9 is unknown
    half = np.sqrt(0.5)
    found = facts.mean_content(lists, flat, content, 2)
    np.testing.assert_allclose(found, [[half, half], [-1, 0], [0, 0], [0, 0], [0, 0]], atol=1e-6)
