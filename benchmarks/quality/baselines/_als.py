"""``implicit``'s AlternatingLeastSquares (Hu, Koren and Volinsky, ICDM 2008), as its users call it."""

from __future__ import annotations

import numpy as np
import optuna
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from benchmarks.quality._world import Floats, Ints, World
from benchmarks.quality.baselines._base import Fitted, Judge, Params, suggest_input


class Als:
    """Weighted matrix factorization of the pairs."""

    name = "implicit ALS"
    trials = 1.0
    first: Params = {  # noqa: RUF012
        "input": "positives", "factors": 64, "regularization": 10.0, "alpha": 5.0, "iterations": 15,
    }  # fmt: skip

    def suggest(self, trial: optuna.Trial) -> Params:
        """Size, weights and rounds."""
        return {
            "input": suggest_input(trial),
            "factors": trial.suggest_int("factors", 8, 256, log=True),
            "regularization": trial.suggest_float("regularization", 1e-3, 300, log=True),
            "alpha": trial.suggest_float("alpha", 1, 100, log=True),
            "iterations": trial.suggest_int("iterations", 5, 30),
        }

    def fit(self, world: World, params: Params, seed: int, judge: Judge | None = None) -> Fitted:
        """Factorize; users without a pair have factors of zero."""
        given = {name: value for name, value in params.items() if name != "input"}
        model = AlternatingLeastSquares(**given, random_state=seed, dtype=np.float32)
        with threadpool_limits(1, "blas"):
            model.fit(world.matrix(params["input"]), show_progress=False)
        of_users, of_videos = model.user_factors, model.item_factors

        def scores(users: Ints) -> Floats:
            return of_users[users] @ of_videos.T

        return Fitted(scores)
