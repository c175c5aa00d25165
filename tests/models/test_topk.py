import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models import _topk
from models._topk import NOTHING, pack, smallest, top_inner_products, unpack

finite = st.floats(width=32, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=30))
def test_keys_sort_by_score_then_position_and_give_both_back(scores):
    array = np.array(scores, dtype=np.float32)
    keys = np.sort(pack(array, np.arange(len(array))))
    found, positions = unpack(keys)
    expected = sorted(range(len(scores)), key=lambda place: (-array[place], place))
    assert positions.tolist() == expected
    assert found.tolist() == array[expected].tolist()


def test_padding_sorts_last_even_after_minus_infinity():
    keys = pack(np.array([[9.0, -np.inf, 1.0]], dtype=np.float32), np.array([[-1, 1, 2]]))
    scores, positions = unpack(smallest(keys, 4))
    assert positions.tolist() == [[2, 1, -1, -1]]
    assert scores.tolist() == [[1.0, -np.inf, -np.inf, -np.inf]]
    assert keys.max() == NOTHING


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 7), st.integers(0, 40), st.integers(0, 12), st.integers(0, 10**6))
def test_top_inner_products_agrees_with_sorting_everything(n_queries, n_vectors, k, seed):
    rng = np.random.default_rng(seed)
    # Small integers: products are exact, and ties are many.
    queries = rng.integers(-2, 3, (n_queries, 3)).astype(np.float32)
    vectors = rng.integers(-2, 3, (n_vectors, 3)).astype(np.float32)
    before = _topk._VECTORS_PER_BLOCK, _topk._QUERIES_PER_BLOCK
    try:
        _topk._VECTORS_PER_BLOCK, _topk._QUERIES_PER_BLOCK = 7, 2
        scores, positions = top_inner_products(queries, vectors, k)
    finally:
        _topk._VECTORS_PER_BLOCK, _topk._QUERIES_PER_BLOCK = before
    assert scores.shape == positions.shape == (n_queries, k)
    for query, row, found in zip(queries, positions, scores, strict=True):
        exact = vectors @ query
        expected = sorted(range(n_vectors), key=lambda place: (-exact[place], place))[:k]
        assert row.tolist() == expected + [-1] * (k - len(expected))
        assert found[: len(expected)].tolist() == exact[expected].tolist()


def test_equal_vectors_tie_wherever_they_stand():
    rng = np.random.default_rng(0)
    before = _topk._VECTORS_PER_BLOCK
    try:
        _topk._VECTORS_PER_BLOCK = 101
        for n_queries in (1, 2, 7, 33):
            vectors = np.tile(rng.standard_normal((1, 48)).astype(np.float32), (517, 1))
            queries = rng.standard_normal((n_queries, 48)).astype(np.float32)
            scores, positions = top_inner_products(queries, vectors, 517)
            assert (scores == scores[:, :1]).all()
            assert (positions == np.arange(517)).all()
    finally:
        _topk._VECTORS_PER_BLOCK = before
