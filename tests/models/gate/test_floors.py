import numpy as np
import pytest

import conf
from models import metrics
from models.gate import GateConfig, floor_checks, holm
from models.gate._floors import Judges, Part

USERS = 400


def config(**changes):
    found = conf.load("gate", GateConfig)
    floors = {"baselines": {}, "metrics": ("ndcg@10",), "margin": 0.05, "min_users": 50, "alpha": 0.01, "min_slice_ratio": 0.8}
    return found.model_copy(
        update={"min_ratio_to_popularity": 0.95, "floors": found.floors.model_copy(update=floors)} | changes
    )


def judges(parts, users=USERS):
    """Figures of nDCG by list and slice; a slice is given as its rows."""
    found = []
    for name, (rows, figures) in parts.items():
        own = {}
        for which, values in figures.items():
            column = np.full(users, np.nan)
            column[rows] = values[rows]
            own[which] = {"ndcg@10": column}
        found.append(Part(name, own, of_users=not name.startswith("videos")))
    return Judges(users, metrics.bootstrap_draws(users, 200, 1), 0.95, tuple(found))


def figures(mean, seed=0, users=USERS):
    """A list that is right about one user in two, so that the mean over users is ``mean``."""
    return 2 * mean * (np.random.default_rng(seed).random(users) < 0.5)


def check(found, name):
    return next(one for one in found[0] if one.name == name)


def everybody(final, popularity, incumbent=None, **slices):
    lists = {"final": final, "popularity": popularity} | ({"incumbent": incumbent} if incumbent is not None else {})
    parts = {"all": (np.arange(USERS), lists)}
    for name, (rows, changed) in slices.items():
        parts[name] = (rows, lists | changed)
    return judges(parts)


def test_holm_by_hand():
    # Holm (1979): 0.01 <= 0.05 / 3, 0.02 <= 0.05 / 2, 0.06 > 0.05.
    assert holm([0.06, 0.01, 0.02], 0.05) == [False, True, True]
    # Once one stands, those above it stand too: 0.03 > 0.05 / 2.
    assert holm([0.04, 0.01, 0.03], 0.05) == [False, True, False]
    assert holm([float("nan"), 0.04], 0.05) == [False, True]


@pytest.mark.parametrize(("final", "passed"), [(0.30, True), (0.20, False), (0.05, False)])
def test_a_baseline_must_be_cleared_by_the_lower_end(final, passed):
    found = floor_checks(config(), everybody(figures(final), figures(0.2, seed=1)))
    assert check(found, "ndcg@10_against_popularity").passed is passed


@pytest.mark.parametrize(("final", "passed"), [(0.30, True), (0.20, True), (0.05, False)])
def test_what_cannot_be_told_is_left_to_the_comparison_with_the_incumbent(final, passed):
    popular, old = figures(0.2, seed=1), figures(0.2, seed=2)
    found = check(floor_checks(config(), everybody(figures(final), popular, old)), "ndcg@10_against_popularity")
    assert found.passed is passed
    assert ("the comparison with the incumbent decides" in found.detail) is (final == 0.2)


def test_the_same_figures_clear_a_floor_below_them():
    found = floor_checks(config(), everybody(figures(0.2), figures(0.2)))
    assert check(found, "ndcg@10_against_popularity").passed  # 0.95 times itself, user by user


def test_nobody_to_judge_by_is_no_pass():
    found = floor_checks(config(), None)
    assert [one.passed for one in found[0]] == [False]
    few = np.arange(20)
    lists = {"final": figures(0.9), "popularity": figures(0.1)}
    assert not check(floor_checks(config(), judges({"all": (few, lists)})), "ndcg@10_against_popularity").passed


def test_no_threshold_means_no_pass():
    found = floor_checks(config(min_ratio_to_popularity=None), everybody(figures(0.9), figures(0.1)))
    assert "set gate.min_ratio_to_popularity" in check(found, "ndcg@10_against_popularity").detail
    assert not check(found, "ndcg@10_against_popularity").passed


def test_lists_that_are_all_wrong_do_not_pass_where_popularity_is_too():
    nothing = np.zeros(USERS)
    assert not check(floor_checks(config(), everybody(nothing, nothing)), "ndcg@10_against_popularity").passed


