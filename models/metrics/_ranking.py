"""Ranking: lists, or the candidates of several sources, against the videos that were relevant to each user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from schemas.errors import ReelflowError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KS = (1, 5, 10, 20, 100)
"""The depths at which lists are judged."""


def ranking_metrics(
    recommended: Ints, relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]], ks: Sequence[int] = KS
) -> dict[str, Floats]:
    """Judge each user's list against the videos that were relevant to that user.

    Args:
        recommended: int64 ``(n_users, length)``, best first, padded with -1 (a place left empty, counted as a miss).
        relevant: rows of relevant ids in the same order of users: a CSR matrix over dense ids, or ``(indptr, indices)`` with
            ids of any size. Both sides must use the same ids.
        ks: depths.

    Returns:
        Per-user float64 ``(n_users,)`` under ``precision@k``, ``recall@k``, ``ndcg@k``, ``map@k`` for each k, and ``mrr`` over
        the full length. NaN for a user without relevant videos.

    Raises:
        ReelflowError: another number of users on either side, or a list that repeats a video.
    """
    lists = np.asarray(recommended, dtype=np.int64)
    hits, n_relevant = _hits(lists, relevant)
    n_users, length = lists.shape
    judged = np.where(n_relevant > 0, 1.0, np.nan)
    deepest = max([*ks, length, 1])
    discounts = 1.0 / np.log2(np.arange(2, deepest + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    counts = np.cumsum(hits, axis=1, dtype=np.float64)
    gains = np.cumsum(hits * discounts[:length], axis=1)
    precisions = np.cumsum(np.where(hits, counts / np.arange(1, length + 1), 0.0), axis=1)
    values: dict[str, Floats] = {}
    for k in ks:
        reach = min(k, length)
        possible = np.maximum(np.minimum(k, n_relevant), 1)
        found, gain, precision = (
            column[:, reach - 1] if reach else np.zeros(n_users) for column in (counts, gains, precisions)
        )
        values[f"precision@{k}"] = judged * found / k
        values[f"recall@{k}"] = judged * found / np.maximum(n_relevant, 1)
        values[f"ndcg@{k}"] = judged * gain / ideal[possible]
        values[f"map@{k}"] = judged * precision / possible
    first = hits.argmax(axis=1) if length else np.zeros(n_users, dtype=np.int64)
    values["mrr"] = judged * np.where(hits.any(axis=1), 1.0 / (first + 1), 0.0)
    return values


def means(values: Mapping[str, Floats]) -> dict[str, float]:
    """Average each metric over the users who have it; NaN when none has."""
    kept = {name: column[~np.isnan(column)] for name, column in values.items()}
    return {name: float(column.mean()) if len(column) else float("nan") for name, column in kept.items()}


def source_recall(
    candidates: Ints, ranks: NDArray[Any], relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]], ks: Sequence[int]
) -> Floats:
    """Recall of each candidate source alone, at several depths.

    Args:
        candidates: int64 ``(n_users, c)`` distinct videos that any source proposed, in any order, padded with -1.
        ranks: ``(n_users, c, n_sources)`` from 1: where each source has the candidate; 0 where it does not propose it.
        relevant: as for :func:`ranking_metrics`.
        ks: depths.

    Returns:
        float64 ``(n_users, n_sources, len(ks))``; NaN for a user without relevant videos.
    """
    hits, wanted = _judged_hits(candidates, relevant)
    found = [((ranks > 0) & (ranks <= k) & hits[:, :, None]).sum(axis=1) for k in ks]
    shares: Floats = np.stack(found, axis=2) / wanted[:, None, None]
    return shares


def marginal_recall(
    candidates: Ints,
    ranks: NDArray[Any],
    relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]],
    limits: Sequence[int],
) -> tuple[Floats, Floats]:
    """Recall of the union of all sources, and how much of it is lost without each.

    Args:
        candidates: as for :func:`source_recall`.
        ranks: as for :func:`source_recall`.
        relevant: as for :func:`ranking_metrics`.
        limits: how many proposals of each source count.

    Returns:
        The union's recall float64 ``(n_users,)``, and the losses ``(n_users, n_sources)``, at least 0: what no other source
        proposes. NaN for a user without relevant videos.
    """
    hits, wanted = _judged_hits(candidates, relevant)
    proposed = (ranks > 0) & (ranks <= np.asarray(limits))
    by = proposed.sum(axis=2)
    alone = proposed & (by == 1)[:, :, None] & hits[:, :, None]
    return (hits & (by > 0)).sum(axis=1) / wanted, alone.sum(axis=1) / wanted[:, None]


def _judged_hits(lists: Ints, relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[np.bool_], Floats]:
    """The relevant places, and each user's number of relevant videos, NaN for none."""
    hits, n_relevant = _hits(np.asarray(lists, dtype=np.int64), relevant)
    return hits, np.where(n_relevant > 0, n_relevant, np.nan)


def _hits(lists: Ints, relevant: sp.csr_matrix | tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[np.bool_], Ints]:
    """Mark the relevant places of each list, bool ``(n_users, length)``, and count each user's distinct relevant videos."""
    if isinstance(relevant, tuple):
        indptr, ids = np.asarray(relevant[0], dtype=np.int64), np.asarray(relevant[1], dtype=np.int64)
    else:
        rows = relevant.copy()
        rows.eliminate_zeros()
        indptr, ids = rows.indptr.astype(np.int64), rows.indices.astype(np.int64)
    n_users = len(indptr) - 1
    if lists.ndim != 2 or len(lists) != n_users:
        raise ReelflowError(f"ranking metrics: found lists of shape {lists.shape} for {n_users} users, expected one row a user")
    ordered = np.sort(lists, axis=1)
    if bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any()):
        raise ReelflowError("ranking metrics: found a list that repeats a video, expected distinct ones; mend the recommender")
    known, dense = np.unique(ids, return_inverse=True)
    users = np.repeat(np.arange(n_users), np.diff(indptr))
    width = max(len(known), 1)
    wanted = np.unique(users * width + dense)
    n_relevant = np.bincount(wanted // width, minlength=n_users)
    if not len(known) or not lists.size:
        return np.zeros(lists.shape, dtype=bool), n_relevant
    place = np.minimum(np.searchsorted(known, lists), len(known) - 1)
    keys = np.arange(n_users)[:, None] * width + place
    found = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return (known[place] == lists) & (wanted[found] == keys) & (lists >= 0), n_relevant
