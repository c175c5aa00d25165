"""Classification: predicted probabilities against labels, every example with a weight (V2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.metrics._bootstrap import product
from schemas.errors import ReelflowError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SAFE = 1e-7
_SCORE_GROUPS = 1024


def roc_auc(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> float:
    """Probability that a random positive outscores a random negative, ties counting half; NaN when either kind is missing.

    Args:
        labels: 0 or 1, ``(n,)``.
        scores: ``(n,)``, higher for likelier positives.
        weights: float64 ``(n,)``, how many examples each stands for; ``None`` for one each.
    """
    positive, negative, _ = _by_score(labels, scores, weights)
    return float(_auc(positive, negative))


def pr_auc(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> float:
    """Average precision: precision at each distinct score, weighted with the recall it adds; NaN without positives.

    The step-wise sum of Davis and Goadrich (ICML 2006) rather than a trapezoid, which is too optimistic.

    Args:
        labels: 0 or 1, ``(n,)``.
        scores: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    positive, negative, _ = _by_score(labels, scores, weights)
    return float(_average_precision(positive, negative))


def log_loss(labels: NDArray[Any], probabilities: NDArray[Any], weights: Floats | None = None) -> float:
    """Mean negative log likelihood in nats; probabilities are kept 1e-7 away from 0 and 1. NaN without examples.

    Args:
        labels: 0 or 1, ``(n,)``.
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    truth, chance, mass = _columns(labels, probabilities, weights)
    losses = _losses(truth, chance)
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
    bins = _equal_bins(mass, n_bins)
    observed = np.bincount(bins, positive, n_bins)
    predicted = np.bincount(bins, mass * chance, n_bins)
    return float(np.abs(observed - predicted).sum() / total)


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was predicted and what came, in bins of equal weight; bins without examples are left out.

    Attributes:
        predicted: mean prediction, float64 ``(n_bins,)``, ascending.
        observed: weighted share of positives, float64 ``(n_bins,)``.
        weight: sum of the weights, float64 ``(n_bins,)``.
        examples: number of examples, int64 ``(n_bins,)``.
    """

    predicted: Floats
    observed: Floats
    weight: Floats
    examples: Ints


def reliability(
    labels: NDArray[Any], probabilities: NDArray[Any], weights: Floats | None = None, n_bins: int = 15
) -> Reliability:
    """The reliability diagram whose distances :func:`expected_calibration_error` averages, with the same bins.

    Args:
        labels: 0 or 1, ``(n,)``.
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
        n_bins: number of bins, at most.
    """
    truth, chance, mass = _columns(labels, probabilities, weights)
    bins = reliability_bins(probabilities, weights, n_bins)
    weight, examples = _sums(bins, mass, n_bins), np.bincount(bins, minlength=n_bins)
    kept = weight > 0
    divisor = weight[kept]
    return Reliability(
        np.bincount(bins, mass * chance, n_bins)[kept] / divisor,
        np.bincount(bins, mass * truth, n_bins)[kept] / divisor,
        divisor,
        examples[kept],
    )


def reliability_bins(probabilities: NDArray[Any], weights: Floats | None = None, n_bins: int = 15) -> Ints:
    """The bin of :func:`reliability` that each example lies in, ascending by probability and without gaps.

    Args:
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
        n_bins: number of bins, at most.

    Returns:
        int64 ``(n,)`` from 0. An example without weight between two bins has that of its neighbours below.
    """
    _, chance, mass = _columns(np.zeros(len(probabilities)), probabilities, weights)
    distinct, place = np.unique(chance, return_inverse=True)
    of_distinct = _sums(place, mass, len(distinct))
    bins = _equal_bins(of_distinct, n_bins)
    filled = np.bincount(bins, of_distinct, n_bins) > 0
    numbers: Ints = np.maximum(np.cumsum(filled) - 1, 0)
    return numbers[bins][place]


