"""Predicted probabilities against what happened: any number of named predictors on the same examples (V2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation._config import EvaluationConfig
from models.evaluation._rows import NOTHING, Judged, Row, Sample

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_POINTS = 200
_SCALARS = {
    "roc_auc": metrics.roc_auc,
    "pr_auc": metrics.pr_auc,
    "log_loss": metrics.log_loss,
    "expected_calibration_error": metrics.expected_calibration_error,
    "calibration_ratio": metrics.calibration_ratio,
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Examples with labels.

    Attributes:
        labels: 0 or 1, ``(n,)``.
        weights: float64 ``(n,)``, how many examples each stands for.
        users: int64 ``(n,)`` ids.
    """

    labels: Ints
    weights: Floats
    users: Ints


@dataclass(frozen=True, slots=True)
class Curves:
    """What is drawn of one predictor; ``roc`` and ``pr`` are None where there is one label only.

    Attributes:
        roc: false positive and true positive rate, at most 200 points.
        pr: recall and precision, at most 200 points.
        reliability: bins of equal weight.
    """

    roc: tuple[Floats, Floats] | None
    pr: tuple[Floats, Floats] | None
    reliability: metrics.Reliability


def judge_predictions(
    config: EvaluationConfig, examples: Labelled, predictions: Mapping[str, Floats]
) -> tuple[Judged, dict[str, Curves]]:
    """Judge predictors on the same examples, with intervals over users, and against the first of them.

    Args:
        config: section ``evaluation``.
        examples: the test split's.
        predictions: probabilities float64 ``(n,)`` by name.

    Returns:
        The figures, and the curves by name; nothing where there is no example.
    """
    if not len(examples.labels) or not predictions:
        return Judged(notes=("No ranker figures: the test split has no impressions, so nothing was shown and refused.",)), {}
    notes = []
    both = len(np.unique(examples.labels)) == 2
    if not both:
        only = "relevant" if examples.labels[0] else "irrelevant"
        notes.append(f"No ROC-AUC, PR-AUC and ranking loss: every impression of the test split is {only}.")
    ids, user = np.unique(examples.users, return_inverse=True)
    sample = Sample.of(config, np.bincount(user, minlength=len(ids)).astype(np.int64))
    rows: list[Row] = []
    losses: dict[tuple[str, str, str], Floats] = {}
    for name, found in predictions.items():
        drawn = metrics.resampled(examples.labels, found, examples.weights, user, sample.draws)
        for metric, of in _SCALARS.items():
            value = of(examples.labels, found, examples.weights)
            if not np.isfinite(value) or (metric in ("roc_auc", "pr_auc") and not both):
                continue
            row = Row(model=name, metric=metric, value=value, users=len(ids), examples=len(user))
            low, high = metrics.percentile_interval(drawn[metric], config.confidence)
            rows.append(sample.with_interval(row, float(low), float(high)))
        losses[name, NOTHING, "ranking_loss"] = metrics.ranking_loss(examples.labels, found, user, len(ids), examples.weights)
    first = next(iter(predictions))
    for name in predictions:
        if name != first:
            losses[first, name, "ranking_loss"] = losses[first, NOTHING, "ranking_loss"] - losses[name, NOTHING, "ranking_loss"]
    rows += sample.means(losses, Row(model=first, metric="", value=0.0))
    curves = {name: _curves(examples, found, both=both) for name, found in predictions.items()}
    return Judged(tuple(rows), tuple(notes)), curves


def _curves(examples: Labelled, found: Floats, *, both: bool) -> Curves:
    given = (examples.labels, found, examples.weights)
    return Curves(
        roc=_thinned(*metrics.roc_curve(*given)) if both else None,
        pr=_thinned(*metrics.precision_recall_curve(*given)) if both else None,
        reliability=metrics.reliability(*given),
    )


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most 200 points, about evenly along x, both ends included."""
    if len(x) <= _POINTS:
        return x, y
    kept = np.unique(np.concatenate([[0], np.searchsorted(x, np.linspace(x[0], x[-1], _POINTS - 1)), [len(x) - 1]]))
    kept = kept[kept < len(x)]
    return x[kept], y[kept]
