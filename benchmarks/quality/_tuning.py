"""Tune a baseline on validation by Optuna, and fit it on everything before the cut with what was found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import optuna

from benchmarks.quality._lists import Scores, ndcg20
from benchmarks.quality._world import Ints, World
from benchmarks.quality.baselines import Baseline, Fitted, Params

_WARM_TRIALS, _WARM_EPOCHS = 3, 15
"""A trial is not pruned before so many others, and so many epochs of its own."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found."""

    params: Params
    """With what the fit itself learned."""
    validation: float
    """nDCG@20."""
    trials: int
    seconds: float

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "params": self.params,
            "validation_ndcg@20": self.validation,
            "trials": self.trials,
            "tuning_seconds": round(self.seconds, 1),
        }


def tune(baseline: Baseline, world: World, fallback: Ints, *, trials: int, seed: int) -> Tuned:
    """Try parameters, the baseline's own first ones before all others, and keep the best by nDCG@20 of validation.

    Args:
        baseline: what to tune.
        world: the question of validation.
        fallback: see ``_lists.top``.
        trials: the budget; a baseline that trains long takes its share of it.
        seed: of the sampler and of the fits.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.monotonic()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, min(10, trials // 3))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_WARM_TRIALS, n_warmup_steps=_WARM_EPOCHS),
    )
    study.enqueue_trial(baseline.first)

    def objective(trial: optuna.Trial) -> float:
        def judge(scores: Scores, epoch: int) -> float:
            figure = ndcg20(scores, world, fallback)
            trial.report(figure, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            return figure

        params = baseline.suggest(trial)
        fitted = baseline.fit(world, params, seed, judge)
        trial.set_user_attr("params", {**params, **fitted.learned})
        return ndcg20(fitted.scores, world, fallback)

    budget = max(1, round(trials * baseline.trials))
    study.optimize(objective, n_trials=budget)
    best = study.best_trial
    return Tuned(best.user_attrs["params"], study.best_value, budget, time.monotonic() - began)


def refit(baseline: Baseline, world: World, tuned: Tuned, seed: int) -> tuple[Fitted, float]:
    """Fit on everything before the cut; returns seconds as well."""
    began = time.monotonic()
    return baseline.fit(world, tuned.params, seed), time.monotonic() - began
