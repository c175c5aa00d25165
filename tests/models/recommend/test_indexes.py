import dataclasses
from datetime import date

import numpy as np
import pytest

from conf import load
from models.ann import AugmentedIndex, IndexConfig, VectorIndex, _kinds, choose
from models.recommend import Indexes, recommend_batch
from schemas.errors import ReelflowError
from tests.models.recommend.worlds import config, indexes_of, world

TODAY = date(2026, 1, 8)
FIELDS = ("positions", "scores", "parts", "generator_ranks", "before", "after", "explored", "propensity")


def same(ours, expected):
    return all(getattr(ours, name).tobytes() == getattr(expected, name).tobytes() for name in FIELDS)


def lists(catalogue, users, indexes, settings=None):
    return recommend_batch(settings or config(k=20), catalogue, users, indexes, TODAY)


@pytest.fixture
def approximate(monkeypatch):
    """Lists of few videos, of which a search may scan all."""
    monkeypatch.setattr(_kinds, "FEWEST", 10)
    monkeypatch.setattr(_kinds, "_TRAINED_PER_CENTROID", 10)

    def built(catalogue, users, effort):
        efforts = dict.fromkeys(("hnsw", "ivf_flat", "ivf_sq8", "ivf_pq"), (effort,))
        base = load("index", IndexConfig).model_dump()
        chosen = IndexConfig.model_validate({**base, "kind": "ivf_flat", "efforts": efforts, "min_recall": 0.01})
        asked, found = Indexes.queries(users), {}
        for name, part in Indexes.searched(catalogue, np.flatnonzero(catalogue.eligible)).items():
            found[name] = choose(chosen, part.vectors, asked[name], part.positions, lengths_vary=part.lengths_vary).index
        return Indexes(**found)

    return built


def test_each_index_finds_the_largest_products_of_the_videos_that_have_such_a_vector():
    catalogue, users = world(3, 60, 8)
    indexes = indexes_of(catalogue)
    vectors = {
        "retrieval": (catalogue.retrieval_vectors, users.retrieval),
        "wals": (catalogue.wals_vectors, users.wals),
        "similar": (catalogue.facts.content, users.content),
    }
    for name, (videos, queries) in vectors.items():
        known = [video for video in range(60) if catalogue.eligible[video] and videos[video].any()]
        products = queries.astype(np.float64) @ videos.T.astype(np.float64)
        scores, positions = getattr(indexes, name).search(queries, 5)
        assert len(getattr(indexes, name)) == len(known)
        assert np.isin(positions, known).all()
        np.testing.assert_allclose(scores, -np.sort(-products[:, known], axis=1)[:, :5], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(products, positions, 1), scores, atol=1e-6)


def test_queries_are_those_of_users_who_have_a_vector():
    _, users = world(3, 60, 8)
    asked = Indexes.queries(users)
    assert asked["wals"].tolist() == [row for row in users.wals.tolist() if any(row)]
    assert asked["similar"].tolist() == [row for row in users.content.tolist() if any(row)]
    assert asked["retrieval"].tolist() == users.retrieval.tolist()


def test_indexes_of_a_larger_catalogue_give_the_lists_of_its_own_where_they_are_exact():
    catalogue, users = world(5, 400, 30)
    fewer = catalogue.without(np.random.default_rng(0).random(400) < 0.4)
    assert fewer.eligible.sum() < catalogue.eligible.sum()
    narrow = config(k=20, generators=dict.fromkeys(config().generators, 15))
    assert same(lists(fewer, users, indexes_of(catalogue), narrow), lists(fewer, users, indexes_of(fewer), narrow))


def test_approximate_ones_that_look_at_everything_give_the_lists_of_exact_ones(approximate):
    catalogue, users = world(6, 400, 30)
    indexes = approximate(catalogue, users, 10_000)
    assert isinstance(indexes.wals, AugmentedIndex)
    assert {indexes.retrieval.kind, indexes.wals.kind, indexes.similar.kind} == {"ivf_flat"}
    narrow = config(k=20, generators={**config().generators, "retrieval": 0, "wals": 15, "similar": 10})
    found, expected = (lists(catalogue, users, these, narrow) for these in (indexes, indexes_of(catalogue)))
    assert found.positions.tolist() == expected.positions.tolist()
    assert found.generator_ranks.tolist() == expected.generator_ranks.tolist()


def test_a_user_gets_all_that_there_is_from_lists_that_are_not_all_scanned(approximate):
    catalogue, users = world(7, 120, 10)
    everything = config(k=120)
    found, expected = (
        lists(catalogue, users, these, everything) for these in (approximate(catalogue, users, 1), indexes_of(catalogue))
    )
    assert np.sort(found.positions, axis=1).tolist() == np.sort(expected.positions, axis=1).tolist()


def test_they_survive_the_disk(approximate, tmp_path):
    catalogue, users = world(8, 400, 30)
    for name, indexes in (("exact", indexes_of(catalogue)), ("lists", approximate(catalogue, users, 3))):
        indexes.write(tmp_path / name)
        again = Indexes.read(tmp_path / name)
        assert [type(getattr(again, each)) for each in ("retrieval", "wals", "similar")] == [
            VectorIndex, VectorIndex if name == "exact" else AugmentedIndex, VectorIndex,
        ]  # fmt: skip
        assert same(lists(catalogue, users, again), lists(catalogue, users, indexes))
    assert sorted(file.name for file in (tmp_path / "exact").iterdir()) == ["retrieval.faiss", "similar.faiss", "wals.faiss"]
    (tmp_path / "exact" / "wals.faiss").unlink()
    with pytest.raises(ReelflowError, match=r"wals\.faiss: found no file.*run the index stage again"):
        Indexes.read(tmp_path / "exact")


def test_videos_without_any_vector_are_in_no_index():
    catalogue, users = world(9, 50, 6)
    nothing = np.zeros_like(catalogue.facts.content)
    bare = dataclasses.replace(
        catalogue, wals_vectors=catalogue.wals_vectors * 0, facts=dataclasses.replace(catalogue.facts, content=nothing)
    )
    indexes = indexes_of(bare)
    assert (len(indexes.wals), len(indexes.similar)) == (0, 0)
    assert (lists(bare, users, indexes).positions[:, 0] >= 0).all()
