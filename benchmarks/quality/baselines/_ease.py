"""EASE: a linear model of each video by all others, in closed form (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import optuna
import scipy.linalg
import scipy.sparse as sp

from benchmarks.quality._lists import Scores
from benchmarks.quality._world import Floats, Ints, World
from benchmarks.quality.baselines._base import Fitted, Judge, Params, suggest_input
from schemas.errors import ReelflowError

MOST = 20_000
"""Users or videos, whichever are fewer: the solver takes their cube in time, their square in memory."""
_VIDEOS = 4096


class Ease:
    """Item-item weights with a zero diagonal, by ridge regression."""

    name = "EASE"
    trials = 1.0
    first: Params = {"input": "positives", "regularization": 200.0}  # noqa: RUF012

    def suggest(self, trial: optuna.Trial) -> Params:
        """The regularization."""
        return {"input": suggest_input(trial), "regularization": trial.suggest_float("regularization", 1, 20_000, log=True)}

    def fit(self, world: World, params: Params, seed: int, judge: Judge | None = None) -> Fitted:
        """Solve."""
        return Fitted(ease(world.matrix(params["input"]), params["regularization"]))


def ease(watched: sp.csr_matrix, regularization: float) -> Scores:
    """Scores ``X B`` of the users of ``X``, for EASE's weights ``B``.

    With ``P = (X'X + r I)^-1`` it is ``B = I - P / diag(P)`` by columns, so ``X B = X - X P / diag(P)``. Where there are fewer
    users than videos, ``X P = M X`` and ``diag(P) = (1 - diag(X' M X)) / r`` with ``M = (X X' + r I)^-1``: the same numbers
    from the smaller inverse.

    Args:
        watched: ``X``, CSR ``(n_users, n_videos)`` of ones.
        regularization: ``r``, above 0.

    Raises:
        ReelflowError: more than ``MOST`` users and as many videos.
    """
    n_users, n_videos = watched.shape
    if min(n_users, n_videos) > MOST:
        raise ReelflowError(f"EASE: found {n_users:,} users and {n_videos:,} videos, expected at most {MOST:,} of one of them")
    known = watched.astype(np.float64)
    fewer_users = n_users < n_videos
    gram = (known @ known.T if fewer_users else known.T @ known).toarray()
    gram[np.diag_indices_from(gram)] += regularization
    inverse = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
    diagonal = (1 - _forms(inverse, known)) / regularization if fewer_users else inverse.diagonal()

    def scores(users: Ints) -> Floats:
        product = inverse[users] @ known if fewer_users else known[users] @ inverse
        return (known[users].toarray() - product / diagonal).astype(np.float32)

    return scores


def _forms(inverse: npt.NDArray[np.float64], known: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """``x' M x`` for each column ``x``, float64 ``(n_videos,)``."""
    columns, found = known.tocsc(), np.zeros(known.shape[1])
    for start in range(0, known.shape[1], _VIDEOS):
        few = columns[:, start : start + _VIDEOS]
        found[start : start + _VIDEOS] = np.asarray(few.multiply(inverse @ few).sum(axis=0)).ravel()
    return found
