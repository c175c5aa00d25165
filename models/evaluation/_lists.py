"""The lists that are judged: the final one, and what each model alone would show (V1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models._candidates import Filter, propose
from models.ann import VectorIndex, build_flat
from models.ensemble import Ensemble, indexable
from models.recommend import Catalogue, Component, RecommendConfig, UserBatch, recommend_batch
from models.segments import KINDS, FittedPopularity, segment_name

Ints = npt.NDArray[np.int64]

FINAL, POPULARITY, BY_SEGMENT = "final", "popularity", "popularity_by_segment"
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


def segment_lists(popularity: FittedPopularity, catalogue: Catalogue, users: UserBatch, rows: pa.Table, k: int) -> Ints | None:
    """What is most popular with people like each user and may be shown, int64 ``(n_users, k)`` padded with -1.

    Equal scores go to the lower position. A user whose country and language are not known gets everybody's list.

    Args:
        popularity: as of the same moment as the catalogue.
        catalogue: the videos.
        users: whose lists to make.
        rows: their USER_FEATURES.
        k: length of the lists.

    Returns:
        None where no user is of a segment that is known.
    """
    values = list(zip(*(rows[kind].to_pylist() for kind in KINDS), strict=True))
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for row, own in enumerate(values):
        names = [segment_name(kind, value) for kind, value in zip(KINDS, own, strict=True)]
        known = tuple(value if name in popularity.segments else None for name, value in zip(names, own, strict=True))
        groups.setdefault(known, []).append(row)
    if all(value is None for known in groups for value in known):
        return None
    may = Filter(catalogue.eligible, catalogue.blocked, users.country, users.watched_indptr, users.watched)
    eligible = np.flatnonzero(catalogue.eligible)
    found = np.full((len(users), k), -1, dtype=np.int64)
    for (country, language), own_rows in groups.items():
        scores = popularity.scores_of_user(catalogue.video_ids[eligible], country, language)
        order = eligible[np.argsort(-scores, kind="stable")]

        def best(some: Ints, depth: int, order: Ints = order) -> Ints:
            return np.tile(order[:depth], (len(some), 1))

        _, found[own_rows] = propose(best, k, len(order), may, np.array(own_rows))
    return found


def exact_index(ensemble: Ensemble, catalogue: Catalogue) -> VectorIndex:
    """An index over what retrieval may propose, that finds the nearest videos exactly."""
    positions = indexable(catalogue, ensemble.retrieval)
    return build_flat(catalogue.retrieval_vectors[positions], positions)


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
