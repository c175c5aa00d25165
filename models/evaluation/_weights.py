"""Weights of the ensemble that the validation split chooses."""

from __future__ import annotations

import numpy as np

from models.blend import learn_weights
from models.ensemble import Ensemble
from models.evaluation._lists import exact_indexes
from models.evaluation._world import Holdout
from models.recommend import RecommendConfig, candidate_scores


def choose_weights(config: RecommendConfig, ensemble: Ensemble, world: Holdout) -> RecommendConfig:
    """Set the weights to what would have served each segment of users best, if ``learn_weights`` says so.

    How far each model can be trusted depends on the log: little history wants popularity, long histories want their order.

    Args:
        config: with the weights to begin with; a segment of few users keeps what those with, or without, a history share.
        ensemble: models that have not seen what ``world`` asks for.
        world: the validation split.
    """
    if not config.learn_weights or not world.users.num_rows:
        return config
    catalogue = ensemble.catalogue(config.catalogue, world.videos, world.at)
    users = ensemble.users(config, world.users, world.queries, catalogue, world.at)
    positions, scores = candidate_scores(config, catalogue, users, exact_indexes(ensemble, catalogue))
    watched = np.diff(users.watched_indptr) > 0
    learned = {}
    for place, segment in enumerate(config.segments):
        group = users.segment == place
        # Segments of people with a history differ little: what all of them want is where each of them begins.
        kind = watched == bool(watched[group].any()) if group.any() else group
        shared = learn_weights(positions[kind], scores[:, kind], world.relevant[kind], segment.weights)
        learned[segment.name] = learn_weights(positions[group], scores[:, group], world.relevant[group], shared)
    return config.weighed(learned)
