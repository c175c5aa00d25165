import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk

from models import metrics
from models.metrics import (
    bootstrap_draws,
    calibration_ratio,
    expected_calibration_error,
    precision_recall_curve,
    ranking_loss,
    reliability,
    reliability_bins,
    resampled,
    roc_curve,
)

RNG = np.random.default_rng(4)
N = 500
CHANCE = np.round(RNG.random(N), 2)  # with ties
LABELS = (RNG.random(N) < CHANCE**2).astype(int)
WEIGHTS = RNG.integers(1, 6, N).astype(float)


class TestAgainstScikitLearn:
    def test_scalars(self):
        given = (LABELS, CHANCE, WEIGHTS)
        assert metrics.roc_auc(*given) == pytest.approx(sk.roc_auc_score(LABELS, CHANCE, sample_weight=WEIGHTS))
        assert metrics.pr_auc(*given) == pytest.approx(sk.average_precision_score(LABELS, CHANCE, sample_weight=WEIGHTS))
        safe = np.clip(CHANCE, 1e-7, 1 - 1e-7)
        assert metrics.log_loss(*given) == pytest.approx(sk.log_loss(LABELS, safe, sample_weight=WEIGHTS))

    def test_roc_curve(self):
        expected = sk.roc_curve(LABELS, CHANCE, sample_weight=WEIGHTS, drop_intermediate=False)[:2]
        for found, wanted in zip(roc_curve(LABELS, CHANCE, WEIGHTS), expected, strict=True):
            np.testing.assert_allclose(found, wanted)

    def test_precision_recall_curve(self):
        precision, recall, _ = sk.precision_recall_curve(LABELS, CHANCE, sample_weight=WEIGHTS)
        found = precision_recall_curve(LABELS, CHANCE, WEIGHTS)
        np.testing.assert_allclose(found[0], recall[:-1][::-1])
        np.testing.assert_allclose(found[1], precision[:-1][::-1])

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(st.lists(st.booleans(), min_size=5, max_size=5), st.lists(st.integers(0, 4), min_size=5, max_size=5)),
            min_size=1,
            max_size=5,
        )
    )
    def test_ranking_loss(self, users):
        labels, scores = (np.array(column) for column in zip(*users, strict=True))
        groups = np.repeat(np.arange(len(users)), 5)
        found = ranking_loss(labels.ravel(), scores.ravel(), groups, len(users))
        for row, own in enumerate(found):
            if labels[row].all() or not labels[row].any():
                assert np.isnan(own)
            else:
                assert own == pytest.approx(sk.label_ranking_loss(labels[[row]], scores[[row]]))

    def test_reliability(self):
        chance = np.sort(RNG.random(600))
        labels = (RNG.random(600) < chance).astype(int)
        observed, predicted = sk_calibration.calibration_curve(labels, chance, n_bins=6, strategy="quantile")
        found = reliability(labels, chance, n_bins=6)
        np.testing.assert_allclose(found.observed, observed)
        np.testing.assert_allclose(found.predicted, predicted)
        assert found.examples.tolist() == [100] * 6


def test_ranking_loss_by_hand():
    labels, scores = np.array([1, 0, 0, 1, 0, 1]), np.array([0.5, 0.4, 0.5, 0.1, 0.2, 0.9])
    groups, weights = np.array([7, 7, 7, 2, 2, 2]), np.array([1.0, 3.0, 1.0, 1.0, 5.0, 1.0])
    found = ranking_loss(labels, scores, groups, 8, weights)
    # Group 7: of negatives that weigh 4, the tie weighs 1. Group 2: one of two positives lies below the negative.
    assert found[7] == pytest.approx(1 / 4)
    assert found[2] == pytest.approx(1 / 2)
    assert np.isnan(found[[0, 1, 3, 4, 5, 6]]).all()
    assert np.isnan(ranking_loss(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64), 2)).all()


def test_the_reliability_diagram_is_what_the_error_averages():
    found = reliability(LABELS, CHANCE, WEIGHTS)
    gaps = np.abs(found.observed - found.predicted) @ found.weight / found.weight.sum()
    assert gaps == pytest.approx(expected_calibration_error(LABELS, CHANCE, WEIGHTS))
    assert found.weight.sum() == WEIGHTS.sum()
    assert found.examples.sum() == N


