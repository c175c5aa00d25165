"""Train WALS: models that have not seen the validation or the test split, for the gate, and one on everything, to be served.

Reads ``examples`` of the look-back; writes the bundle ``wals`` with the models ``early`` (train split only), ``holdout``
(train and validation) and ``final`` (everything), and registers it
as MLflow's candidate.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from conf import load
from jobs import _bundles, _stage, _training
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Pending, Unit
from jobs._tracking import Tracker
from models import wals
from models.wals import FittedWals, WalsConfig


def run(context: Context) -> Report:
    """Fit both models unless the bundle of this ``as_of`` was made from the same inputs, code and settings."""
    config = load("wals", WalsConfig)
    recipe = _recipe(context)
    found = _bundles.current(context, _bundles.WALS, recipe)
    if found is not None:
        Tracker.open().register(found, {})
        return Report(up_to_date=True)
    data = _training.read(context, features=False)
    context.say(
        f"{data.examples.num_rows:,} examples; fitting {config.factors} factors, {config.iterations} iterations, three times"
    )
    holdout = _fit(config, data.examples.filter(pa.array(data.train | data.validation)), data.test_start)
    early = _fit(config, data.examples.filter(pa.array(data.train)), data.validation_start)
    final = _fit(config, data.examples, context.as_of)

    def write(folder: Path) -> None:
        for name, model in ((_bundles.EARLY, early), (_bundles.HOLDOUT, holdout), (_bundles.FINAL, final)):
            (folder / name).mkdir()
            model.save(folder / name)

    facts = {"users": len(final.users), "videos": len(final.videos), "examples": data.examples.num_rows}
    metrics = {
        **{key: float(value) for key, value in facts.items()},
        "mean_norm": float(np.linalg.norm(final.video_factors, axis=1).mean()),
    }
    bundle = _bundles.commit(context, _bundles.WALS, recipe, write, {"metrics": metrics})
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
        "split": load("split", _training.SplitConfig).model_dump(mode="json"),
        "window": str(context.window),
    }
    return Recipe(
        _training.inputs(context),
        code_version("jobs/train_wals.py", "jobs/_spark_als.py", "jobs/_training.py", "models"),
        parameters,
    )


def _fit(config: WalsConfig, examples: pa.Table, at: datetime) -> FittedWals:
    """Fit with the configured engine; feedback weighs what it weighs at a moment."""
    pairs = wals.confidence(examples, config, at)
    if config.engine == "implicit":
        return wals.fit(config, *pairs)
    from jobs import _spark_als
    from jobs._session import spark_session

    return _spark_als.fit(spark_session("train_wals"), config, *pairs)


def main() -> None:
    """Command line: ``python -m jobs.train_wals --as-of ISO``."""
    _stage.main("train_wals", run, __doc__)


if __name__ == "__main__":
    main()
