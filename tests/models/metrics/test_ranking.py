import numpy as np
import scipy.sparse as sp

from models.metrics import marginal_recall, source_recall

# Two sources over the candidates of three users; the third has nothing relevant.
CANDIDATES = np.array([[4, 7, 9, -1], [4, 5, 6, 7], [1, 2, 3, 4]])
RANKS = np.array(
    [
        [[1, 0], [2, 1], [0, 2], [0, 0]],
        [[1, 2], [2, 0], [0, 1], [3, 3]],
        [[1, 1], [2, 2], [3, 3], [4, 4]],
    ]
)
RELEVANT = sp.csr_matrix(np.array([[0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0], [0] * 11]))


def test_each_source_alone():
    found = source_recall(CANDIDATES, RANKS, RELEVANT, (1, 2, 10))
    # User 1 wants 4, 7, 9 and 10: the first source has 4 and 7, the second 7 and 9.
    np.testing.assert_allclose(found[0], [[1 / 4, 2 / 4, 2 / 4], [1 / 4, 2 / 4, 2 / 4]])
    # User 2 wants 5, 6 and 7: 5 and 7 at ranks 2 and 3; 6 and 7 at ranks 1 and 3.
    np.testing.assert_allclose(found[1], [[0, 1 / 3, 2 / 3], [1 / 3, 1 / 3, 2 / 3]])
    assert np.isnan(found[2]).all()


def test_what_is_lost_without_a_source():
    union, lost = marginal_recall(CANDIDATES, RANKS, RELEVANT, (10, 10))
    np.testing.assert_allclose(union[:2], [3 / 4, 1])
    np.testing.assert_allclose(lost[:2], [[1 / 4, 1 / 4], [1 / 3, 1 / 3]])
    assert np.isnan(union[2])
    assert np.isnan(lost[2]).all()


def test_only_proposals_within_the_limits_count():
    union, lost = marginal_recall(CANDIDATES, RANKS, RELEVANT, (2, 1))
    # User 1: 4 and 7 by the first, 7 by the second. User 2: 5 by the first, 6 by the second.
    np.testing.assert_allclose(union[:2], [2 / 4, 2 / 3])
    np.testing.assert_allclose(lost[:2], [[1 / 4, 0], [1 / 3, 1 / 3]])


def test_the_union_is_what_its_parts_and_losses_say():
    union, lost = marginal_recall(CANDIDATES, RANKS, RELEVANT, (10, 10))
    for source, other in ((0, 1), (1, 0)):
        without = source_recall(CANDIDATES, RANKS, RELEVANT, (10,))[:, other, 0]
        np.testing.assert_allclose(union - without, lost[:, source])
