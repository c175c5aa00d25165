"""Which videos are nearly the same by title and tags, and which of them stands for the others.

Leader clustering (Hartigan, "Clustering Algorithms", 1975, chapter 3): in order of preference a video joins the first leader
that it is close to, or becomes one. So nothing is far from what stands for it, which chains of likeness would not promise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_ROWS = 1024
_LEADERS = 8192
_PAIRS = 16384
_DIRECTIONS = 63
_ROUNDING = 1e-5


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

    All inner products of videos and leaders are bounded first, by a seventh of the multiplications for 448 dimensions, and only
    those that may reach the threshold are computed: 6 s on one core for 50,000 videos that all lead, four times that for twice
    as many. Beside ``vectors`` it takes 64 numbers a video and 100 MB.

    Args:
        vectors: float32 ``(n, d)``, L2-normalised; a video of a zero row is like no other.
        order: int64 ``(n,)``, all positions, the one to be preferred first.
        threshold: least cosine, above 0, of a video to what stands for it; rounding up to 1e-5 is forgiven.

    Returns:
        int64 ``(n,)`` positions; its own where a video stands for itself.
    """
    leader_of = np.arange(len(vectors))
    sketches = _sketches(vectors)
    leaders = np.empty(0, dtype=np.int64)
    has_text = np.asarray(vectors.any(axis=1))
    todo = order[has_text[order]]
    for start in range(0, len(todo), _ROWS):
        rows = todo[start : start + _ROWS]
        for left in range(0, len(leaders), _LEADERS):
            some = leaders[left : left + _LEADERS]
            joined, led = _close(vectors, sketches, rows, some, threshold)
            joined, first = np.unique(joined, return_index=True)
            leader_of[rows[joined]] = some[led[first]]
            rows = np.delete(rows, joined)
        for later, earlier in zip(*_close(vectors, sketches, rows, rows, threshold), strict=True):
            follower, leader = rows[later], rows[earlier]
            if earlier < later and leader_of[follower] == follower and leader_of[leader] == leader:
                leader_of[follower] = leader
        leaders = np.concatenate([leaders, rows[leader_of[rows] == rows]])
    return leader_of


def _sketches(vectors: Floats) -> Floats:
    """Short vectors whose inner products are never below those of ``vectors``, and near them where those are near 1.

    The coordinates along the main directions, and the length of what is left: the product of two lengths is at least the inner
    product of what they measure (Cauchy and Schwarz).

    Returns:
        float32 ``(n, min(d, 63) + 1)``.
    """
    directions = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))[1][:, ::-1][:, :_DIRECTIONS].astype(np.float32)
    along = vectors @ directions
    left = (vectors * vectors).sum(axis=1) - (along * along).sum(axis=1)
    return np.concatenate([along, np.sqrt(np.maximum(left, 0))[:, None]], axis=1)


def _close(vectors: Floats, sketches: Floats, rows: Ints, others: Ints, threshold: float) -> tuple[Ints, Ints]:
    """All pairs with a cosine of at least the threshold: places in ``rows``, ascending, and in ``others``."""
    row, other = np.nonzero(sketches[rows] @ sketches[others].T >= threshold - _ROUNDING)
    close = np.empty(len(row), dtype=bool)
    for start in range(0, len(row), _PAIRS):
        few = slice(start, start + _PAIRS)
        cosines = np.einsum("nd,nd->n", vectors[rows[row[few]]], vectors[others[other[few]]])
        close[few] = cosines >= threshold - _ROUNDING
    return row[close], other[close]
