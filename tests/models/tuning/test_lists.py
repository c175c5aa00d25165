import numpy as np
import pytest

from models.tuning import foresight
from tests.models.evaluation.planted import world_of

# User 1 had watched 10 and liked 11 next; user 2 liked 10 next; videos 10, 11, 12.
SECOND = 1 / np.log2(3)


def floats(rows):
    return np.array(rows, dtype=np.float32)


def test_lists_hold_the_best_without_what_was_acted_on():
    videos = floats([[1, 0], [0, 1], [0, 0.5]])
    assert foresight(world_of(), floats([[1, 1], [1, 0]]), videos) == pytest.approx(1.0)
    assert foresight(world_of(), floats([[1, -1], [1, 0]]), videos) == pytest.approx((SECOND + 1) / 2)


def test_a_user_without_a_vector_gets_nothing():
    videos = floats([[1, 0], [0, 1], [0, 0.5]])
    assert foresight(world_of(), floats([[1, 1], [0, 0]]), videos) == pytest.approx(0.5)


def test_a_video_without_a_vector_is_in_no_list():
    videos = floats([[-1, 0], [0, 0], [-1, 0]])
    assert foresight(world_of(), floats([[1, 0], [1, 0]]), videos) == pytest.approx(0.5)  # 10 before 12, which is equal


def test_nor_is_one_that_the_model_does_not_know():
    videos = floats([[1, 0], [0, 1], [1, 1]])
    users = floats([[0, 1], [0, 1]])
    assert foresight(world_of(), users, videos) == pytest.approx((1 + 0.5) / 2)  # user 2: 11, 12, 10
    assert foresight(world_of(), users, videos, np.array([True, True, False])) == pytest.approx((1 + SECOND) / 2)
    assert foresight(world_of(), users, videos, np.array([True, False, True])) == pytest.approx(SECOND / 2)
