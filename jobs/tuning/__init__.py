"""Search of hyper-parameters on the validation split, over one data set or several."""

from jobs.tuning._models import MODELS, Judged, Model
from jobs.tuning._result import Result, fragment, lines, summary
from jobs.tuning._sets import DataSet, Place, opened, place_of
from jobs.tuning._study import Study, digest, search

__all__ = [
    "MODELS",
    "DataSet",
    "Judged",
    "Model",
    "Place",
    "Result",
    "Study",
    "digest",
    "fragment",
    "lines",
    "opened",
    "place_of",
    "search",
    "summary",
]
