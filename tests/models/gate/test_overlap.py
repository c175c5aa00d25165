import numpy as np
import pytest

from models.gate import jaccard, kept, rbo
from models.gate._overlap import distribution

ONE = np.array([[1, 2, 3, 4]])
REVERSED = ONE[:, ::-1]
OTHERS = np.array([[5, 6, 7, 8]])


def by_definition(a, b, p):
    """Webber et al. (2010), equation 32, for two lists of one length, term by term."""
    depth = len(a)
    shared = [len(set(a[:d]) & set(b[:d])) for d in range(1, depth + 1)]
    total = sum(shared[d - 1] / d * p**d for d in range(1, depth + 1))
    return shared[-1] / depth * p**depth + (1 - p) / p * total


def test_the_same_lists_agree_fully_and_others_not_at_all():
    for measure in (lambda a, b: jaccard(a, b, 4), lambda a, b: rbo(a, b, 0.9)):
        assert measure(ONE, ONE)[0] == pytest.approx(1)
        assert measure(ONE, OTHERS)[0] == 0


def test_jaccard_does_not_see_the_order_and_rbo_does():
    assert jaccard(ONE, REVERSED, 4)[0] == 1
    assert jaccard(ONE, REVERSED, 2)[0] == 0
    assert rbo(ONE, REVERSED, 0.9)[0] < rbo(ONE, np.array([[2, 1, 3, 4]]), 0.9)[0] < 1


@pytest.mark.parametrize("seed", range(20))
def test_rbo_is_that_of_the_paper(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(12)[:8], rng.permutation(12)[:8]
    for p in (0.5, 0.9, 0.98):
        assert rbo(a[None], b[None], p)[0] == pytest.approx(by_definition(a.tolist(), b.tolist(), p))


def test_rbo_of_two_places_by_hand():
    # Agreement 0 of 1, then 2 of 2: 1 * p^2 + (1 - p) / p * p^2 = p.
    assert rbo(np.array([[1, 2]]), np.array([[2, 1]]), 0.5)[0] == pytest.approx(0.5)


def test_padding_is_no_video():
    short = np.array([[1, 2, -1, -1]])
    assert jaccard(short, short, 4)[0] == 1
    assert rbo(short, short, 0.9)[0] == pytest.approx(1)
    empty = np.full((1, 4), -1)
    assert np.isnan(jaccard(empty, empty, 4)[0])
    assert np.isnan(rbo(ONE, empty, 0.9)[0])


def test_a_video_within_a_tie_of_the_last_place_is_kept():
    old, old_scores = np.array([[1, 2, 3, 4]]), np.array([[3.0, 2.0, 1.99, 0.0]])
    new, new_scores = np.array([[1, 3, 2, 4]]), np.array([[3.0, 2.0, 1.99, 0.0]])
    assert jaccard(new, old, 2)[0] == pytest.approx(1 / 3)
    assert kept(new, new_scores, old, old_scores, k=2, tie=0.05)[0] == 1
    assert kept(new, new_scores, old, old_scores, k=2, tie=0.001)[0] == 0.5
    far = np.array([[4, 3, 2, 1]])  # the last place holds what was first
    assert kept(far, new_scores, old, old_scores, k=1, tie=0.05)[0] == 0


def test_the_distribution_leaves_out_what_is_not_known():
    found = distribution(np.array([0.0, 1.0, np.nan]))
    assert (found["mean"], found["p50"]) == (0.5, 0.5)
    assert distribution(np.array([np.nan])) == {}
