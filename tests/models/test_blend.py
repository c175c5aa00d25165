"""Learned weights find the component that knows, leave out the one that does not, and stay put where nothing can be told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from models import blend, metrics
from models.blend import learn_weights
from models.recommend import COMPONENTS

N_VIDEOS = 200


def world(n_users=300, seed=0, **signal):
    """Candidates in which a component's score rises by ``signal`` where a video is relevant; five are, for each user."""
    rng = np.random.default_rng(seed)
    positions = np.broadcast_to(np.arange(N_VIDEOS), (n_users, N_VIDEOS)).copy()
    relevant = np.zeros((n_users, N_VIDEOS), dtype=bool)
    for row in range(n_users):
        relevant[row, rng.choice(N_VIDEOS, 5, replace=False)] = True
    scores = rng.standard_normal((len(COMPONENTS), n_users, N_VIDEOS)).astype(np.float32)
    for name, strength in signal.items():
        scores[COMPONENTS.index(name)] += strength * relevant
    return positions, scores, sp.csr_matrix(relevant)


def test_the_component_that_knows_gets_the_weight():
    found = learn_weights(*world(wals=2.0), {"ranker": 1.0})

    assert found["wals"] == 1.0
    assert max(found[name] for name in COMPONENTS if name != "wals") <= 0.2


def test_two_that_know_equally_share_it():
    found = learn_weights(*world(wals=1.5, ranker=1.5), {"popular": 1.0})

    assert found["wals"] == pytest.approx(found["ranker"], rel=0.5)
    assert max(found["popular"], found["retrieval"]) <= 0.2


def test_noise_moves_nothing():
    start = {"ranker": 0.5, "retrieval": 1.0, "wals": 0.25}
    assert learn_weights(*world(), start, min_gain_errors=4.0) == {**dict.fromkeys(COMPONENTS, 0.0), **start}


def test_few_users_move_nothing():
    found = learn_weights(*world(n_users=10, wals=3.0), {"ranker": 2.0, "popular": 1.0})
    assert found == {**dict.fromkeys(COMPONENTS, 0.0), "ranker": 2.0, "popular": 1.0}


def test_what_the_business_decides_is_not_learned():
    found = learn_weights(*world(wals=1.0, sponsored=5.0), {"ranker": 2.0, "sponsored": 0.3})
    assert (found["wals"], found["sponsored"]) == (2.0, 0.3)  # on the scale that was given


def test_users_beyond_the_memory_are_left_out_evenly(monkeypatch):
    whole = learn_weights(*world(n_users=600, wals=2.0, ranker=1.0), {"ranker": 1.0})
    monkeypatch.setattr(blend, "_MAX_CELLS", 200_000)  # a third of the users
    part = learn_weights(*world(n_users=600, wals=2.0, ranker=1.0), {"ranker": 1.0})
    assert part["wals"] == whole["wals"] == 1.0
    assert part["ranker"] == pytest.approx(whole["ranker"], abs=0.3)


def test_the_judges_figure_is_ndcg():
    """Against the metrics module, with ties and padding."""
    positions, scores, relevant = world(n_users=40, wals=1.0)
    positions[:20, 100:] = -1
    scores = np.round(scores, 0)
    weights = 0.5 ** (np.arange(len(COMPONENTS)) % 4)  # so that sums are exact and ties are ties
    total = np.where(positions >= 0, np.tensordot(weights.astype(np.float32), scores, axes=1), -np.inf)
    order = np.argsort(-total, axis=1, kind="stable")[:, :20]
    lists = np.take_along_axis(positions, order, axis=1)
    expected = metrics.ranking_metrics(lists, relevant, (20,))["ndcg@20"]
    np.testing.assert_allclose(blend._Judge(positions, scores, relevant)(weights), expected, atol=1e-9)


def test_padding_is_never_listed():
    positions, scores, relevant = world(wals=2.0)
    positions[:, 150:] = -1
    scores[:, :, 150:] = 9.0
    assert learn_weights(positions, scores, relevant, {"ranker": 1.0})["wals"] == 1.0
