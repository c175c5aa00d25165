"""Quality on the held-out end of time, every list over the full catalogue, by one rule (V1 to V4).

A model that saw nothing of the test split makes lists as of its start. Relevant are the videos with a positive example in
the test split that the user had not acted on before; users without any are not judged. What was shown in the test split is
what predicted probabilities are judged by.
"""

from models.evaluation._config import EvaluationConfig
from models.evaluation._items import ItemVectors, item_vectors
from models.evaluation._lists import FINAL, POPULARITY, variants
from models.evaluation._predictions import Curves, Labelled, judge_predictions
from models.evaluation._ranking import CHOSEN, DECILES, FIGURES, SLICED, figures, judge_lists
from models.evaluation._rows import ALL, NOTHING, Judged, Lookup, Row, table
from models.evaluation._sources import UNION, depths, limits, source_names
from models.evaluation._weights import choose_weights
from models.evaluation._world import Holdout, holdout, pairs

__all__ = [
    "ALL",
    "CHOSEN",
    "DECILES",
    "FIGURES",
    "FINAL",
    "NOTHING",
    "POPULARITY",
    "SLICED",
    "UNION",
    "Curves",
    "EvaluationConfig",
    "Holdout",
    "ItemVectors",
    "Judged",
    "Labelled",
    "Lookup",
    "Row",
    "choose_weights",
    "depths",
    "figures",
    "holdout",
    "item_vectors",
    "judge_lists",
    "judge_predictions",
    "limits",
    "pairs",
    "source_names",
    "table",
    "variants",
]
