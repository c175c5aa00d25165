"""Differential test (G1): how alike candidate and incumbent predict, overall and for whom.

Vectors of two trainings cannot be compared: WALS may rotate its axes, and so may towers. Predictions can. Both models score the
same pairs, drawn with a fixed seed, that the user has not met; and make lists of what they think best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models import evaluation
from models.ensemble import Ensemble
from models.gate._config import DifferentialConfig, GateConfig
from models.gate._correlation import Correlation, correlation
from models.gate._overlap import distribution, jaccard, kept, rbo
from models.gate._predictions import Predictions
from models.gate._scene import Scene
from models.gate._verdict import Check, at_least
from models.recommend import Recommendations
from models.rows import one_chunk
from schemas import columns as col

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Candidate and incumbent on the same users and videos.

    Attributes:
        pooled: over all unseen pairs.
        components: by each model alone; NaN where it scores nobody.
        segments: by kind and value.
        overlap: mean and percentiles over users, by measure.
        users: USER_FEATURES of the drawn users.
        positions: int64 ``(n,)`` drawn videos.
        unseen: bool ``(n_users, n)``.
        scores: float ``(n_users, n)`` of the candidate, and of the incumbent.
        lists: of the candidate, and of the incumbent.
        rbo: float64 ``(n_users,)``.
    """

    pooled: Correlation
    components: Mapping[str, float]
    segments: Mapping[str, Mapping[str, Correlation]]
    overlap: Mapping[str, Mapping[str, float]]
    users: pa.Table
    positions: Ints
    unseen: Mask
    scores: tuple[Scores, Scores]
    lists: tuple[Recommendations, Recommendations]
    rbo: npt.NDArray[np.float64]

    def figures(self) -> dict[str, Any]:
        """What the verdict and the noise floor keep, as plain values; ``None`` for what is no number."""
        return {
            "pooled": _plain(asdict(self.pooled)),
            "components": _plain(self.components),
            "segments": {
                kind: {value: _plain(asdict(found)) for value, found in parts.items()} for kind, parts in self.segments.items()
            },
            "overlap": {name: _plain(found) for name, found in self.overlap.items()},
        }


def compare(config: GateConfig, scene: Scene, old: Ensemble) -> Compared:
    """Score the same pairs with both, and make both models' lists.

    Args:
        config: section ``gate``.
        scene: the candidate, and the rows that both read.
        old: the incumbent, or a twin of the candidate.
    """
    more = config.differential
    drawn = Predictions.draw(scene, old, users=config.correlation_users, videos=config.correlation_videos)
    users, positions, unseen, sides = drawn.users, drawn.positions, drawn.unseen, drawn.sides
    scene = sides[0][0]
    new_scores, old_scores = drawn.scores()
    components: dict[str, float] = {
        name: correlation(*drawn.scores(scene.ranking.weighing({name: 1.0})), unseen).pooled_pearson for name in more.components
    }
    new_lists, old_lists = (one.lists(batch, more.depth) for one, batch in sides)
    lists = new_lists, old_lists
    shown = new_lists.positions, old_lists.positions
    similar = rbo(*shown, more.persistence)
    overlap = {
        f"jaccard@{more.top}": distribution(jaccard(*shown, more.top)),
        "rbo": distribution(similar),
        f"kept@{more.top}": distribution(kept(shown[0], lists[0].scores, shown[1], lists[1].scores, k=more.top, tie=more.tie)),
    }
    segments: dict[str, dict[str, Correlation]] = {}
    for kind, labels in _labels(more, scene, old, users, positions).items():
        by_video = kind == "videos"
        segments[kind] = {}
        for value in sorted(set(labels.tolist())):
            own = labels == value
            rows, columns = (slice(None), own) if by_video else (own, slice(None))
            segments[kind][value] = correlation(
                new_scores[rows][:, columns], old_scores[rows][:, columns], unseen[rows][:, columns]
            )
    return Compared(
        pooled=correlation(new_scores, old_scores, unseen),
        components=components,
        segments=segments,
        overlap=overlap,
        users=users,
        positions=positions,
        unseen=unseen,
        scores=(new_scores, old_scores),
        lists=lists,
        rbo=similar,
    )


