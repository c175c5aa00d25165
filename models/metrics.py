"""Metrics: the one meaning of each figure that training, the gate, reports and tests share.

Ranking metrics judge lists against sets of relevant videos over the whole catalogue; nothing is sampled (Krichene and Rendle,
"On Sampled Metrics for Item Recommendation", KDD 2020). Relevance is binary. The ideal list of nDCG and the normaliser of mAP
hold ``min(k, n_relevant)`` videos, so that a perfect list scores 1 at every k (Jarvelin and Kekalainen, TOIS 2002). A user
without relevant videos has no ranking quality: every metric of that user is NaN, and :func:`means` leaves NaN out.

Classification metrics take a weight an example, the inverse of its sampling probability, so that figures on down-sampled
negatives estimate those of the full log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from schemas.errors import ReelflowError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KS = (1, 5, 10, 20, 100)
"""The depths at which lists are judged."""


def ranking_metrics(
    recommended: Ints, relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]], ks: Sequence[int] = KS
) -> dict[str, Floats]:
    """Judge each user's list against the videos that were relevant to that user.

    Args:
        recommended: int64 ``(n_users, length)``, best first, padded with -1 (a place left empty, counted as a miss).
        relevant: rows of relevant ids in the same order of users: a CSR matrix over dense ids, or ``(indptr, indices)`` with
            ids of any size. Both sides must use the same ids.
        ks: depths.

    Returns:
        Per-user float64 ``(n_users,)`` under ``precision@k``, ``recall@k``, ``ndcg@k``, ``map@k`` for each k, and ``mrr`` over
        the full length. NaN for a user without relevant videos.

    Raises:
        ReelflowError: another number of users on either side, or a list that repeats a video.
    """
    lists = np.asarray(recommended, dtype=np.int64)
    hits, n_relevant = _hits(lists, relevant)
    n_users, length = lists.shape
    judged = np.where(n_relevant > 0, 1.0, np.nan)
    deepest = max([*ks, length, 1])
    discounts = 1.0 / np.log2(np.arange(2, deepest + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    counts = np.cumsum(hits, axis=1, dtype=np.float64)
    gains = np.cumsum(hits * discounts[:length], axis=1)
    precisions = np.cumsum(np.where(hits, counts / np.arange(1, length + 1), 0.0), axis=1)
    values: dict[str, Floats] = {}
    for k in ks:
        reach = min(k, length)
        possible = np.maximum(np.minimum(k, n_relevant), 1)
        found, gain, precision = (
            column[:, reach - 1] if reach else np.zeros(n_users) for column in (counts, gains, precisions)
        )
        values[f"precision@{k}"] = judged * found / k
        values[f"recall@{k}"] = judged * found / np.maximum(n_relevant, 1)
        values[f"ndcg@{k}"] = judged * gain / ideal[possible]
        values[f"map@{k}"] = judged * precision / possible
    first = hits.argmax(axis=1) if length else np.zeros(n_users, dtype=np.int64)
    values["mrr"] = judged * np.where(hits.any(axis=1), 1.0 / (first + 1), 0.0)
    return values


def means(values: Mapping[str, Floats]) -> dict[str, float]:
    """Average each metric over the users who have it; NaN when none has."""
    kept = {name: column[~np.isnan(column)] for name, column in values.items()}
    return {name: float(column.mean()) if len(column) else float("nan") for name, column in kept.items()}


def coverage(recommended: Ints, catalogue_size: int, k: int) -> float:
    """Share of the catalogue that stands in the top ``k`` of at least one user.

    Args:
        recommended: int64 ``(n_users, length)``, padded with -1.
        catalogue_size: number of videos that could have been shown.
        k: depth.
    """
    shown = np.unique(recommended[:, :k])
    return float((shown >= 0).sum() / catalogue_size) if catalogue_size else 0.0


def popularity_share(recommended: Ints, popularity: Floats, k: int, head_fraction: float = 0.01) -> float:
    """Share of the top ``k`` places that go to the most popular ``head_fraction`` of the catalogue.

    Args:
        recommended: int64 ``(n_users, length)`` dense ids, padded with -1.
        popularity: float64 ``(n_videos,)``.
        k: depth.
        head_fraction: how much of the catalogue is the head; at least one video. Equal popularity goes by dense id.

    Returns:
        0 to 1; NaN when no place is filled.
    """
    head_size = max(1, round(head_fraction * len(popularity)))
    head = np.zeros(len(popularity), dtype=bool)
    head[np.argsort(-popularity, kind="stable")[:head_size]] = True
    shown = recommended[:, :k]
    shown = shown[shown >= 0]
    return float(head[shown].mean()) if len(shown) else float("nan")


def roc_auc(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> float:
    """Probability that a random positive outscores a random negative, ties counting half; NaN when either kind is missing.

    Args:
        labels: 0 or 1, ``(n,)``.
        scores: ``(n,)``, higher for likelier positives.
        weights: float64 ``(n,)``, how many examples each stands for; ``None`` for one each.
    """
    positive, negative, _ = _by_score(labels, scores, weights)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def pr_auc(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> float:
    """Average precision: precision at each distinct score, weighted with the recall it adds; NaN without positives.

    The step-wise sum of Davis and Goadrich (ICML 2006) rather than a trapezoid, which is too optimistic.

    Args:
        labels: 0 or 1, ``(n,)``.
        scores: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    positive, negative, _ = _by_score(labels, scores, weights)
    positive, negative = positive[::-1], negative[::-1]
    found = np.cumsum(positive)
    shown = found + np.cumsum(negative)
    precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
    return float((positive * precision).sum() / found[-1]) if len(found) and found[-1] > 0 else float("nan")


