"""How alike two lists of a user are at the top: Jaccard at k, rank-biased overlap, and what stayed within near-ties.

Rank-biased overlap weighs agreement at each depth d by p^(d-1), so the first places count most; what lies beyond the lists is
extrapolated from their last depth (Webber, Moffat and Zobel, "A Similarity Measure for Indefinite Rankings", ACM TOIS 28(4),
2010, equation 32). With p = 0.9 the first ten places hold 86 % of the weight.

Lists differ by chance where scores nearly tie. Neither Jaccard nor rank-biased overlap forgives that: their noise floor, which
two seeds of the same data reach, says how much of it there is. ``kept`` does: a video counts as kept if the other model still
scores it at most ``tie`` below its own k-th place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PERCENTILES = (5, 25, 50, 75, 95)


def jaccard(new: Ints, old: Ints, k: int) -> Floats:
    """Shared videos of the first ``k`` places over all videos in them, float64 ``(n_users,)``; NaN where both are empty.

    Args:
        new: int64 ``(n_users, depth)`` positions, best first, padded with -1.
        old: likewise, same users.
        k: places that count.
    """
    a, b = new[:, :k], old[:, :k]
    shared = _shared(a, b)[:, -1]
    union = (a >= 0).sum(axis=1) + (b >= 0).sum(axis=1) - shared
    found: Floats = np.divide(shared, union, out=np.full(len(a), np.nan), where=union > 0)
    return found


def rbo(new: Ints, old: Ints, persistence: float) -> Floats:
    """Rank-biased overlap, extrapolated, float64 ``(n_users,)`` from 0 to 1; NaN where a list is empty.

    Args:
        new: int64 ``(n_users, depth)`` positions, best first, padded with -1.
        old: likewise, same users.
        persistence: p, the chance of looking at the next place.
    """
    depth = np.minimum((new >= 0).sum(axis=1), (old >= 0).sum(axis=1))
    shared = _shared(new, old)
    place = np.arange(1, new.shape[1] + 1)
    counted = np.where(place <= depth[:, None], shared / place * persistence**place, 0.0).sum(axis=1)
    last = np.take_along_axis(shared, np.maximum(depth - 1, 0)[:, None], axis=1)[:, 0]
    found = last / np.maximum(depth, 1) * persistence**depth + (1 - persistence) / persistence * counted
    return np.where(depth > 0, found, np.nan)


def kept(new: Ints, new_scores: NDArray[Any], old: Ints, old_scores: NDArray[Any], *, k: int, tie: float) -> Floats:
    """Share of each model's first ``k`` that the other scores at most ``tie`` below its own k-th, the mean of both ways.

    Args:
        new: int64 ``(n_users, depth)`` positions, best first, padded with -1; ``depth`` above ``k``, or all ties are lost.
        new_scores: float ``(n_users, depth)``, standard deviations, falling along a row.
        old: likewise, same users.
        old_scores: likewise.
        k: places that count.
        tie: standard deviations.

    Returns:
        float64 ``(n_users,)``; NaN where a list is empty.
    """
    return (_still(old, new, new_scores, k, tie) + _still(new, old, old_scores, k, tie)) / 2


def distribution(values: Floats) -> dict[str, float]:
    """Mean and percentiles of what is known; empty where nothing is."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    levels = np.percentile(known, PERCENTILES)
    return {"mean": float(known.mean()), **{f"p{p:02d}": float(v) for p, v in zip(PERCENTILES, levels, strict=True)}}


def _still(asked: Ints, of: Ints, scores: NDArray[Any], k: int, tie: float) -> Floats:
    top = asked[:, :k]
    listed = (of >= 0).sum(axis=1)
    last = np.take_along_axis(scores, np.maximum(np.minimum(k, listed) - 1, 0)[:, None], axis=1)
    good = np.where((of >= 0) & (scores >= last - tie), of, -2)
    found = ((top[:, :, None] == good[:, None, :]).any(axis=2) & (top >= 0)).sum(axis=1)
    size = (top >= 0).sum(axis=1)
    share: Floats = np.divide(found, size, out=np.full(len(top), np.nan), where=(size > 0) & (listed > 0))
    return share


def _shared(a: Ints, b: Ints) -> Floats:
    """How many videos both lists hold up to each depth, ``(n_users, depth)``."""
    same = (a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)
    later = np.maximum(np.arange(a.shape[1])[:, None], np.arange(b.shape[1])[None, :])
    found = np.zeros((len(a), a.shape[1]))
    user, i, j = np.nonzero(same)
    np.add.at(found, (user, later[i, j]), 1.0)
    return np.cumsum(found, axis=1)