def calibration_ratio(labels: NDArray[Any], probabilities: NDArray[Any], weights: Floats | None = None) -> float:
    """Predicted positives over observed ones: 1 when the mean is right, above 1 for a model that promises too much.

    He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook" (ADKDD 2014). NaN without positives.

    Args:
        labels: 0 or 1, ``(n,)``.
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    truth, chance, mass = _columns(labels, probabilities, weights)
    observed = (mass * truth).sum()
    return float((mass * chance).sum() / observed) if observed else float("nan")


def ranking_loss(
    labels: NDArray[Any], scores: NDArray[Any], groups: Ints, n_groups: int, weights: Floats | None = None
) -> Floats:
    """Share of each group's (positive, negative) pairs in which the positive does not score higher.

    The ranking loss of Schapire and Singer, "BoosTexter" (Machine Learning, 2000), with a group (a user) as the unit and a tie
    counted as an error. A pair weighs the product of its two weights.

    Args:
        labels: 0 or 1, ``(n,)``.
        scores: ``(n,)``, higher for likelier positives.
        groups: int64 ``(n,)`` from 0.
        n_groups: how many groups there are.
        weights: float64 ``(n,)``; ``None`` for one each.

    Returns:
        float64 ``(n_groups,)``; NaN for a group of one label only.
    """
    truth, values, mass = _columns(labels, scores, weights)
    order = np.lexsort((values, groups))
    group, value = np.asarray(groups)[order], values[order]
    positive, negative = (mass * truth)[order], (mass * ~truth)[order]
    sums = [_sums(group, amount, n_groups) for amount in (positive, negative)]
    first = np.ones(len(group), dtype=bool)
    first[1:] = (group[1:] != group[:-1]) | (value[1:] != value[:-1])
    block = np.cumsum(first) - 1
    before = np.concatenate([[0.0], np.cumsum(negative)])
    # Negatives of the group that score lower: all before this block of equal scores, less those of earlier groups.
    starts = np.concatenate([[0.0], np.cumsum(sums[1])])[:-1]
    below = before[np.flatnonzero(first)][block] - starts[group]
    wrong = _sums(group, positive * (sums[1][group] - below), n_groups)
    pairs = sums[0] * sums[1]
    losses: Floats = np.full(n_groups, np.nan)
    np.divide(wrong, pairs, out=losses, where=pairs > 0)
    return np.clip(losses, 0.0, 1.0, out=losses)


def roc_curve(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> tuple[Floats, Floats]:
    """False positive rate and true positive rate at every distinct threshold, from (0, 0) to (1, 1).

    Args:
        labels: 0 or 1, ``(n,)``, of both kinds.
        scores: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    positive, negative, _ = _by_score(labels, scores, weights)
    rates = [np.concatenate([[0.0], np.cumsum(side[::-1])]) for side in (negative, positive)]
    return rates[0] / rates[0][-1], rates[1] / rates[1][-1]


