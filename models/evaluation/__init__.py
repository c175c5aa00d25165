"""Quality on the held-out end of time, every list over the full catalogue, by one rule (V1 to V4).

A model that saw nothing of the test split makes lists as of its start. Relevant are the videos with a positive example in
the test split that the user had not acted on before; users without any are not judged. What was shown in the test split is
what predicted probabilities are judged by.
"""

from models.evaluation._ablations import WITHOUT
from models.evaluation._config import EvaluationConfig
from models.evaluation._items import ItemVectors, item_vectors
from models.evaluation._lists import BY_SEGMENT, FINAL, POPULARITY, exact_indexes, variants
from models.evaluation._predictions import BIN_WEIGHT, BINS, OBSERVED, PREDICTED, Curves, Labelled, judge_predictions
from models.evaluation._ranking import CHOSEN, DECILES, FIGURES, SLICED, figures, judge_lists
from models.evaluation._rows import ALL, NOTHING, Judged, Lookup, Row, Sample, table
from models.evaluation._slices import OTHER, People, Shown, Slice, people_of, slices, slices_of_examples, young_videos
from models.evaluation._sources import UNION, depths, limits, source_names
from models.evaluation._weights import choose_weights
from models.evaluation._world import Holdout, holdout, pairs

__all__ = [
    "ALL",
    "BINS",
    "BIN_WEIGHT",
    "BY_SEGMENT",
    "CHOSEN",
    "DECILES",
    "FIGURES",
    "FINAL",
    "NOTHING",
    "OBSERVED",
    "OTHER",
    "POPULARITY",
    "PREDICTED",
    "SLICED",
    "UNION",
    "WITHOUT",
    "Curves",
    "EvaluationConfig",
    "Holdout",
    "ItemVectors",
    "Judged",
    "Labelled",
    "Lookup",
    "People",
    "Row",
    "Sample",
    "Shown",
    "Slice",
    "choose_weights",
    "depths",
    "exact_indexes",
    "figures",
    "holdout",
    "item_vectors",
    "judge_lists",
    "judge_predictions",
    "limits",
    "pairs",
    "people_of",
    "slices",
    "slices_of_examples",
    "source_names",
    "table",
    "variants",
    "young_videos",
]
