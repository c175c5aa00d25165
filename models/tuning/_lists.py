"""How well vectors foresee what came next: the figure by which models of vectors are tuned."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models._topk import pack, smallest, unpack
from models.ensemble import watched_positions
from models.evaluation import Holdout
from models.metrics import means, ranking_metrics
from schemas import columns as col

METRIC = "ndcg@20"
_DEPTH = 20
_USERS_AT_ONCE = 256


def foresight(
    world: Holdout, users: NDArray[np.float32], videos: NDArray[np.float32], known: NDArray[np.bool_] | None = None
) -> float:
    """Mean nDCG@20 of lists by inner product over the whole catalogue, without what the user had acted on.

    Args:
        world: what was known, and what came next.
        users: float32 ``(n_users, d)`` of the world's users; one of zeros gets an empty list.
        videos: float32 ``(n_videos, d)`` of the world's videos in ascending order of the id.
        known: bool ``(n_videos,)``: which may be proposed; ``None`` for those that are not all zeros.
    """
    proposed = (videos != 0).any(axis=1) if known is None else known
    place = np.where(proposed, np.arange(len(videos)), -1)
    indptr, columns = watched_positions(world.users[col.WATCHED], world.videos[col.VIDEO_ID].to_numpy())
    acted = sp.csr_matrix((np.ones(len(columns), dtype=bool), columns, indptr), shape=(len(users), len(videos)))
    lists = []
    for start in range(0, len(users), _USERS_AT_ONCE):
        some = users[start : start + _USERS_AT_ONCE]
        scores = some @ videos.T
        scores[acted[start : start + len(some)].nonzero()] = -np.inf
        found = unpack(smallest(pack(scores, place), _DEPTH))[1]
        told = (some != 0).any(axis=1)
        lists.append(np.where(told.reshape(-1, 1), found, -1))
    return means(ranking_metrics(np.concatenate(lists), world.relevant, ks=(_DEPTH,)))[METRIC]