class TestSlices:
    lost = np.arange(100)

    def test_a_slice_that_is_lost_refuses_though_the_mean_is_good(self):
        final, popular = figures(0.4), figures(0.2, seed=1)
        final[self.lost] = 0
        found = floor_checks(config(), everybody(final, popular, **{"language de": (self.lost, {})}))
        assert check(found, "ndcg@10_against_popularity").passed
        refused = check(found, "floor_of_slices")
        assert not refused.passed
        assert "language de: ndcg@10 is 0.0000 against popularity's" in refused.detail

    def test_a_slice_that_is_a_little_worse_by_chance_does_not(self):
        final, popular = figures(0.3), figures(0.2, seed=1)
        final[self.lost] = popular[self.lost][::-1]
        found = floor_checks(config(), everybody(final, popular, **{"language de": (self.lost, {})}))
        assert check(found, "floor_of_slices").passed

    def test_too_few_users_are_listed_and_never_refuse(self):
        final, popular = figures(0.4), figures(0.2, seed=1)
        few = np.arange(20)
        final[few], popular[few] = 0, 1
        found = floor_checks(config(), everybody(final, popular, **{"language xx": (few, {})}))
        assert check(found, "floor_of_slices").passed
        assert "too few users to tell: language xx" in check(found, "floor_of_slices").detail

    def test_videos_are_no_slice_of_users(self):
        final, popular = figures(0.4), figures(0.2, seed=1)
        found = floor_checks(config(), everybody(final, popular, **{"videos older": (np.arange(USERS), {"final": 0 * final})}))
        assert check(found, "floor_of_slices").passed


class TestIncumbent:
    def test_only_a_significant_loss_beyond_the_margin_refuses(self):
        popular, old = figures(0.1, seed=1), figures(0.4)
        names = {"same": old, "better": figures(0.5), "a little worse": 0.97 * old, "worse": 0.7 * old}
        passed = {
            name: check(floor_checks(config(), everybody(final, popular, old)), "not_worse_than_incumbent").passed
            for name, final in names.items()
        }
        assert passed == {"same": True, "better": True, "a little worse": True, "worse": False}

    def test_noise_does_not(self):
        popular, old, new = figures(0.1, seed=1), figures(0.4, seed=2), figures(0.4, seed=3)
        assert check(floor_checks(config(), everybody(new, popular, old)), "not_worse_than_incumbent").passed

    def test_videos_are_no_slice_of_users(self):
        popular, old = figures(0.1, seed=1), figures(0.4)
        parts = everybody(old, popular, old, **{"videos older": (np.arange(USERS), {"final": 0 * old})})
        assert check(floor_checks(config(), parts), "not_worse_than_incumbent").passed

    def test_too_good_to_be_true_is_a_leak(self):
        popular, old = figures(0.1, seed=1), figures(0.2)
        leaked = check(floor_checks(config(), everybody(np.ones(USERS), popular, old)), "not_too_good")
        assert not leaked.passed
        assert "leaked" in leaked.detail
        assert check(floor_checks(config(), everybody(1.5 * old, popular, old)), "not_too_good").passed

    def test_one_that_cannot_be_compared_is_said(self):
        found = floor_checks(config(), everybody(figures(0.4), figures(0.1)), "trained on another look-back")
        assert check(found, "not_worse_than_incumbent").detail == "cannot be told: trained on another look-back"
        assert check(found, "not_worse_than_incumbent").passed


@pytest.mark.slow
def test_false_alarms_stay_below_alpha_over_many_slices():
    """40 candidates as good as the incumbent, 10 slices each: at most 1 % may be refused, and 2 of 40 are within chance."""
    refused = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        new, old = (2 * 0.3 * (rng.random(USERS) < 0.5) for _ in range(2))
        slices = {f"country {n}": (np.arange(n * 20, n * 20 + 60) % USERS, {}) for n in range(10)}
        found = floor_checks(config(), everybody(new, 0 * new, old, **slices))
        refused += not check(found, "not_worse_than_incumbent").passed
    assert refused <= 2
