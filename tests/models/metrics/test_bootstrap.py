import numpy as np
import pytest

from models.metrics import bootstrap_draws, bootstrap_means, bootstrap_ratios, percentile_interval


def test_draws_are_counts_with_mean_and_variance_one_and_the_same_for_a_seed():
    draws = bootstrap_draws(200, 500, seed=3)
    assert draws.shape == (500, 200)
    assert np.array_equal(draws, np.round(draws))
    assert draws.min() == 0
    assert draws.mean() == pytest.approx(1.0, abs=0.01)
    assert draws.var() == pytest.approx(1.0, abs=0.03)
    assert np.array_equal(draws, bootstrap_draws(200, 500, seed=3))
    assert not np.array_equal(draws, bootstrap_draws(200, 500, seed=4))


def test_means_are_weighted_and_leave_out_what_is_missing():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [5.0, 7.0]])
    draws = np.array([[1.0, 1.0, 0.0], [0.0, 3.0, 1.0], [2.0, 0.0, 0.0]])
    found = bootstrap_means(values, draws)
    np.testing.assert_allclose(found, [[2.0, 5.0], [14 / 4, 22 / 4], [1.0, np.nan]])


def test_percentiles_of_known_replicates():
    replicates = np.stack([np.arange(101.0), np.full(101, np.nan), np.r_[np.nan, np.arange(100.0)]], axis=1)
    low, high = percentile_interval(replicates, 0.9)
    np.testing.assert_allclose(low, [5.0, np.nan, 4.95])
    np.testing.assert_allclose(high, [95.0, np.nan, 94.05])
    low, high = percentile_interval(replicates[:, 0], 0.5)
    assert (float(low), float(high)) == (25.0, 75.0)


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(5).exponential(2.0, 2000)
    draws = bootstrap_draws(2000, 2000, seed=1)
    low, high = percentile_interval(bootstrap_means(values[:, None], draws), 0.95)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert low[0] == pytest.approx(values.mean() - half, abs=half / 10)
    assert high[0] == pytest.approx(values.mean() + half, abs=half / 10)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng, hits = np.random.default_rng(8), 0
    draws = bootstrap_draws(80, 400, seed=2)
    samples = rng.binomial(1, 0.3, (80, 300)).astype(float)
    low, high = percentile_interval(bootstrap_means(samples, draws), 0.9)
    hits = int(((low <= 0.3) & (high >= 0.3)).sum())
    assert 0.85 <= hits / 300 <= 0.94


def test_differences_are_paired():
    base = np.random.default_rng(1).random(400)
    draws = bootstrap_draws(400, 300, seed=1)
    better = base + 0.01  # always by as much: the users' own spread does not count
    low, high = percentile_interval(bootstrap_means((better - base)[:, None], draws), 0.95)
    assert (low[0], high[0]) == pytest.approx((0.01, 0.01))


def test_ratios_are_of_sums_and_not_means_of_ratios():
    above, below = np.array([[1.0], [6.0], [0.0]]), np.array([[2.0], [8.0], [0.0]])
    draws = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    np.testing.assert_allclose(bootstrap_ratios(above, below, draws), [[7 / 10], [8 / 12], [np.nan]])
