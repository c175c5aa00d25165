"""Weights of the ensemble that would have made the best lists on held-out time, searched by nDCG itself.

Lists change only where scores cross, so their quality has no gradient: weights are searched directly, along one component
after the other from several starts (coordinate ascent, Metzler and Croft, Linear feature-based models for information
retrieval, Information Retrieval 2007). A handful of weights on hundreds of users leaves little to overfit; a change must win by
more than a share of its standard error to be taken.

Only the ranks of the few relevant candidates count. What each other candidate has more than one of those is kept for every
component, so a step along one of them is one addition, and ranks are counts of positive differences.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.recommend import COMPONENTS, Component

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_DEPTH = 20
_STEPS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
_ROUNDS = 4
_SINGLE_STARTS = 2
_MIN_USERS = 30
_MAX_CELLS = 3_000_000  # pairs of a relevant candidate and another one; users beyond them are left out, evenly
_TIE = np.float32(1e-6)
_GIVEN = ("sponsored",)
"""Components whose weight is a decision of the business, which no held-out list can tell."""


def learn_weights(
    positions: Ints,
    scores: Floats,
    relevant: sp.csr_matrix,
    start: Mapping[Component, float],
    *,
    min_gain_errors: float = 0.5,
) -> dict[Component, float]:
    """Find weights whose lists hold what was relevant.

    Args:
        positions: int64 ``(n_users, c)`` candidates, padded with -1.
        scores: float32 ``(n_components, n_users, c)``, standardised, in the order of ``COMPONENTS``.
        relevant: bool CSR ``(n_users, n_videos)``.
        start: the weights to begin with, which are kept where too few users could tell better.
        min_gain_errors: how many standard errors of its own (paired) a change must win to be taken.

    Returns:
        A weight each component, the largest as large as the largest of ``start``; those of ``_GIVEN`` as they were given.
    """
    given = np.array([float(start.get(name, 0.0)) for name in COMPONENTS])
    searched = np.array([name not in _GIVEN for name in COMPONENTS])
    if len(positions) < _MIN_USERS or not given[searched].any():
        return _named(given)
    judge = _Judge(positions, scores, relevant)
    own = given * searched
    best, best_quality = own, judge(own)
    singles = sorted(np.eye(len(COMPONENTS))[searched], key=lambda weights: -judge(weights).mean())
    for weights in (own, searched.astype(np.float64), *singles[:_SINGLE_STARTS]):
        found, quality = _ascend(judge, weights, np.flatnonzero(searched))
        if _wins(quality, best_quality, min_gain_errors):
            best, best_quality = found, quality
    # On the scale that was given, which is what boosts and the rules' penalties are set against.
    return _named(np.where(searched, best / best[searched].max() * given[searched].max(), given))


class _Judge:
    """nDCG of each user's list under some weights."""

    def __init__(self, positions: Ints, scores: Floats, relevant: sp.csr_matrix) -> None:
        n_users, width = positions.shape
        rows = np.repeat(np.arange(n_users), width)
        hit = np.asarray(relevant[rows, np.maximum(positions, 0).ravel()]).ravel().astype(bool) & (positions.ravel() >= 0)
        row, column = np.nonzero(hit.reshape(positions.shape))
        every = max(1, -(-len(row) * width // _MAX_CELLS))
        kept = row % every == 0
        row, column = row[kept], column[kept]
        self._user = row // every
        self._n_users = -(-n_users // every)
        # Positive where another candidate is ahead; equals are by their column, and the padding is behind everybody.
        self._ahead = [part[row] - part[row, column][:, None] for part in scores]
        self._bias = np.where(np.arange(width) < column[:, None], _TIE, -_TIE).astype(np.float32)
        self._bias[positions[row] < 0] = -np.inf
        discounts = 1.0 / np.log2(np.arange(2, _DEPTH + 2))
        self._discounts = np.append(discounts, np.zeros(width))
        possible = np.minimum(np.diff(relevant.indptr)[::every], _DEPTH)
        self._ideal = np.concatenate([[1.0], np.cumsum(discounts)])[possible]

    def differences(self, weights: NDArray[np.float64]) -> Floats:
        """What every candidate's score exceeds each relevant one's by, float32 ``(n_relevant, c)``."""
        total = self._bias.copy()
        for weight, part in zip(weights, self._ahead, strict=True):
            if weight:
                total += np.float32(weight) * part
        return total

    def moved(self, differences: Floats, place: int, by: float) -> Floats:
        """The same with another weight of one component."""
        return np.asarray(differences + np.float32(by) * self._ahead[place])

    def of(self, differences: Floats) -> NDArray[np.float64]:
        """NDCG of each user ``(n_users,)``."""
        gain = self._discounts[np.count_nonzero(differences > 0, axis=1)]
        return np.asarray(np.bincount(self._user, gain, self._n_users) / self._ideal)

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.of(self.differences(weights))


def _ascend(judge: _Judge, weights: NDArray[np.float64], places: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move one weight at a time, relative to the largest, as long as the mean rises."""
    quality = judge(weights)
    for _ in range(_ROUNDS):
        before, now = quality.mean(), judge.differences(weights)
        for place in places:
            most = max(weights.max(), 1e-9)
            for step in _STEPS:
                tried = weights.copy()
                tried[place] = step * most
                if not tried.any() or tried[place] == weights[place]:
                    continue
                moved = judge.moved(now, place, tried[place] - weights[place])
                found = judge.of(moved)
                if found.mean() > quality.mean():
                    weights, quality, now = tried, found, moved
        weights = weights / weights.max()
        if quality.mean() <= before * (1 + 1e-4):
            break
    return weights, judge(weights)


def _wins(new: NDArray[np.float64], old: NDArray[np.float64], errors: float) -> bool:
    gain = new - old
    return bool(gain.mean() > errors * gain.std() / np.sqrt(len(gain)))


def _named(weights: NDArray[np.float64]) -> dict[Component, float]:
    return {name: round(float(weight), 4) for name, weight in zip(COMPONENTS, weights, strict=True)}
