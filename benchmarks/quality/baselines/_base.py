"""What a baseline is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna

from benchmarks.quality._lists import Scores
from benchmarks.quality._world import INPUTS, World

Params = dict[str, Any]
Judge = Callable[[Scores, int], float]
"""Figure of validation of some scores after a number of epochs; may end the fit by ``optuna.TrialPruned``."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Scores, and what fitting itself found out, such as a number of epochs."""

    scores: Scores
    learned: Mapping[str, Any] = field(default_factory=dict)


class Baseline(Protocol):
    """A model with parameters to tune."""

    name: str
    trials: float
    """Share of the budget of trials that it gets: those that train long get fewer."""
    first: Params
    """Parameters of the first trial."""

    def suggest(self, trial: optuna.Trial) -> Params:
        """Parameters of a trial."""

    def fit(self, world: World, params: Params, seed: int, judge: Judge | None = None) -> Fitted:
        """Fit on what was known.

        Args:
            world: the moment; what was relevant after it is not to be looked at.
            params: of ``suggest``, with what an earlier fit learned.
            seed: of whatever is random.
            judge: given while tuning; a model that stops early asks it.
        """


def suggest_input(trial: optuna.Trial) -> str:
    """Which events to learn from."""
    return str(trial.suggest_categorical("input", INPUTS))
