"""Between two full trainings: a model goes on with what happened since (M8).

It begins at the model of the last full training each time, whatever ran between, so that it is a function of that model and the
examples and cannot wander off hour by hour. A small learning rate and no decay of weights keep it near. The newest examples
tell first, unseen, whether going on helps at all and for how many passes: no pass is an answer too.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.towers._config import TowersConfig
from models.towers._data import Mask, TowerData
from models.towers._ranker import FittedRanker, fit_ranker, read_by_ranker
from models.towers._retrieval import FittedRetrieval, fit_retrieval
from models.towers._train import SCORE
from schemas import columns as col

Rows = npt.NDArray[np.signedinteger]
Model = TypeVar("Model", FittedRetrieval, FittedRanker)


def fine_tune(model: Model, config: TowersConfig, data: TowerData, new: Mask, seed: int) -> Model:
    """Let a model go on.

    Args:
        model: of the last full training.
        config: section ``towers``.
        data: examples and features.
        new: which examples the model has not seen (n_examples,).
        seed: of the training.

    Returns:
        The new model; the same one where it is not among ``fine_tune.models``, where nothing new can be learned, or where that
        did not help on the newest examples.
    """
    name = "retrieval" if isinstance(model, FittedRetrieval) else "ranker"
    if name not in config.fine_tune.models:
        return model
    rows = np.flatnonzero(new & read_by_ranker(data, new) if name == "ranker" else new)
    rows = rows[np.argsort(data.examples.column(col.OCCURRED_AT).cast(pa.int64()).to_numpy()[rows], kind="stable")]
    kept = len(rows) - round(config.fine_tune.check_fraction * len(rows))
    label = data.examples.column(col.LABEL).to_numpy()[rows[:kept]]
    if not label.any() or (name == "ranker" and label.all()):
        return model
    fit = fit_retrieval if isinstance(model, FittedRetrieval) else fit_ranker
    gentle = _gentle(config)
    tried = fit(gentle, _only(data, rows[:kept], rows[kept:]), seed, start=model)
    if not tried.best_epoch or SCORE not in tried.history[-1]:
        return model
    return fit(gentle, _only(data, rows, rows[:0]), seed, epochs=tried.best_epoch, start=model)


def _only(data: TowerData, train: Rows, validation: Rows) -> TowerData:
    """Other rows to train and to validate on."""
    masks = [np.zeros_like(data.train) for _ in range(2)]
    for mask, rows in zip(masks, (train, validation), strict=True):
        mask[rows] = True
    return dataclasses.replace(data, train=masks[0], validation=masks[1])


def _gentle(config: TowersConfig) -> TowersConfig:
    """The settings of both models for going on."""
    own = config.fine_tune
    return config.model_copy(
        update={
            name: part.model_copy(
                update={
                    "learning_rate": own.rate * part.learning_rate,
                    "weight_decay": 0.0,
                    "max_epochs": own.max_epochs,
                    "patience": 1,
                }
            )
            for name, part in (("retrieval", config.retrieval), ("ranker", config.ranker))
        }
    )
