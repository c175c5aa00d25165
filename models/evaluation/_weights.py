"""Weights of the ensemble that the validation split chooses."""

from __future__ import annotations

from models.blend import learn_weights
from models.ensemble import Ensemble
from models.evaluation._lists import exact_index
from models.evaluation._world import Holdout
from models.recommend import RecommendConfig, candidate_scores


def choose_weights(config: RecommendConfig, ensemble: Ensemble, world: Holdout) -> RecommendConfig:
    """Set the weights to what would have served known and new users best, if ``learn_weights`` says so.

    How far each model can be trusted depends on the log: little history wants popularity, long histories want their order.

    Args:
        config: with the weights to begin with; those of a group of few users stay as they are.
        ensemble: models that have not seen what ``world`` asks for.
        world: the validation split.
    """
    if not config.learn_weights or not world.users.num_rows:
        return config
    catalogue = ensemble.catalogue(world.videos, world.at)
    users = ensemble.users(world.users, world.queries, catalogue, world.at)
    positions, scores = candidate_scores(config, catalogue, users, exact_index(ensemble, catalogue))
    known = users.wals.any(axis=1)
    weights = {
        name: learn_weights(positions[group], scores[:, group], world.relevant[group], getattr(config, name))
        for name, group in (("weights", known), ("new_user_weights", ~known))
    }
    return config.model_copy(update=weights)
