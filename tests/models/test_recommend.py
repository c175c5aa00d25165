import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import conf
from models.ann import build_flat
from models.gate import correlation
from models.recommend import (
    COMPONENTS,
    Catalogue,
    RecommendConfig,
    UserBatch,
    reason_text,
    recommend_batch,
    score_matrix,
    sources_text,
)
from schemas import RECOMMENDATIONS
from schemas.errors import ReelflowError

COUNTRIES = ("DE", "FR")


def config(**changes):
    base = conf.load("recommend", RecommendConfig).model_dump()
    return RecommendConfig.model_validate(base | changes)


def normalised(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def world(seed, n_videos, n_users, *, watched_share=0.3):
    """A random catalogue with removed, blocked, unknown and equal videos, and users of whom some are unknown to WALS."""
    rng = np.random.default_rng(seed)
    retrieval = normalised(rng.standard_normal((n_videos, 3)))
    retrieval[rng.random(n_videos) < 0.3] = retrieval[0]  # rare videos share one embedding
    catalogue = Catalogue(
        video_ids=np.sort(rng.choice(10**6, n_videos, replace=False)),
        popularity=rng.integers(0, 5, n_videos).astype(float),
        retrieval_vectors=retrieval,
        wals_vectors=(rng.standard_normal((n_videos, 2)) * (rng.random((n_videos, 1)) < 0.8)).astype(np.float32),
        ranker_vectors=rng.standard_normal((n_videos, 4)).astype(np.float32),
        eligible=rng.random(n_videos) < 0.9,
        countries=COUNTRIES,
        blocked=rng.random((2, n_videos)) < 0.15,
    )
    watched = [rng.choice(n_videos, rng.binomial(n_videos, watched_share), replace=False) for _ in range(n_users)]
    users = UserBatch(
        user_ids=np.arange(n_users) + 500,
        retrieval=normalised(rng.standard_normal((n_users, 3))),
        wals=(rng.standard_normal((n_users, 2)) * (rng.random((n_users, 1)) < 0.7)).astype(np.float32),
        ranker=rng.standard_normal((n_users, 4)).astype(np.float32),
        country=rng.integers(-1, 2, n_users),
        watched_indptr=np.cumsum([0, *map(len, watched)]),
        watched=np.concatenate([*watched, np.array([], dtype=np.int64)]).astype(np.int64),
    )
    return catalogue, users


def index_of(catalogue):
    positions = np.flatnonzero(catalogue.eligible)
    return build_flat(catalogue.retrieval_vectors[positions], positions)


def watched_of(users, user):
    return set(users.watched[users.watched_indptr[user] : users.watched_indptr[user + 1]].tolist())


def available(catalogue, users, user):
    country = users.country[user]
    return [
        video
        for video in range(len(catalogue.video_ids))
        if catalogue.eligible[video]
        and video not in watched_of(users, user)
        and not (country >= 0 and catalogue.blocked[country, video])
    ]


def naive_scores(settings, catalogue, users, user, videos):
    raw = {
        "ranker": [float(catalogue.ranker_vectors[v] @ users.ranker[user]) for v in videos],
        "retrieval": [float(catalogue.retrieval_vectors[v] @ users.retrieval[user]) for v in videos],
        "wals": [float(catalogue.wals_vectors[v] @ users.wals[user]) for v in videos],
        "popular": [math.log1p(catalogue.popularity[v]) for v in videos],
    }
    total = dict.fromkeys(videos, 0.0)
    if not videos:
        return total
    for name, values in raw.items():
        mean, spread = np.mean(values), np.std(values)
        for video, value in zip(videos, values, strict=True):
            weight = (settings.weights if users.wals[user].any() else settings.new_user_weights).get(name, 0)
            total[video] += weight * (value - mean) / spread if spread > 1e-6 else 0.0
    return total


def naive(settings, catalogue, users, user):
    """One user's candidates with their ranks by generator, and their scores, by loops."""
    may = available(catalogue, users, user)

    def best(vectors, vector, among, limit):
        scores = {video: sum(map(float.__mul__, vectors[video].tolist(), vector.tolist())) for video in among}
        return sorted(among, key=lambda video: (-scores[video], video))[:limit] if vector.any() else []

    by_popularity = sorted(may, key=lambda video: (-catalogue.popularity[video], video))
    known = [video for video in may if catalogue.wals_vectors[video].any()]
    proposals = (
        best(catalogue.retrieval_vectors, users.retrieval[user], may, settings.retrieval_candidates),
        best(catalogue.wals_vectors, users.wals[user], known, settings.wals_candidates),
        by_popularity[: settings.popular_candidates],
    )
    candidates = set().union(*proposals)
    fill = [video for video in by_popularity if video not in candidates][: max(0, settings.k - len(candidates))]
    ranks = {
        video: tuple(proposal.index(video) + 1 if video in proposal else 0 for proposal in proposals)
        for video in [*candidates, *fill]
    }
    return ranks, naive_scores(settings, catalogue, users, user, sorted(ranks))


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 10**6),
    n_videos=st.integers(1, 60),
    n_users=st.integers(1, 5),
    k=st.integers(1, 20),
    limits=st.tuples(*[st.integers(0, 15)] * 3),
    watched_share=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_lists_agree_with_loops(*, seed, n_videos, n_users, k, limits, watched_share):
    catalogue, users = world(seed, n_videos, n_users, watched_share=watched_share)
    names = ("retrieval_candidates", "wals_candidates", "popular_candidates")
    chosen = config(k=k, **dict(zip(names, limits, strict=True)))
    found = recommend_batch(chosen, catalogue, users, index_of(catalogue))
    for user in range(n_users):
        row = found.positions[user]
        shown = row[row >= 0].tolist()
        may = available(catalogue, users, user)
        assert len(shown) == len(set(shown)) == min(k, len(may))
        assert set(shown) <= set(may)
        assert (row[len(shown) :] == -1).all()
        ranks, scores = naive(chosen, catalogue, users, user)
        expected = sorted(scores.values(), reverse=True)[: len(shown)]
        np.testing.assert_allclose(found.scores[user, : len(shown)], expected, atol=2e-4)
        np.testing.assert_allclose([scores[video] for video in shown], expected, atol=2e-4)
        assert [tuple(found.generator_ranks[user, place].tolist()) for place in range(len(shown))] == [
            ranks[video] for video in shown
        ]


