"""Two lists of each user, one of them never shown: how they are made, and judged by what the users did afterwards (G10).

Users saw only the champion's lists. A video that the candidate alone proposes can hardly become relevant, so the figures favour
the champion: a candidate that is not worse is at least as good, one that is worse may yet not be (Castells and Moffat, "Offline
recommender system evaluation: Challenges and new directions", AI Magazine 43(2), 2022). ``shown`` says how large that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import metrics
from models.evaluation import EvaluationConfig, exact_indexes
from models.gate import Scene
from models.hashing import hashed_pairs
from models.ids import IdMap
from models.recommend import recommend_batch
from schemas import columns as col

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHAMPION, CANDIDATE = SIDES = (col.CHAMPION, col.CANDIDATE)
METRICS = ("ndcg@10", "recall@100")
TOP = 10
_DRAW = 10_029
_KS = (10, 100)


def followed(scene: Scene, at_most: int) -> pa.Table:
    """USER_FEATURES of active users drawn by their ids alone, ascending: of users that stay active, the same ones every day."""
    ids = scene.active[col.USER_ID].to_numpy()
    drawn = np.argsort(hashed_pairs(ids, np.full(len(ids), _DRAW)), kind="stable")[:at_most]
    return scene.active.take(pa.array(np.sort(drawn)))


def lists_of(scene: Scene, users: pa.Table) -> Ints:
    """The lists that users would get, with rules and exact search, without exploration.

    Returns:
        int64 ``(n_users, k)`` video ids, best first, padded with -1.
    """
    config = scene.ranking.unexplored()
    catalogue, indexes, size = scene.catalogue, exact_indexes(scene.models, scene.catalogue), config.users_per_batch
    found = [np.empty((0, config.k), dtype=np.int64)]
    for start in range(0, users.num_rows, size):
        batch = scene.batch(users.slice(start, size))
        positions = recommend_batch(config, catalogue, batch, indexes, scene.at.date()).positions
        found.append(np.where(positions >= 0, catalogue.video_ids[positions], -1))
    return np.concatenate(found)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What users found relevant after their lists were made, and how well both lists foresaw it.

    Attributes:
        user_ids: int64 ``(n,)``, ascending: the users who found something relevant that was new to them.
        relevant: int64 ``(n,)``, how many videos.
        values: float64 ``(n,)`` by side and metric.
    """

    user_ids: Ints
    relevant: Ints
    values: Mapping[str, Mapping[str, Floats]]


def judge(user_ids: Ints, watched: pa.ListArray, lists: Mapping[str, Ints], positives: tuple[Ints, Ints]) -> Outcome:
    """Judge both lists of each user by what that user found relevant afterwards.

    Args:
        user_ids: int64 ``(n,)``, ascending.
        watched: videos that each had acted on before: they do not count, as no list may hold them.
        lists: int64 ``(n, k)`` video ids by side, padded with -1.
        positives: user ids and video ids of the relevant events, in any order, repeats allowed.
    """
    rows = IdMap(user_ids).lookup(positives[0])
    rows, videos = rows[rows >= 0], positives[1][rows >= 0]
    old = watched.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    known, places = np.unique(np.concatenate([videos, old]), return_inverse=True)
    width = max(len(known), 1)
    before = watched.value_parent_indices().to_numpy() * width + places[len(videos) :]
    pairs = np.setdiff1d(rows * width + places[: len(videos)], before)
    counts = np.bincount(pairs // width, minlength=len(user_ids))
    relevant = np.concatenate([[0], np.cumsum(counts)]), known[pairs % width]
    asked = counts > 0
    values = {
        side: {name: found[asked] for name, found in metrics.ranking_metrics(own, relevant, _KS).items() if name in METRICS}
        for side, own in lists.items()
    }
    return Outcome(user_ids[asked], counts[asked], values)


def shown(user_ids: Ints, lists: Ints, impressions: tuple[Ints, Ints, Floats]) -> float:
    """Share of the first ten places whose video its user was shown afterwards, by whatever decided; NaN for empty lists.

    Args:
        user_ids: int64 ``(n,)``, ascending.
        lists: int64 ``(n, k)`` video ids, padded with -1.
        impressions: user ids, video ids, and of how many impressions each is a sample, float64. Of a pair that is there more
            than once the smallest counts, so the share is an estimate.
    """
    top = lists[:, :TOP]
    filled = top >= 0
    if not filled.any():
        return float("nan")
    rows, videos, weights = IdMap(user_ids).lookup(impressions[0]), impressions[1], impressions[2]
    listed = np.unique(top[filled])
    places = IdMap(listed).lookup(videos)
    kept = (rows >= 0) & (places >= 0)
    codes, weights = rows[kept] * len(listed) + places[kept], weights[kept]
    order = np.lexsort((weights, codes))
    pairs, first = np.unique(codes[order], return_index=True)
    row, place = np.nonzero(filled)
    hit = np.isin(pairs, row * len(listed) + np.searchsorted(listed, top[row, place]))
    return float(weights[order][first][hit].sum() / filled.sum())


def pooled(outcomes: Sequence[Outcome], config: EvaluationConfig) -> dict[str, Any]:
    """Both sides over all judged days: means over a user's days, then over users, with the interval of their difference.

    Days of one user hang together, so users are drawn, with all their days (``models.metrics.bootstrap_ratios``).

    Args:
        outcomes: of one day each.
        config: replicates, confidence, seed, and how many users an interval needs.

    Returns:
        ``days``, ``users``, ``relevant``, and by metric the means of both sides over users and days, ``difference``, and
        ``low`` and ``high``, None for too few users.
    """
    users = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(one.user_ids for one in outcomes)]))
    places = [np.searchsorted(users, one.user_ids) for one in outcomes]
    days = np.zeros(len(users))
    sums = {(side, name): np.zeros(len(users)) for name in METRICS for side in SIDES}
    for place, one in zip(places, outcomes, strict=True):
        days[place] += 1
        for (side, name), total in sums.items():
            total[place] += one.values[side][name]
    found: dict[str, Any] = {
        "days": len(outcomes),
        "users": len(users),
        "relevant": sum(int(o.relevant.sum()) for o in outcomes),
    }
    draws = metrics.bootstrap_draws(len(users), config.bootstrap_samples, config.seed)
    for name in METRICS:
        own = {side: float(sums[side, name].sum() / days.sum()) if len(users) else None for side in SIDES}
        figures: dict[str, float | None] = {**own, "difference": None, "low": None, "high": None}
        if len(users):
            difference = sums[CANDIDATE, name] - sums[CHAMPION, name]
            figures["difference"] = float(difference.sum() / days.sum())
        if len(users) >= config.min_slice_users:
            replicates = metrics.bootstrap_ratios(difference[:, None], days[:, None], draws)
            low, high = metrics.percentile_interval(replicates, config.confidence)
            figures |= {"low": float(low[0]), "high": float(high[0])}
        found[name] = figures
    return found
