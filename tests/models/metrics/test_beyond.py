import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import diversity, novelty, place_shares, popularity_deciles, self_information, unit_rows


def test_self_information_by_hand():
    # 8 views and one more for each of 4 videos: chances 4/12, 3/12, 4/12 and 1/12.
    found = self_information(np.array([3.0, 2.0, 3.0, 0.0]))
    np.testing.assert_allclose(found, [np.log2(3), 2.0, np.log2(3), np.log2(12)])


def test_novelty_is_the_mean_over_filled_places():
    information = np.array([1.0, 2.0, 4.0])
    lists = np.array([[0, 1, 2], [2, -1, -1], [-1, -1, -1]])
    np.testing.assert_allclose(novelty(lists, information, 2), [1.5, 4.0, np.nan])
    np.testing.assert_allclose(novelty(lists, information, 10), [7 / 3, 4.0, np.nan])


def test_diversity_by_hand():
    vectors = unit_rows(np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [-5.0, 0.0], [0.0, 0.0]]))
    lists = np.array([[0, 2, -1], [0, 1, 2], [0, 3, -1], [0, 4, -1], [0, 4, 1]])
    # Equal; two of three pairs at right angles; opposite; one known video; the unknown one left out.
    np.testing.assert_allclose(diversity(lists, vectors, 3), [0, 2 / 3, 2, np.nan, 1])
    np.testing.assert_allclose(diversity(lists, vectors, 2), [0, 1, 2, np.nan, np.nan])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=2, max_size=6))
def test_diversity_agrees_with_all_pairs_and_sparse_with_dense(rows):
    vectors = unit_rows(np.array(rows, dtype=float))
    known = [i for i, row in enumerate(rows) if any(row)]
    pairs = [1 - vectors[i] @ vectors[j] for place, i in enumerate(known) for j in known[place + 1 :]]
    lists = np.arange(len(rows))[None, :]
    expected = np.mean(pairs) if pairs else np.nan
    np.testing.assert_allclose(diversity(lists, vectors, len(rows)), [expected], atol=1e-9)
    sparse = unit_rows(sp.csr_matrix(np.array(rows, dtype=float)))
    np.testing.assert_allclose(diversity(lists, sparse, len(rows)), [expected], atol=1e-9)


def test_deciles_have_equal_sizes_and_only_eligible_videos():
    popularity = np.arange(21.0)
    eligible = np.ones(21, dtype=bool)
    eligible[20] = False
    found = popularity_deciles(popularity, eligible)
    assert found[20] == -1
    assert found[[19, 18, 17, 1, 0]].tolist() == [0, 0, 1, 9, 9]
    assert np.bincount(found[:20]).tolist() == [2] * 10
    assert popularity_deciles(np.zeros(10), np.ones(10, dtype=bool)).tolist() == list(range(10))  # ties by position


def test_place_shares_by_hand():
    groups = np.array([0, 0, 1, -1])
    lists = np.array([[0, 2, -1], [1, 3, 2]])
    assert place_shares(lists, groups, 2, 3).tolist() == pytest.approx([2 / 5, 2 / 5])
    assert place_shares(lists, groups, 2, 1).tolist() == [1.0, 0.0]
    assert np.isnan(place_shares(np.full((1, 2), -1), groups, 2, 2)).all()