def log_loss(labels: NDArray[Any], probabilities: NDArray[Any], weights: Floats | None = None) -> float:
    """Mean negative log likelihood in nats; probabilities are kept 1e-7 away from 0 and 1. NaN without examples.

    Args:
        labels: 0 or 1, ``(n,)``.
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    truth, chance, mass = _columns(labels, probabilities, weights)
    safe = np.clip(chance, 1e-7, 1 - 1e-7)
    losses = -np.where(truth, np.log(safe), np.log1p(-safe))
    return float((losses * mass).sum() / mass.sum()) if mass.sum() else float("nan")


def expected_calibration_error(
    labels: NDArray[Any], probabilities: NDArray[Any], weights: Floats | None = None, n_bins: int = 15
) -> float:
    """Mean distance between predicted and observed rate, over bins of equal weight; NaN without examples.

    Equal-mass bins (Nguyen and O'Connor, EMNLP 2015) keep the few likely positives from sharing one bin with everything else.
    Examples of equal probability stay together in the bin that holds the middle of their weight, so order does not matter.

    Args:
        labels: 0 or 1, ``(n,)``.
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
        n_bins: number of bins.
    """
    positive, negative, chance = _by_score(labels, probabilities, weights)
    mass = positive + negative
    total = mass.sum()
    if not total:
        return float("nan")
    middle = np.cumsum(mass) - mass / 2
    bins = np.minimum((middle / total * n_bins).astype(np.int64), n_bins - 1)
    observed = np.bincount(bins, positive, n_bins)
    predicted = np.bincount(bins, mass * chance, n_bins)
    return float(np.abs(observed - predicted).sum() / total)


def _hits(lists: Ints, relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[np.bool_], Ints]:
    """Mark the relevant places of each list, bool ``(n_users, length)``, and count each user's distinct relevant videos."""
    if isinstance(relevant, tuple):
        indptr, ids = np.asarray(relevant[0], dtype=np.int64), np.asarray(relevant[1], dtype=np.int64)
    else:
        rows = relevant.copy()
        rows.eliminate_zeros()
        indptr, ids = rows.indptr.astype(np.int64), rows.indices.astype(np.int64)
    n_users = len(indptr) - 1
    if lists.ndim != 2 or len(lists) != n_users:
        raise ReelflowError(f"ranking metrics: found lists of shape {lists.shape} for {n_users} users, expected one row a user")
    ordered = np.sort(lists, axis=1)
    if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()):
        raise ReelflowError("ranking metrics: found a list that repeats a video, expected distinct ones; mend the recommender")
    known, dense = np.unique(ids, return_inverse=True)
    users = np.repeat(np.arange(n_users), np.diff(indptr))
    width = max(len(known), 1)
    wanted = np.unique(users * width + dense)
    n_relevant = np.bincount(wanted // width, minlength=n_users)
    if not len(known) or not lists.size:
        return np.zeros(lists.shape, dtype=bool), n_relevant
    place = np.minimum(np.searchsorted(known, lists), len(known) - 1)
    keys = np.arange(n_users)[:, None] * width + place
    found = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return (known[place] == lists) & (wanted[found] == keys) & (lists >= 0), n_relevant


def _columns(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None) -> tuple[NDArray[np.bool_], Floats, Floats]:
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    mass = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not truth.shape == values.shape == mass.shape or values.ndim != 1:
        raise ReelflowError(
            f"metrics: found labels {truth.shape}, scores {values.shape}, weights {mass.shape}; expected equal lengths"
        )
    if not bool(np.isfinite(values).all() and np.isfinite(mass).all() and (mass >= 0).all()):
        raise ReelflowError(
            "metrics: found scores or weights that are not finite or negative weights; the model that made them is damaged"
        )
    return truth > 0, values, mass


def _by_score(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Weight of positives and of negatives at each distinct score, and the scores, ascending; each ``(n_distinct,)``."""
    truth, values, mass = _columns(labels, scores, weights)
    distinct, group = np.unique(values, return_inverse=True)
    positive, negative = (_sums(group, mass * side, len(distinct)) for side in (truth, ~truth))
    return positive, negative, distinct


def _sums(group: NDArray[np.intp], amount: Floats, n_groups: int) -> Floats:
    # bincount gives integers when nothing is counted
    return np.bincount(group, amount, n_groups).astype(np.float64)