def test_calibration_ratio_by_hand():
    assert calibration_ratio(np.array([1, 0, 0]), np.array([0.5, 0.5, 0.5])) == pytest.approx(1.5)
    assert calibration_ratio(np.array([1, 0]), np.array([0.8, 0.4]), np.array([1.0, 3.0])) == pytest.approx(2.0)
    assert np.isnan(calibration_ratio(np.array([0]), np.array([0.5])))


class TestResampled:
    users = np.repeat(np.arange(50), 10)

    def test_everybody_once_is_the_figure_itself(self):
        found = resampled(LABELS, CHANCE, WEIGHTS, self.users, np.ones((2, 50)))
        for name, values in found.items():
            expected = getattr(metrics, name)(LABELS, CHANCE, WEIGHTS)
            np.testing.assert_allclose(values, [expected, expected])

    def test_a_user_drawn_twice_counts_twice(self):
        draws = bootstrap_draws(50, 5, seed=9)
        found = resampled(LABELS, CHANCE, WEIGHTS, self.users, draws)
        for row, drawn in enumerate(draws):
            weights = WEIGHTS * drawn[self.users]
            for name in ("roc_auc", "pr_auc", "log_loss", "calibration_ratio"):
                assert found[name][row] == pytest.approx(getattr(metrics, name)(LABELS, CHANCE, weights))

    def test_many_distinct_probabilities_are_grouped_without_harm(self):
        rng = np.random.default_rng(6)
        chance = rng.random(20_000)
        labels = (rng.random(20_000) < chance).astype(int)
        found = resampled(labels, chance, np.ones(20_000), np.arange(20_000) % 50, np.ones((1, 50)))
        assert found["roc_auc"][0] == pytest.approx(metrics.roc_auc(labels, chance), abs=2e-4)
        assert found["pr_auc"][0] == pytest.approx(metrics.pr_auc(labels, chance), abs=5e-4)

    def test_rare_positives_are_not_grouped_together(self):
        rng = np.random.default_rng(6)
        chance = 1 / (1 + np.exp(4.5 - 1.3 * rng.normal(size=60_000)))
        labels = (rng.random(60_000) < chance).astype(int)
        given, one = (labels, chance, np.ones(60_000)), np.ones((1, 50))
        for groups, close in ((1024, 1e-3), (256, 3e-3)):
            found = resampled(*given, np.arange(60_000) % 50, one, score_groups=groups)
            assert found["roc_auc"][0] == pytest.approx(metrics.roc_auc(*given), abs=1e-4)
            assert found["pr_auc"][0] == pytest.approx(metrics.pr_auc(*given), abs=close)

    def test_one_label_only_or_nothing_is_no_number(self):
        nothing = resampled(np.zeros(N), CHANCE, WEIGHTS, self.users, np.ones((1, 50)))
        assert np.isnan(nothing["roc_auc"]).all()
        assert np.isnan(nothing["pr_auc"]).all()
        empty = resampled(np.empty(0), np.empty(0), np.empty(0), np.empty(0, dtype=np.int64), np.ones((3, 0)))
        assert all(np.isnan(values).all() and len(values) == 3 for values in empty.values())


def test_bins_of_examples_by_hand():
    chance, weights = np.array([0.9, 0.1, 0.2, 0.2, 0.5, 0.05]), np.array([2.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    # In thirds of a weight of 6: up to 0.1 and one at 0.2 make 2, but equal ones stay together where their middle lies.
    assert reliability_bins(chance, weights, 3).tolist() == [2, 0, 1, 1, 1, 0]
    # Five bins of which the first five examples fill four, so that none is empty.
    assert reliability_bins(np.array([0.1, 0.1, 0.1, 0.8]), None, 4).tolist() == [0, 0, 0, 1]
    assert reliability_bins(np.full(3, 0.3)).tolist() == [0, 0, 0]
    assert reliability_bins(np.empty(0)).tolist() == []


def test_bins_are_those_of_the_diagram():
    bins, found = reliability_bins(CHANCE, WEIGHTS), reliability(LABELS, CHANCE, WEIGHTS)
    assert np.bincount(bins).tolist() == found.examples.tolist()
    np.testing.assert_allclose(np.bincount(bins, WEIGHTS), found.weight)
    np.testing.assert_allclose(np.bincount(bins, WEIGHTS * LABELS) / found.weight, found.observed)
