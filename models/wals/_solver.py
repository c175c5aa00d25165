"""The alternating solver: `implicit`'s least-squares step, given a penalty of its own for each user and video.

`implicit` knows one penalty for all rows of a call. Rows are therefore put in order of their penalty, which is rounded to
powers of two, and each of the few levels is one call on a slice of the same arrays. A call computes the Gram matrix of the
other side anew: a pass over a million pairs costs 6 % more with 18 levels than with one. Finer levels foresaw validation splits
no better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray

from models.wals._config import WalsConfig

Floats = NDArray[np.float32]
Progress = Callable[[int, float], None]


def penalties(config: WalsConfig, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """L2 penalty of rows with so many positive cells: ``regularization * count ** regularization_exponent``.

    The second factor is rounded to a power of two: at most the root of two up or down.

    Args:
        config: hyper-parameters.
        counts: int64 ``(n,)``; a row without positive cells has the penalty of one with one.

    Returns:
        float64 ``(n,)``.
    """
    power = config.regularization_exponent * np.log2(np.maximum(counts, 1))
    return np.asarray(config.regularization * 2.0 ** np.round(power))


def solve(config: WalsConfig, cells: sp.csr_matrix, users: Floats, videos: Floats, progress: Progress) -> tuple[Floats, Floats]:
    """Alternate between users and videos for ``iterations`` rounds.

    Args:
        config: hyper-parameters.
        cells: float32 ``(n_users, n_videos)``, the whole confidence of each positive cell.
        users: float32 ``(n_users, factors)`` to start from.
        videos: float32 ``(n_videos, factors)`` to start from.
        progress: called after each round with its number, from 1, and its seconds.

    Returns:
        The factors, in the same order; they may not be finite.
    """
    user_penalties = penalties(config, np.diff(cells.indptr))
    video_penalties = penalties(config, np.bincount(cells.indices, minlength=cells.shape[1]))
    user_order, video_order = (np.argsort(found, kind="stable") for found in (user_penalties, video_penalties))
    ordered = cells if config.regularization_exponent == 0 else _permuted(cells, user_order, video_order)
    transposed = ordered.T.tocsr()
    user_factors, video_factors = users[user_order], videos[video_order]
    sides = (
        (_levels(ordered, user_penalties[user_order]), user_factors, video_factors),
        (_levels(transposed, video_penalties[video_order]), video_factors, user_factors),
    )
    solver = least_squares(config).solver
    for iteration in range(config.iterations):
        began = time.perf_counter()
        for levels, mine, other in sides:
            for level in levels:
                solver(level.cells, mine[level.first : level.end], other, level.penalty, num_threads=config.num_threads)
        progress(iteration + 1, time.perf_counter() - began)
    return _unordered(user_factors, user_order), _unordered(video_factors, video_order)


def least_squares(config: WalsConfig) -> Any:
    """An `implicit` model with these hyper-parameters, of which only the least-squares steps are used."""
    model = AlternatingLeastSquares(
        factors=config.factors,
        regularization=config.regularization,
        alpha=1.0,  # the cells hold the whole confidence
        num_threads=config.num_threads,
        dtype=np.float32,
    )
    model.cg_steps = config.cg_steps
    return model


@dataclass(frozen=True, slots=True)
class _Level:
    """Rows of one penalty: from ``first`` up to ``end``."""

    cells: sp.csr_matrix
    first: int
    end: int
    penalty: float


def _levels(cells: sp.csr_matrix, ascending: NDArray[np.float64]) -> list[_Level]:
    """Divide rows in order of their penalty (n_rows,); the levels share the memory of ``cells``."""
    _, starts = np.unique(ascending, return_index=True)
    bounds = [*starts.tolist(), len(ascending)]
    return [_Level(_slice(cells, first, end), first, end, float(ascending[first])) for first, end in pairwise(bounds)]


def _slice(cells: sp.csr_matrix, first: int, end: int) -> sp.csr_matrix:
    """Some rows without a copy of their entries."""
    indptr = cells.indptr[first : end + 1]
    entries = slice(indptr[0], indptr[-1])
    shape = (end - first, cells.shape[1])
    return sp.csr_matrix((cells.data[entries], cells.indices[entries], indptr - indptr[0]), shape=shape, copy=False)


def _permuted(cells: sp.csr_matrix, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> sp.csr_matrix:
    place = np.empty(len(columns), dtype=cells.indices.dtype)
    place[columns] = np.arange(len(columns), dtype=place.dtype)
    found = cells[rows]
    found.indices = place[found.indices]
    found.has_sorted_indices = False
    found.sort_indices()  # sums in one order, whatever the order of the input
    return found


def _unordered(factors: Floats, order: NDArray[np.intp]) -> Floats:
    found = np.empty_like(factors)
    found[order] = factors
    return found
