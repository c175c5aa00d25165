import dataclasses
import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.gate import correlation
from models.recommend import (
    COMPONENTS,
    GENERATORS,
    VideoFacts,
    recommend_batch,
    score_matrix,
)
from schemas.errors import ReelflowError
from tests.models.recommend.worlds import available, config, indexes_of, segments, world

TODAY = date(2026, 1, 8)


def bare(**changes):
    """Without rules and exploration, which have their own tests."""
    return config(**changes).bare()


def lists_of(settings, catalogue, users):
    return recommend_batch(settings, catalogue, users, indexes_of(catalogue), TODAY)


def naive_scores(settings, catalogue, users, user, videos):
    facts = catalogue.facts
    raw = {
        "ranker": [float(catalogue.ranker_vectors[v] @ users.ranker[user]) for v in videos],
        "retrieval": [float(catalogue.retrieval_vectors[v] @ users.retrieval[user]) for v in videos],
        "wals": [float(catalogue.wals_vectors[v] @ users.wals[user]) for v in videos],
        "popular": [math.log1p(catalogue.popularity[v]) for v in videos],
        "local": [math.log1p(catalogue.local[users.local[user], v]) for v in videos],
        "trend": [max(0.0, float(facts.trend[v])) for v in videos],
        "fresh": [0.5 ** (float(facts.age_days[v]) / settings.fresh_half_life_days) for v in videos],
    }
    weights = settings.segments[users.segment[user]].weights
    total = {video: weights.get("sponsored", 0) * float(facts.sponsored[video]) for video in videos}
    if not videos:
        return total
    for name, values in raw.items():
        mean, spread = np.mean(values), np.std(values)
        for video, value in zip(videos, values, strict=True):
            total[video] += weights.get(name, 0) * (value - mean) / spread if spread > 1e-6 else 0.0
    return total


def naive(settings, catalogue, users, user):
    """One user's candidates with their ranks by generator, and their scores, by loops."""
    may = available(catalogue, users, user)

    def best(vectors, vector, among, limit):
        scores = {video: sum(map(float.__mul__, vectors[video].tolist(), vector.tolist())) for video in among}
        return sorted(among, key=lambda video: (-scores[video], video))[:limit] if vector.any() else []

    def most(score, among, limit):
        return sorted(among, key=lambda video: (-score[video], video))[:limit]

    by_popularity = most(catalogue.popularity, may, None)
    known = [video for video in may if catalogue.wals_vectors[video].any()]
    described = [video for video in may if catalogue.facts.content[video].any()]
    rising = [video for video in may if catalogue.facts.trend[video] > 0]
    young = [video for video in may if catalogue.facts.age_days[video] <= settings.fresh_days]
    limit = {name: settings.limit(name) for name in GENERATORS}
    proposals = (
        best(catalogue.retrieval_vectors, users.retrieval[user], may, limit["retrieval"]),
        best(catalogue.wals_vectors, users.wals[user], known, limit["wals"]),
        best(catalogue.facts.content, users.content[user], described, limit["similar"]),
        most(catalogue.local[users.local[user]], may, limit["local"]),
        most(catalogue.facts.trend, rising, limit["trending"]),
        best(catalogue.ranker_vectors, users.ranker[user], young, limit["fresh"]),
        by_popularity[: limit["popular"]],
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
    limits=st.tuples(*[st.integers(0, 15)] * len(GENERATORS)),
    watched_share=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_lists_agree_with_loops(*, seed, n_videos, n_users, k, limits, watched_share):
    catalogue, users = world(seed, n_videos, n_users, watched_share=watched_share)
    weights = dict(zip(COMPONENTS, [0.5, 0.7, 1.0, 0.3, 0.4, 0.2, 0.1, 0.6], strict=True))
    chosen = bare(
        k=k,
        generators=dict(zip(GENERATORS, limits, strict=True)),
        segments=segments(**weights),
        fresh_days=3,
        rerank_pool=k + 1,
    )
    found = lists_of(chosen, catalogue, users)
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
        np.testing.assert_allclose(found.parts[user, : len(shown)].sum(axis=1), expected, atol=2e-4)
        assert [tuple(found.generator_ranks[user, place].tolist()) for place in range(len(shown))] == [
            ranks[video] for video in shown
        ]


def test_a_list_does_not_depend_on_who_else_is_in_the_batch():
    catalogue, users = world(3, 400, 150)
    chosen = config(k=20, generators=dict.fromkeys(GENERATORS, 30))
    whole = lists_of(chosen, catalogue, users)
    parts = [lists_of(chosen, catalogue, users.rows(start, start + 37)) for start in range(0, 150, 37)]
    assert np.concatenate([part.positions for part in parts]).tolist() == whole.positions.tolist()
    np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), whole.scores, atol=1e-5)


def test_the_same_input_gives_the_same_bytes():
    catalogue, users = world(5, 300, 70)
    first, again = (lists_of(config(k=30), catalogue, users) for _ in range(2))
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
        local=np.ones((3, 40), dtype=np.float32),
        facts=VideoFacts.unknown(40),
    )
    alike = dataclasses.replace(users, content=np.zeros((2, 1), dtype=np.float32))
    found = lists_of(bare(k=10), same, alike)
    assert found.positions.tolist() == [list(range(10))] * 2
    assert (found.scores == 0).all()
    few = bare(k=10, generators={"retrieval": 4, "popular": 2})
    assert lists_of(few, same, alike).positions.tolist() == [list(range(10))] * 2


