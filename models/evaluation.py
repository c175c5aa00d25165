"""Ranking quality on the held-out end of time: every list over the full catalogue, by one rule (V1, V3).

A model that saw nothing of the test split makes lists as of its start. Relevant are the videos with a positive example in
the test split that the user had not acted on before; users without any are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from models import metrics
from models.ann import IndexConfig, build
from models.ensemble import Ensemble, indexable
from models.ids import IdMap
from models.popularity import counters_as_of
from models.recommend import Catalogue, Component, RecommendConfig, UserBatch, recommend_batch
from schemas import VIDEO_COUNTERS
from schemas import columns as col

Ints = npt.NDArray[np.int64]
_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Holdout:
    """The world at the start of the test split, and what came after.

    Attributes:
        users: USER_FEATURES of the users to judge, as of the start.
        videos: VIDEO_FEATURES as of the start, with VIDEO_TEXT.
        queries: QUERY_TEXT.
        relevant: bool CSR ``(n_users, n_videos)`` over videos in ascending order of the id.
        at: the start.
    """

    users: pa.Table
    videos: pa.Table
    queries: pa.Table
    relevant: sp.csr_matrix
    at: datetime


def holdout(
    users: pa.Table,
    videos: pa.Table,
    queries: pa.Table,
    counts: pa.Table,
    examples: pa.Table,
    *,
    at: datetime,
    half_life_days: float,
    max_users: int,
) -> Holdout:
    """Put the world back to the moment ``at``.

    Args:
        users: USER_FEATURES, what was watched as of the end, all else as of ``at``.
        videos: VIDEO_FEATURES with VIDEO_TEXT, counters as of the end, all else as of ``at``.
        queries: QUERY_TEXT.
        counts: VIDEO_COUNTS with their ``dt``.
        examples: EXAMPLES of the look-back.
        at: start of the test split; examples that began later are the test.
        half_life_days: of popularity.
        max_users: judge at most so many users, drawn with a fixed seed.
    """
    videos = videos.sort_by(col.VIDEO_ID)
    ids = videos[col.VIDEO_ID].to_numpy()
    then = counters_as_of(counts, ids, pa.repeat(pa.scalar(at.date()), len(ids)), half_life_days)
    for field in VIDEO_COUNTERS:
        videos = videos.set_column(videos.schema.get_field_index(field.name), field.name, pa.array(then[field.name]))
    later = pc.greater(examples[col.OCCURRED_AT], pa.scalar(at, pa.timestamp("us", tz="UTC")))
    acted = pc.or_(pc.or_(examples[col.CLICKED], examples[col.LIKED]), examples[col.DISLIKED])
    before = examples.filter(pc.and_(pc.invert(later), acted))
    after = examples.filter(pc.and_(later, pc.equal(examples[col.LABEL], 1)))
    judged = np.unique(after[col.USER_ID].to_numpy())
    if len(judged) > max_users:
        judged = np.sort(np.random.default_rng(0).choice(judged, max_users, replace=False))
    users = users.filter(pc.is_in(users[col.USER_ID], pa.array(judged))).sort_by(col.USER_ID)
    user_map, video_map = IdMap(users[col.USER_ID].to_numpy()), IdMap(ids)
    seen = pairs(before, user_map, video_map)
    relevant = pairs(after, user_map, video_map)
    relevant = (relevant.astype(np.int8) - relevant.multiply(seen).astype(np.int8)).astype(bool)
    relevant.eliminate_zeros()
    keep = np.diff(relevant.indptr) > 0
    watched = pa.LargeListArray.from_arrays(seen.indptr.astype(np.int64), ids[seen.indices]).cast(pa.list_(pa.int64()))
    users = users.set_column(users.schema.get_field_index(col.WATCHED), col.WATCHED, watched)
    return Holdout(users.filter(pa.array(keep)), videos, queries, relevant[keep], at)


def evaluate(config: RecommendConfig, ensemble: Ensemble, world: Holdout) -> dict[str, float]:
    """Judge popularity, each model alone, and the final list, on the same users.

    Returns:
        Figures of the final list (``ndcg@10``, ``recall@10``, ``recall@100``, ``precision@10``, ``map@10``, ``coverage@100``)
        and the same of ``popularity``, ``wals`` and ``retrieval`` with that prefix; ``users`` judged. Only ``users`` when
        there is nobody to judge.
    """
    figures: dict[str, float] = {"users": float(world.users.num_rows)}
    if not world.users.num_rows:
        return figures
    catalogue = ensemble.catalogue(world.videos, world.at)
    users = ensemble.users(world.users, world.queries, catalogue, world.at)
    alone: Mapping[str, RecommendConfig] = {
        "": config,
        "popularity_": _only(config, "popular", retrieval=0, wals=0),
        "wals_": _only(config, "wals", retrieval=0, wals=_DEPTH),
        "retrieval_": _only(config, "retrieval", retrieval=_DEPTH, wals=0),
    }
    for prefix, variant in alone.items():
        lists = _lists(variant, ensemble, catalogue, users)
        means = metrics.means(metrics.ranking_metrics(lists, world.relevant, ks=(10, _DEPTH)))
        for name in ("ndcg@10", "recall@10", "precision@10", "map@10", f"recall@{_DEPTH}"):
            figures[prefix + name] = means[name]
        figures[f"{prefix}coverage@{_DEPTH}"] = metrics.coverage(lists, int(catalogue.eligible.sum()), _DEPTH)
    return figures


def choose_popular_weights(config: RecommendConfig, ensemble: Ensemble, world: Holdout) -> RecommendConfig:
    """Set the weight of popularity to what served known and new users best, by mean nDCG@10 of each group.

    How far models can be trusted over popularity depends on the log: little history, or users who come once, want more of it.

    Args:
        config: with the weights to try; those of a group without users stay as they are.
        ensemble: models that have not seen what ``world`` asks for.
        world: the validation split.
    """
    if not world.users.num_rows:
        return config
    catalogue = ensemble.catalogue(world.videos, world.at)
    users = ensemble.users(world.users, world.queries, catalogue, world.at)
    known = users.wals.any(axis=1)
    found = []
    for weight in config.popular_weights:
        lists = _lists(_with_popular(config, weight, weight), ensemble, catalogue, users)
        found.append(metrics.ranking_metrics(lists, world.relevant, ks=(10,))["ndcg@10"])
    scores = np.stack(found)
    best = [
        config.popular_weights[int(scores[:, group].mean(axis=1).argmax())] if group.any() else given.get("popular", 0.0)
        for group, given in ((known, config.weights), (~known, config.new_user_weights))
    ]
    return _with_popular(config, *best)


def _with_popular(config: RecommendConfig, known: float, new: float) -> RecommendConfig:
    weights = {"weights": {**config.weights, "popular": known}, "new_user_weights": {**config.new_user_weights, "popular": new}}
    return config.model_copy(update=weights)


def _only(config: RecommendConfig, component: Component, *, retrieval: int, wals: int) -> RecommendConfig:
    """One component alone; popularity fills what its generator leaves empty."""
    weights = {component: 1.0}
    update = {
        "weights": weights,
        "new_user_weights": weights,
        "retrieval_candidates": retrieval,
        "wals_candidates": wals,
        "popular_candidates": 0,
    }
    if component == "popular":
        update["popular_candidates"] = _DEPTH
    return config.model_copy(update=update)


def _lists(config: RecommendConfig, ensemble: Ensemble, catalogue: Catalogue, users: UserBatch) -> Ints:
    positions = indexable(catalogue, ensemble.retrieval)
    index = build(IndexConfig(kind="flat"), catalogue.retrieval_vectors[positions], positions)
    return recommend_batch(config, catalogue, users, index).positions.astype(np.int64)


def pairs(examples: pa.Table, users: IdMap, videos: IdMap) -> sp.csr_matrix:
    """Which pairs of a user and a video have an example; those without a place in the maps are left out.

    Returns:
        bool CSR ``(n_users, n_videos)``.
    """
    rows, columns = users.lookup(examples[col.USER_ID].to_numpy()), videos.lookup(examples[col.VIDEO_ID].to_numpy())
    known = (rows >= 0) & (columns >= 0)
    ones = np.ones(int(known.sum()), dtype=bool)
    matrix = sp.coo_matrix((ones, (rows[known], columns[known])), shape=(len(users), len(videos)), dtype=bool).tocsr()
    matrix.sum_duplicates()
    return matrix
