"""What every engine of the factorization must do: the engines' tests inherit it."""

from __future__ import annotations

import numpy as np

from models.wals import FittedWals, WalsConfig, objective

GROUP, LIKED = 20, 16


def config(**changes):
    settings = {
        "engine": "implicit",
        "factors": 4,
        "iterations": 10,
        "regularization": 0.01,
        "regularization_exponent": 1.0,
        "unobserved_weight": 0.1,
        "feedback_weights": {"relevant": 1.0, "like": 2.0, "share": 0.5, "watch": 0.25},
        "half_lives_days": [None],
        "cg_steps": 3,
        "seed": 1,
        "num_threads": 1,
    }
    return WalsConfig.model_validate(settings | changes)


def planted():
    """Two groups of 20 users and 20 videos; everybody likes 16 videos of the own group, and every video is liked by 16."""
    pairs = [
        (group * GROUP + user, group * GROUP + (user + step) % GROUP)
        for group in range(2)
        for user in range(GROUP)
        for step in range(LIKED)
    ]
    users, videos = np.array(pairs, dtype=np.int64).T
    return users + 100, videos + 1000, np.random.default_rng(0).uniform(0.5, 2.0, len(users))


def least(settings, users, videos, weights, rounds=400):
    """Factors that alternating exact solutions in float64 end at: an oracle that shares no code with either engine."""
    confidences, preference = np.ones((2 * GROUP, 2 * GROUP)), np.zeros((2 * GROUP, 2 * GROUP))
    confidences[users - 100, videos - 1000] += weights / settings.unobserved_weight
    preference[users - 100, videos - 1000] = 1.0
    penalty = settings.regularization * LIKED**settings.regularization_exponent * np.eye(settings.factors)
    of_videos = np.random.default_rng(3).normal(size=(2 * GROUP, settings.factors))
    for _ in range(rounds):
        of_users = _solved(confidences, preference, of_videos, penalty)
        of_videos = _solved(confidences.T, preference.T, of_users, penalty)
    loss = (confidences * (preference - of_users @ of_videos.T) ** 2).sum()
    return of_users @ of_videos.T, loss + penalty[0, 0] * ((of_users**2).sum() + (of_videos**2).sum())


def _solved(confidences, preference, other, penalty):
    lefts = np.einsum("rc,cd,ce->rde", confidences, other, other) + penalty
    rights = (confidences * preference) @ other
    return np.linalg.solve(lefts, rights[:, :, None])[:, :, 0]


class EngineContract:
    """Inherit, and give ``fit(config, users, videos, weights)``."""

    settings = config(factors=2, iterations=15, regularization=1.0)

    def fit(self, *args) -> FittedWals:
        raise NotImplementedError

    def fitted(self) -> FittedWals:
        """The model of the planted feedback, fitted once for all tests of an engine."""
        if "_fitted" not in type(self).__dict__:
            type(self)._fitted = self.fit(self.settings, *planted())
        return self._fitted

    def test_liked_videos_of_the_own_group_that_were_not_shown_come_before_the_others(self):
        model = self.fitted()
        scores = model.user_factors @ model.video_factors.T
        for user in range(2 * GROUP):
            own = np.arange(2 * GROUP) // GROUP == user // GROUP
            assert scores[user, own].min() > scores[user, ~own].max() + 0.3

    def test_it_ends_where_exact_solutions_in_float64_end(self):
        scores, loss = least(self.settings, *planted())
        model = self.fitted()
        assert abs(objective(model, *planted()) / loss - 1) < 2e-3
        np.testing.assert_allclose(model.user_factors @ model.video_factors.T, scores, atol=0.02)

    def test_vectors_belong_to_ascending_ids_whatever_the_order_of_the_pairs(self):
        users, videos, weights = planted()
        order = np.random.default_rng(5).permutation(len(users))
        model = self.fit(self.settings, users[order], videos[order], weights[order])
        straight = self.fitted()
        assert model.users.ids.tolist() == list(range(100, 140))
        assert model.videos.ids.tolist() == list(range(1000, 1040))
        assert model.user_factors.dtype == model.video_factors.dtype == np.float32
        predicted, expected = (found.user_factors @ found.video_factors.T for found in (model, straight))
        np.testing.assert_allclose(predicted, expected, atol=1e-3)

    def test_the_same_input_gives_the_same_bytes(self):
        first, again = self.fitted(), self.fit(self.settings, *planted())
        assert first.user_factors.tobytes() == again.user_factors.tobytes()
        assert first.video_factors.tobytes() == again.video_factors.tobytes()

    def test_fold_in_of_a_trained_user_returns_to_the_trained_vector(self):
        users, videos, weights = planted()
        model = self.fitted()
        order = np.lexsort((videos, users))
        indptr = np.searchsorted(users[order], np.arange(100, 141))
        folded = model.fold_in(indptr, videos[order], weights[order])
        np.testing.assert_allclose(folded, model.user_factors, rtol=0.03, atol=0.02)

    def test_a_model_survives_the_disk(self, tmp_path):
        model = self.fitted()
        model.save(tmp_path)
        again = FittedWals.load(tmp_path)
        assert again.config == model.config
        assert (again.users, again.videos) == (model.users, model.videos)
        assert again.user_factors.tobytes() == model.user_factors.tobytes()
        assert again.video_factors.tobytes() == model.video_factors.tobytes()
        assert not model.user_factors.flags.writeable
