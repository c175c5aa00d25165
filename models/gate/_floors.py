"""Floors (G5): the final list against baselines and the incumbent, for the same users and pairs, overall and by slice.

The candidate's and the incumbent's models that are judged have not seen the test split. Figures are paired by user, and users
are drawn anew (Poisson bootstrap, ``models.metrics``), so that what both lists share cancels out.

- Against a baseline the candidate has to prove itself: the lower end of the interval of the difference must clear the floor.
  No evidence is no pass. Where the interval holds 0 and an incumbent has figures of the same users, the comparison with the
  incumbent decides: to refuse would keep models that are no better proven. In a slice only a figure significantly below the
  floor refuses, for a slice is small.
- Against the incumbent only a significant inferiority beyond the margin refuses.
- Tests of one question are corrected together (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979), so that
  the chance of refusing a candidate for noise is at most ``alpha`` however many slices there are. Their p-values come from the
  normal approximation with the bootstrap's standard error: the share of 1,000 replicates cannot tell values below 0.001.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from models import evaluation, metrics
from models.ensemble import Ensemble
from models.evaluation import BY_SEGMENT, FINAL, POPULARITY, EvaluationConfig, Holdout, Slice
from models.gate._config import FloorsConfig, GateConfig
from models.gate._verdict import Check
from models.recommend import RecommendConfig, recommend_variants

Floats = NDArray[np.float64]

NDCG = "ndcg@10"
"""Metric of the final list, on the test split."""
INCUMBENT = "incumbent"
_KS = (1, 5, 10, 20, 100)


@dataclass(frozen=True, slots=True, eq=False)
class Judges:
    """Figures of the same users by list.

    Attributes:
        users: how many.
        draws: float64 ``(replicates, n_users)``.
        confidence: of intervals.
        parts: slices; each with the rows of its users, and the figures of each list by metric, float64 ``(n_users,)``, NaN
            where a user has none; the first is everybody.
    """

    users: int
    draws: Floats
    confidence: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A slice: ``figures[list][metric]`` is float64 ``(n_users,)`` over all users, NaN outside of it.

    ``of_users`` is false where all users are in it, and only some of the videos count as relevant.
    """

    name: str
    figures: Mapping[str, Mapping[str, Floats]]
    of_users: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One comparison: ``list - ratio * against``, the mean over users, with its interval and one-sided p-values.

    Attributes:
        part: which slice.
        against: baseline, or the incumbent.
        metric: by which figure.
        ratio: what the other's figure is multiplied by.
        users: how many were compared.
        value: the candidate's mean.
        other: the other's mean.
        low: lower end of the interval of the difference.
        high: upper end.
        p_below: chance of a difference so low, were it 0.
        p_above: chance of one so high.
        outcome: ``clears``, ``below``, ``above``, ``cannot tell`` or ``too few users``.
    """

    part: str
    against: str
    metric: str
    ratio: float
    users: int
    value: float
    other: float
    low: float
    high: float
    p_below: float
    p_above: float
    outcome: str = "cannot tell"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ``None`` for what is no number."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def judges(
    config: EvaluationConfig,
    new: tuple[RecommendConfig, Ensemble],
    old: tuple[RecommendConfig, Ensemble] | None,
    world: Holdout,
) -> Judges:
    """Make the lists of both models for the judged users, and see how good each is for each of them.

    Args:
        config: section ``evaluation``.
        new: candidates and weights, and the candidate's models that have not seen what ``world`` asks for.
        old: the incumbent's, likewise; ``None`` where there is none.
        world: the test split.
    """
    shown, known = _lists(*new, world)
    if old is not None:
        shown[INCUMBENT] = _lists(*old, world, only=FINAL)[0][FINAL]
    cuts, _ = evaluation.slices(config, world, known)
    sizes = np.diff(world.relevant.indptr).astype(np.int64)
    sample = evaluation.Sample.of(config, sizes)
    whole = _good(shown, world.relevant)
    parts = [Part(evaluation.ALL, whole), *(_part(cut, shown, whole) for cut in cuts)]
    return Judges(world.users.num_rows, sample.draws, config.confidence, tuple(parts))


def floor_checks(config: GateConfig, found: Judges | None, why: str = "") -> tuple[tuple[Check, ...], tuple[Floor, ...]]:
    """Hold the figures against the floors.

    Args:
        config: section ``gate``.
        found: the figures; ``None`` where there is nobody to judge by, which refuses.
        why: there is an incumbent whose models cannot be compared, in words; empty for none.

    Returns:
        The checks, and all comparisons that were made.
    """
    ratios = {POPULARITY: config.min_ratio_to_popularity, **config.floors.baselines}
    if found is None:
        nobody = "nobody to judge by: no user acted on a new relevant video in the test split"
        return tuple(Check(_name(name), False, None, None, nobody) for name in ratios), ()
    checks, made = [], []
    for name, ratio in ratios.items():
        check, floor = _baseline(config.floors, found, name, ratio)
        checks.append(check)
        made += floor
    limits = {name: config.floors.min_slice_ratio for name in ratios if ratios[name] is not None}
    # Slices of users only: who never shows a new video, as models of yesterday cannot, is at an advantage where only older
    # ones count.
    people = [part for part in found.parts if part.of_users]
    slices = _tested(config.floors, found, [(name, NDCG, ratio) for name, ratio in limits.items()], people[1:])
    checks.append(_none_below(config.floors, "floor_of_slices", slices, "popularity serves these users better"))
    made += slices
    if any(INCUMBENT in part.figures for part in found.parts):
        wanted = [(INCUMBENT, metric, 1 - config.floors.margin) for metric in config.floors.metrics]
        against = _tested(config.floors, found, wanted, people)
        checks.append(_none_below(config.floors, "not_worse_than_incumbent", against, "keep what is live, and find out why"))
        wanted = [(INCUMBENT, metric, config.floors.max_ratio_to_incumbent) for metric in config.floors.metrics]
        too_good = _tested(config.floors, found, wanted, found.parts[:1], above=True)
        checks.append(_none_above(config.floors, too_good))
        made += [*against, *too_good]
    elif why:
        checks.append(Check("not_worse_than_incumbent", True, None, None, f"cannot be told: {why}"))
    return tuple(checks), tuple(made)


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses fall when the chance of any false one is held at ``alpha``; NaN never does."""
    order = sorted((p, place) for place, p in enumerate(p_values) if math.isfinite(p))
    fallen = [False] * len(p_values)
    for rank, (p, place) in enumerate(order):
        if p > alpha / (len(order) - rank):
            break
        fallen[place] = True
    return fallen


