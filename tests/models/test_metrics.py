import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import (
    coverage,
    expected_calibration_error,
    log_loss,
    means,
    popularity_share,
    pr_auc,
    ranking_metrics,
    roc_auc,
)
from schemas.errors import ReelflowError


def test_ranking_metrics_by_hand():
    lists = np.array([[7, 3, 9, 1], [5, 6, -1, -1], [1, 2, 3, 4]])
    relevant = (np.array([0, 2, 5, 5]), np.array([3, 1, 6, 8, 10**15]))
    found = ranking_metrics(lists, relevant, ks=(1, 2, 5))
    nan = float("nan")
    np.testing.assert_allclose(found["precision@1"], [0, 0, nan])
    np.testing.assert_allclose(found["precision@2"], [1 / 2, 1 / 2, nan])
    np.testing.assert_allclose(found["precision@5"], [2 / 5, 1 / 5, nan])
    np.testing.assert_allclose(found["recall@2"], [1 / 2, 1 / 3, nan])
    np.testing.assert_allclose(found["recall@5"], [1, 1 / 3, nan])
    np.testing.assert_allclose(found["map@5"], [(1 / 2 + 2 / 4) / 2, (1 / 2) / 3, nan])
    np.testing.assert_allclose(found["mrr"], [1 / 2, 1 / 2, nan])
    second, fourth = 1 / math.log2(3), 1 / math.log2(5)
    np.testing.assert_allclose(found["ndcg@2"], [second / (1 + second), second / (1 + second), nan])
    np.testing.assert_allclose(found["ndcg@5"], [(second + fourth) / (1 + second), second / (1 + second + 0.5), nan])
    assert means(found)["mrr"] == pytest.approx(1 / 2)
    assert math.isnan(means({"mrr": np.array([nan])})["mrr"])


def test_a_perfect_list_scores_one_at_every_depth():
    found = ranking_metrics(np.array([[4, 2, 0]]), sp.csr_matrix([[1, 0, 1, 0, 1]]), ks=(1, 2, 3, 10))
    for k in (1, 2, 3, 10):
        assert found[f"ndcg@{k}"].tolist() == pytest.approx([1.0])
        assert found[f"map@{k}"].tolist() == pytest.approx([1.0])
    assert found["recall@3"].tolist() == [1.0]


def test_stored_zeros_and_repeats_are_not_relevant_twice():
    matrix = sp.csr_matrix((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert ranking_metrics(np.array([[0, 1]]), matrix, ks=(2,))["recall@2"].tolist() == [1.0]
    assert ranking_metrics(np.array([[1, 0]]), (np.array([0, 2]), np.array([1, 1])), ks=(2,))["recall@2"].tolist() == [1.0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.permutations(range(6)), st.integers(0, 6), st.sets(st.integers(0, 8))), min_size=1, max_size=6))
def test_ranking_metrics_agree_with_loops(users):
    lists = np.array([[*ranked[:length], *[-1] * (6 - length)] for ranked, length, _ in users])
    indptr = np.cumsum([0, *(len(wanted) for _, _, wanted in users)])
    indices = np.array([video for _, _, wanted in users for video in wanted], dtype=np.int64)
    ks = (1, 3, 6, 8)
    found = ranking_metrics(lists, (indptr, indices), ks=ks)
    for user, (ranked, length, wanted) in enumerate(users):
        hits = [video in wanted for video in ranked[:length]]
        if not wanted:
            assert all(math.isnan(column[user]) for column in found.values())
            continue
        for k in ks:
            top = hits[:k]
            ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
            precisions = [sum(top[: place + 1]) / (place + 1) for place, hit in enumerate(top) if hit]
            assert found[f"precision@{k}"][user] == pytest.approx(sum(top) / k)
            assert found[f"recall@{k}"][user] == pytest.approx(sum(top) / len(wanted))
            assert found[f"map@{k}"][user] == pytest.approx(sum(precisions) / min(k, len(wanted)))
            gain = sum(1 / math.log2(place + 2) for place, hit in enumerate(top) if hit)
            assert found[f"ndcg@{k}"][user] == pytest.approx(gain / ideal)
        assert found["mrr"][user] == pytest.approx(1 / (hits.index(True) + 1) if any(hits) else 0.0)


