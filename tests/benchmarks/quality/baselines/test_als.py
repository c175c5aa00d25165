import numpy as np

from benchmarks.quality.baselines import Als
from tests.benchmarks.quality.worlds import world


def test_als_continues_a_checkerboard():
    """Even users watch even videos, all but one; user 20 watched nothing."""
    pairs = [(user, video) for user in range(20) for video in range(user % 2, 10, 2) if video != (user * 2 + user % 2) % 10]
    scores = Als().fit(world(pairs, n_users=21, n_videos=10), {**Als.first, "factors": 2, "regularization": 0.1}, 1).scores
    for user in range(20):
        missing = (user * 2 + user % 2) % 10
        found = scores(np.array([user]))[0]
        assert found[missing] > found[np.arange(10) % 2 != user % 2].max()
    assert not scores(np.array([20])).any()
