"""Heads beside relevance: their loss is by hand, and what they learn reaches relevance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.towers import fit_ranker
from models.towers._objectives import OBJECTIVES, Heads, told_by, weighed
from schemas import EXAMPLES
from schemas.errors import ReelflowError
from tests.models.towers.planted import AS_OF, CONFIG, N_USERS, N_VIDEOS, QUERIES, data, users_now, videos_now, with_settings


def test_objectives_are_columns_of_examples():
    assert set(OBJECTIVES) <= set(EXAMPLES.columns)


def test_the_loss_is_the_weighted_mean_over_what_is_known():
    heads = Heads({"clicked": 2.0, "watch_fraction": 0.5, "liked": 0.0}, width=2)
    assert heads.names == ("clicked", "watch_fraction")
    with torch.no_grad():
        heads.products.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        heads.bias.copy_(torch.tensor([0.5, 0.0]))
    products = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
    told = torch.tensor([[1.0, 0.25], [0.0, torch.nan]])
    weight = torch.tensor([1.0, 3.0])

    def cross_entropy(logit, target):
        p = 1 / (1 + np.exp(-logit))
        return -(target * np.log(p) + (1 - target) * np.log(1 - p))

    clicked = (cross_entropy(1.5, 1.0) + 3 * cross_entropy(0.5, 0.0)) / 4
    expected = 2.0 * clicked + 0.5 * cross_entropy(-1.0, 0.25)
    assert heads.loss(products, told, weight).item() == pytest.approx(expected, rel=1e-6)


def test_no_weights_no_loss():
    assert Heads({"clicked": 0.0}, width=3).loss(torch.ones(2, 3), torch.empty(2, 0), torch.ones(2)).item() == 0.0
    assert weighed({}) == ()


def test_what_examples_tell():
    rows = pa.table({"clicked": [True, False], "watch_fraction": pa.array([0.5, None], pa.float64())})
    found = told_by(rows, ("clicked", "watch_fraction"))
    assert found[:, 0].tolist() == [1.0, 0.0]
    assert found[0, 1] == 0.5
    assert found[1, 1].isnan()
    assert told_by(rows, ()).shape == (2, 0)
    with pytest.raises(ReelflowError, match=r"no column liked; expected it, for towers\.ranker\.objectives"):
        told_by(rows, ("liked",))


def test_what_a_head_learns_reaches_relevance():
    """Few relevant examples tell little of the halves; clicks follow them exactly."""
    found, _ = data(n_impressions=3_000)
    rng = np.random.default_rng(0)
    own_half = (found.examples["user_id"].to_numpy() % 2) == (found.examples["video_id"].to_numpy() % 2)
    label = (rng.random(len(own_half)) < np.where(own_half, 0.06, 0.02)).astype(np.int32)
    place = found.examples.column_names.index("label")
    examples = found.examples.set_column(place, "label", pa.array(label)).append_column("clicked", pa.array(own_half))

    def lift(objectives):
        config = with_settings(CONFIG, ranker={"objectives": objectives})
        model = fit_ranker(config, replace(found, examples=examples), 1, epochs=4)
        scores = model.user_vectors(users_now(), QUERIES, AS_OF) @ model.video_vectors(videos_now(), AS_OF).T
        own = np.arange(N_USERS)[:, None] % 2 == np.arange(N_VIDEOS) % 2
        return (scores[own].mean() - scores[~own].mean()) / scores.std()

    assert lift({"clicked": 1.0}) > lift({}) + 0.2