def test_a_list_does_not_depend_on_who_else_is_in_the_batch():
    catalogue, users = world(3, 400, 150)
    chosen = config(k=20, retrieval_candidates=30, wals_candidates=30, popular_candidates=30)
    index = index_of(catalogue)
    whole = recommend_batch(chosen, catalogue, users, index)
    parts = [recommend_batch(chosen, catalogue, users.rows(start, start + 37), index) for start in range(0, 150, 37)]
    assert np.concatenate([part.positions for part in parts]).tolist() == whole.positions.tolist()
    np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), whole.scores, atol=1e-5)


def test_the_same_input_gives_the_same_bytes():
    catalogue, users = world(5, 300, 70)
    first, again = (recommend_batch(config(k=30), catalogue, users, index_of(catalogue)) for _ in range(2))
    for field in dataclasses.fields(first):
        assert getattr(first, field.name).tobytes() == getattr(again, field.name).tobytes()


def test_equal_videos_are_ranked_by_position():
    catalogue, users = world(1, 40, 2, watched_share=0.0)
    same = dataclasses.replace(
        catalogue,
        popularity=np.ones(40),
        retrieval_vectors=np.tile(catalogue.retrieval_vectors[:1], (40, 1)),
        wals_vectors=np.zeros((40, 2), dtype=np.float32),
        ranker_vectors=np.zeros((40, 4), dtype=np.float32),
        eligible=np.ones(40, dtype=bool),
        blocked=np.zeros((2, 40), dtype=bool),
    )
    found = recommend_batch(config(k=10), same, users, index_of(same))
    assert found.positions.tolist() == [list(range(10))] * 2
    assert (found.scores == 0).all()
    chosen = config(k=10, retrieval_candidates=4, wals_candidates=0, popular_candidates=2)
    assert recommend_batch(chosen, same, users, index_of(same)).positions.tolist() == [list(range(10))] * 2


def test_someone_who_watched_the_whole_top_still_gets_a_full_list():
    catalogue, users = world(2, 3000, 1, watched_share=0.0)
    by_cosine = np.argsort(-(catalogue.retrieval_vectors @ users.retrieval[0]), kind="stable")
    watched = np.concatenate([by_cosine[:1500], catalogue.popular_order[:900]])
    heavy = dataclasses.replace(users, watched_indptr=np.array([0, len(watched)]), watched=watched)
    found = recommend_batch(config(), catalogue, heavy, index_of(catalogue))
    assert (found.positions >= 0).all()
    assert not set(found.positions[0].tolist()) & set(watched.tolist())
    assert (found.generator_ranks[0, :, 0] > 0).any()


def test_nothing_left_to_show_gives_an_empty_list():
    catalogue, users = world(2, 30, 3)
    everything = dataclasses.replace(users, watched_indptr=np.arange(4) * 30, watched=np.tile(np.arange(30), 3))
    for eligible in (catalogue.eligible, np.zeros(30, dtype=bool)):
        barren = dataclasses.replace(catalogue, eligible=eligible)
        found = recommend_batch(config(k=5), barren, everything, index_of(barren))
        assert (found.positions == -1).all()
        assert np.isneginf(found.scores).all()
        assert found.table(barren, everything).num_rows == 0


def test_no_users_give_no_rows():
    catalogue, users = world(2, 30, 3)
    found = recommend_batch(config(k=5), catalogue, users.rows(0, 0), index_of(catalogue))
    assert found.positions.shape == (0, 5)
    assert found.generator_ranks.shape == (0, 5, 3)


