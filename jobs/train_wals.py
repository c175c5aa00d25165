"""Train WALS: models that have not seen the validation or the test split, for the gate, and one on everything, to be served.

Reads ``examples`` of the look-back and ``user_versions``; writes the bundle ``wals`` with the models ``early`` (train split
only), ``holdout`` (train and validation) and ``final`` (everything), each with the popularity by segment as of its moment, and
registers it as MLflow's candidate. The half-life of feedback is chosen on the validation split.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from conf import load
from jobs import _bundles, _stage, _training
from jobs._example_features import FeaturesConfig
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Pending, Unit
from jobs._tracking import Tracker
from jobs._training import TrainingSet
from models import wals
from models.ensemble import POPULARITY
from models.segments import PopularityConfig, fit_popularity
from models.wals import Choice, Engine, FittedWals, WalsConfig, choose_half_life


def run(context: Context) -> Report:
    """Fit the models unless the bundle of this ``as_of`` was made from the same inputs, code and settings."""
    config = load("wals", WalsConfig)
    recipe = _recipe(context)
    found = _bundles.current(context, _bundles.WALS, recipe)
    if found is not None:
        Tracker.open().register(found, {})
        return Report(up_to_date=True)
    data = _training.read(context, features=False)
    context.say(
        f"{data.examples.num_rows:,} examples; fitting {config.factors} factors, {config.iterations} iterations, "
        f"{len(config.half_lives_days) + 2} times with {config.engine}"
    )
    models, choice = _fit(config, data, context)
    context.say(_said(config, choice))
    popular = load("popularity", PopularityConfig)
    moments = {_bundles.EARLY: data.validation_start, _bundles.HOLDOUT: data.test_start, _bundles.FINAL: context.as_of}

    def write(folder: Path) -> None:
        for name, at in moments.items():
            (folder / name / POPULARITY).mkdir(parents=True)
            models[name].save(folder / name)
            popularity = fit_popularity(popular, data.examples, data.user_versions, at=at, half_life_days=data.half_life_days)
            popularity.save(folder / name / POPULARITY)

    final = models[_bundles.FINAL]

    facts = {"users": len(final.users), "videos": len(final.videos), "examples": data.examples.num_rows}
    metrics = {
        **{key: float(value) for key, value in facts.items()},
        "mean_norm": float(np.linalg.norm(final.video_factors, axis=1).mean()),
    }
    if choice.figures:
        metrics[f"validation_{wals.METRIC}"] = max(choice.figures)
    properties = {"metrics": metrics, "half_life_days": choice.config.half_life_days}
    bundle = _bundles.commit(context, _bundles.WALS, recipe, write, properties)
    version = Tracker.open().register(bundle, metrics)
    return Report(
        read={"examples": data.examples.num_rows},
        wrote={"users": facts["users"], "videos": facts["videos"]},
        notes=[f"candidate v{version}"],
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the bundle stands, in the workspace and in MLflow."""
    return [_training.unit(context, _bundles.WALS, _recipe(context))]


def _recipe(context: Context) -> Recipe:
    parameters = {
        "wals": load("wals", WalsConfig).model_dump(mode="json"),
        "popularity": load("popularity", PopularityConfig).model_dump(mode="json"),
        "popularity_half_life_days": load("features", FeaturesConfig).popularity_half_life_days,
        "split": load("split", _training.SplitConfig).model_dump(mode="json"),
        "window": str(context.window),
    }
    return Recipe(
        _training.inputs(context),
        code_version("jobs/train_wals.py", "jobs/_spark_als.py", "jobs/_training.py", "models"),
        parameters,
    )


def _fit(config: WalsConfig, data: TrainingSet, context: Context) -> tuple[dict[str, FittedWals], Choice]:
    """The models by name, and the half-life that they share."""
    engine = engine_of(config, context)
    train, validation, known = (
        data.examples.filter(pa.array(mask)) for mask in (data.train, data.validation, data.train | data.validation)
    )
    choice = choose_half_life(config, train, validation, data.validation_start, engine)

    def fit(examples: pa.Table, at: datetime) -> FittedWals:
        return engine(choice.config, *wals.confidence(examples, choice.config, at))

    holdout, final = fit(known, data.test_start), fit(data.examples, context.as_of)
    return {_bundles.EARLY: choice.model, _bundles.HOLDOUT: holdout, _bundles.FINAL: final}, choice


def engine_of(config: WalsConfig, context: Context) -> Engine:
    """What fits WALS, as configured."""
    if config.engine == "implicit":
        return wals.fit
    from jobs import _spark_als
    from jobs._session import spark_session

    return partial(_spark_als.fit, spark_session("train_wals"), checkpoints=context.run_folder / "checkpoints")


def _said(config: WalsConfig, choice: Choice) -> str:
    tried = zip(config.half_lives_days, choice.figures, strict=False)
    figures = ", ".join(f"{days or 'none'}: {figure:.4f}" for days, figure in tried)
    said = f"half-life of feedback: {choice.config.half_life_days or 'none'} days"
    return f"{said} ({wals.METRIC} on the validation split: {figures})" if figures else said


def main() -> None:
    """Command line: ``python -m jobs.train_wals --as-of ISO``."""
    _stage.main("train_wals", run, __doc__)


if __name__ == "__main__":
    main()
