import numpy as np
import pytest

from models.ann import (
    AugmentedIndex,
    VectorIndex,
    augmented,
    build,
    build_flat,
    choose,
    kind_built,
    read_augmented,
    recall_against_exact,
)
from models.ann._augmented import build_augmented
from models.ann._kinds import set_effort
from schemas.errors import ReelflowError
from tests.models.ann.clusters import clusters
from tests.models.ann.test_choose import configured

DIRECTIONS, QUERIES = clusters(4_000, 60)
LENGTHS = np.geomspace(0.01, 1, 4_000)[np.random.default_rng(5).permutation(4_000)].astype(np.float32)
VECTORS = DIRECTIONS * LENGTHS[:, None]
POSITIONS = np.arange(4_000) * 3 + 1
KINDS = ("hnsw", "ivf_flat", "ivf_sq8", "ivf_pq")


def brute_force(vectors, queries, k):
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, order, 1), order


def test_all_are_as_long_as_the_longest_and_products_stay():
    vectors = np.array([[3, 4], [0, 0], [0, 1]], dtype=np.float32)
    np.testing.assert_allclose(augmented(vectors), [[3, 4, 0], [0, 0, 5], [0, 1, 24**0.5]], atol=1e-6)
    longer = augmented(VECTORS)
    np.testing.assert_allclose(np.linalg.norm(longer, axis=1), 1, atol=1e-6)
    asked = np.pad(QUERIES, ((0, 0), (0, 1)))
    np.testing.assert_allclose(asked @ longer.T, QUERIES.astype(np.float64) @ VECTORS.T.astype(np.float64), atol=1e-6)
    assert augmented(np.zeros((0, 3), dtype=np.float32)).shape == (0, 4)
    assert augmented(np.zeros((2, 3), dtype=np.float32)).tolist() == [[0, 0, 0, 0]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_with_enough_effort_the_answer_is_that_of_brute_force(kind):
    index = build_augmented(configured(kind), VECTORS, POSITIONS)
    set_effort(index.index, 4_000)
    scores, positions = index.search(QUERIES, 20)
    expected, order = brute_force(VECTORS, QUERIES, 20)
    assert (index.kind, len(index)) == (kind, 4_000)
    shared = [len(np.intersect1d(ours, POSITIONS[best])) for ours, best in zip(positions, order, strict=True)]
    assert np.mean(shared) > {"hnsw": 19.5, "ivf_flat": 19.99, "ivf_sq8": 15, "ivf_pq": 19.5}[kind]
    products = np.einsum("qd,qkd->qk", QUERIES, VECTORS[(positions - 1) // 3])
    np.testing.assert_allclose(scores, products, atol=0.02 if kind == "ivf_sq8" else 1e-6)
    assert (scores <= expected + (0.02 if kind == "ivf_sq8" else 1e-6)).all()


def test_where_lists_of_plain_vectors_fail_those_of_augmented_ones_find_enough():
    directions, queries = clusters(10_000, 60)
    share = np.arange(1, 10_001) / 10_001
    lengths = -np.log(share[np.random.default_rng(5).permutation(10_000)])  # as those of WALS are: from 0.01 to 1
    vectors = (directions * np.maximum(lengths / lengths.max(), 0.01)[:, None]).astype(np.float32)
    config = configured("ivf_flat", (8, 16, 24, 32))
    with pytest.raises(
        ReelflowError, match=r"of plain ones: ivf_flat reached recall@100 0\.[0-9]+ with effort 32, its largest"
    ):
        choose(config, vectors, queries, name="of plain ones")
    found = choose(config, vectors, queries, lengths_vary=True)
    _, order = brute_force(vectors, queries, 100)

    def recall(index):
        _, positions = index.search(queries, 100, complete=False)
        return np.mean([len(np.intersect1d(ours, best)) / 100 for ours, best in zip(positions, order, strict=True)])

    assert (found.kind, found.effort) == ("ivf_flat", 32)
    assert recall(found.index) >= 0.95
    assert found.recall == pytest.approx(recall(found.index), abs=1e-3)
    plain = build(config, vectors)
    set_effort(plain, 32)
    assert recall(plain) < 0.94


def test_exact_search_is_over_the_plain_vectors_to_the_bit():
    config = configured("auto", from_videos={"flat": 0})
    plain, found = build_flat(VECTORS, POSITIONS), choose(config, VECTORS, QUERIES, POSITIONS, lengths_vary=True)
    assert isinstance(found.index, VectorIndex)
    for ours, expected in zip(found.index.search(QUERIES, 50), plain.search(QUERIES, 50), strict=True):
        assert ours.tobytes() == expected.tobytes()
    assert isinstance(build_augmented(configured("hnsw"), VECTORS[:999]), VectorIndex)
    assert [kind_built(configured("hnsw"), n) for n in (999, 1_000)] == ["flat", "hnsw"]


def test_auto_takes_plain_exact_search_where_augmented_lists_miss_too_much():
    scattered = np.random.default_rng(1).standard_normal((4_000, 16)).astype(np.float32)
    found = choose(configured("auto", (1, 2)), scattered, QUERIES, lengths_vary=True)
    assert (found.kind, found.recall, found.index.dim) == ("flat", 1.0, 16)


def test_zero_vectors_are_found_last_and_padding_follows():
    vectors = VECTORS.copy()
    vectors[::4] = 0
    index = build_augmented(configured("ivf_flat"), vectors, POSITIONS)
    set_effort(index.index, 1)
    scores, positions = index.search(QUERIES[:5], 4_002)
    assert (np.sort(positions[:, :4_000], axis=1) == POSITIONS).all()
    assert (positions[:, 4_000:] == -1).all()
    assert np.isneginf(scores[:, 4_000:]).all()
    expected, _ = brute_force(vectors, QUERIES[:5], 4_000)
    np.testing.assert_allclose(scores[:, :4_000], expected, atol=1e-5)
    nothing = build_augmented(configured("ivf_flat"), np.zeros((1_500, 3), dtype=np.float32))
    assert (nothing.search(np.ones((1, 3), dtype=np.float32), 2)[0] == 0).all()


@pytest.mark.parametrize("kind", ["flat", *KINDS])
def test_it_survives_the_disk_and_the_same_vectors_give_the_same_bytes(kind, tmp_path):
    for name in ("a", "b"):
        index = build_augmented(configured(kind), VECTORS, POSITIONS)
        index.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert index.stored_bytes == (tmp_path / "a").stat().st_size
    again = read_augmented(tmp_path / "a")
    assert isinstance(again, VectorIndex if kind == "flat" else AugmentedIndex)
    assert again.kind == kind
    assert [part.tolist() for part in again.search(QUERIES, 30)] == [part.tolist() for part in index.search(QUERIES, 30)]


def test_errors_speak_of_the_plain_vectors():
    index = build_augmented(configured("ivf_flat"), VECTORS)
    with pytest.raises(ReelflowError, match=r"shape \(1, 17\), expected \(n, 16\)"):
        index.search(np.ones((1, 17), dtype=np.float32), 1)
    damaged = VECTORS.copy()
    damaged[3, 3] = np.nan
    with pytest.raises(ReelflowError, match="not finite"):
        build_augmented(configured("ivf_flat"), damaged)


def test_recall_does_not_depend_on_the_scale_of_products():
    index = build(configured("ivf_flat"), DIRECTIONS)
    set_effort(index, 2)
    recall = recall_against_exact(index, DIRECTIONS, QUERIES, 100)
    assert recall < 0.9
    assert recall_against_exact(index, DIRECTIONS, QUERIES * np.float32(2**-20), 100) == recall