def test_videos_that_an_old_index_still_holds_are_not_shown():
    catalogue, users = world(8, 50, 4)
    index = index_of(catalogue)
    removed = dataclasses.replace(catalogue, eligible=catalogue.eligible & (np.arange(50) % 2 == 0))
    found = recommend_batch(config(k=50), removed, users, index)
    assert (found.positions[found.positions >= 0] % 2 == 0).all()


def test_weights_decide_the_order():
    catalogue, users = world(11, 80, 3, watched_share=0.0)
    only = {"popular": 1.0}
    chosen = config(k=80, weights=only, new_user_weights=only, retrieval_candidates=80)
    found = recommend_batch(chosen, catalogue, users, index_of(catalogue))
    for user in range(3):
        shown = found.positions[user][found.positions[user] >= 0]
        by_popularity = sorted(available(catalogue, users, user), key=lambda v: (-catalogue.popularity[v], v))
        assert shown.tolist() == by_popularity
    assert set(found.best_component[found.positions >= 0].tolist()) <= {COMPONENTS.index("popular"), 0}


def test_the_table_is_the_declared_one():
    catalogue, users = world(4, 90, 3)
    found = recommend_batch(config(k=8), catalogue, users, index_of(catalogue))
    table = found.table(catalogue, users)
    assert RECOMMENDATIONS.compare(table.schema) == []
    rows = table.to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, 9)) * 3
    assert [row["user_id"] for row in rows] == [500] * 8 + [501] * 8 + [502] * 8
    assert [row["video_id"] for row in rows] == catalogue.video_ids[found.positions.reshape(-1)].tolist()
    assert all(row["sources"] and row["reason"] for row in rows)


def test_sources_name_generators_with_their_ranks():
    ranks = np.array([[[3, 17, 2], [0, 0, 0]], [[0, 5, 0], [1, 0, 200]]], dtype=np.int32)
    assert sources_text(ranks).to_pylist() == ["retrieval:3|wals:17|popular:2", "fill", "wals:5", "retrieval:1|popular:200"]
    assert sources_text(ranks[:0]).to_pylist() == []


def test_reasons_follow_what_contributed_most():
    assert reason_text(np.array([[0, 1], [2, 3], [-1, 2]], dtype=np.int8)).to_pylist() == [
        "picked for you",
        "close to your taste",
        "watched by people like you",
        "popular now",
        None,
        "watched by people like you",
    ]


def test_the_score_matrix_agrees_with_loops():
    catalogue, users = world(6, 50, 4)
    positions = np.array([3, 40, 17, 8, 9])
    found = score_matrix(config(), catalogue, users, positions)
    assert found.shape == (4, 5)
    for user in range(4):
        expected = naive_scores(config(), catalogue, users, user, positions.tolist())
        np.testing.assert_allclose(found[user], [expected[video] for video in positions.tolist()], atol=2e-4)
        assert found[user].sum() == pytest.approx(0, abs=1e-4)


def test_countries_are_found_by_name():
    catalogue, _ = world(0, 5, 1)
    assert catalogue.country_index(["FR", None, "XX", "DE"]).tolist() == [1, -1, -1, 0]


def test_errors_say_what_does_not_fit():
    catalogue, users = world(0, 30, 3)
    index = index_of(catalogue)
    wrong = {
        "same model": {"ranker": users.ranker[:, :2]},
        "not finite": {"wals": users.wals * np.nan},
        "one bound more": {"watched_indptr": users.watched_indptr[:-1]},
        "outside 0 to 29": {"watched": users.watched + 29},
        "country_index": {"country": np.full(3, 2)},
    }
    for words, change in wrong.items():
        with pytest.raises(ReelflowError, match=words):
            recommend_batch(config(), catalogue, dataclasses.replace(users, **change), index)
    with pytest.raises(ReelflowError, match="popularity has 29 rows"):
        dataclasses.replace(catalogue, popularity=np.ones(29))
    with pytest.raises(ReelflowError, match="blocked of shape"):
        dataclasses.replace(catalogue, countries=("DE",))
    with pytest.raises(ValueError, match="one above 0"):
        config(weights={"ranker": 0.0})
    with pytest.raises(ValueError, match="trending"):
        config(weights={"trending": 1.0})


def test_the_differential_test_sees_shuffled_vectors_through_the_ensemble():
    catalogue, users = world(9, 400, 200)
    shuffle = np.random.default_rng(0).permutation(400)
    names = ("retrieval_vectors", "wals_vectors", "ranker_vectors")
    broken = dataclasses.replace(catalogue, **{name: getattr(catalogue, name)[shuffle] for name in names})
    positions = np.arange(0, 400, 2)
    models_only = {"ranker": 1.0, "retrieval": 1.0, "wals": 1.0}
    settings = config(weights=models_only, new_user_weights=models_only)
    incumbent, candidate = (score_matrix(settings, side, users, positions) for side in (catalogue, broken))
    assert correlation(incumbent, incumbent).pooled_pearson == pytest.approx(1)
    assert correlation(candidate, incumbent).pooled_pearson == pytest.approx(0, abs=0.05)