def test_lists_that_cannot_be_judged_are_refused():
    with pytest.raises(ReelflowError, match="repeats a video"):
        ranking_metrics(np.array([[1, 1]]), (np.array([0, 1]), np.array([1])))
    with pytest.raises(ReelflowError, match="one row a user"):
        ranking_metrics(np.array([[1, 2]]), (np.array([0, 1, 1]), np.array([1])))


def test_coverage_and_popularity_share():
    lists = np.array([[0, 1, -1], [0, 2, 3]])
    assert coverage(lists, 10, 2) == 0.3
    assert coverage(lists, 10, 3) == 0.4
    popularity = np.array([5.0, 1.0, 9.0, 0.0])
    assert popularity_share(lists, popularity, 3, head_fraction=0.5) == 3 / 5
    assert popularity_share(lists, popularity, 1, head_fraction=0.01) == 0.0
    assert math.isnan(popularity_share(np.full((2, 3), -1), popularity, 3))


examples = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=14)


@given(examples)
def test_roc_auc_is_the_share_of_pairs_in_order(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        (w * v, 1.0 if s > t else 0.5 if s == t else 0.0)
        for positive, s, w in rows
        if positive
        for other, t, v in rows
        if not other
    ]
    found = roc_auc(labels, scores / 5, weights.astype(float))
    if pairs:
        assert found == pytest.approx(sum(w * v for w, v in pairs) / sum(w for w, _ in pairs))
    else:
        assert math.isnan(found)


@given(examples)
def test_a_weight_is_worth_as_many_examples(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    many = np.repeat(np.arange(len(rows)), weights)
    for metric in (roc_auc, pr_auc, log_loss, expected_calibration_error):
        np.testing.assert_allclose(
            metric(labels, scores / 5, weights.astype(float)), metric(labels[many], scores[many] / 5), atol=1e-12
        )


@given(examples)
def test_pr_auc_agrees_with_thresholds(rows):
    positives = sum(w for positive, _, w in rows if positive)
    total, recall = 0.0, 0.0
    for threshold in sorted({s for _, s, _ in rows}, reverse=True):
        shown = [(positive, w) for positive, s, w in rows if s >= threshold]
        hit = sum(w for positive, w in shown if positive)
        if positives:
            total += (hit / positives - recall) * hit / sum(w for _, w in shown)
            recall = hit / positives
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = pr_auc(labels, scores, weights.astype(float))
    assert found == pytest.approx(total) if positives else math.isnan(found)


def test_log_loss_by_hand():
    labels, chances = np.array([1, 0]), np.array([0.8, 0.4])
    assert log_loss(labels, chances) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert log_loss(labels, chances, np.array([1.0, 3.0])) == pytest.approx(-(math.log(0.8) + 3 * math.log(0.6)) / 4)
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-math.log(1e-7))
    assert math.isnan(log_loss(np.array([]), np.array([])))


def test_calibration_error_by_hand():
    chances = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    # lower half: 1 of 4 against 0.1; upper half: 3 of 4 against 0.9
    assert expected_calibration_error(labels, chances, n_bins=2) == pytest.approx((0.15 + 0.15) / 2)
    assert expected_calibration_error(labels, labels.astype(float)) == 0.0
    order = np.random.default_rng(0).permutation(8)
    assert expected_calibration_error(labels[order], chances[order], n_bins=3) == pytest.approx(
        expected_calibration_error(labels, chances, n_bins=3)
    )


def test_equal_mass_bins_agree_with_slices():
    rng = np.random.default_rng(3)
    chances = np.sort(rng.random(600))
    labels = (rng.random(600) < chances**2).astype(int)
    slices = np.split(np.arange(600), 6)
    expected = np.mean([abs(labels[part].mean() - chances[part].mean()) for part in slices])
    assert expected_calibration_error(labels, chances, n_bins=6) == pytest.approx(expected)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ReelflowError, match="not finite"):
        roc_auc(np.array([1, 0]), np.array([np.nan, 0.0]))
    with pytest.raises(ReelflowError, match="equal lengths"):
        log_loss(np.array([1, 0]), np.array([0.5]))
