"""Search of hyper-parameters: where to look, what a setting is worth on the validation split, and when to give up on one.

Pure: ``jobs/tuning`` reads the data sets, fits, and lets Optuna choose.
"""

from models.tuning._compare import LEAST_TRIALS, Scores, gain, hopeless
from models.tuning._lists import METRIC, foresight
from models.tuning._space import Choices, Dimension, Range, Value, around, values_of, with_values
from models.tuning._spaces import SPACES

__all__ = [
    "LEAST_TRIALS",
    "METRIC",
    "SPACES",
    "Choices",
    "Dimension",
    "Range",
    "Scores",
    "Value",
    "around",
    "foresight",
    "gain",
    "hopeless",
    "values_of",
    "with_values",
]
