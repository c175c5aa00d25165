"""How alike two models score the same pairs.

``models.recommend.score_matrix`` makes the scores: each component is standardised per user, so a user's scale does not count,
while what is common to all users (popular videos score high everywhere) still does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from schemas.errors import ReelflowError


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How alike two models score the same pairs; NaN where it cannot be said.

    Attributes:
        pooled_pearson: over all pairs.
        pooled_spearman: over all pairs, ties sharing their mean rank.
        mean_user_pearson: mean over the users who have at least two pairs and scores that vary.
        users: how many users that mean is over.
        pairs: how many pairs were compared.
    """

    pooled_pearson: float
    pooled_spearman: float
    mean_user_pearson: float
    users: int
    pairs: int


def correlation(
    candidate_scores: NDArray[Any], incumbent_scores: NDArray[Any], unseen: NDArray[np.bool_] | None = None
) -> Correlation:
    """Correlate two models' predictions over the same users and videos.

    Args:
        candidate_scores: ``(n_users, n_videos)``.
        incumbent_scores: ``(n_users, n_videos)``, same users, same videos, same order.
        unseen: bool ``(n_users, n_videos)``, true where the pair counts; ``None`` for all.

    Returns:
        The figures; NaN for all of them when any counted score is not finite.

    Raises:
        ReelflowError: shapes that differ.
    """
    new, old = np.asarray(candidate_scores, dtype=np.float64), np.asarray(incumbent_scores, dtype=np.float64)
    mask = np.ones(new.shape, dtype=bool) if unseen is None else np.asarray(unseen, dtype=bool)
    if new.ndim != 2 or not new.shape == old.shape == mask.shape:
        raise ReelflowError(
            f"correlation: found scores of shapes {new.shape} and {old.shape} and a mask of {mask.shape}; expected equal ones: "
            "score the same users and videos with both models"
        )
    pairs = int(mask.sum())
    a, b = new[mask], old[mask]
    if not bool(np.isfinite(a).all() and np.isfinite(b).all()):
        nan = float("nan")
        return Correlation(pooled_pearson=nan, pooled_spearman=nan, mean_user_pearson=nan, users=0, pairs=pairs)
    per_user = row_pearson(np.where(mask, new, 0.0), np.where(mask, old, 0.0), mask)
    known = per_user[~np.isnan(per_user)]
    return Correlation(
        pooled_pearson=_pearson(a, b),
        pooled_spearman=_pearson(rankdata(a), rankdata(b)) if pairs else float("nan"),
        mean_user_pearson=float(known.mean()) if len(known) else float("nan"),
        users=len(known),
        pairs=pairs,
    )


def row_pearson(a: NDArray[np.float64], b: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pearson of each row over its masked cells, ``(n_rows,)``; NaN where one side does not vary."""
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    x, y = (np.where(mask, side - (side * mask).sum(axis=1, keepdims=True) / count, 0.0) for side in (a, b))
    xx, yy, xy = (x * x).sum(axis=1), (y * y).sum(axis=1), (x * y).sum(axis=1)
    # What rounding leaves of a constant is no variation: 1e-10 of its size is far above that, and far below any real spread.
    varies = (xx > 1e-20 * (a * a * mask).sum(axis=1)) & (yy > 1e-20 * (b * b * mask).sum(axis=1)) & (xx > 0) & (yy > 0)
    values: NDArray[np.float64] = np.full(len(a), np.nan)
    np.divide(xy, np.sqrt(xx) * np.sqrt(yy), out=values, where=varies)
    return np.clip(values, -1.0, 1.0, out=values)


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    everywhere = np.ones((1, len(a)), dtype=bool)
    return float(row_pearson(a[None, :], b[None, :], everywhere)[0])
