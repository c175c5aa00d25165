"""Fitting: ids to dense ones, a start for each, and the solver."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.hashing import hashed_uniform
from models.ids import IdMap
from models.wals._config import WalsConfig
from models.wals._model import FittedWals, confidences
from models.wals._solver import Floats, Progress, penalties, solve
from schemas.errors import ReelflowError

Ids = NDArray[np.int64]
Engine = Callable[[WalsConfig, Ids, Ids, NDArray[np.float64]], FittedWals]
"""What fits: :func:`fit` here, or another with the same arguments and the same result."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What an engine solves.

    Attributes:
        users: those with a positive cell.
        videos: likewise.
        cells: the confidence of each positive cell, float32 ``(n_users, n_videos)``.
    """

    users: IdMap
    videos: IdMap
    cells: sp.csr_matrix

    @classmethod
    def of(
        cls, config: WalsConfig, user_ids: NDArray[np.int64], video_ids: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> Problem:
        """Give dense ids to pairs.

        Args:
            config: hyper-parameters.
            user_ids: int64 ``(n_pairs,)``, one entry a (user, video) pair; repeated pairs add up.
            video_ids: int64 ``(n_pairs,)``.
            weights: float64 ``(n_pairs,)``, above 0, as :func:`confidence` gives them.

        Raises:
            ReelflowError: no pair, lengths that differ, or weights that are not positive.
        """
        amount = np.asarray(weights, dtype=np.float64)
        if not len(amount):
            raise ReelflowError(
                "WALS: found no (user, video) pair with positive feedback, expected at least one; "
                "check the examples of the look-back and wals.feedback_weights"
            )
        if not len(user_ids) == len(video_ids) == len(amount):
            raise ReelflowError(
                f"WALS: found {len(user_ids)} users, {len(video_ids)} videos, {len(amount)} weights; expected as many of each"
            )
        if not bool((np.isfinite(amount) & (amount > 0)).all()):
            raise ReelflowError(
                f"WALS: found weights from {amount.min()} to {amount.max()}, expected finite ones above 0; leave others out"
            )
        (users, rows), (videos, columns) = _dense(user_ids), _dense(video_ids)
        return cls(users, videos, confidences(config, rows, columns, amount, (len(users), len(videos))))


def fit(
    config: WalsConfig,
    user_ids: NDArray[np.int64],
    video_ids: NDArray[np.int64],
    weights: NDArray[np.float64],
    seed: int | None = None,
    *,
    start: FittedWals | None = None,
    progress: Progress | None = None,
) -> FittedWals:
    """Factorize the feedback on this machine; the same input and seed give the same bytes, on any number of threads.

    Args:
        config: hyper-parameters.
        user_ids: int64 ``(n_pairs,)``, one entry a (user, video) pair; repeated pairs add up.
        video_ids: int64 ``(n_pairs,)``.
        weights: float64 ``(n_pairs,)``, above 0, as :func:`confidence` gives them.
        seed: of the hashed start; ``None`` for the configuration's.
        start: a model to go on from: users and videos that it knows begin at its vectors, others at the hashed start.
        progress: called after each iteration with its number, from 1, and its seconds.

    Raises:
        ReelflowError: no pair, lengths that differ, weights that are not positive, a start with other factors, or factors that
            did not stay finite.
    """
    problem = Problem.of(config, user_ids, video_ids, weights)
    if start is not None and start.config.factors != config.factors:
        raise ReelflowError(
            f"WALS: found a start with {start.config.factors} factors, expected {config.factors}; fit without it"
        )

    def report(iteration: int, seconds: float) -> None:
        _log.info("WALS iteration %d of %d: %.1f s", iteration, config.iterations, seconds)
        if progress is not None:
            progress(iteration, seconds)

    chosen = config.seed if seed is None else seed
    # One BLAS thread: the solver has its own threads, and a BLAS that splits its sums by thread would change the last bits.
    with threadpool_limits(1, "blas"):
        users, videos = (_hashed(ids, config, chosen) for ids in (problem.users, problem.videos))
        if start is not None:
            _replace(users, problem.users, start.users, start.user_factors)
            _replace(videos, problem.videos, start.videos, start.video_factors)
        factors = solve(config, problem.cells, users, videos, report)
    return FittedWals.checked(config, problem.users, problem.videos, *factors)


def objective(
    model: FittedWals, user_ids: NDArray[np.int64], video_ids: NDArray[np.int64], weights: NDArray[np.float64]
) -> float:
    """The sum that training minimises, of a model on the pairs that it was fitted to; memory ``8 * factors`` bytes a pair.

    Args:
        model: fitted to exactly these users and videos, by either engine.
        user_ids: int64 ``(n_pairs,)``.
        video_ids: int64 ``(n_pairs,)``.
        weights: float64 ``(n_pairs,)``.
    """
    cells = Problem.of(model.config, user_ids, video_ids, weights).cells.tocoo()
    users, videos = (part.astype(np.float64) for part in (model.user_factors, model.video_factors))
    predicted = np.einsum("nd,nd->n", users[cells.row], videos[cells.col])
    everywhere = float(((users.T @ users) * (videos.T @ videos)).sum())
    cell_loss = float((cells.data * (1.0 - predicted) ** 2 - predicted**2).sum())
    norms = sum(
        float(penalties(model.config, np.bincount(place, minlength=len(part))) @ (part**2).sum(axis=1))
        for place, part in ((cells.row, users), (cells.col, videos))
    )
    return everywhere + cell_loss + norms


def _dense(ids: Ids) -> tuple[IdMap, Ids]:
    """The map of all ids, and each one's dense id (n,); by hashing, three times as fast as by sorting them all."""
    encoded = pa.array(np.asarray(ids, dtype=np.int64)).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    order = np.argsort(distinct)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return IdMap(distinct[order]), rank[encoded.indices.to_numpy()]


def _hashed(ids: IdMap, config: WalsConfig, seed: int) -> Floats:
    """Initial factors of each id, uniform in +-0.01, float32 ``(n, factors)``."""
    return (0.01 * hashed_uniform(ids.ids, config.factors, seed)).astype(np.float32)


def _replace(factors: Floats, ids: IdMap, known: IdMap, known_factors: Floats) -> None:
    """Put the known vectors in the place of the others."""
    dense = known.lookup(ids.ids)
    factors[dense >= 0] = known_factors[dense[dense >= 0]]
