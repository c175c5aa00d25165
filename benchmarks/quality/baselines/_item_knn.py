"""Item kNN: cosine of who watched, shrunk, over each video's nearest neighbours (Deshpande and Karypis, TOIS 2004)."""

from __future__ import annotations

import numpy as np
import optuna
import scipy.sparse as sp

from benchmarks.quality._world import Floats, Ints, World
from benchmarks.quality.baselines._base import Fitted, Judge, Params, suggest_input

_VIDEOS = 1024


class ItemKnn:
    """A user's score of a video is the sum of its likeness to those of the user's videos that are among its ``k`` nearest."""

    name = "item kNN"
    trials = 1.0
    first: Params = {"input": "positives", "k": 100, "shrinkage": 10.0}  # noqa: RUF012

    def suggest(self, trial: optuna.Trial) -> Params:
        """Neighbours and shrinkage."""
        return {
            "input": suggest_input(trial),
            "k": trial.suggest_int("k", 5, 1000, log=True),
            "shrinkage": trial.suggest_float("shrinkage", 0.01, 1000, log=True),
        }

    def fit(self, world: World, params: Params, seed: int, judge: Judge | None = None) -> Fitted:
        """Find the neighbours."""
        watched = world.matrix(params["input"])
        near = neighbours(watched, params["k"], params["shrinkage"]).T.tocsr()

        def scores(users: Ints) -> Floats:
            return (watched[users] @ near).toarray()

        return Fitted(scores)


def neighbours(watched: sp.csr_matrix, k: int, shrinkage: float) -> sp.csr_matrix:
    """The ``k`` most alike videos of each: float32 CSR ``(n_videos, n_videos)``, a row holds a video's neighbours.

    The likeness is ``common / (norm * norm + shrinkage)``, 0 with itself.
    """
    columns = watched.T.tocsr()
    norms = np.sqrt(columns.getnnz(axis=1)).astype(np.float32)
    parts = []
    for start in range(0, columns.shape[0], _VIDEOS):
        alike = (columns[start : start + _VIDEOS] @ watched).toarray()
        rows = np.arange(len(alike))
        alike[rows, start + rows] = 0
        alike /= norms[start : start + len(alike), None] * norms + shrinkage
        if k < alike.shape[1]:
            best = np.argpartition(-alike, k - 1, axis=1)[:, :k]
            kept = np.zeros_like(alike)
            np.put_along_axis(kept, best, np.take_along_axis(alike, best, axis=1), axis=1)
            alike = kept
        parts.append(sp.csr_matrix(alike))
    return sp.vstack(parts, format="csr")