def _baseline(config: FloorsConfig, found: Judges, name: str, ratio: float | None) -> tuple[Check, list[Floor]]:
    title = _name(name)
    if ratio is None:
        return Check(title, False, None, None, "no threshold: set gate.min_ratio_to_popularity"), []
    if name not in found.parts[0].figures:
        return Check(title, True, None, ratio, f"no judged user belongs to a segment: {name} has no lists to compare with"), []
    floor = _floor(found, found.parts[0], name, NDCG, ratio)
    sure = floor.users >= config.min_users
    proven = floor.low >= 0
    left = not proven and floor.high >= 0 and INCUMBENT in found.parts[0].figures
    passed = sure and (proven or left) and floor.value > 0
    times = f"{floor.value / floor.other:.3f} times {name}'s {floor.other:.4f}" if floor.other > 0 else f"and {name}'s is 0"
    said = f"{NDCG} is {floor.value:.4f}, {times}, for {floor.users} users; "
    if sure:
        said += (
            f"less {ratio:g} times that it is {floor.low:+.4f} to {floor.high:+.4f}, of which the lower end must not be below 0"
        )
        said += ": it cannot be told, so that the comparison with the incumbent decides" if left else ""
    else:
        said += f"too few to tell, at least {config.min_users} are needed"
    outcome = "too few users" if not sure else "clears" if passed and proven else "cannot tell" if floor.high >= 0 else "below"
    value = floor.value / floor.other if floor.other > 0 else None
    return Check(title, bool(passed), value, ratio, said), [replace(floor, outcome=outcome)]


def _tested(
    config: FloorsConfig, found: Judges, wanted: Sequence[tuple[str, str, float]], parts: Sequence[Part], *, above: bool = False
) -> list[Floor]:
    """Comparisons of slices with their outcomes, corrected together."""
    made = [
        _floor(found, part, against, metric, ratio)
        for part in parts
        for against, metric, ratio in wanted
        if against in part.figures and metric in part.figures[against]
    ]
    told = [floor for floor in made if floor.users >= config.min_users]
    fallen = dict(zip(map(id, told), holm([f.p_above if above else f.p_below for f in told], config.alpha), strict=True))
    result = []
    for floor in made:
        if id(floor) not in fallen:
            outcome = "too few users"
        elif fallen[id(floor)]:
            outcome = "above" if above else "below"
        else:
            clear = floor.high <= 0 if above else floor.low >= 0
            outcome = "clears" if clear else "cannot tell"
        result.append(replace(floor, outcome=outcome))
    return result


