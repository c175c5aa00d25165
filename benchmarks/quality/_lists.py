"""From scores to lists, and from lists to figures: the same for every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.quality._world import DEPTH, Floats, Ints, World
from models import metrics

Scores = Callable[[Ints], Floats]
"""Users by their dense ids ``(n,)`` to float32 ``(n, n_videos)``; all zero for users of whom a model knows nothing."""
FIGURES = (
    "ndcg@10", "ndcg@20", "recall@20", "recall@100", "precision@1", "precision@5", "precision@10", "map@100",
    "coverage@100", "diversity@10",
)  # fmt: skip
_USERS = 256


def top(scores: Scores, world: World, users: Ints, fallback: Ints) -> Ints:
    """The lists of some users, best first: int64 ``(n, DEPTH)``, padded with -1.

    Args:
        scores: of a model.
        world: says what was seen and removed.
        users: int64 ``(n,)``.
        fallback: int64 ``(n_videos,)``: all videos, the most popular first; in this order are videos of equal score, and so all
            videos for a user of whom the model knows nothing.
    """
    parts = [np.empty((0, DEPTH), dtype=np.int64)]
    for start in range(0, len(users), _USERS):
        few = users[start : start + _USERS]
        found = np.array(scores(few), dtype=np.float64)
        found[:, world.removed] = -np.inf
        seen = world.seen[few]
        found[np.repeat(np.arange(len(few)), np.diff(seen.indptr)), seen.indices] = -np.inf
        order = np.argsort(-found[:, fallback], axis=1, kind="stable")[:, :DEPTH]
        best = fallback[order]
        best[~np.isfinite(np.take_along_axis(found, best, axis=1))] = -1
        parts.append(np.pad(best, ((0, 0), (0, DEPTH - best.shape[1])), constant_values=-1))
    return np.concatenate(parts)


def ndcg20(scores: Scores, world: World, fallback: Ints) -> float:
    """What models are tuned by: mean nDCG@20 of the judged users."""
    lists = top(scores, world, world.judged, fallback)
    return metrics.means(metrics.ranking_metrics(lists, world.relevant[world.judged], ks=(20,)))["ndcg@20"]


def figures(lists: Ints, world: World, likeness: sp.csr_matrix) -> dict[str, float]:
    """The figures of the table, by the names of ``FIGURES``.

    Args:
        lists: int64 ``(n_judged, DEPTH)``.
        world: the question.
        likeness: of videos, as ``co_watch`` gives it.
    """
    found: dict[str, Any] = metrics.means(metrics.ranking_metrics(lists, world.relevant[world.judged], ks=(1, 5, 10, 20, 100)))
    found["coverage@100"] = metrics.coverage(lists, int((~world.removed).sum()), 100)
    found["diversity@10"] = diversity(lists[:, :10], likeness)
    return {name: float(found[name]) for name in FIGURES}


def co_watch(world: World) -> sp.csr_matrix:
    """How alike videos are by who watched them: float32 CSR ``(n_videos, n_users)`` of unit rows, zero for unwatched ones."""
    watched = world.matrix("watches").T.tocsr()
    norms = np.sqrt(watched.getnnz(axis=1))
    return sp.diags_array(1 / np.maximum(norms, 1)).astype(np.float32) @ watched


def diversity(lists: Ints, likeness: sp.csr_matrix) -> float:
    """Mean over users of the mean of ``1 - cosine`` over the pairs of their list; NaN where no list has two videos."""
    found = []
    for row in lists:
        videos = row[row >= 0]
        if len(videos) > 1:
            vectors = likeness[videos]
            cosines = (vectors @ vectors.T).toarray()
            pairs = len(videos) * (len(videos) - 1)
            found.append(1 - float(cosines.sum() - np.trace(cosines)) / pairs)
    return float(np.mean(found)) if found else float("nan")


def popular_order(scores: npt.NDArray[np.floating[Any]]) -> Ints:
    """All videos by falling score, equal ones by position."""
    return np.argsort(-scores, kind="stable")


def spread(runs: list[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation of each figure over seeds; the deviation of one run is 0."""
    columns = {name: np.array([run[name] for run in runs]) for name in FIGURES}
    means = {name: float(column.mean()) for name, column in columns.items()}
    return means, {name: float(column.std(ddof=1)) if len(runs) > 1 else 0.0 for name, column in columns.items()}
