from pathlib import Path

import faiss
import numpy as np
import pytest

from models.ann import VectorIndex, build_flat, recall_against_exact
from schemas.errors import ReelflowError

CORNERS = np.array([[1, 0], [0, 1], [-1, 0], [1, 0]], dtype=np.float32)


def test_the_nearest_come_first_and_equal_ones_by_position():
    index = build_flat(CORNERS, np.array([3, 5, 8, 13]))
    scores, positions = index.search(np.array([[2.0, 1.0]], dtype=np.float32), 6)
    assert positions.tolist() == [[3, 13, 5, 8, -1, -1]]
    assert scores.tolist() == [[2.0, 2.0, 1.0, -2.0, -np.inf, -np.inf]]
    assert len(index) == 4
    assert index.dim == 2


def test_the_last_place_among_equals_goes_to_the_lowest_position():
    index = build_flat(np.ones((500, 4), dtype=np.float32))
    _, positions = index.search(np.ones((2, 4), dtype=np.float32), 3)
    assert positions.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_an_exact_index_agrees_with_faiss_itself():
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((300, 16)).astype(np.float32), rng.standard_normal((40, 16)).astype(np.float32)
    index = build_flat(vectors)
    scores, positions = index.search(queries, 10)
    expected_scores, expected = index.index.search(queries, 10)
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mmap", [True, False])
def test_an_index_survives_the_disk(tmp_path, mmap):
    index = build_flat(CORNERS, np.array([3, 5, 8, 13]))
    index.write(tmp_path / "index.faiss")
    again = VectorIndex.read(tmp_path / "index.faiss", mmap=mmap, threads=2)
    assert (str(tmp_path / "index.faiss") in Path("/proc/self/maps").read_text()) == mmap
    queries = np.array([[2.0, 1.0], [0.0, 0.0]], dtype=np.float32)
    assert [part.tolist() for part in again.search(queries, 3)] == [part.tolist() for part in index.search(queries, 3)]


def test_recall_is_one_for_an_exact_index_and_less_for_a_coarse_one():
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((400, 8)).astype(np.float32), rng.standard_normal((50, 8)).astype(np.float32)
    positions = np.arange(400) * 2
    assert recall_against_exact(build_flat(vectors, positions), vectors, queries, 20, positions) == 1.0
    coarse = faiss.IndexIDMap(faiss.IndexLSH(8, 4))
    coarse.add_with_ids(vectors, positions)
    before = faiss.omp_get_max_threads()
    recall = recall_against_exact(VectorIndex.of(coarse, threads=1), vectors, queries, 20, positions)
    assert 0.02 < recall < 0.6
    assert faiss.omp_get_max_threads() == before


def test_recall_counts_equal_vectors_as_found():
    vectors = np.ones((50, 4), dtype=np.float32)
    assert recall_against_exact(build_flat(vectors), vectors, vectors[:3], 5) == 1.0


def test_an_empty_index_answers_with_padding():
    index = build_flat(np.zeros((0, 3), dtype=np.float32))
    scores, positions = index.search(np.ones((2, 3), dtype=np.float32), 2)
    assert positions.tolist() == [[-1, -1], [-1, -1]]
    assert np.isneginf(scores).all()


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(ReelflowError, match=r"expected \(n, 2\).*build the index again"):
        build_flat(CORNERS).search(np.ones((1, 3), dtype=np.float32), 1)
    with pytest.raises(ReelflowError, match="not finite"):
        build_flat(np.array([[np.nan, 1]], dtype=np.float32))
    with pytest.raises(ReelflowError, match="ascending"):
        build_flat(CORNERS, np.array([3, 2, 1, 0]))
    with pytest.raises(ReelflowError, match="found no file"):
        VectorIndex.read(tmp_path / "none.faiss")
    (tmp_path / "bad.faiss").write_bytes(b"not an index")
    with pytest.raises(ReelflowError, match="FAISS cannot read it"):
        VectorIndex.read(tmp_path / "bad.faiss")
