"""Predicted probabilities against what happened: any number of named predictors on the same examples (V2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation._config import EvaluationConfig
from models.evaluation._rows import NOTHING, Judged, Row, Sample, with_interval
from models.evaluation._slices import Shown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BINS = "probability_bin"
PREDICTED, OBSERVED, BIN_WEIGHT = "predicted_rate", "observed_rate", "bin_weight"
_POINTS = 200
_SCORE_GROUPS, _SLICE_SCORE_GROUPS = 1024, 256
_LIKE = Row(model="", metric="", value=0.0)
_WORDS = ("irrelevant", "relevant")
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

    def take(self, rows: Ints) -> Labelled:
        """Some of the examples."""
        return Labelled(self.labels[rows], self.weights[rows], self.users[rows])


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
    config: EvaluationConfig, examples: Labelled, predictions: Mapping[str, Floats], cuts: Sequence[Shown] = ()
) -> tuple[Judged, dict[str, Curves]]:
    """Judge predictors on the same examples and slices, with intervals over users, and against the first of them.

    Args:
        config: section ``evaluation``.
        examples: the test split's.
        predictions: probabilities float64 ``(n,)`` by name.
        cuts: slices of the examples.

    Returns:
        The figures, the bins of the reliability diagram among them, and the curves by name; nothing where there is no example.
    """
    if not len(examples.labels) or not predictions:
        return Judged(notes=("No ranker figures: the test split has no impressions, so nothing was shown and refused.",)), {}
    labels = np.unique(examples.labels)
    both = len(labels) == 2
    ids, user = np.unique(examples.users, return_inverse=True)
    sample = Sample.of(config, np.bincount(user, minlength=len(ids)).astype(np.int64))
    losses = {
        name: metrics.ranking_loss(examples.labels, found, user, len(ids), examples.weights)
        for name, found in predictions.items()
    }
    rows = sample.means(_against_first(losses), _LIKE)
    by_user = np.ascontiguousarray(sample.draws.T)
    for name, found in predictions.items():
        rows += _figures(config, examples, found, (user, by_user), replace(_LIKE, model=name), score_groups=_SCORE_GROUPS)
        rows += _bins(sample, examples, found, user, name)
    one_label: dict[int, list[str]] = {}
    for cut in cuts:
        like = replace(_LIKE, slice_kind=cut.kind, slice_value=cut.value)
        own = examples.take(cut.rows)
        members, member = np.unique(user[cut.rows], return_inverse=True)
        of_members = by_user[members]
        if both and len(only := np.unique(own.labels)) == 1:
            one_label.setdefault(int(only[0]), []).append(f"{cut.kind}={cut.value}")
        for name, found in predictions.items():
            draws = member, of_members
            of_name = replace(like, model=name)
            rows += _figures(config, own, found[cut.rows], draws, of_name, score_groups=_SLICE_SCORE_GROUPS)
        if cut.whole_users:
            rows += sample.means(_against_first(losses), like, members)
    notes = [_one_label("impression of the test split", int(labels[0]))] if not both else []
    notes += [_one_label(f"impression of {', '.join(names)}", label) for label, names in sorted(one_label.items())]
    curves = {name: _curves(examples, found, both=both) for name, found in predictions.items()}
    return Judged(tuple(rows), tuple(notes)), curves


def _figures(
    config: EvaluationConfig, examples: Labelled, found: Floats, draws: tuple[Ints, Floats], like: Row, *, score_groups: int
) -> list[Row]:
    """Figures of one predictor on some examples.

    Args:
        config: section ``evaluation``.
        examples: the examples.
        found: probabilities ``(n,)``.
        draws: row of each example's user ``(n,)`` in draws ``(n_users, replicates)``.
        like: gives model and slice.
        score_groups: as of :func:`metrics.resampled`.
    """
    user, by_user = draws
    both = len(np.unique(examples.labels)) == 2
    given = (examples.labels, found, examples.weights)
    drawn = metrics.resampled(*given, user, by_user.T, score_groups=score_groups)
    rows = []
    for metric, of in _SCALARS.items():
        value = of(*given)
        if not np.isfinite(value) or (metric in ("roc_auc", "pr_auc") and not both):
            continue
        row = replace(like, metric=metric, value=value, users=len(by_user), examples=len(user))
        low, high = metrics.percentile_interval(drawn[metric], config.confidence)
        rows.append(with_interval(config, row, float(low), float(high)))
    return rows


def _bins(sample: Sample, examples: Labelled, found: Floats, user: Ints, name: str) -> list[Row]:
    """What was predicted and what came in the bins of the reliability diagram, with the bins' weights."""
    bins = metrics.reliability_bins(found, examples.weights)
    diagram = metrics.reliability(examples.labels, found, examples.weights)
    n_bins, n_users = len(diagram.weight), sample.draws.shape[1]
    cell = user * n_bins + bins
    mass, positive, count = (
        np.bincount(cell, amount, n_users * n_bins).astype(np.float64).reshape(n_users, n_bins)
        for amount in (examples.weights, examples.weights * examples.labels, np.ones(len(user)))
    )
    low, high = metrics.percentile_interval(metrics.bootstrap_ratios(positive, mass, sample.draws), sample.config.confidence)
    users = (count > 0).sum(axis=0)
    rows = []
    for place in range(n_bins):
        like = Row(
            model=name,
            metric="",
            value=0.0,
            slice_kind=BINS,
            slice_value=f"{place + 1:02d}",
            users=int(users[place]),
            examples=int(diagram.examples[place]),
        )
        observed = replace(like, metric=OBSERVED, value=float(diagram.observed[place]))
        rows += [
            replace(like, metric=PREDICTED, value=float(diagram.predicted[place])),
            with_interval(sample.config, observed, low[place], high[place]),
            replace(like, metric=BIN_WEIGHT, value=float(diagram.weight[place])),
        ]
    return rows


def _one_label(which: str, label: int) -> str:
    return f"No ROC-AUC, PR-AUC and ranking loss: every {which} is {_WORDS[label]}."


def _against_first(losses: Mapping[str, Floats]) -> dict[tuple[str, str, str], Floats]:
    """Ranking losses of each user by predictor, and what that of the first is more than each other's."""
    first, *others = losses
    values = {(name, NOTHING, "ranking_loss"): found for name, found in losses.items()}
    return values | {(first, name, "ranking_loss"): losses[first] - losses[name] for name in others}


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
