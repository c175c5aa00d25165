"""The lists that are judged: the final one, and what each model alone would show (V1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.ann import IndexConfig, VectorIndex, build
from models.ensemble import Ensemble, indexable
from models.recommend import Catalogue, Component, RecommendConfig, UserBatch, recommend_batch

Ints = npt.NDArray[np.int64]

FINAL, POPULARITY = "final", "popularity"
_DEPTH = 100


def variants(config: RecommendConfig) -> dict[str, RecommendConfig]:
    """Whose lists are judged, the baseline first and the final list last.

    ``popularity``, ``wals`` and ``retrieval`` show what they propose themselves; popularity fills the places that they leave
    empty. ``ranker`` alone orders the candidates of all generators.
    """
    ranker: dict[Component, float] = {"ranker": 1.0}
    return {
        POPULARITY: _only(config, "popular", retrieval=0, wals=0),
        "wals": _only(config, "wals", retrieval=0, wals=_DEPTH),
        "retrieval": _only(config, "retrieval", retrieval=_DEPTH, wals=0),
        "ranker": config.model_copy(update={"weights": ranker, "new_user_weights": ranker}),
        FINAL: config,
    }


def lists(config: RecommendConfig, ensemble: Ensemble, catalogue: Catalogue, users: UserBatch) -> Ints:
    """Catalogue positions that every user would be shown, best first, int64 ``(n_users, k)`` padded with -1."""
    return recommend_batch(config, catalogue, users, exact_index(ensemble, catalogue)).positions.astype(np.int64)


def exact_index(ensemble: Ensemble, catalogue: Catalogue) -> VectorIndex:
    """An index over what retrieval may propose, that finds the nearest videos exactly."""
    positions = indexable(catalogue, ensemble.retrieval)
    return build(IndexConfig(kind="flat"), catalogue.retrieval_vectors[positions], positions)


def _only(config: RecommendConfig, component: Component, *, retrieval: int, wals: int) -> RecommendConfig:
    """One component alone; popularity fills what its generator leaves empty."""
    weights = {component: 1.0}
    update = {
        "weights": weights,
        "new_user_weights": weights,
        "retrieval_candidates": retrieval,
        "wals_candidates": wals,
        "popular_candidates": 0,
    }
    if component == "popular":
        update["popular_candidates"] = _DEPTH
    return config.model_copy(update=update)
