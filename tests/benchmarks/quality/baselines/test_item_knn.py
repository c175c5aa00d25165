import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality.baselines import ItemKnn
from benchmarks.quality.baselines._item_knn import neighbours
from tests.benchmarks.quality.worlds import world

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 2)]
"""Video 0 has users 0, 1, 2; video 1 has 0, 1; video 2 has 2, 3; video 3 nobody."""


def watched():
    users, videos = np.array(PAIRS).T
    return sp.csr_matrix((np.ones(len(PAIRS), dtype=np.float32), (users, videos)), shape=(4, 4))


def test_likeness_by_hand():
    found = neighbours(watched(), 3, 1.0).toarray()
    near, far = 2 / (np.sqrt(6) + 1), 1 / (np.sqrt(6) + 1)
    np.testing.assert_allclose(found, [[0, near, far, 0], [near, 0, 0, 0], [far, 0, 0, 0], [0, 0, 0, 0]], rtol=1e-6)


def test_only_the_nearest_are_kept():
    assert neighbours(watched(), 1, 1.0).toarray()[0].nonzero()[0].tolist() == [1]


def test_a_score_is_the_sum_over_what_the_user_watched():
    fitted = ItemKnn().fit(world(PAIRS, n_users=4, n_videos=4), {"input": "positives", "k": 3, "shrinkage": 1.0}, 0)
    far, near = 1 / (np.sqrt(6) + 1), 2 / (np.sqrt(6) + 1)
    np.testing.assert_allclose(fitted.scores(np.array([2, 3])), [[far, near, far, 0], [far, 0, 0, 0]], rtol=1e-6)
    assert fitted.scores(np.array([0]))[0, 2] == pytest.approx(far)  # through video 0, which video 2 knows
