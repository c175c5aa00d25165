"""Train the two-tower models, retrieval and ranker: such as have not seen the validation or the test split, and on everything.

Reads ``examples`` and ``example_features``, ``video_counts``, versions and text of users and videos; writes the bundle
``towers`` with ``early`` (train split only), ``holdout`` (train and validation) and ``final`` (everything) of both models, and
registers it as MLflow's candidate. The early ones find the number of epochs on the validation split; the others train for as
many. A run that was interrupted goes on after its last whole epoch.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conf import load
from jobs import _bundles, _stage, _training
from jobs._example_features import FeaturesConfig
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Pending, Unit
from jobs._tower_data import tower_data
from jobs._tracking import Tracker
from jobs._training import TrainingSet
from models.bundle import Bundle
from models.logistic import FittedLogistic, LogisticConfig, fit_logistic
from models.towers import FittedRanker, FittedRetrieval, TowerData, TowersConfig, fit_ranker, fit_retrieval
from schemas.errors import ReelflowError

_CODE = ("jobs/train_towers.py", "jobs/_tower_data.py", *_training.CODE, "models", "schemas")
LOGISTIC = f"{_bundles.HOLDOUT}/logistic"
"""Where the ranker's baseline lies, below the bundle."""


def run(context: Context) -> Report:
    """Fit the models unless the bundle of this ``as_of`` was made from the same inputs, code and settings."""
    config = load("towers", TowersConfig)
    negatives = load("random_negatives", _training.RandomNegativesConfig)
    _check_history(config)
    recipe = _recipe(context)
    found = _bundles.current(context, _bundles.TOWERS, recipe)
    if found is not None:
        _finish(context, found)
        return Report(up_to_date=True)
    data = _training.read(context)
    context.say(
        f"{data.examples.num_rows:,} examples, {int(data.train.sum()):,} to train, {int(data.validation.sum()):,} to validate"
    )
    judged = _training.with_random_negatives(context.lake, data, negatives)
    if judged is not data:
        added = judged.examples.num_rows - data.examples.num_rows
        context.say(f"hardly any skipped impressions in the log: {added:,} random unwatched videos added for the ranker")
    checkpoints = _trainings(context) / recipe.digest
    models = {
        **_fit(context, config, "retrieval", data, checkpoints),
        **_fit(context, config, "ranker", judged, checkpoints),
    }
    logistic = _fit_logistic(judged)
    metrics = _validation_metrics(models)

    def write(folder: Path) -> None:
        for name, model in {**models, LOGISTIC: logistic}.items():
            (folder / name).mkdir(parents=True)
            model.save(folder / name)

    bundle = _bundles.commit(context, _bundles.TOWERS, recipe, write, {"metrics": metrics})
    version = _finish(context, bundle)
    said = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
    return Report(
        read={"examples": data.examples.num_rows},
        notes=[f"on the validation split: {said}", f"candidate v{version}"],
        facts=metrics,
    )


def _check_history(config: TowersConfig) -> None:
    """Refuse an encoder that reads more than inference will have."""
    kept = load("features", FeaturesConfig).history.watched
    if config.retrieval.history > kept:
        raise ReelflowError(
            f"towers.retrieval.history: found {config.retrieval.history}, expected at most the {kept} watches of "
            "features.history.watched; raise that and run features, or lower this"
        )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the bundle stands, in the workspace and in MLflow."""
    return [_training.unit(context, _bundles.TOWERS, _recipe(context))]


def _trainings(context: Context) -> Path:
    """Where the trainings of an ``as_of`` keep what they need to go on."""
    return context.run_folder / "trainings"


def _finish(context: Context, bundle: Bundle) -> str:
    """What follows the commit, also where an earlier run did not live to do it.

    Returns:
        The version of the registered model.
    """
    shutil.rmtree(_trainings(context), ignore_errors=True)
    early = bundle.path / _bundles.EARLY
    histories = {
        "retrieval": FittedRetrieval.load(early / "retrieval").history,
        "ranker": FittedRanker.load(early / "ranker").history,
    }
    records = [
        {"epoch": record["epoch"], **{f"{name}_{key}": value for key, value in record.items() if key != "epoch"}}
        for name, history in histories.items()
        for record in history
    ]
    return Tracker.open().register(bundle, bundle.properties["metrics"], records)


def _recipe(context: Context) -> Recipe:
    parameters = {
        "random_negatives": load("random_negatives", _training.RandomNegativesConfig).model_dump(mode="json"),
        "towers": load("towers", TowersConfig).model_dump(mode="json"),
        "logistic": load("logistic", LogisticConfig).model_dump(mode="json"),
        "split": load("split", _training.SplitConfig).model_dump(mode="json"),
        "popularity_half_life_days": load("features", FeaturesConfig).popularity_half_life_days,
        "window": str(context.window),
    }
    return Recipe(_training.inputs(context), code_version(*_CODE), parameters)


def _fit(
    context: Context, config: TowersConfig, name: str, data: TrainingSet, checkpoints: Path
) -> dict[str, FittedRetrieval | FittedRanker]:
    """The models of a name: the first finds on the validation split how many epochs all of them train for."""
    fit = fit_retrieval if name == "retrieval" else fit_ranker
    models: dict[str, FittedRetrieval | FittedRanker] = {}
    epochs = None
    parts = {_bundles.EARLY: tower_data(data), _bundles.HOLDOUT: _known(data), _bundles.FINAL: everything(data)}
    for part, examples in parts.items():
        path = checkpoints / f"{name}-{part}.safetensors"
        said = _progress(context, f"{name}, {part}")
        fitted = fit(config, examples, config.seed, said, epochs=epochs, checkpoint=path)
        epochs = epochs or max(1, fitted.best_epoch)
        models[f"{part}/{name}"] = fitted
    return models


def _fit_logistic(data: TrainingSet) -> FittedLogistic:
    """On what the ranker that is judged learned from, with the penalty that the validation split chose."""
    config = load("logistic", LogisticConfig)
    chosen = fit_logistic(config, tower_data(data)).regularization
    return fit_logistic(config, _known(data), regularization=chosen)


def _known(data: TrainingSet) -> TowerData:
    """To train on both splits before the test split."""
    return dataclasses.replace(tower_data(data), train=data.train | data.validation, validation=np.zeros_like(data.validation))


def everything(data: TrainingSet) -> TowerData:
    """To train on all examples."""
    whole = np.ones(data.examples.num_rows, dtype=bool)
    return dataclasses.replace(tower_data(data), train=whole, validation=~whole)


def _progress(context: Context, what: str) -> Callable[[Mapping[str, Any]], None]:
    def say(record: Mapping[str, Any]) -> None:
        figures = ", ".join(f"{key} {value:.4f}" for key, value in record.items() if key != "epoch")
        context.say(f"{what}, epoch {record['epoch']}: {figures}")

    return say


def _validation_metrics(models: Mapping[str, FittedRetrieval | FittedRanker]) -> dict[str, float]:
    """What the early models reached in their best epoch, and which it was."""
    found: dict[str, float] = {}
    for name in ("retrieval", "ranker"):
        model = models[f"{_bundles.EARLY}/{name}"]
        best = model.history[model.best_epoch - 1] if model.best_epoch else {}
        found |= {f"{name}_{key}": value for key, value in best.items() if key != "train_loss"}
    return found


def main() -> None:
    """Command line: ``python -m jobs.train_towers --as-of ISO``."""
    _stage.main("train_towers", run, __doc__)


if __name__ == "__main__":
    main()
