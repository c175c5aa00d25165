"""WALS: weighted matrix factorization of explicit and implicit feedback (M3), and fold-in of new users (M4).

The model is Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008): every (user, video)
cell has a preference (1 where there was positive feedback, else 0) and a confidence. A cell of feedback weight ``r`` has
confidence ``1 + alpha * r`` and every other cell 1, with ``alpha = 1 / unobserved_weight``; dividing all by ``alpha`` shows the
same objective as a weight ``unobserved_weight`` on cells without feedback and ``unobserved_weight + r`` on those with it.

What `implicit` 0.7 calls a confidence is the *whole* one: it takes the stored value, times its own ``alpha``, as ``C_ui`` and
knows 1 for cells that are not stored (``implicit/cpu/als.py``, ``user_linear_equation``). It does not add the 1. So we store
``1 + alpha * r`` and leave its alpha at 1, which is also what Spark's ALS does with ``implicitPrefs``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat
from threadpoolctl import threadpool_limits

from conf import Section
from models.hashing import hashed_uniform
from models.ids import IdMap
from schemas import columns as col
from schemas.errors import ReelflowError

FORMAT_VERSION = 1
Feedback = Literal["relevant", "like", "share"]
_FLAGS: dict[Feedback, str] = {"relevant": col.LABEL, "like": col.LIKED, "share": col.SHARED}
_log = logging.getLogger(__name__)


class WalsConfig(Section):
    """Hyper-parameters of the factorization: section ``wals``."""

    factors: int = Field(ge=1, le=1024)
    """Length of a user's and a video's vector."""

    iterations: int = Field(ge=1)
    """Rounds of solving for all users, then for all videos."""

    regularization: float = Field(ge=0)
    """L2 penalty on the vectors, on the scale where a cell without feedback weighs 1."""

    unobserved_weight: float = Field(gt=0)
    """Weight of a (user, video) cell with no feedback, against 1 for one unit of feedback: alpha is its inverse."""

    feedback_weights: dict[Feedback, NonNegativeFloat]
    """What one example of each kind adds to the weight of its cell; `share` covers saves. 0 ignores a kind."""

    seed: int = Field(ge=0)
    """Start of the random vectors."""

    num_threads: int = Field(ge=0)
    """Threads of the solver; 0 for one a core. The result does not depend on it."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedWals:
    """User and video vectors whose inner product is the predicted preference, about 0 to 1.

    Attributes:
        config: what they were fitted with.
        users: the users that have a vector.
        videos: the videos that have a vector.
        user_factors: float32 ``(n_users, factors)``.
        video_factors: float32 ``(n_videos, factors)``.
    """

    config: WalsConfig
    users: IdMap
    videos: IdMap
    user_factors: NDArray[np.float32]
    video_factors: NDArray[np.float32]

    def user_vectors(self, user_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give each user's vector, float32 ``(n, factors)`` in the order asked; zeros for unknown users."""
        return _rows(self.user_factors, self.users.lookup(user_ids))

    def video_vectors(self, video_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give each video's vector, float32 ``(n, factors)`` in the order asked; zeros for unknown videos."""
        return _rows(self.video_factors, self.videos.lookup(video_ids))

    def fold_in(
        self, indptr: NDArray[np.int64], video_ids: NDArray[np.int64], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Give users their vectors from what they liked, by one least-squares step against the fixed video vectors.

        This is the step that a training iteration takes for a user, solved exactly, so a user of the training set comes out
        close to the trained vector.

        Args:
            indptr: int64 ``(n + 1,)``: user ``i`` has the entries ``indptr[i]`` to ``indptr[i + 1]``.
            video_ids: int64 ``(n_entries,)``; videos without a vector are left out.
            weights: float64 ``(n_entries,)`` feedback weights as :func:`confidence` sums them; ``None`` for 1 each.

        Returns:
            float32 ``(n, factors)``; zeros for a user without a known video.
        """
        n_users = len(indptr) - 1
        dense = self.videos.lookup(video_ids)
        known = dense >= 0
        rows = np.repeat(np.arange(n_users), np.diff(indptr))[known]
        amount = np.ones(len(dense)) if weights is None else np.asarray(weights, dtype=np.float64)
        cells = _cells(self.config, rows, dense[known], amount[known], (n_users, len(self.videos)))
        with threadpool_limits(1, "blas"):
            model = _model(self.config)
            model.item_factors = self.video_factors.copy()  # the solver insists on writable memory
            folded = model.recalculate_user(np.arange(n_users), cells)
        # The solver leaves rows without entries at zero.
        return _finite(np.asarray(folded, dtype=np.float32), "fold-in")

    def save(self, directory: Path) -> None:
        """Write ``wals.json`` and four ``.npy`` files into an existing directory."""
        self.users.save(directory / "users.npy")
        self.videos.save(directory / "videos.npy")
        for name in ("user_factors", "video_factors"):
            with (directory / f"{name}.npy").open("wb") as stream:
                np.save(stream, getattr(self, name), allow_pickle=False)
        facts = {"format_version": FORMAT_VERSION, "config": self.config.model_dump(mode="json")}
        (directory / "wals.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> FittedWals:
        """Read what :meth:`save` wrote.

        Raises:
            ReelflowError: a file is missing, of another format version, or does not match the others.
        """
        try:
            facts = json.loads((directory / "wals.json").read_text(encoding="utf-8"))
            factors = [np.load(directory / f"{name}.npy", allow_pickle=False) for name in ("user_factors", "video_factors")]
        except (OSError, ValueError) as error:
            raise ReelflowError(f"WALS model {directory}: cannot be read ({error}); train it again") from error
        if facts.get("format_version") != FORMAT_VERSION:
            raise ReelflowError(
                f"WALS model {directory}: found format {facts.get('format_version')}, expected {FORMAT_VERSION}; train it again"
            )
        users, videos = IdMap.load(directory / "users.npy"), IdMap.load(directory / "videos.npy")
        config = WalsConfig.model_validate(facts["config"])
        expected = ((len(users), config.factors), (len(videos), config.factors))
        found = tuple(array.shape for array in factors)
        if found != expected:
            raise ReelflowError(f"WALS model {directory}: found factors of shape {found}, expected {expected}; train it again")
        return cls(config, users, videos, *factors)


def confidence(examples: pa.Table, config: WalsConfig) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sum the feedback weight of every (user, video) pair with positive feedback.

    Args:
        examples: rows with the columns ``user_id``, ``video_id``, ``label``, ``liked``, ``shared`` and ``disliked``. An example
            adds the weight of each kind of feedback that it shows.
        config: names the weights.

    Returns:
        user ids and video ids, int64 ``(n_pairs,)``, and weights, float64 ``(n_pairs,)``, all above 0, ordered by user and
        video. A pair with a dislike in any example is left out.
    """
    users, videos = (np.asarray(examples.column(name)).astype(np.int64) for name in (col.USER_ID, col.VIDEO_ID))
    disliked = np.asarray(examples.column(col.DISLIKED)).astype(bool)
    amount = np.zeros(len(users))
    for kind, column in _FLAGS.items():
        amount += config.feedback_weights.get(kind, 0.0) * (np.asarray(examples.column(column)).astype(np.float64) > 0)
    matters = (amount > 0) | disliked
    users, videos, amount, disliked = users[matters], videos[matters], amount[matters], disliked[matters]
    user_map, video_map = IdMap.of(users), IdMap.of(videos)
    width = max(len(video_map), 1)
    pairs, group = np.unique(user_map.lookup(users) * width + video_map.lookup(videos), return_inverse=True)
    total = np.bincount(group, amount, len(pairs)).astype(np.float64)
    refused = np.bincount(group, disliked, len(pairs)) > 0
    kept = pairs[~refused & (total > 0)]
    return user_map.ids[kept // width], video_map.ids[kept % width], total[~refused & (total > 0)]


def fit(
    config: WalsConfig,
    user_ids: NDArray[np.int64],
    video_ids: NDArray[np.int64],
    weights: NDArray[np.float64],
    seed: int | None = None,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> FittedWals:
    """Factorize the feedback; the same input and seed give the same bytes, on any number of threads.

    Args:
        config: hyper-parameters.
        user_ids: int64 ``(n_pairs,)``, one entry a (user, video) pair; repeated pairs add up.
        video_ids: int64 ``(n_pairs,)``.
        weights: float64 ``(n_pairs,)``, above 0, as :func:`confidence` gives them.
        seed: of the random start; ``None`` for the configuration's.
        progress: called after each iteration with its number, from 1, and its seconds.

    Raises:
        ReelflowError: no pair, lengths that differ, weights that are not positive, or factors that did not stay finite.
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
            f"WALS: found weights from {amount.min()} to {amount.max()}, expected finite ones above 0; leave other pairs out"
        )
    users, videos = IdMap.of(user_ids), IdMap.of(video_ids)
    cells = _cells(config, users.lookup(user_ids), videos.lookup(video_ids), amount, (len(users), len(videos)))

    def report(iteration: int, seconds: float, _loss: float | None) -> None:
        _log.info("WALS iteration %d of %d: %.1f s", iteration + 1, config.iterations, seconds)
        if progress is not None:
            progress(iteration + 1, seconds)

    # One BLAS thread: the solver has its own threads, and a BLAS that splits its sums by thread would change the last bits.
    with threadpool_limits(1, "blas"):
        model = _model(config)
        chosen = config.seed if seed is None else seed
        model.user_factors, model.item_factors = (_start(ids, config, chosen) for ids in (users, videos))
        try:
            model.fit(cells, show_progress=False, callback=report)
        except ModelFitError as error:
            raise ReelflowError(_DIVERGED.format("training", config)) from error
    factors = (
        _finite(np.ascontiguousarray(part, dtype=np.float32), "training") for part in (model.user_factors, model.item_factors)
    )
    return FittedWals(config, users, videos, *factors)


_DIVERGED = (
    "WALS {}: found factors that are not finite, expected finite ones; raise wals.regularization or lower the weights ({})"
)


def _start(ids: IdMap, config: WalsConfig, seed: int) -> NDArray[np.float32]:
    """Initial factors of each id, uniform in +-0.01, float32 ``(n, factors)``."""
    return (0.01 * hashed_uniform(ids.ids, config.factors, seed)).astype(np.float32)


def _model(config: WalsConfig) -> Any:
    return AlternatingLeastSquares(
        factors=config.factors,
        iterations=config.iterations,
        regularization=config.regularization,
        alpha=1.0,  # the cells hold the whole confidence, see above
        num_threads=config.num_threads,
        dtype=np.float32,
    )


def _cells(
    config: WalsConfig,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    weights: NDArray[np.float64],
    shape: tuple[int, int],
) -> sp.csr_matrix:
    """Confidence ``1 + alpha * weight`` of every cell with feedback, float32 ``(n_users, n_videos)``; equal cells add up."""
    cells = sp.csr_matrix((weights, (rows, columns)), shape=shape)  # sums duplicates
    cells.data = 1.0 + cells.data / config.unobserved_weight
    return cells.astype(np.float32)


def _rows(factors: NDArray[np.float32], dense: NDArray[np.int64]) -> NDArray[np.float32]:
    if not len(factors):
        return np.zeros((len(dense), factors.shape[1]), dtype=np.float32)
    vectors = factors[dense]
    vectors[dense < 0] = 0
    return vectors


def _finite(factors: NDArray[np.float32], when: str) -> NDArray[np.float32]:
    if not bool(np.isfinite(factors).all()):
        raise ReelflowError(_DIVERGED.format(when, "see the run's configuration"))
    factors.flags.writeable = False
    return factors
