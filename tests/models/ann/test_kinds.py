from pathlib import Path

import faiss
import numpy as np
import pytest

from conf import load
from models.ann import IndexConfig, VectorIndex, build
from models.ann._kinds import set_effort
from tests.models.ann.clusters import clusters

KINDS = ("hnsw", "ivf_flat", "ivf_sq8", "ivf_pq")
LOSSY = ("ivf_sq8", "ivf_pq")  # their codes are coarse: not every one of the best is found or in its place
VECTORS, QUERIES = clusters(3_000, 40)
POSITIONS = np.arange(3_000) * 3 + 1


def of_kind(kind, vectors=VECTORS, positions=POSITIONS):
    config = load("index", IndexConfig).model_copy(update={"kind": kind})
    return build(config, vectors, positions)


@pytest.fixture(scope="module")
def built():
    return {kind: of_kind(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_with_enough_effort_the_answer_is_that_of_brute_force(built, kind):
    index = built[kind]
    set_effort(index, 3_000)
    scores, positions = index.search(QUERIES, 20)
    products = QUERIES.astype(np.float64) @ VECTORS.astype(np.float64).T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :20]
    assert index.kind == kind
    found = np.searchsorted(POSITIONS, positions)
    np.testing.assert_allclose(scores, np.take_along_axis(products, found, 1), atol=0.02 if kind == "ivf_sq8" else 1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()
    shared = [len(np.intersect1d(ours, best)) for ours, best in zip(found, expected, strict=True)]
    assert np.mean(shared) > (17 if kind in LOSSY else 19.9)


@pytest.mark.parametrize("kind", KINDS)
def test_two_builds_give_the_same_bytes_whatever_the_threads(kind, tmp_path):
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            of_kind(kind).write(tmp_path / str(threads))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mmap", [True, False])
def test_every_kind_survives_the_disk_with_its_effort(built, kind, mmap, tmp_path):
    index, file = built[kind], tmp_path / "index.faiss"
    set_effort(index, 5)
    index.write(file)
    assert index.stored_bytes == file.stat().st_size
    again = VectorIndex.read(file, mmap=mmap)
    assert again.kind == kind
    assert [part.tolist() for part in again.search(QUERIES, 30)] == [part.tolist() for part in index.search(QUERIES, 30)]
    mapped = str(file) in Path("/proc/self/maps").read_text()
    assert mapped == mmap


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_ends_short_looks_at_everything(built, kind):
    index = built[kind]
    set_effort(index, 1)
    _, positions = index.search(QUERIES, 3_002)
    assert (np.sort(positions[:, :3_000], axis=1) == POSITIONS).all()
    assert (positions[:, 3_000:] == -1).all()
    _, unfinished = index.search(QUERIES, 3_002, complete=False)
    assert kind == "hnsw" or (unfinished[:, 2_000] == -1).all()
    _, deep = index.search(QUERIES, 1_500)
    assert (deep >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_scores_are_listed_by_position(kind):
    vectors = VECTORS.copy()
    vectors[100:130] = vectors[100]
    index = of_kind(kind, vectors)
    set_effort(index, 3_000)
    scores, positions = index.search(vectors[100:101], 60)
    equal = positions[0][scores[0] == scores[0][0]]
    assert (np.diff(equal) > 0).all()
    assert set(positions[0][:30]) == set(POSITIONS[100:130])


def test_few_vectors_are_searched_exactly():
    assert of_kind("ivf_pq", VECTORS[:999], POSITIONS[:999]).kind == "flat"
    assert of_kind("ivf_pq", VECTORS[:1000], POSITIONS[:1000]).kind == "ivf_pq"


def test_an_odd_dimension_has_codes_too():
    vectors, queries = clusters(2_000, 5, dim=15)
    index = of_kind("ivf_pq", vectors, None)
    set_effort(index, 2_000)
    _, positions = index.search(queries, 100)
    best = (queries @ vectors.T).argmax(axis=1)
    assert (positions == best[:, None]).any(axis=1).all()
