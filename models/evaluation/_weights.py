"""Weights of the ensemble that the validation split chooses."""

from __future__ import annotations

import numpy as np

from models import metrics
from models.ensemble import Ensemble
from models.evaluation._lists import lists as _lists
from models.evaluation._world import Holdout
from models.recommend import RecommendConfig


def choose_popular_weights(config: RecommendConfig, ensemble: Ensemble, world: Holdout) -> RecommendConfig:
    """Set the weight of popularity to what served known and new users best, by mean nDCG@10 of each group.

    How far models can be trusted over popularity depends on the log: little history, or users who come once, want more of it.

    Args:
        config: with the weights to try; those of a group without users stay as they are.
        ensemble: models that have not seen what ``world`` asks for.
        world: the validation split.
    """
    if not world.users.num_rows:
        return config
    catalogue = ensemble.catalogue(world.videos, world.at)
    users = ensemble.users(world.users, world.queries, catalogue, world.at)
    known = users.wals.any(axis=1)
    found = []
    for weight in config.popular_weights:
        lists = _lists(_with_popular(config, weight, weight), ensemble, catalogue, users)
        found.append(metrics.ranking_metrics(lists, world.relevant, ks=(10,))["ndcg@10"])
    scores = np.stack(found)
    best = [
        config.popular_weights[int(scores[:, group].mean(axis=1).argmax())] if group.any() else given.get("popular", 0.0)
        for group, given in ((known, config.weights), (~known, config.new_user_weights))
    ]
    return _with_popular(config, *best)


def _with_popular(config: RecommendConfig, known: float, new: float) -> RecommendConfig:
    weights = {"weights": {**config.weights, "popular": known}, "new_user_weights": {**config.new_user_weights, "popular": new}}
    return config.model_copy(update=weights)
