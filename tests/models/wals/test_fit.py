import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import conf
from models.wals import FittedWals, WalsConfig, fit, objective
from schemas.errors import ReelflowError
from tests.models.wals.contract import EngineContract, planted
from tests.models.wals.contract import config as any_config

AT = dt.datetime(2026, 1, 8, tzinfo=dt.UTC)


class TestImplicit(EngineContract):
    def fit(self, *args):
        return fit(*args)


def config(**changes):
    return any_config(**{"regularization_exponent": 0.0, **changes})


def checkerboard(n=20):
    """Even users watch even videos, odd users odd ones, but nobody watches the video of their own number."""
    pairs = [(user, video) for user in range(n) for video in range(n) if (user - video) % 2 == 0 and user != video]
    users, videos = np.array(pairs).T
    return users + 100, videos + 1000, np.ones(len(pairs))


def test_the_section_of_base_yaml_is_valid_for_both_engines():
    assert conf.load("wals", WalsConfig).regularization_exponent == 1  # the only one that Spark knows
    assert set(conf.load("wals", WalsConfig).feedback_weights) == {"relevant", "like", "share", "watch"}


def test_the_held_out_cell_of_a_checkerboard_comes_first():
    model = fit(config(factors=2), *checkerboard())
    scores = model.user_factors @ model.video_factors.T
    for user in range(20):
        same = np.arange(20) % 2 == user % 2
        assert scores[user, user] > scores[user, ~same].max() + 0.5
    assert scores.min() > -0.2
    assert scores.max() < 1.2


def test_factors_solve_the_weighted_least_squares_of_the_paper():
    settings = config(iterations=200, regularization=0.3)
    users, videos, _ = checkerboard(8)
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.05, 3.0, len(users))
    model = fit(settings, users, videos, weights)
    # Converged: each user's vector is the exact solution given the videos'. Confidence 1 + alpha r, 1 elsewhere.
    confidences = np.ones((8, 8))
    confidences[users - 100, videos - 1000] += weights / settings.unobserved_weight
    preference = np.zeros((8, 8))
    preference[users - 100, videos - 1000] = 1.0
    y = model.video_factors.astype(np.float64)
    for user in range(8):
        left = y.T @ (confidences[user][:, None] * y) + settings.regularization * np.eye(settings.factors)
        right = y.T @ (confidences[user] * preference[user])
        np.testing.assert_allclose(model.user_factors[user], np.linalg.solve(left, right), atol=5e-3)


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads():
    rng = np.random.default_rng(2)
    users, videos, weights = rng.integers(0, 300, 4000), rng.integers(0, 200, 4000), rng.uniform(0.5, 2, 4000)
    first = fit(config(factors=16), users, videos, weights, seed=5)
    again = fit(config(factors=16, num_threads=2), users, videos, weights, seed=5)
    shuffle = rng.permutation(4000)
    shuffled = fit(config(factors=16), users[shuffle], videos[shuffle], np.ones(4000), seed=5)
    other = fit(config(factors=16), users, videos, weights, seed=6)
    assert first.user_factors.tobytes() == again.user_factors.tobytes()
    assert first.video_factors.tobytes() == again.video_factors.tobytes()
    assert first.user_factors.tobytes() != other.user_factors.tobytes()
    ones = fit(config(factors=16), users, videos, np.ones(4000), seed=5)
    assert shuffled.user_factors.tobytes() == ones.user_factors.tobytes()


def test_repeated_pairs_add_up():
    users, videos, weights = checkerboard(6)
    twice = fit(config(), np.tile(users, 2), np.tile(videos, 2), np.tile(weights, 2))
    assert twice.user_factors.tobytes() == fit(config(), users, videos, weights * 2).user_factors.tobytes()


