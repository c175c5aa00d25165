import numpy as np
import pytest

from benchmarks.quality._lists import DEPTH, co_watch, diversity, figures, ndcg20, popular_order, spread, top
from tests.benchmarks.quality.worlds import world


def test_lists_hide_what_was_seen_and_removed_and_go_to_popularity_on_ties():
    asked = world([(0, 0)], n_users=2, n_videos=5, relevant=[(0, 2), (1, 0)], removed=[4])
    scores = np.array([[9, 1, 3, 1, 8], [0, 0, 0, 0, 0]], dtype=np.float32)
    lists = top(lambda users: scores[users], asked, asked.judged, np.array([3, 0, 1, 2, 4]))
    assert lists.shape == (2, DEPTH)
    assert lists[0, :4].tolist() == [2, 3, 1, -1]
    assert lists[1, :5].tolist() == [3, 0, 1, 2, -1]  # nothing is known of user 1: popularity
    assert (lists[:, 5:] == -1).all()
    first, second = 1.0, 1 / np.log2(3)
    assert ndcg20(lambda users: scores[users], asked, np.array([3, 0, 1, 2, 4])) == pytest.approx((first + second) / 2)


def test_figures_of_a_perfect_list():
    asked = world([(0, 0)], n_users=1, n_videos=4, relevant=[(0, 1)], removed=[3])
    lists = np.full((1, DEPTH), -1)
    lists[0, 0] = 1
    found = figures(lists, asked, co_watch(asked))
    assert found["ndcg@10"] == found["ndcg@20"] == found["recall@20"] == found["precision@1"] == found["map@100"] == 1
    assert found["precision@10"] == pytest.approx(0.1)
    assert found["coverage@100"] == pytest.approx(1 / 3)  # of three videos that may be shown
    assert np.isnan(found["diversity@10"])  # one video has no pair


def test_diversity_by_hand():
    """Video 0 and 1 share one of two watchers each: cosine 1/2. Video 2 shares nobody, video 3 was never watched."""
    asked = world([(0, 0), (1, 0), (1, 1), (2, 1), (3, 2)], n_users=4, n_videos=4)
    alike = co_watch(asked)
    assert diversity(np.array([[0, 1]]), alike) == pytest.approx(0.5)
    assert diversity(np.array([[0, 1, 2]]), alike) == pytest.approx(1 - 0.5 / 3)
    assert diversity(np.array([[0, 3], [0, 1], [2, -1]]), alike) == pytest.approx((1 + 0.5) / 2)


def test_popular_order_puts_equal_ones_by_position():
    assert popular_order(np.array([1.0, 3.0, 3.0, 0.0])).tolist() == [1, 2, 0, 3]


def test_spread_over_seeds():
    asked = world([(0, 0)], n_users=1, n_videos=4, relevant=[(0, 1)])
    base = figures(np.array([[1, 2, 3] + [-1] * 97]), asked, co_watch(asked))
    means, deviations = spread([{**base, "ndcg@10": 0.1}, {**base, "ndcg@10": 0.3}])
    assert means["ndcg@10"] == pytest.approx(0.2)
    assert deviations["ndcg@10"] == pytest.approx(0.2 / np.sqrt(2))
    assert spread([base])[1]["ndcg@10"] == 0
