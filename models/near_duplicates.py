"""Which videos are nearly the same by title and tags, and which of them stands for the others.

Leader clustering (Hartigan, "Clustering Algorithms", 1975, chapter 3): in order of preference a video joins the first leader that
it is close to, or becomes one. So nothing is far from what stands for it, which chains of pairwise likeness would not promise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_ROWS = 1024
_LEADERS = 8192
_ROUNDING = 1e-6


def text_vectors(titles: Floats, tags: Floats) -> Floats:
    """Join the vectors of titles and tags, so that an inner product is the mean of the two cosines.

    Args:
        titles: float32 ``(n, t)``, L2-normalised; a zero row where there is no title.
        tags: float32 ``(n, g)``, L2-normalised; a zero row where there are none.

    Returns:
        float32 ``(n, t + g)``, L2-normalised. A zero row where there is no title: tags alone make nothing the same. A video
        without tags is close to others without tags only.
    """
    known = titles.any(axis=1, keepdims=True)
    share = np.where(tags.any(axis=1, keepdims=True), np.sqrt(0.5), 1.0) * known
    return np.concatenate([titles * share, tags * (share * known)], axis=1).astype(np.float32)


def same_as(vectors: Floats, order: Ints, threshold: float) -> Ints:
    """Find the video that stands for each.

    Memory is that of ``vectors`` twice and 40 MB, time that of ``n * n_leaders / 2`` inner products.

    Args:
        vectors: float32 ``(n, d)``, L2-normalised; a video of a zero row is like no other.
        order: int64 ``(n,)``, all positions, the one to be preferred first.
        threshold: least cosine of a video to what stands for it; rounding up to 1e-6 is forgiven.

    Returns:
        int64 ``(n,)`` positions; its own where a video stands for itself.
    """
    leader_of = np.arange(len(vectors))
    leaders = np.empty_like(vectors)
    names = np.empty(len(vectors), dtype=np.int64)
    count = 0
    todo = order[vectors[order].any(axis=1)]
    for start in range(0, len(todo), _ROWS):
        rows = todo[start : start + _ROWS]
        rows = rows[~_join(leader_of, rows, vectors, names[:count], leaders[:count], threshold)]
        rows = rows[~_join_each_other(leader_of, rows, vectors[rows], threshold)]
        names[count : count + len(rows)] = rows
        leaders[count : count + len(rows)] = vectors[rows]
        count += len(rows)
    return leader_of


def _join(leader_of: Ints, rows: Ints, vectors: Floats, names: Ints, leaders: Floats, threshold: float) -> NDArray[np.bool_]:
    """Write down the first leader of each row that has one among those, and tell which have: bool ``(len(rows),)``."""
    joined = np.zeros(len(rows), dtype=bool)
    for left in range(0, len(leaders), _LEADERS):
        free = np.flatnonzero(~joined)
        near = vectors[rows[free]] @ leaders[left : left + _LEADERS].T >= threshold - _ROUNDING
        found = near.any(axis=1)
        leader_of[rows[free[found]]] = names[left + near[found].argmax(axis=1)]
        joined[free[found]] = True
    return joined


def _join_each_other(leader_of: Ints, rows: Ints, vectors: Floats, threshold: float) -> NDArray[np.bool_]:
    """The same among rows of which the earlier ones lead, one by one where it matters: bool ``(len(rows),)``."""
    near = np.tril(vectors @ vectors.T >= threshold - _ROUNDING, k=-1)
    joined = np.zeros(len(rows), dtype=bool)
    for row in np.flatnonzero(near.any(axis=1)):
        found = near[row] & ~joined
        if found.any():
            leader_of[rows[row]] = rows[found.argmax()]
            joined[row] = True
    return joined