def differential_checks(config: GateConfig, found: Compared | None, trouble: str | None, floor: str) -> tuple[Check, ...]:
    """Hold the comparison against the thresholds.

    Args:
        config: section ``gate``.
        found: with the incumbent; ``None`` when there is none, which passes.
        trouble: why there is an incumbent and yet no comparison; refuses unless ``accept_unreadable_incumbent``.
        floor: what two seeds of the same data reach, in words.
    """
    pooled = pooled_check(config, found.pooled if found else None, trouble, floor)
    if found is None or config.min_correlation is None:
        return (pooled,)
    more = config.differential
    checks = [pooled]
    for model, least in more.components.items():
        value = found.components[model]
        checks.append(at_least(
            f"correlation_of_{model}", value, least, f"Pearson {value:.4f} of its own scores",
            f"{model} predicts other things than the incumbent's: find out what changed",
        ))  # fmt: skip
    checks += [_segment_check(more, one.by, one.min_correlation, found) for one in more.segments]
    name = f"kept@{more.top}"
    mean = found.overlap[name].get("mean", math.nan)
    checks.append(at_least(
        "kept_in_lists", mean, more.min_kept,
        f"of their first {more.top} places users keep {mean:.3f} on average, ties of {more.tie:g} forgiven",
        "users would see other lists than yesterday: look at what moved most",
    ))  # fmt: skip
    return tuple(checks)


def pooled_check(config: GateConfig, found: Correlation | None, trouble: str | None, floor: str) -> Check:
    """G1 itself: the pooled correlation of new and incumbent predictions."""
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
    return Check(name, passed, value, threshold, f"{figures}; at least {threshold} is needed ({floor}){advice}")


def _segment_check(more: DifferentialConfig, by: str, least: float, found: Compared) -> Check:
    parts = found.segments.get(by, {})
    big = {value: one.pooled_pearson for value, one in parts.items() if one.users >= more.min_segment_users}
    small = sorted(set(parts) - set(big))
    name, few = f"correlation_by_{by}", f"; too few users to tell: {', '.join(small)}" if small else ""
    if not big:
        return Check(name, True, None, least, f"no {by} has {more.min_segment_users} drawn users{few}")
    worst = min(big, key=lambda value: (_or_least(big[value]), value))
    said = ", ".join(f"{value} {figure:.4f}" for value, figure in sorted(big.items(), key=lambda item: _or_least(item[1])))
    return at_least(name, big[worst], least, f"Pearson of each: {said}{few}", f"{worst} is predicted otherwise: find out why")


def _or_least(value: float) -> float:
    return value if math.isfinite(value) else -2.0


def _labels(
    more: DifferentialConfig, scene: Scene, old: Ensemble, users: pa.Table, positions: Ints
) -> dict[str, npt.NDArray[Any]]:
    """What each drawn user, or video for ``videos``, is cut by."""
    names = np.array([segment.name for segment in scene.ranking.segments], dtype=object)
    known = old.wals.user_vectors(users[col.USER_ID].to_numpy()).any(axis=1)
    young = scene.catalogue.facts.age_days[positions] <= more.new_video_days
    found = {
        "segment": names[scene.ranking.segment_of(users)],
        "users": np.where(known, "known", "new").astype(object),
        "videos": np.where(young, "new", "older").astype(object),
    }
    for kind, column in (("language", col.LANGUAGE), ("country", col.COUNTRY)):
        values = [value or UNKNOWN for value in one_chunk(users[column]).to_pylist()]
        sizes = Counter(values)
        found[kind] = np.array([v if sizes[v] >= more.min_segment_users else evaluation.OTHER for v in values], dtype=object)
    return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if not isinstance(value, float) or math.isfinite(value) else None for name, value in values.items()}
