"""``python -m benchmarks.hourly HOME@AS_OF``: what hourly fine-tuning gains on the hours that follow (M8).

Takes a workspace with a lake, and its own ``conf.yaml`` if it has one. Both towers train as of the start of the validation
split, stopped by all of it. So many hours later they are fine-tuned on what is known by then, and judged, beside the models
they went on from, on the next three hours of the validation split: log loss of the ranker on impressions, mean of
1 / log2(1 + rank) of retrieval's positives in the whole catalogue, 0 for a video that it does not know. The test split is not
read.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from conf import load
from jobs import _training
from jobs._tower_data import tower_data
from jobs._window import HOUR
from jobs.tuning import place_of
from models import metrics
from models.towers import FittedRanker, FittedRetrieval, TowerData, TowersConfig, fine_tune, fit_ranker, fit_retrieval
from schemas import EXPOSURES
from schemas import columns as col

Mask = npt.NDArray[np.bool_]
_HOURS, _NEXT, _FEWEST = (1, 3, 6, 12, 18, 24), timedelta(hours=3), 50


def main(arguments: Sequence[str]) -> int:
    """Print one line for each model and hour."""
    place = place_of(arguments[0])
    with place.environment():
        config = load("towers", TowersConfig)
        both = config.fine_tune.model_copy(update={"models": ("retrieval", "ranker")})
        config = config.model_copy(update={"fine_tune": both})
        data = _training.read(place.context())
        towers = tower_data(data)
        at, known = (data.examples[name] for name in (col.OCCURRED_AT, col.KNOWN_AT))

        def before(column: pa.ChunkedArray, moment: object) -> Mask:
            return np.asarray(pc.less(column, pa.scalar(moment, column.type)).to_numpy())

        print(f"{'model':<10} {'hours':>5} {'new':>7} {'judged':>7} {'before':>9} {'after':>9}  gain")
        for name, fit in (("retrieval", fit_retrieval), ("ranker", fit_ranker)):
            model = fit(config, towers, config.seed)
            for hours in _HOURS:
                now = data.validation_start + hours * HOUR
                new = ~before(at, data.validation_start) & before(known, now) & data.validation
                following = ~before(at, now) & before(at, now + _NEXT) & data.validation
                if following.sum() < _FEWEST:
                    continue
                tuned = fine_tune(model, config, dataclasses.replace(towers, train=new), new, config.seed)
                was, is_ = (_figure(found, towers, following) for found in (model, tuned))
                gain = is_ / was - 1 if name == "retrieval" else 1 - is_ / was
                line = f"{hours:>5} {new.sum():>7,} {following.sum():>7,} {was:>9.5f} {is_:>9.5f} {gain:+.2%}"
                print(f"{name:<10} {line}", flush=True)
    return 0


def _figure(model: FittedRetrieval | FittedRanker, data: TowerData, mask: Mask) -> float:
    """Mean of 1 / log2(1 + rank) of retrieval's positives, or log loss of the ranker."""
    label = data.examples[col.LABEL].to_numpy()
    if isinstance(model, FittedRetrieval):
        ranks = model.ranks(data, mask & (label == 1))
        return float(np.mean(np.where(ranks > 0, 1.0 / np.log2(1.0 + np.maximum(ranks, 1)), 0.0)))
    shown = mask & pc.equal(data.examples[col.EXPOSURE], EXPOSURES[0]).to_numpy()
    return metrics.log_loss(label[shown], model.predict(data, shown), data.examples[col.WEIGHT].to_numpy()[shown])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