def _none_below(config: FloorsConfig, name: str, made: Sequence[Floor], advice: str) -> Check:
    below = [floor for floor in made if floor.outcome == "below"]
    few = sorted({floor.part for floor in made if floor.outcome == "too few users"})
    counts = {kind: sum(floor.outcome == kind for floor in made) for kind in ("clears", "cannot tell")}
    said = f"{len(made) - len(below)} of {len(made)} comparisons are not significantly below their floor "
    said += f"(alpha {config.alpha:g}, Holm): {counts['clears']} clear it, {counts['cannot tell']} cannot be told"
    said += f"; too few users to tell: {', '.join(few)}" if few else ""
    for floor in below:
        said += (
            f"; {floor.part}: {floor.metric} is {floor.value:.4f} against {floor.against}'s {floor.other:.4f}, of which "
            f"{floor.ratio:g} times is needed ({floor.users} users, p {floor.p_below:.1e})"
        )
    return Check(name, not below, float(len(below)), 0.0, f"{said}; {advice}" if below else said)


def _none_above(config: FloorsConfig, made: Sequence[Floor]) -> Check:
    above = [floor for floor in made if floor.outcome == "above"]
    said = f"no figure is significantly above {config.max_ratio_to_incumbent:g} times the incumbent's"
    if above:
        said = "; ".join(
            f"{f.metric} is {f.value:.4f} against the incumbent's {f.other:.4f}, significantly above {f.ratio:g} times"
            for f in above
        ) + ": too good to be true, look for a label that has leaked into features or into training"  # fmt: skip
    return Check("not_too_good", not above, float(len(above)), 0.0, said)


def _floor(found: Judges, part: Part, against: str, metric: str, ratio: float) -> Floor:
    mine, other = part.figures[FINAL][metric], part.figures[against][metric]
    both = ~np.isnan(mine) & ~np.isnan(other)
    users = int(both.sum())
    nan = float("nan")
    if not users:
        return Floor(
            part=part.name, against=against, metric=metric, ratio=ratio, users=0, value=nan, other=nan, low=nan, high=nan,
            p_below=nan, p_above=nan,
        )  # fmt: skip
    gap = (mine - ratio * other)[both]
    replicates = metrics.bootstrap_means(gap[:, None], found.draws[:, both])
    low, high = metrics.percentile_interval(replicates, found.confidence)
    known = replicates[~np.isnan(replicates)]
    spread = float(known.std()) if len(known) else nan
    # Where all users agree, the sign alone speaks.
    p_below = float(norm.cdf(gap.mean() / spread)) if spread > 0 else float(gap.mean() >= 0)
    return Floor(
        part=part.name, against=against, metric=metric, ratio=ratio, users=users, value=float(mine[both].mean()),
        other=float(other[both].mean()), low=float(low[0]), high=float(high[0]), p_below=p_below,
        p_above=1.0 - p_below if spread > 0 else float(gap.mean() <= 0),
    )  # fmt: skip


def _lists(
    ranking: RecommendConfig, models: Ensemble, world: Holdout, only: str | None = None
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.bool_]]:
    """Lists by name over one catalogue, and which users the models know."""
    catalogue = models.catalogue(ranking.catalogue, world.videos, world.at)
    users = models.users(ranking, world.users, world.queries, catalogue, world.at)
    wanted = evaluation.variants(ranking, local=bool(users.local.any()))
    kept = {name: one for name, one in wanted.items() if name == only or (only is None and name in _JUDGED)}
    index = evaluation.exact_indexes(models, catalogue)
    found = recommend_variants(kept, catalogue, users, index, world.at.date())
    return found, np.asarray(users.wals.any(axis=1))


_JUDGED = (POPULARITY, BY_SEGMENT, FINAL)


def _good(shown: Mapping[str, NDArray[np.int64]], relevant: Any) -> dict[str, Mapping[str, Floats]]:
    return {name: metrics.ranking_metrics(found, relevant, _KS) for name, found in shown.items()}


def _part(cut: Slice, shown: Mapping[str, NDArray[np.int64]], whole: Mapping[str, Mapping[str, Floats]]) -> Part:
    name = f"{cut.kind} {cut.value}"
    if cut.members is None:
        return Part(name, _good(shown, cut.relevant), of_users=False)
    outside = np.ones(len(next(iter(shown.values()))), dtype=bool)
    outside[cut.members] = False
    return Part(
        name,
        {
            which: {metric: np.where(outside, np.nan, values) for metric, values in figures.items()}
            for which, figures in whole.items()
        },
    )


def _name(baseline: str) -> str:
    return f"{NDCG}_against_{baseline}"
