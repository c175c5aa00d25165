"""Settings against the configured ones, on one scale for every data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

Scores = Mapping[tuple[int, int], float]
"""What epochs scored, by data set from 0 and epoch from 1. Higher is better; all of one sign."""

LEAST_TRIALS = 5
"""So many finished trials are needed before another can be hopeless."""
_WARM_EPOCHS = 2
"""A fit is let go on for so many epochs, however bad: large steps and heavy averages begin badly."""
_LEAST = 1e-3
"""A figure is at least this share of the reference: its logarithm stays finite."""
_FOREVER = 1 << 30


def gain(figure: float, reference: float) -> float:
    """Logarithm of how many times better a figure is than the reference.

    Data sets differ tenfold in their figures. On this scale a tenth more counts the same on each.

    Args:
        figure: higher is better. Losses are given with a minus.
        reference: of the same sign, not 0.
    """
    if reference < 0:
        figure, reference = reference, figure
    return math.log(max(figure / reference, _LEAST))


def hopeless(mine: Scores, others: Sequence[Scores], reference: Scores, n_sets: int) -> bool:
    """Whether a trial that stands at its newest score is so far behind that it is not worth going on.

    The median rule of Golovin et al. (Google Vizier, KDD 2017) for several data sets: what counts is the mean gain over the
    data sets so far, of the best epoch so far in each. Of one data set the lower half is hopeless. After the first of three it
    is the lowest sixth, for that says only a third of what is asked.

    Args:
        mine: scores of the trial.
        others: those of the finished trials.
        reference: those of the configured settings, for every data set.
        n_sets: data sets of a whole trial.
    """
    place = max(mine)
    if len(others) < LEAST_TRIALS or place[1] <= _WARM_EPOCHS:
        return False
    sets = sorted({of for of, _ in reference if of <= place[0]})
    goals = [_best(reference, of, (of, _FOREVER)) for of in sets]

    def so_far(scores: Scores) -> float:
        return float(np.mean([gain(_best(scores, of, place), goals[of]) for of in sets]))

    share = 0.5 * (place[0] + 1) / n_sets
    return so_far(mine) < float(np.quantile([so_far(scores) for scores in others], share))


def _best(scores: Scores, of: int, until: tuple[int, int]) -> float:
    """The best score in a data set up to a place."""
    return max(score for place, score in scores.items() if place[0] == of and place <= until)
