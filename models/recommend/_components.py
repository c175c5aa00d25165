"""Scores of the candidates: what each component says, on one scale, and their weighted sum (S3, S5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.recommend._catalogue import Catalogue, UserBatch
from models.recommend._config import COMPONENTS, RecommendConfig

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_USERS_PER_GATHER = 4
_AS_IT_IS = ("sponsored",)


def raw_scores(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, positions: Ints) -> Floats:
    """What each component says of each candidate.

    Args:
        config: which components count, and how fast freshness fades.
        catalogue: the videos.
        users: whose candidates these are.
        positions: int64 ``(n_users, c)``, padded with -1.

    Returns:
        float32 ``(n_components, n_users, c)`` in the order of ``COMPONENTS``; 0 for one that weighs nothing in any segment, and
        anything in the padding.
    """
    scores = np.zeros((len(COMPONENTS), *positions.shape), dtype=np.float32)
    facts = catalogue.facts
    most = config.weight_matrix().max(axis=0)
    for place, name in enumerate(COMPONENTS):
        if not config.learn_weights and not most[place]:
            continue
        if name in _VECTORS:
            _products(getattr(users, name), getattr(catalogue, f"{name}_vectors"), positions, scores[place])
        elif name == "popular":
            scores[place] = catalogue.log_popularity[positions]
        elif name == "local":
            scores[place] = np.log1p(catalogue.local[users.local[:, None], positions])
        elif name == "trend":
            scores[place] = np.maximum(facts.trend[positions], 0)
        elif name == "fresh":
            scores[place] = np.exp2(-facts.age_days[positions] / np.float32(config.fresh_half_life_days))
        elif name == "sponsored":
            scores[place] = facts.sponsored[positions]
    return scores


_VECTORS = ("ranker", "retrieval", "wals")


def standardised(components: Floats, present: Bools) -> Floats:
    """Scores of each component with mean 0 and deviation 1 over a user's candidates; ``sponsored`` stays as it is.

    A component that does not vary over them (a user whom WALS does not know) says nothing, and is 0, as is the padding.

    Args:
        components: float32 ``(n_components, n_users, c)``; overwritten.
        present: bool ``(n_users, c)``, where there is a candidate.

    Returns:
        The same array.
    """
    count = np.maximum(present.sum(axis=1, keepdims=True), 1).astype(np.float32)
    absent = ~present
    for place, name in enumerate(COMPONENTS):
        raw = components[place]
        raw[absent] = 0
        if name in _AS_IT_IS:
            continue
        size = np.abs(raw).max(axis=1, keepdims=True, initial=0.0)
        # Sums of float32 are made in float64, so that the order of a user's candidates does not matter to the last place.
        mean = (raw.sum(axis=1, keepdims=True, dtype=np.float64) / count).astype(np.float32)
        raw -= mean
        raw[absent] = 0
        spread = np.sqrt(np.einsum("uc,uc->u", raw, raw, dtype=np.float64)[:, None] / count).astype(np.float32)
        # Rounding makes float32 inner products of equal vectors differ by about 1e-7 of their size: that is no variation.
        varies = spread > 1e-6 * size
        raw *= np.divide(1, spread, out=np.zeros_like(spread), where=varies)
    return components


def contributions(config: RecommendConfig, users: UserBatch, components: Floats) -> Floats:
    """Weight times standardised score of each component: what adds up to the score.

    Args:
        config: the weights.
        users: whose candidates these are; their segments say which weights count.
        components: float32 ``(n_components, n_users, c)``, standardised; overwritten.

    Returns:
        The same array.
    """
    weights = config.weight_matrix().astype(np.float32)[users.segment]
    for place in range(len(COMPONENTS)):
        components[place] *= weights[:, place, None]
    return components


def _products(of_users: Floats, of_videos: Floats, positions: Ints, out: Floats) -> None:
    """Inner products of each user with the videos at ``positions`` ``(n_users, c)``, into ``out``; anything in the padding."""
    # A few users at a time through one buffer: the gathered vectors stay in the cache, twice as fast as all at once.
    gathered = np.empty((_USERS_PER_GATHER, positions.shape[1], of_videos.shape[1]), dtype=np.float32)
    for start in range(0, len(of_users), _USERS_PER_GATHER):
        few = slice(start, min(start + _USERS_PER_GATHER, len(of_users)))
        vectors = gathered[: few.stop - start]
        np.take(of_videos, positions[few], axis=0, out=vectors, mode="wrap")  # -1, the padding, is the last one
        # Not matmul: BLAS sums the last rows in another order, so that equal videos would not tie.
        np.einsum("bcd,bd->bc", vectors, of_users[few], out=out[few])
