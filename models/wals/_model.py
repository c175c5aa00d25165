"""The fitted factorization, and fold-in of users whose feedback is newer than it (M4)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.ids import IdMap
from models.wals._config import WalsConfig
from models.wals._feedback import confidence
from models.wals._solver import least_squares, penalties
from schemas.errors import ReelflowError

FORMAT_VERSION = 2
_AFTER_ALL = np.iinfo(np.int64).max


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

    @classmethod
    def checked(
        cls,
        config: WalsConfig,
        users: IdMap,
        videos: IdMap,
        user_factors: NDArray[np.float32],
        video_factors: NDArray[np.float32],
    ) -> FittedWals:
        """What an engine found, from now on read-only.

        Raises:
            ReelflowError: the factors are not all finite.
        """
        return cls(config, users, videos, _finite(user_factors, "training"), _finite(video_factors, "training"))

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
        cells = confidences(self.config, rows, dense[known], amount[known], (n_users, len(self.videos)))
        penalty = penalties(self.config, np.diff(cells.indptr))
        folded = np.zeros((n_users, self.config.factors), dtype=np.float32)
        with threadpool_limits(1, "blas"):
            model = least_squares(self.config)
            model.item_factors = self.video_factors.copy()  # the solver insists on writable memory
            for level in np.unique(penalty):
                alike = np.flatnonzero(penalty == level)
                model.regularization = float(level)
                folded[alike] = model.recalculate_user(alike, cells[alike])  # zeros for a row without entries
        return _finite(folded, "fold-in")

    def refreshed(self, examples: pa.Table, at: datetime) -> FittedWals:
        """The same model in which the users of some examples have the vectors that these give them.

        For users who acted after training, or are new since. Videos stay as they are; a user none of whose videos the model
        knows does too.

        Args:
            examples: everything that those users did in the look-back, with the columns that :func:`confidence` reads.
            at: the moment as of which feedback is weighed.
        """
        users, videos, weights = confidence(examples, self.config, at)
        acted = IdMap.of(users)
        vectors = self.fold_in(np.searchsorted(users, [*acted.ids, _AFTER_ALL]), videos, weights)
        told = vectors.any(axis=1)
        everyone = IdMap.of(np.concatenate([self.users.ids, acted.ids[told]]))
        factors = np.empty((len(everyone), self.config.factors), dtype=np.float32)
        factors[everyone.lookup(self.users.ids)] = self.user_factors
        factors[everyone.lookup(acted.ids[told])] = vectors[told]
        return replace(self, users=everyone, user_factors=_finite(factors, "fold-in"))

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


def confidences(
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


def _finite(factors: NDArray[np.float32], when: str) -> NDArray[np.float32]:
    """The factors, from now on read-only.

    Raises:
        ReelflowError: they are not all finite.
    """
    if not bool(np.isfinite(factors).all()):
        raise ReelflowError(
            f"WALS {when}: found factors that are not finite, expected finite ones; raise wals.regularization or lower "
            "wals.feedback_weights"
        )
    factors.flags.writeable = False
    return factors


def _rows(factors: NDArray[np.float32], dense: NDArray[np.int64]) -> NDArray[np.float32]:
    if not len(factors):
        return np.zeros((len(dense), factors.shape[1]), dtype=np.float32)
    vectors = factors[dense]
    vectors[dense < 0] = 0
    return vectors
