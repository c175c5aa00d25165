"""Small questions whose right answer is obvious."""

import numpy as np
import scipy.sparse as sp

from benchmarks.quality._world import Events, World

DAY_US = 86_400_000_000


def events(pairs, at_us=None):
    """Pairs of a user and a video, one after another."""
    user, video = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Events(user, video, np.arange(len(user)) if at_us is None else np.array(at_us, dtype=np.int64))


def world(pairs, *, n_users, n_videos, relevant=(), watches=None, removed=(), at_us=None, now_us=10**6):
    """What users saw, and what was relevant then."""
    shape = (n_users, n_videos)
    positives = events(pairs, at_us)
    watched = positives if watches is None else events(watches)
    seen = (positives.matrix(shape).astype(int) + watched.matrix(shape).astype(int)).astype(bool)
    wanted = events(relevant).matrix(shape) if len(relevant) else sp.csr_matrix(shape, dtype=bool)
    return World(
        user_ids=np.arange(n_users),
        video_ids=np.arange(n_videos),
        inputs={"positives": positives, "watches": watched},
        seen=seen,
        removed=np.isin(np.arange(n_videos), removed),
        relevant=wanted,
        judged=np.flatnonzero(np.diff(wanted.indptr)),
        at_us=now_us,
    )
