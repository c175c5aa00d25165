import numpy as np
import pytest
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from models.wals._solver import penalties, solve
from tests.models.wals.contract import config


def random_cells(n_users=80, n_videos=50, pairs=900):
    rng = np.random.default_rng(4)
    videos = (rng.pareto(1.0, pairs) * 5).astype(int) % n_videos  # a few have most
    cells = sp.csr_matrix((rng.uniform(0.1, 2.0, pairs), (rng.integers(n_users, size=pairs), videos)), (n_users, n_videos))
    cells.data += 1.0
    return cells.astype(np.float32)


def starts(cells, factors):
    rng = np.random.default_rng(1)
    return tuple((0.01 * rng.normal(size=(rows, factors))).astype(np.float32) for rows in cells.shape)


def test_penalties_grow_with_the_count_and_are_rounded_to_powers_of_two():
    counts = np.array([1, 2, 4, 3, 1000, 0])
    assert penalties(config(regularization=3.0, regularization_exponent=0.0), counts).tolist() == [3.0] * 6
    grown = penalties(config(regularization=3.0, regularization_exponent=1.0), counts)
    assert grown.tolist() == pytest.approx([3.0, 6.0, 12.0, 12.0, 3.0 * 1024, 3.0])
    exact = 3.0 * np.maximum(counts, 1) ** 0.5
    rounded = penalties(config(regularization=3.0, regularization_exponent=0.5), counts)
    assert np.abs(np.log2(rounded / exact)).max() <= 0.5 + 1e-12
    assert len(np.unique(penalties(config(regularization_exponent=0.5), np.arange(1, 10_000)))) <= 8


def test_with_one_penalty_for_all_it_is_implicit_itself():
    settings = config(factors=6, regularization_exponent=0.0, regularization=0.3, iterations=4)
    cells = random_cells()
    direct = AlternatingLeastSquares(
        factors=6, regularization=0.3, iterations=4, alpha=1.0, dtype=np.float32, num_threads=1, random_state=0
    )
    direct.user_factors, direct.item_factors = (part.copy() for part in starts(cells, 6))
    told = []
    with threadpool_limits(1, "blas"):
        direct.fit(cells, show_progress=False)
        users, videos = solve(settings, cells, *starts(cells, 6), lambda *record: told.append(record))
    assert users.tobytes() == direct.user_factors.tobytes()
    assert videos.tobytes() == direct.item_factors.tobytes()
    assert [iteration for iteration, _ in told] == [1, 2, 3, 4]


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_each_row_is_solved_with_the_penalty_of_its_own_count(exponent):
    settings = config(factors=5, regularization_exponent=exponent, regularization=0.2, iterations=300)
    cells = random_cells()
    users, videos = (part.astype(np.float64) for part in solve(settings, cells, *starts(cells, 5), lambda *_: None))
    dense = cells.toarray().astype(np.float64)
    confidences, preference = np.where(dense > 0, dense, 1.0), (dense > 0).astype(float)
    for row, penalty in enumerate(penalties(settings, (dense > 0).sum(axis=1))):
        left = videos.T @ (confidences[row][:, None] * videos) + penalty * np.eye(5)
        expected = np.linalg.solve(left, videos.T @ (confidences[row] * preference[row]))
        np.testing.assert_allclose(users[row], expected, atol=5e-3)
