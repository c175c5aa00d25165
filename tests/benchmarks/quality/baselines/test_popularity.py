import numpy as np
import pytest

from benchmarks.quality.baselines import Popularity
from tests.benchmarks.quality.worlds import DAY_US, world


@pytest.fixture
def asked():
    """Video 0 had two users three days ago, video 1 one user today; everyone watched video 2."""
    return world(
        [(0, 0), (1, 0), (0, 1)], n_users=2, n_videos=3, at_us=[0, 0, 3 * DAY_US], now_us=3 * DAY_US, watches=[(0, 2), (1, 2)]
    )


def test_all_time_counts_users(asked):
    found = Popularity().fit(asked, {"input": "positives", "decay": False}, 0).scores(np.array([0, 1]))
    assert found.tolist() == [[2, 1, 0], [2, 1, 0]]
    assert Popularity().fit(asked, {"input": "watches", "decay": False}, 0).scores(np.array([0])).tolist() == [[0, 0, 2]]


def test_a_half_life_halves(asked):
    found = Popularity().fit(asked, {"input": "positives", "decay": True, "half_life_days": 1.5}, 0).scores(np.array([0]))
    assert found.tolist() == [[0.5, 1, 0]]