def test_someone_who_watched_the_whole_top_still_gets_a_full_list():
    catalogue, users = world(2, 3000, 1, watched_share=0.0)
    by_cosine = np.argsort(-(catalogue.retrieval_vectors @ users.retrieval[0]), kind="stable")
    watched = np.concatenate([by_cosine[:1500], catalogue.popular_order[:900]])
    heavy = dataclasses.replace(users, watched_indptr=np.array([0, len(watched)]), watched=watched)
    found = lists_of(config(), catalogue, heavy)
    assert (found.positions >= 0).all()
    assert not set(found.positions[0].tolist()) & set(watched.tolist())
    assert (found.generator_ranks[0, :, 0] > 0).any()


def test_nothing_left_to_show_gives_an_empty_list():
    catalogue, users = world(2, 30, 3)
    everything = dataclasses.replace(users, watched_indptr=np.arange(4) * 30, watched=np.tile(np.arange(30), 3))
    for eligible in (catalogue.eligible, np.zeros(30, dtype=bool)):
        barren = dataclasses.replace(catalogue, eligible=eligible)
        found = lists_of(config(k=5), barren, everything)
        assert (found.positions == -1).all()
        assert (found.scores == 0).all()


def test_no_users_give_no_rows():
    catalogue, users = world(2, 30, 3)
    found = lists_of(config(k=5), catalogue, users.rows(0, 0))
    assert found.positions.shape == (0, 5)
    assert found.generator_ranks.shape == (0, 5, len(GENERATORS))


def test_videos_that_an_old_index_still_holds_are_not_shown():
    catalogue, users = world(8, 50, 4)
    indexes = indexes_of(catalogue)
    removed = dataclasses.replace(catalogue, eligible=catalogue.eligible & (np.arange(50) % 2 == 0))
    found = recommend_batch(config(k=50), removed, users, indexes, TODAY)
    assert (found.positions[found.positions >= 0] % 2 == 0).all()


def test_weights_decide_the_order():
    catalogue, users = world(11, 80, 3, watched_share=0.0)
    chosen = bare(k=80, segments=segments(popular=1.0))
    found = lists_of(chosen, catalogue, users)
    for user in range(3):
        shown = found.positions[user][found.positions[user] >= 0]
        by_popularity = sorted(available(catalogue, users, user), key=lambda v: (-catalogue.popularity[v], v))
        assert shown.tolist() == by_popularity
    others = [place for place, name in enumerate(COMPONENTS) if name != "popular"]
    assert (found.parts[:, :, others] == 0).all()


def test_each_segment_has_its_own_weights():
    catalogue, users = world(11, 80, 3, watched_share=0.0)
    own = [{**one, "weights": {name: 1.0}} for one, name in zip(segments(), ("popular", "local", "fresh"), strict=True)]
    found = lists_of(bare(k=80, segments=own), catalogue, dataclasses.replace(users, segment=np.arange(3)))
    scores = (catalogue.popularity, catalogue.local[users.local[1]], -catalogue.facts.age_days)
    for user, score in enumerate(scores):
        expected = sorted(available(catalogue, users, user), key=lambda video: (-score[video], video))
        assert found.positions[user][found.positions[user] >= 0].tolist() == expected


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
    indexes = indexes_of(catalogue)
    wrong = {
        "same model": {"ranker": users.ranker[:, :2]},
        "not finite": {"wals": users.wals * np.nan},
        "one bound more": {"watched_indptr": users.watched_indptr[:-1]},
        "outside 0 to 29": {"watched": users.watched + 29},
        "country_index": {"country": np.full(3, 2)},
        "language_index": {"language": np.full(3, 2)},
        "0 to below 3": {"local": np.full(3, -1)},
    }
    for words, change in wrong.items():
        with pytest.raises(ReelflowError, match=words):
            recommend_batch(config(), catalogue, dataclasses.replace(users, **change), indexes, TODAY)
    with pytest.raises(ReelflowError, match="popularity has 29 rows"):
        dataclasses.replace(catalogue, popularity=np.ones(29))
    with pytest.raises(ReelflowError, match="blocked of shape"):
        dataclasses.replace(catalogue, countries=("DE",))


def test_the_differential_test_sees_shuffled_vectors_through_the_ensemble():
    catalogue, users = world(9, 400, 200)
    shuffle = np.random.default_rng(0).permutation(400)
    names = ("retrieval_vectors", "wals_vectors", "ranker_vectors")
    broken = dataclasses.replace(catalogue, **{name: getattr(catalogue, name)[shuffle] for name in names})
    positions = np.arange(0, 400, 2)
    settings = config(segments=segments(ranker=1.0, retrieval=1.0, wals=1.0))
    incumbent, candidate = (score_matrix(settings, side, users, positions) for side in (catalogue, broken))
    assert correlation(incumbent, incumbent).pooled_pearson == pytest.approx(1)
    assert correlation(candidate, incumbent).pooled_pearson == pytest.approx(0, abs=0.05)
