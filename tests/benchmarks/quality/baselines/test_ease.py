import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality.baselines import _ease
from benchmarks.quality.baselines._ease import ease
from schemas.errors import ReelflowError


def ridge_by_video(watched, regularization):
    """Each video regressed on all others, one by one: the zero diagonal is that a video is not among its own inputs."""
    n = watched.shape[1]
    weights = np.zeros((n, n))
    for target in range(n):
        others = np.flatnonzero(np.arange(n) != target)
        inputs = watched[:, others]
        gram = inputs.T @ inputs + regularization * np.eye(len(others))
        weights[others, target] = np.linalg.solve(gram, inputs.T @ watched[:, target])
    return watched @ weights


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)], ids=["fewer videos", "fewer users"])
@pytest.mark.parametrize("regularization", [0.5, 20.0])
@pytest.mark.parametrize("videos_at_once", [3, 4096])
def test_ease_is_ridge_regression_without_the_video_itself(shape, regularization, videos_at_once, monkeypatch):
    monkeypatch.setattr(_ease, "_VIDEOS", videos_at_once)
    watched = (np.random.default_rng(1).random(shape) < 0.4).astype(np.float64)
    scores = ease(sp.csr_matrix(watched, dtype=np.float32), regularization)
    users = np.arange(len(watched))[::-1]
    np.testing.assert_allclose(scores(users)[::-1], ridge_by_video(watched, regularization), atol=1e-5)


def test_logs_beyond_the_solver_are_refused(monkeypatch):
    monkeypatch.setattr(_ease, "MOST", 2)
    with pytest.raises(ReelflowError, match="EASE: found 3 users and 4 videos"):
        ease(sp.csr_matrix(np.ones((3, 4), dtype=np.float32)), 1.0)
