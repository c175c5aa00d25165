"""Gate: may this candidate be deployed? A pure decision with a reason for every check.

G1, the differential test, correlates the ensemble scores of candidate and incumbent on (user, video) pairs that the users have
not seen. ``models.recommend.score_matrix`` makes those scores: each component is standardised per user, so a user's scale does
not count, while what is common to all users (popular videos score high everywhere) still does. Three figures are reported:

- pooled Pearson over all pairs, the one that the threshold 0.8 is for: the "correlation of new and incumbent predictions";
- pooled Spearman, which ignores how scores are spread: when it is far from Pearson, a few extreme scores decide;
- the mean of each user's own Pearson, which does not move with differences between users: when it is far below the pooled
  figure, the models agree on users' averages and disagree on what each user should see.

A check fails on a missing threshold, a missing figure or one that is not finite: the gate never passes what it could not judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import rankdata

from conf import Section
from schemas.errors import ReelflowError

FORMAT_VERSION = 1
NDCG = "ndcg@10"
"""Metric of the final list, on the test split."""
POPULARITY_NDCG = "popularity_ndcg@10"
"""The same metric of the popularity baseline, on the same users."""


class GateConfig(Section):
    """Thresholds and sample sizes: section ``gate``. A threshold of ``null`` can never be met."""

    min_correlation: float | None = Field(ge=-1, le=1)
    """G1: pooled Pearson correlation with the incumbent on unseen pairs, at least."""

    correlation_users: int = Field(ge=2)
    """Users whose predictions are correlated."""

    correlation_videos: int = Field(ge=2)
    """Videos for which each of them is scored."""

    min_ratio_to_popularity: float | None = Field(ge=0)
    """Floor: nDCG@10 of the final list over that of the popularity baseline, at least."""

    accept_unreadable_incumbent: bool
    """Whether an incumbent that this code cannot read counts as none, instead of refusing the candidate."""


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


@dataclass(frozen=True, slots=True)
class Check:
    """One question that the gate asked.

    Attributes:
        name: which question.
        passed: the answer.
        value: the figure found; ``None`` where there is none or it is not finite.
        threshold: the least that passes; ``None`` where there is none.
        detail: the same in words, with what to do.
    """

    name: str
    passed: bool
    value: float | None
    threshold: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer: it passes when there are checks and each of them passed.

    Attributes:
        passed: whether the candidate may be deployed.
        checks: every check, in the order in which it was made.
    """

    passed: bool
    checks: tuple[Check, ...]

    def to_json(self) -> str:
        """Write the verdict as JSON text; the same verdict gives the same text."""
        content = {"format_version": FORMAT_VERSION, "passed": self.passed, "checks": [asdict(check) for check in self.checks]}
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read what :meth:`to_json` wrote.

        Raises:
            ReelflowError: no verdict, one of another format, or one that claims a pass that its checks do not bear out.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            found = content["format_version"]
            verdict = cls(bool(content["passed"]), tuple(Check(**check) for check in content["checks"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ReelflowError(f"verdict: found text that is none ({error!r}), run the gate stage again") from error
        if found != FORMAT_VERSION:
            raise ReelflowError(f"verdict: found format {found}, expected {FORMAT_VERSION}; run the gate stage again")
        if verdict.passed != _all_passed(verdict.checks):
            raise ReelflowError(
                "verdict: found a result that its checks contradict, expected its own; run the gate stage again"
            )
        return verdict


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
    per_user = _row_pearson(np.where(mask, new, 0.0), np.where(mask, old, 0.0), mask)
    known = per_user[~np.isnan(per_user)]
    return Correlation(
        pooled_pearson=_pearson(a, b),
        pooled_spearman=_pearson(rankdata(a), rankdata(b)) if pairs else float("nan"),
        mean_user_pearson=float(known.mean()) if len(known) else float("nan"),
        users=len(known),
        pairs=pairs,
    )


def decide(
    config: GateConfig, *, correlation: Correlation | None, metrics: Mapping[str, float], trouble: str | None = None
) -> Verdict:
    """Judge a candidate.

    Args:
        config: the thresholds.
        correlation: with the incumbent; ``None`` when there is no incumbent, which G1 lets pass.
        trouble: why there is an incumbent and yet no correlation; refuses unless ``accept_unreadable_incumbent``.
        metrics: of the candidate on the test split, with at least ``ndcg@10`` and ``popularity_ndcg@10``.

    Returns:
        The verdict, with one check a rule and one that every metric is finite.
    """
    checks = (_differential(config, correlation, trouble), _floor(config, metrics), _finite_metrics(metrics))
    return Verdict(_all_passed(checks), checks)


def _differential(config: GateConfig, found: Correlation | None, trouble: str | None) -> Check:
    name, threshold = "correlation_with_incumbent", config.min_correlation
    if threshold is None:
        return Check(name, False, None, None, "no threshold: set gate.min_correlation")
    if trouble is not None and not config.accept_unreadable_incumbent:
        advice = "set gate.accept_unreadable_incumbent for one run if the change of format is meant"
        return Check(name, False, None, threshold, f"{trouble}; {advice}")
    if found is None:
        return Check(name, True, None, threshold, "no incumbent: this is the first model, there is nothing to compare it with")
    value = found.pooled_pearson
    figures = (
        f"over {found.pairs} unseen pairs: Pearson {value:.4f}, Spearman {found.pooled_spearman:.4f}, "
        f"mean of {found.users} users' own {found.mean_user_pearson:.4f}"
    )
    if not math.isfinite(value):
        return Check(name, False, None, threshold, f"{figures}; not a number: scores that do not vary or are not finite")
    passed = value >= threshold
    advice = "" if passed else "; the candidate predicts other things than the incumbent: find out what changed"
    return Check(name, passed, value, threshold, f"{figures}; at least {threshold} is needed{advice}")


def _floor(config: GateConfig, metrics: Mapping[str, float]) -> Check:
    name, ratio = f"{NDCG}_against_popularity", config.min_ratio_to_popularity
    if ratio is None:
        return Check(name, False, None, None, "no threshold: set gate.min_ratio_to_popularity")
    if missing := [key for key in (NDCG, POPULARITY_NDCG) if key not in metrics]:
        return Check(
            name, False, None, None, f"no figure for {', '.join(missing)} among {', '.join(sorted(metrics)) or 'no metrics'}"
        )
    value, baseline = float(metrics[NDCG]), float(metrics[POPULARITY_NDCG])
    if not (math.isfinite(value) and math.isfinite(baseline)):
        return Check(
            name, False, None, None, f"{NDCG} is {value} and popularity's {baseline}: not a number, nobody to judge by?"
        )
    threshold = ratio * baseline
    passed = value >= threshold and value > 0
    times = f"{value / baseline:.3f} times popularity's {baseline:.4f}" if baseline > 0 else "and popularity's is 0"
    detail = f"{NDCG} is {value:.4f}, {times}; at least {ratio} times is needed" + ("" if value > 0 else ", and more than 0")
    return Check(name, passed, value, threshold, detail)


def _finite_metrics(metrics: Mapping[str, float]) -> Check:
    broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    detail = f"not a number: {', '.join(broken)}" if broken else f"all {len(metrics)} metrics are finite"
    return Check(
        "finite_metrics", bool(metrics) and not broken, float(len(broken)), None, detail if metrics else "no metrics at all"
    )


def _all_passed(checks: tuple[Check, ...]) -> bool:
    return bool(checks) and all(check.passed for check in checks)


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    everywhere = np.ones((1, len(a)), dtype=bool)
    return float(_row_pearson(a[None, :], b[None, :], everywhere)[0])


def _row_pearson(a: NDArray[np.float64], b: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pearson of each row over its masked cells, ``(n_rows,)``; NaN where one side does not vary."""
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    x, y = (np.where(mask, side - (side * mask).sum(axis=1, keepdims=True) / count, 0.0) for side in (a, b))
    xx, yy, xy = (x * x).sum(axis=1), (y * y).sum(axis=1), (x * y).sum(axis=1)
    # What rounding leaves of a constant is no variation: 1e-10 of its size is far above that, and far below any real spread.
    varies = (xx > 1e-20 * (a * a * mask).sum(axis=1)) & (yy > 1e-20 * (b * b * mask).sum(axis=1)) & (xx > 0) & (yy > 0)
    values: NDArray[np.float64] = np.full(len(a), np.nan)
    np.divide(xy, np.sqrt(xx) * np.sqrt(yy), out=values, where=varies)
    return np.clip(values, -1.0, 1.0, out=values)
