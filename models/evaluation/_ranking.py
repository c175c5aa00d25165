"""Every list on the same users: how good, how sure, for whom, and what lies beyond accuracy (V1, V3, V4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.ensemble import Ensemble
from models.evaluation._ablations import judge_ablations
from models.evaluation._config import EvaluationConfig
from models.evaluation._items import ItemVectors
from models.evaluation._lists import BY_SEGMENT, FINAL, POPULARITY, exact_indexes, variants
from models.evaluation._rows import NOTHING, Judged, Lookup, Row, Sample
from models.evaluation._slices import Slice, slices
from models.evaluation._sources import judge_sources
from models.evaluation._world import Holdout
from models.recommend import Catalogue, RecommendConfig, recommend_variants
from schemas import columns as col

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIGURES = ("ndcg@10", "recall@10", "precision@10", "map@10", "recall@100", "coverage@100")
"""What the gate reads of every list."""
SLICED = ("ndcg@10", "recall@10", "recall@100", "precision@10")
"""What is said of every slice."""
DECILES = "popularity_decile"
CHOSEN = "chosen"
"""What users chose by themselves, in the place of a model."""
_KS = (1, 5, 10, 20, 100)
_PER_USER = (
    "precision@1", "precision@5", "precision@10", "recall@10", "recall@20", "recall@100", "map@10", "map@100", "ndcg@10",
    "ndcg@20", "mrr",
)  # fmt: skip
_DIFFERENCES = ("ndcg@10", "recall@10", "precision@10", "map@10", "recall@100")
_TOP = 10


def judge_lists(
    config: EvaluationConfig,
    ranking: RecommendConfig,
    ensemble: Ensemble,
    world: Holdout,
    items: ItemVectors | None,
) -> Judged:
    """Judge popularity, each model alone and the final list on the same users, over the full catalogue.

    Args:
        config: section ``evaluation``.
        ranking: candidates and weights of the final list.
        ensemble: models that have not seen what ``world`` asks for.
        world: whom to judge, and by what.
        items: what diversity is measured by.
    """
    if not world.users.num_rows:
        return Judged(notes=("Nobody to judge: no user acted on a new relevant video in the test split.",))
    catalogue = ensemble.catalogue(ranking.catalogue, world.videos, world.at)
    users = ensemble.users(ranking, world.users, world.queries, catalogue, world.at)
    indexes = exact_indexes(ensemble, catalogue)
    sample = Sample.of(config, np.diff(world.relevant.indptr).astype(np.int64))
    wanted = variants(ranking, local=bool(users.local.any()))
    shown = recommend_variants(wanted, catalogue, users, indexes, world.at.date())
    good = {name: metrics.ranking_metrics(found, world.relevant, _KS) for name, found in shown.items()}
    rows = sample.means(_quality(good, _PER_USER, _DIFFERENCES), Row(model=FINAL, metric="", value=0.0))
    beyond, notes = _beyond(shown, catalogue, world, items, sample)
    rows += beyond
    whole = dict(good[FINAL])
    if items is not None:
        whole[f"diversity@{_TOP}"] = metrics.diversity(shown[FINAL], items.rows, _TOP)
    rows += judge_ablations(ranking, catalogue, users, indexes, world=world, items=items, sample=sample, whole=whole)
    rows += judge_sources(ranking, catalogue, users, indexes, world=world, sample=sample)
    cuts, missing = slices(config, world, np.asarray(users.wals.any(axis=1)))
    for cut in cuts:
        rows += _slice(cut, shown, good, sample)
    if not users.local.any():
        notes.append("No popularity by segment: nobody who is judged belongs to a segment that is known.")
    return Judged(tuple(rows), (*notes, *missing))


def figures(judged: Judged) -> dict[str, float]:
    """What the gate and the summary read, by name: ``users``, and of every list but the final one with its name before it."""
    found = Lookup.of(judged.rows)
    final = found.get(FINAL, FIGURES[0])
    result = {"users": float(final.users if final else 0)}
    for model in found.models(FIGURES[0]):
        prefix = "" if model == FINAL else f"{model}_"
        for name in FIGURES:
            row = found.get(model, name)
            if row is not None:
                result[prefix + name] = row.value
    return result


def _quality(
    good: Mapping[str, Mapping[str, Floats]], names: tuple[str, ...], differences: tuple[str, ...], against: str | None = None
) -> dict[tuple[str, str, str], Floats]:
    """Figures of each user by model, what the final list has more than each model, or than one, and segments more than all."""
    values = {(model, NOTHING, name): found[name] for model, found in good.items() for name in names}
    for model in good:
        if model != FINAL and against in (None, model):
            values |= {(FINAL, model, name): good[FINAL][name] - good[model][name] for name in differences}
    if BY_SEGMENT in good:
        values |= {(BY_SEGMENT, POPULARITY, name): good[BY_SEGMENT][name] - good[POPULARITY][name] for name in differences}
    return values


def _slice(cut: Slice, shown: Mapping[str, Ints], good: Mapping[str, Mapping[str, Floats]], sample: Sample) -> list[Row]:
    like = Row(model=FINAL, metric="", value=0.0, slice_kind=cut.kind, slice_value=cut.value)
    if cut.relevant is None:
        return sample.means(_quality(good, SLICED, SLICED, POPULARITY), like, cut.members)
    own = {name: metrics.ranking_metrics(found, cut.relevant, _KS) for name, found in shown.items()}
    counted = Sample(sample.config, sample.draws, np.diff(cut.relevant.indptr).astype(np.int64))
    return counted.means(_quality(own, SLICED, SLICED, POPULARITY), like)


def _beyond(
    shown: Mapping[str, Ints], catalogue: Catalogue, world: Holdout, items: ItemVectors | None, sample: Sample
) -> tuple[list[Row], list[str]]:
    """Diversity, novelty, coverage, and which popularity the places of each list go to."""
    views = world.videos[col.VIEWS].to_numpy()
    information = metrics.self_information(views)
    deciles = metrics.popularity_deciles(views, catalogue.eligible)
    size, n_users, relevant = int(catalogue.eligible.sum()), world.users.num_rows, int(world.relevant.nnz)
    values: dict[tuple[str, str, str], Floats] = {}
    rows: list[Row] = []
    for name, found in shown.items():
        values[name, NOTHING, f"novelty@{_TOP}"] = metrics.novelty(found, information, _TOP)
        if items is not None:
            values[name, NOTHING, f"diversity@{_TOP}"] = metrics.diversity(found, items.rows, _TOP)
        rows += [
            Row(model=name, metric=f"coverage@{k}", value=metrics.coverage(found, size, k), users=n_users, examples=relevant)
            for k in (_TOP, 100)
        ]
        shares = metrics.place_shares(found, deciles, 10, _TOP)
        rows += _decile_rows(name, f"place_share@{_TOP}", shares, n_users, relevant)
    chosen = np.bincount(deciles[world.relevant.indices] + 1, minlength=11)[1:]
    rows += _decile_rows(CHOSEN, "relevant_share", chosen / max(chosen.sum(), 1), n_users, relevant)
    missing = "No diversity: the videos have neither titles nor tags, and nothing was relevant before the test split."
    notes = [f"Diversity is measured by {items.name}." if items else missing]
    return [*sample.means(values, Row(model=FINAL, metric="", value=0.0)), *rows], notes


def _decile_rows(model: str, metric: str, shares: Floats, users: int, examples: int) -> list[Row]:
    return [
        Row(
            model=model,
            metric=metric,
            value=float(share),
            slice_kind=DECILES,
            slice_value=f"{place + 1:02d}",
            users=users,
            examples=examples,
        )
        for place, share in enumerate(shares)
    ]