def precision_recall_curve(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Recall and precision at every distinct threshold, from the highest down.

    Args:
        labels: 0 or 1, ``(n,)``, with a positive.
        scores: ``(n,)``.
        weights: float64 ``(n,)``; ``None`` for one each.
    """
    positive, negative, _ = _by_score(labels, scores, weights)
    found, shown = np.cumsum(positive[::-1]), np.cumsum((positive + negative)[::-1])
    return found / found[-1], np.divide(found, shown, out=np.ones_like(found), where=shown > 0)


def resampled(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    weights: Floats,
    users: Ints,
    draws: Floats,
    *,
    score_groups: int = _SCORE_GROUPS,
) -> dict[str, Floats]:
    """Classification metrics of bootstrap replicates, in which every user's examples count as often as the user was drawn.

    The bins of the calibration error are those of the whole sample. Beyond ``score_groups`` distinct probabilities, neighbours
    count as equal for the two areas. Each group holds as large a share of the positives and of the negatives together as any
    other, so that rare positives do not share the last few groups: with 300,000 examples, 2 % of them positive, and a PR-AUC of
    0.054 that is moved by 1e-4 by 1,024 groups and by 8e-4 by 256, where groups of equal weight move it by 3e-3 and 6e-3.

    Args:
        labels: 0 or 1, ``(n,)``.
        probabilities: ``(n,)``.
        weights: float64 ``(n,)``.
        users: int64 ``(n,)`` row of each example's user in ``draws``.
        draws: float64 ``(n_replicates, n_users)``.
        score_groups: how many probabilities the two areas tell apart, at most.

    Returns:
        float64 ``(n_replicates,)`` under the names of the metrics' functions: roc_auc, pr_auc, log_loss,
        expected_calibration_error, calibration_ratio.
    """
    truth, chance, mass = _columns(labels, probabilities, weights)
    n_users, n_bins = draws.shape[1], 15
    distinct, place = np.unique(chance, return_inverse=True)
    of_distinct = _sums(place, mass, len(distinct))
    group = place if len(distinct) <= score_groups else _score_groups(place, mass, truth, score_groups)[place]
    shape = (n_users, min(len(distinct), score_groups))
    sides = [draws @ sp.csr_matrix((mass * side, (users, group)), shape=shape) for side in (truth, ~truth)]
    bins = _equal_bins(of_distinct, n_bins)[place]
    cell = users * n_bins + bins
    gaps, predicted, observed, total, loss = (
        _sums(cell, amount, n_users * n_bins).reshape(n_users, n_bins)
        for amount in (mass * (truth - chance), mass * chance, mass * truth, mass, mass * _losses(truth, chance))
    )
    columns = (total, loss, predicted, observed)
    whole, lost, promised, came = product(draws, np.stack([of.sum(axis=1) for of in columns], axis=1)).T
    return {
        "roc_auc": _auc(*sides),
        "pr_auc": _average_precision(*sides),
        "log_loss": _ratio(lost, whole),
        "expected_calibration_error": _ratio(np.abs(product(draws, gaps)).sum(axis=1), whole),
        "calibration_ratio": _ratio(promised, came),
    }


def _auc(positive: Floats, negative: Floats) -> Floats:
    """ROC-AUC of weights at ascending distinct scores, ``(..., n)`` to ``(...)``."""
    below = np.cumsum(negative, axis=-1) - negative
    ordered = (positive * (below + negative / 2)).sum(axis=-1)
    return _ratio(ordered, positive.sum(axis=-1) * negative.sum(axis=-1))


def _average_precision(positive: Floats, negative: Floats) -> Floats:
    """Average precision of weights at ascending distinct scores, ``(..., n)`` to ``(...)``."""
    positive, negative = positive[..., ::-1], negative[..., ::-1]
    found = np.cumsum(positive, axis=-1)
    shown = found + np.cumsum(negative, axis=-1)
    precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
    return _ratio((positive * precision).sum(axis=-1), positive.sum(axis=-1))


def _ratio(above: Any, below: Any) -> Floats:
    """Quotients, NaN where the divisor is 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    quotients: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return quotients


def _losses(truth: NDArray[np.bool_], chance: Floats) -> Floats:
    safe = np.clip(chance, _SAFE, 1 - _SAFE)
    losses: Floats = -np.where(truth, np.log(safe), np.log1p(-safe))
    return losses


def _equal_bins(mass: Floats, n_bins: int) -> Ints:
    """The bin of equal mass that holds the middle of each entry's, in the order of the entries."""
    middle = np.cumsum(mass) - mass / 2
    bins: Ints = np.minimum((middle / max(mass.sum(), 1e-300) * n_bins).astype(np.int64), n_bins - 1)
    return bins


def _score_groups(place: NDArray[np.intp], mass: Floats, truth: NDArray[np.bool_], n_groups: int) -> Ints:
    """A group for each distinct score, each with as large a share of both labels together."""
    sides = [_sums(place, mass * side, int(place.max()) + 1) for side in (truth, ~truth)]
    return _equal_bins(np.sum([side / max(side.sum(), 1e-300) for side in sides], axis=0), n_groups)


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