def test_fold_in_solves_the_normal_equations():
    settings = config()
    model = fit(settings, *checkerboard())
    indptr, videos = np.array([0, 2, 2, 5, 6]), np.array([1000, 1002, 1001, 77, 1003, 88])
    weights = np.array([1.0, 4.0, 0.5, 9.0, 2.0, 1.0])
    folded = model.fold_in(indptr, videos, weights)
    y = model.video_factors.astype(np.float64)

    def solve(liked):
        left = y.T @ y + settings.regularization * np.eye(4)
        right = np.zeros(4)
        for video, weight in liked.items():
            vector = y[video]
            left += (weight / 0.1) * np.outer(vector, vector)
            right += (1 + weight / 0.1) * vector
        return np.linalg.solve(left, right)

    np.testing.assert_allclose(folded[0], solve({0: 1.0, 2: 4.0}), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(folded[2], solve({1: 0.5, 3: 2.0}), rtol=1e-3, atol=1e-4)
    assert folded[1].tolist() == [0.0] * 4  # likes nothing
    assert folded[3].tolist() == [0.0] * 4  # likes only what WALS does not know
    assert (folded[0] @ model.video_factors.T)[::2].mean() > (folded[0] @ model.video_factors.T)[1::2].mean() + 0.5
    assert model.fold_in(np.array([0]), np.array([], dtype=np.int64)).shape == (0, 4)


def test_vectors_come_in_the_order_asked_with_zeros_for_the_unknown():
    model = fit(config(), *checkerboard())
    vectors = model.user_vectors(np.array([105, 5, 100]))
    assert vectors[0].tolist() == model.user_factors[5].tolist()
    assert vectors[1].tolist() == [0.0] * 4
    assert vectors[2].tolist() == model.user_factors[0].tolist()
    assert model.video_vectors(np.array([-1, 1001]))[1].tolist() == model.video_factors[1].tolist()


def test_a_damaged_or_foreign_model_is_refused(tmp_path):
    model = fit(config(), *checkerboard())
    model.save(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        model.user_factors[0] = 0
    (tmp_path / "wals.json").write_text('{"format_version": 99}')
    with pytest.raises(ReelflowError, match="found format 99"):
        FittedWals.load(tmp_path)
    (tmp_path / "user_factors.npy").unlink()
    with pytest.raises(ReelflowError, match="cannot be read"):
        FittedWals.load(tmp_path)


def test_progress_is_told_after_each_iteration():
    told = []
    fit(config(iterations=3), *checkerboard(), progress=lambda iteration, seconds: told.append((iteration, seconds >= 0)))
    assert told == [(1, True), (2, True), (3, True)]


def test_what_cannot_be_factorized_is_refused():
    empty = np.array([], dtype=np.int64)
    with pytest.raises(ReelflowError, match=r"no \(user, video\) pair"):
        fit(config(), empty, empty, np.array([]))
    with pytest.raises(ReelflowError, match="above 0"):
        fit(config(), np.array([1]), np.array([1]), np.array([0.0]))
    with pytest.raises(ReelflowError, match="as many of each"):
        fit(config(), np.array([1, 2]), np.array([1]), np.array([1.0]))


def test_factors_that_do_not_stay_finite_are_refused():
    users, videos, weights = checkerboard()
    with pytest.raises(ReelflowError, match=r"not finite.*raise wals.regularization"):
        fit(config(), users, videos, weights * 1e37)


def test_the_penalty_of_a_folded_in_user_is_that_of_their_count():
    settings = config(regularization=0.3, regularization_exponent=1.0)
    model = fit(settings, *checkerboard())
    indptr, videos = np.array([0, 1, 5]), np.array([1000, 1001, 1003, 1005, 1007])
    folded = model.fold_in(indptr, videos)
    y = model.video_factors.astype(np.float64)
    for row, liked in enumerate(([0], [1, 3, 5, 7])):
        left = y.T @ y + 10.0 * y[liked].T @ y[liked] + 0.3 * len(liked) * np.eye(4)
        np.testing.assert_allclose(folded[row], np.linalg.solve(left, 11.0 * y[liked].sum(axis=0)), rtol=1e-3, atol=1e-4)


def test_whoever_acted_after_training_is_folded_in():
    model = fit(config(), *checkerboard())
    # 104 liked even videos so far, and now odd ones; 500 is new; 600 likes what WALS does not know.
    liked = [(104, 1001), (104, 1003), (104, 1005), (104, 1000), (500, 1002), (500, 1004), (600, 7)]
    users, videos = zip(*liked, strict=True)
    no = [False] * len(liked)
    flags = {"label": pa.array([1] * len(liked), pa.int32()), "clicked": no, "liked": no, "shared": no, "disliked": no}
    times = pa.array([AT] * len(liked), pa.timestamp("us", tz="UTC"))
    now = model.refreshed(pa.table({"user_id": users, "video_id": videos, "occurred_at": times, **flags}), AT)
    assert now.users.ids.tolist() == [*range(100, 120), 500]
    kept = [user for user in range(100, 120) if user != 104]
    assert now.user_vectors(np.array(kept)).tobytes() == model.user_vectors(np.array(kept)).tobytes()
    assert now.video_factors.tobytes() == model.video_factors.tobytes()
    vectors = now.user_vectors(np.array([104, 500]))
    expected = model.fold_in(np.array([0, 4, 6]), np.array([1000, 1001, 1003, 1005, 1002, 1004]))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    assert (vectors[0] @ now.video_factors[1::2].T).mean() > (vectors[0] @ now.video_factors[0::2].T).mean()


def test_a_warm_start_reaches_in_one_iteration_what_a_cold_one_does_in_twenty():
    users, videos, weights = planted()
    yesterday = (users != 105) & (videos != 1003)
    before = fit(config(regularization=0.3, iterations=60), users[yesterday], videos[yesterday], weights[yesterday])

    def loss(iterations, start=None):
        return objective(fit(config(regularization=0.3, iterations=iterations), *planted(), start=start), *planted())

    assert loss(1, before) < loss(20)
    assert loss(1) > 5 * loss(20)


def test_a_warm_start_begins_at_the_known_vectors_and_hashes_the_others():
    users, videos, weights = planted()
    start = fit(config(), users[users != 105], videos[users != 105], weights[users != 105])
    begun = fit(config(iterations=1), users, videos, weights, start=start)
    alone = fit(config(iterations=1), users, videos, weights, seed=2, start=start)
    assert begun.user_factors.tobytes() != alone.user_factors.tobytes()  # 105 is new, its start depends on the seed
    with pytest.raises(ReelflowError, match="found a start with 4 factors, expected 8"):
        fit(config(factors=8), users, videos, weights, start=start)
