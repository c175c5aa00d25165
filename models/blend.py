"""Weights of the ensemble that would have made the best lists on held-out time, searched by nDCG itself.

Lists change only where scores cross, so their quality has no gradient: weights are searched directly, along one component
after the other from several starts (coordinate ascent, Metzler and Croft, Linear feature-based models for information
retrieval, Information Retrieval 2007). A handful of weights on hundreds of users leaves little to overfit; a change must win by
more than a share of its standard error to be taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.recommend import COMPONENTS, Component

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_DEPTH = 20
_STEPS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
_ROUNDS = 4
_MIN_USERS = 30


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
        A weight each component; the largest is 1.
    """
    given = np.array([float(start.get(name, 0.0)) for name in COMPONENTS])
    if len(positions) < _MIN_USERS:
        return _named(given)
    judge = _Judge(positions, scores, relevant)
    starts = [given, *np.eye(len(COMPONENTS)), np.ones(len(COMPONENTS))]
    best, best_quality = given, judge(given)
    for weights in starts:
        found, quality = _ascend(judge, np.asarray(weights, dtype=np.float64))
        if _wins(quality, best_quality, min_gain_errors):
            best, best_quality = found, quality
    return _named(best)


class _Judge:
    """nDCG of each user's list under some weights."""

    def __init__(self, positions: Ints, scores: Floats, relevant: sp.csr_matrix) -> None:
        n_users, width = positions.shape
        rows = np.repeat(np.arange(n_users), width)
        hit = np.asarray(relevant[rows, np.maximum(positions, 0).ravel()]).ravel().astype(bool) & (positions.ravel() >= 0)
        self._hits = hit.reshape(positions.shape)
        self._scores = scores
        self._padding = np.where(positions >= 0, 0.0, -np.inf).astype(np.float32)
        discounts = 1.0 / np.log2(np.arange(2, _DEPTH + 2))
        possible = np.minimum(np.diff(relevant.indptr), _DEPTH)
        self._discounts = discounts
        self._ideal = np.concatenate([[1.0], np.cumsum(discounts)])[possible]

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.tensordot(weights.astype(np.float32), self._scores, axes=1) + self._padding
        depth = min(_DEPTH, total.shape[1])
        top = np.argpartition(-total, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(total, top, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self._hits, np.take_along_axis(top, order, axis=1), axis=1)
        gain: NDArray[np.float64] = (hits * self._discounts[:depth]).sum(axis=1) / self._ideal
        return gain


def _ascend(judge: _Judge, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move one weight at a time, relative to the largest, as long as the mean rises."""
    quality = judge(weights)
    for _ in range(_ROUNDS):
        before = quality.mean()
        for place in range(len(weights)):
            for step in _STEPS:
                tried = weights.copy()
                tried[place] = step * max(weights.max(), 1e-9)
                if not tried.any():
                    continue
                found = judge(tried)
                if found.mean() > quality.mean():
                    weights, quality = tried, found
        weights = weights / weights.max()
        if quality.mean() <= before * (1 + 1e-4):
            break
    return weights, quality


def _wins(new: NDArray[np.float64], old: NDArray[np.float64], errors: float) -> bool:
    gain = new - old
    return bool(gain.mean() > errors * gain.std() / np.sqrt(len(gain)))


def _named(weights: Sequence[float] | NDArray[np.float64]) -> dict[Component, float]:
    most = max(weights) or 1.0
    return {name: round(float(weight) / most, 4) for name, weight in zip(COMPONENTS, weights, strict=True)}
