import math

import pytest

from models.tuning import LEAST_TRIALS, gain, hopeless


def test_a_gain_is_the_same_on_every_scale():
    assert gain(0.5, 0.5) == 0.0
    assert gain(0.22, 0.20) == pytest.approx(gain(0.022, 0.020)) == pytest.approx(math.log(1.1))
    assert gain(0.1, 0.2) == pytest.approx(-math.log(2))


def test_losses_are_given_with_a_minus():
    assert gain(-0.5, -1.0) == pytest.approx(math.log(2))
    assert gain(-1.0, -0.5) == pytest.approx(-math.log(2))


def test_finding_nothing_is_bad_and_not_infinite():
    assert gain(0.0, 0.5) == pytest.approx(math.log(1e-3))


def curve(*best, sets=1):
    """Scores of epochs 1, 2, ... on each of so many data sets."""
    return {(of, epoch): score for of in range(sets) for epoch, score in enumerate(best, 1)}


DEFAULTS = curve(0.1, 0.2, 0.3, 0.4)
OTHERS = [curve(*(share * score for score in (0.1, 0.2, 0.3, 0.4))) for share in (0.8, 0.9, 1.0, 1.1, 1.2)]
LOSSES = [{place: -1 / score for place, score in other.items()} for other in OTHERS]


def test_the_lower_half_of_one_data_set_is_hopeless():
    assert len(OTHERS) == LEAST_TRIALS
    assert hopeless(curve(0.1, 0.2, 0.29), OTHERS, DEFAULTS, 1)
    assert not hopeless(curve(0.1, 0.2, 0.3), OTHERS, DEFAULTS, 1)


def test_losses_are_judged_alike():
    reference = {place: -1 / score for place, score in DEFAULTS.items()}
    assert hopeless({(0, 3): -1 / 0.29}, LOSSES, reference, 1)
    assert not hopeless({(0, 3): -1 / 0.3}, LOSSES, reference, 1)


def test_what_counts_is_the_best_epoch_so_far():
    assert not hopeless(curve(0.1, 0.31, 0.2), OTHERS, DEFAULTS, 1)


def test_nothing_is_hopeless_at_first():
    assert not hopeless(curve(0.01, 0.02), OTHERS, DEFAULTS, 1)
    assert not hopeless(curve(0.01, 0.02, 0.03), OTHERS[1:], DEFAULTS, 1)


def test_a_fit_that_stopped_earlier_counts_with_its_best():
    short = [curve(*(share * score for score in (0.1, 0.2))) for share in (2, 2, 2, 2, 2)]
    assert hopeless(curve(0.1, 0.2, 0.3), short, DEFAULTS, 1)


REFERENCE_OF_TWO = curve(0.1, 0.2, 0.3, 0.4, sets=2)
OTHERS_OF_TWO = [curve(*(share * s for s in (0.1, 0.2, 0.3, 0.4)), sets=2) for share in (0.8, 0.9, 1.0, 1.1, 1.2)]


class TestSeveral:
    def test_the_first_of_two_gives_up_the_lowest_quarter_only(self):
        assert not hopeless(curve(0.1, 0.2, 0.27), OTHERS_OF_TWO, REFERENCE_OF_TWO, 2)
        assert hopeless(curve(0.1, 0.2, 0.26), OTHERS_OF_TWO, REFERENCE_OF_TWO, 2)

    def test_at_the_last_it_is_the_mean_of_all_that_counts(self):
        first = {(0, 4): 0.4 * 1.2}
        assert not hopeless({**first, (1, 3): 0.27}, OTHERS_OF_TWO, REFERENCE_OF_TWO, 2)  # of 1.2 and 0.9, against 1.0
        assert hopeless({(0, 4): 0.4 * 0.8, (1, 3): 0.3}, OTHERS_OF_TWO, REFERENCE_OF_TWO, 2)
