import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

import conf
from models.gate import Check, Correlation, GateConfig, Verdict, correlation
from models.gate._differential import pooled_check
from schemas.errors import ReelflowError


def config(**changes):
    return conf.load("gate", GateConfig).model_copy(update={"min_correlation": 0.8} | changes)


def asked(found, trouble=None, **changes):
    return pooled_check(config(**changes), found, trouble, "no noise floor measured")


def alike(value):
    return Correlation(pooled_pearson=value, pooled_spearman=value, mean_user_pearson=value, users=5, pairs=50)


def test_identical_models_correlate_perfectly_and_mirrored_ones_inversely():
    scores = np.array([[1.0, 2.0, 4.0], [0.0, 3.0, 1.0]])
    same = correlation(scores, scores * 3 + 7)
    assert (same.pooled_pearson, same.pooled_spearman, same.mean_user_pearson) == pytest.approx((1, 1, 1))
    assert (same.users, same.pairs) == (2, 6)
    assert correlation(scores, -scores).pooled_pearson == pytest.approx(-1)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(3, 9), st.integers(0, 10**6))
def test_figures_agree_with_scipy(n_users, n_videos, seed):
    rng = np.random.default_rng(seed)
    new = rng.integers(0, 6, (n_users, n_videos)) + rng.standard_normal((n_users, 1)) * 0
    old = new + rng.integers(-2, 3, new.shape)
    unseen = rng.random(new.shape) < 0.8
    unseen[:, :2] = True
    new[:, 0], new[:, 1], old[:, 0], old[:, 1] = 0, 5, 1, 4  # everyone's scores vary
    found = correlation(new, old, unseen)
    assert found.pairs == unseen.sum()
    assert found.pooled_pearson == pytest.approx(pearsonr(new[unseen], old[unseen]).statistic)
    assert found.pooled_spearman == pytest.approx(spearmanr(new[unseen], old[unseen]).statistic)
    own = [pearsonr(a[m], b[m]).statistic for a, b, m in zip(new, old, unseen, strict=True)]
    assert found.mean_user_pearson == pytest.approx(np.mean(own))


def test_seen_pairs_do_not_count():
    old = np.array([[1.0, 2.0, 3.0, 99.0]])
    new = np.array([[1.0, 2.0, 3.0, -99.0]])
    assert correlation(new, old, np.array([[True, True, True, False]])).pooled_pearson == pytest.approx(1.0)


def test_shuffled_video_vectors_correlate_with_nothing():
    rng = np.random.default_rng(4)
    users, videos = rng.standard_normal((300, 16)), rng.standard_normal((200, 16))
    incumbent = users @ videos.T
    retrained = incumbent + 0.3 * incumbent.std() * rng.standard_normal(incumbent.shape)
    shuffled = users @ rng.permutation(videos).T
    assert correlation(retrained, incumbent).pooled_pearson > 0.9
    found = correlation(shuffled, incumbent)
    assert abs(found.pooled_pearson) < 0.05
    assert not asked(found).passed
    assert asked(correlation(retrained, incumbent)).passed


def test_users_whose_scores_do_not_vary_are_left_out_of_their_mean():
    new, old = np.array([[1.0, 2.0, 3.0], [4.1, 4.1, 4.1]]), np.array([[1.0, 2.0, 3.0], [1.0, 5.0, 2.0]])
    found = correlation(new, old)
    assert found.users == 1
    assert found.mean_user_pearson == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("new", "why"),
    [(np.full((3, 4), 0.1), "constant"), (np.where(np.eye(3, 4) > 0, np.nan, 1.0), "nan"), (np.full((3, 4), np.inf), "inf")],
)
def test_scores_that_cannot_be_compared_fail_the_gate(new, why):
    found = correlation(new, np.arange(12.0).reshape(3, 4))
    assert math.isnan(found.pooled_pearson), why
    check = asked(found)
    assert (check.passed, check.value) == (False, None)
    assert "not a number" in check.detail


def test_no_pairs_at_all_fail_the_gate():
    found = correlation(np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2), dtype=bool))
    assert not asked(found).passed


@pytest.mark.parametrize(("value", "passed"), [(0.8, True), (0.7999, False), (-0.9, False), (1.0, True)])
def test_the_correlation_threshold_is_inclusive(value, passed):
    found = asked(alike(value))
    assert (found.name, found.passed, found.value, found.threshold) == ("correlation_with_incumbent", passed, value, 0.8)


def test_the_first_model_has_nothing_to_be_compared_with():
    found = asked(None)
    assert found.passed
    assert "no incumbent" in found.detail


def test_an_incumbent_that_cannot_be_read_refuses_unless_that_is_accepted():
    assert not asked(None, "the incumbent cannot be read: format 9").passed
    assert asked(None, "the incumbent cannot be read: format 9", accept_unreadable_incumbent=True).passed


@pytest.mark.parametrize("found", [alike(1.0), None])
def test_no_threshold_means_no_pass(found):
    check = asked(found, min_correlation=None)
    assert not check.passed
    assert "set gate.min_correlation" in check.detail


def test_a_verdict_survives_as_json_and_cannot_be_talked_up():
    verdict = Verdict.of((asked(alike(float("nan"))), asked(alike(0.9))))
    assert Verdict.from_json(verdict.to_json()) == verdict
    content = json.loads(verdict.to_json())
    assert content["passed"] is False
    with pytest.raises(ReelflowError, match="contradict"):
        Verdict.from_json(json.dumps(content | {"passed": True}))
    with pytest.raises(ReelflowError, match="contradict"):
        Verdict.from_json(json.dumps(content | {"passed": True, "checks": []}))
    with pytest.raises(ReelflowError, match="run the gate stage again"):
        Verdict.from_json("not json")
    with pytest.raises(ReelflowError, match="found format 9"):
        Verdict.from_json(json.dumps(content | {"format_version": 9}))
    assert not Verdict.of(()).passed


def test_checks_hold_plain_values():
    found = asked(alike(0.9))
    assert isinstance(found, Check)
    assert (type(found.passed), type(found.value)) == (bool, float)


def test_scores_of_different_videos_are_refused():
    with pytest.raises(ReelflowError, match="same users"):
        correlation(np.ones((2, 3)), np.ones((2, 4)))
