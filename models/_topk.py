"""Exact top-k selection with ties broken by position, on packed integer keys.

A score and its position are packed into one unsigned 64-bit key whose ascending order is "best score first, then lowest
position". All keys of a row differ, so a partial sort (which may order equal elements as it likes) has exactly one right
answer, and the selected scores and positions are read back from the keys. The order-preserving map from float bits to integers
is the one of Herf, "Radix Tricks" (2001): here with the order reversed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""The key that sorts after every other one and unpacks to position -1."""

_SIGN = np.uint32(0x8000_0000)
_NOT_SIGN = np.int32(0x7FFF_FFFF)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFF_FFFF)
_QUERIES_PER_BLOCK, _VECTORS_PER_BLOCK = 64, 4096
# BLAS multiplies the last few columns by another kernel, whose last bits differ: equal vectors would not tie. With the columns
# padded to a multiple of this, all real ones meet the same kernel.
_KERNEL = 64


def pack(scores: NDArray[np.float32], positions: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.uint64]:
    """Pack scores and positions into keys that sort ascending from best to worst.

    Args:
        scores: float32 of any shape, without NaN.
        positions: integers that broadcast to the shape of ``scores``, below 2**32 - 1; negative means "nothing here".

    Returns:
        uint64 of the shape of ``scores``.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # + 0 turns -0.0 into 0.0, so that the two tie
    # In place, because this is the hot loop: flip all but the sign of what is not negative. Ascending is now descending score.
    flip = bits >> 31
    np.invert(flip, out=flip)
    flip &= _NOT_SIGN
    bits ^= flip
    keys: NDArray[np.uint64] = bits.view(np.uint32).astype(np.uint64)
    keys <<= _HALF
    keys |= positions.astype(np.uint64) & _LOW
    if bool((positions < 0).any()):
        keys[np.broadcast_to(positions < 0, keys.shape)] = NOTHING
    return keys


def unpack(keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read scores and positions back from keys: ``-inf`` and ``-1`` where there is nothing.

    Args:
        keys: uint64 of any shape.

    Returns:
        float32 scores and int64 positions of the same shape.
    """
    descending = (keys >> _HALF).astype(np.uint32)
    bits = np.where(descending & _SIGN, descending, ~(descending | _SIGN))
    scores = bits.view(np.float32)
    positions = (keys & _LOW).astype(np.int64)
    nothing = keys == NOTHING
    scores[nothing] = -np.inf
    positions[nothing] = -1
    return scores, positions


def smallest(keys: NDArray[np.uint64], k: int) -> NDArray[np.uint64]:
    """Select the ``k`` smallest keys of each row, ascending.

    Args:
        keys: uint64 ``(n, m)``; its content is not kept in order.
        k: how many; rows of fewer keys are padded with ``NOTHING``.

    Returns:
        uint64 ``(n, k)``.
    """
    n, m = keys.shape
    if m > k:
        keys.partition(k - 1, axis=1) if k else None
        chosen = keys[:, :k].copy()
    else:
        chosen = np.full((n, k), NOTHING, dtype=np.uint64)
        chosen[:, :m] = keys
    chosen.sort(axis=1)
    return chosen


def top_inner_products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the ``k`` largest inner products of each query, exactly, ties going to the lowest position.

    Blocks of a matrix product are looked through for what exceeds each query's k-th best so far, which hardly anything does
    after the first blocks; equals come later and lose. Memory stays near ``4 * 2**18`` bytes a temporary plus
    ``(n_queries, 3 * k)`` keys, whatever the number of vectors.

    Args:
        queries: float32 ``(n_queries, d)``.
        vectors: float32 ``(n_vectors, d)``.
        k: how many per query.

    Returns:
        float32 scores and int64 positions ``(n_queries, k)``, best first, padded with ``-inf`` and ``-1``.
    """
    best = [_Best(min(_QUERIES_PER_BLOCK, len(queries) - top), k) for top in range(0, len(queries), _QUERIES_PER_BLOCK)]
    for left in range(0, len(vectors) if k else 0, _VECTORS_PER_BLOCK):
        part = vectors[left : left + _VECTORS_PER_BLOCK]
        width = -(-len(part) // _KERNEL) * _KERNEL
        block = np.zeros((vectors.shape[1], width), dtype=np.float32)
        block[:, : len(part)] = part.T
        for number, some in enumerate(best):
            top = number * _QUERIES_PER_BLOCK
            some.add((queries[top : top + _QUERIES_PER_BLOCK] @ block)[:, : len(part)], left)
    if not best:
        return np.zeros((0, k), dtype=np.float32), np.zeros((0, k), dtype=np.int64)
    return unpack(np.concatenate([some.keys() for some in best]))


class _Best:
    """The best keys of some queries so far: a row of them for each, in no order, and how many there are."""

    def __init__(self, n: int, k: int) -> None:
        self._k = k
        self._kept = np.full((n, 3 * k), NOTHING, dtype=np.uint64)
        self._count = np.zeros(n, dtype=np.int64)
        self._least = np.full(n, -np.inf, dtype=np.float32)

    def add(self, scores: NDArray[np.float32], left: int) -> None:
        """Look at the scores ``(n, m)`` of the positions from ``left`` on; positions come in ascending order."""
        hits = np.flatnonzero(scores > self._least[:, None])
        row = hits // scores.shape[1]
        new = np.bincount(row, minlength=len(scores))
        if int(new.max(initial=0)) > self._k:  # the first block, or scores that rise along the positions
            positions = np.arange(left, left + scores.shape[1])
            self._settle(np.concatenate([self.keys(), smallest(pack(scores, positions), self._k)], axis=1))
            return
        if int((self._count + new).max(initial=0)) > self._kept.shape[1]:
            self._settle(self._kept)
        place = self._count[row] + np.arange(len(hits)) - np.repeat(np.cumsum(new) - new, new)
        self._kept[row, place] = pack(scores.reshape(-1)[hits], left + hits % scores.shape[1])
        self._count += new

    def keys(self) -> NDArray[np.uint64]:
        """The k best of each query, ascending ``(n, k)``."""
        return smallest(self._kept.copy(), self._k)

    def _settle(self, keys: NDArray[np.uint64]) -> None:
        """Keep the k best of some keys ``(n, m)``."""
        best = smallest(keys, self._k)
        self._kept[:, : self._k], self._kept[:, self._k :] = best, NOTHING
        self._count = (best != NOTHING).sum(axis=1)
        self._least = unpack(best[:, -1])[0]  # -inf where there are fewer than k
