import numpy as np

from models import evaluation
from models.ids import IdMap
from tests.models.evaluation.planted import AT, EXAMPLES_TABLE, QUERIES, world_of


def test_relevant_is_what_came_later_and_is_new():
    world = world_of()
    assert world.users["user_id"].to_pylist() == [1, 2]
    assert world.videos["video_id"].to_pylist() == [10, 11, 12]
    assert world.relevant.toarray().tolist() == [[False, True, False], [True, False, False]]
    assert world.at == AT
    assert world.queries is QUERIES


def test_watched_and_counters_are_those_of_the_start():
    world = world_of()
    assert world.users["watched"].to_pylist() == [[10], []]
    assert world.videos["relevant"].to_pylist() == [6, 1, 0]  # the day of the start is not over
    assert world.videos["popularity"].to_pylist() == [4 / 2 + 2, 1, 0]


def test_at_most_so_many_users_are_judged_and_always_the_same():
    drawn = [world_of(max_users=1).users["user_id"].to_pylist() for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) <= 1


def test_pairs_are_counted_once_and_strangers_left_out():
    found = evaluation.pairs(EXAMPLES_TABLE, IdMap(np.array([1, 2])), IdMap(np.array([10, 11, 12])))
    assert found.dtype == bool
    assert found.toarray().tolist() == [[True, True, False], [True, False, True]]
    assert found.nnz == 4
