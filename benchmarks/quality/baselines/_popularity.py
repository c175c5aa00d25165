"""Popularity: how many users, all counting alike or the newest more."""

from __future__ import annotations

import numpy as np
import optuna

from benchmarks.quality._world import Floats, Ints, World
from benchmarks.quality.baselines._base import Fitted, Judge, Params, suggest_input

_DAY_US = 86_400_000_000


class Popularity:
    """Counts, halved every ``half_life_days`` unless that is 0."""

    name = "popularity"
    trials = 1.0
    first: Params = {"input": "positives", "decay": False}  # noqa: RUF012

    def suggest(self, trial: optuna.Trial) -> Params:
        """All time, or a half-life."""
        params: Params = {"input": suggest_input(trial), "decay": trial.suggest_categorical("decay", [False, True])}
        if params["decay"]:
            params["half_life_days"] = trial.suggest_float("half_life_days", 0.02, 60, log=True)
        return params

    def fit(self, world: World, params: Params, seed: int, judge: Judge | None = None) -> Fitted:
        """Count."""
        events = world.inputs[params["input"]]
        age_days = (world.at_us - events.at_us) / _DAY_US
        weight = 0.5 ** (age_days / params["half_life_days"]) if params["decay"] else np.ones(len(age_days))
        counts = np.bincount(events.video, weight, world.shape[1]).astype(np.float32)

        def scores(users: Ints) -> Floats:
            return np.broadcast_to(counts, (len(users), len(counts)))

        return Fitted(scores)
