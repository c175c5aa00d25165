"""Judge the new models on the held-out end of time: a table of figures, a page to read, and what the gate needs.

Reads the bundles ``wals`` and ``towers`` of this ``as_of`` and what training read. The weights of the ensemble are chosen on
the validation split with models that have not seen it; the models that have not seen the test split are then judged on it,
once. Writes ``evaluation``, ``runs/<as_of>/evaluation/index.html`` and the figures beside it, and logs the page to MLflow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from conf import load
from jobs import _bundles, _evaluation, _stage, _training
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._tower_data import tower_data
from jobs._tracking import Tracker
from jobs._training import TrainingSet
from jobs.train_towers import LOGISTIC
from models import evaluation
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.evaluation import Curves, EvaluationConfig, Holdout, Judged, Labelled, Shown
from models.ids import IdMap
from models.logistic import FittedLogistic
from models.recommend import RecommendConfig
from models.towers import FittedRanker
from schemas import EVALUATION, EXPOSURES
from schemas import columns as col

Mask = npt.NDArray[np.bool_]
Predictor: TypeAlias = "FittedRanker | FittedLogistic"

BASE_RATE = "base_rate"
_CODE = (
    "jobs/evaluate.py",
    "jobs/_evaluation.py",
    "jobs/_report.py",
    "jobs/_report_html.py",
    "jobs/_report_pictures.py",
    "jobs/_training.py",
    "models",
    "schemas",
)


def run(context: Context) -> Report:
    """Judge the models of this ``as_of``, unless exactly these have been judged already."""
    config, ranking = load("evaluation", EvaluationConfig), load("recommend", RecommendConfig)
    bundles = _bundles.models(context)
    made_by = recipe(context, bundles)
    found, status = _evaluation.check(context, made_by)
    if found is not None and status.current and not context.force:
        return Report(up_to_date=True, facts=found["metrics"])
    from jobs import _report  # matplotlib takes a second: only where there is something to draw

    data = _training.read(context)
    early = Ensemble.load(*_bundles.folders(bundles, wals=_bundles.EARLY, towers=_bundles.EARLY))
    ranking = choose_weights(context, config, ranking, early, data)
    models = Ensemble.load(*_bundles.folders(bundles, wals=_bundles.HOLDOUT, towers=_bundles.HOLDOUT))
    then = _training.world_at(context, data, data.test_start)
    world = _holdout(config, data, then, data.examples, at=data.test_start)
    judged = evaluation.judge_lists(config, ranking, models, world, evaluation.item_vectors(world, data.examples))
    logistic = FittedLogistic.load(bundles[_bundles.TOWERS].path / LOGISTIC)
    predictors: dict[str, Predictor] = {"ranker": models.ranker, "logistic": logistic}
    predicted, curves = _judge_predictors(context, config, predictors, data, then=then, models=models)
    rows = evaluation.table([*judged.rows, *predicted.rows], context.as_of)
    manifest = context.lake.write(EVALUATION, Partition(context.last_day), rows, made_by)
    figures, weights = evaluation.figures(judged), ranking.weights
    page = _report.page(
        _report.Findings(
            as_of=context.as_of,
            test_start=data.test_start,
            examples={"train": int(data.train.sum()), "validation": int(data.validation.sum()), "test": int(data.test.sum())},
            videos=world.videos.num_rows,
            judged=judged + predicted,
            curves=curves,
            histories={"retrieval": early.retrieval.history, "ranker": early.ranker.history},
            weights={name: {str(part): weight for part, weight in own.items()} for name, own in weights.items()},
            limits=dict(zip(evaluation.source_names(), evaluation.limits(ranking), strict=True)),
            config=config,
        )
    )
    content = {"metrics": _finite(figures), "weights": weights}
    path = _evaluation.write(context, made_by, manifest, content, page)
    tracker = Tracker.open()
    for bundle in bundles.values():
        tracker.annotate(bundle, {name: value for name, value in figures.items() if math.isfinite(value)}, {})
        tracker.attach(bundle, path, "evaluation")
    return Report(
        read={
            "users judged": int(figures["users"]),
            "examples predicted": max((row.examples for row in predicted.rows), default=0),
        },
        wrote={"figures": rows.num_rows},
        notes=[*judged.notes, *predicted.notes, f"open {path}"],
        facts=_finite(figures),
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the evaluation stands."""
    _, status = _evaluation.check(context, recipe(context, _bundles.models(context)))
    return [Unit(EVALUATION.name, Partition(context.last_day), status)]


def recipe(context: Context, bundles: Mapping[str, Bundle]) -> Recipe:
    """What the evaluation of these bundles is made from."""
    parameters = {
        "evaluation": load("evaluation", EvaluationConfig).model_dump(mode="json"),
        "recommend": load("recommend", RecommendConfig).model_dump(mode="json"),
        "split": load("split", _training.SplitConfig).model_dump(mode="json"),
        "random_negatives": load("random_negatives", _training.RandomNegativesConfig).model_dump(mode="json"),
        "window": str(context.window),
    }
    inputs = {**_training.inputs(context), **{f"bundle {kind}": bundle.digest for kind, bundle in bundles.items()}}
    return Recipe(inputs, code_version(*_CODE), parameters)


def choose_weights(
    context: Context, config: EvaluationConfig, ranking: RecommendConfig, early: Ensemble, data: TrainingSet
) -> RecommendConfig:
    """Weigh the models by the validation split, with models that have not seen it."""
    known = data.examples.filter(pc.less_equal(data.examples[col.KNOWN_AT], pa.scalar(data.test_start)))
    then = _training.world_at(context, data, data.validation_start)
    return evaluation.choose_weights(ranking, early, _holdout(config, data, then, known, at=data.validation_start))


def _holdout(
    config: EvaluationConfig, data: TrainingSet, then: tuple[pa.Table, pa.Table], examples: pa.Table, *, at: datetime
) -> Holdout:
    """What could be known at ``at``, of users and videos as they were ``then``, and what the examples after it ask for."""
    return evaluation.holdout(
        *then,
        data.queries,
        data.counts,
        examples,
        at=at,
        half_life_days=data.half_life_days,
        max_users=config.max_users,
    )


def _judge_predictors(
    context: Context,
    config: EvaluationConfig,
    predictors: Mapping[str, Predictor],
    data: TrainingSet,
    *,
    then: tuple[pa.Table, pa.Table],
    models: Ensemble,
) -> tuple[Judged, dict[str, Curves]]:
    """Predicted probabilities on the impressions of the test split, with random negatives where training saw such.

    Slices are by users and videos as they were ``then``, at its start, and by what the ``models`` know.
    """
    shown = pc.equal(data.examples[col.EXPOSURE], EXPOSURES[0]).to_numpy()
    test = _only(data, data.test & shown)
    judged = _with_random_negatives(context, data, test)
    added = judged.examples.num_rows - test.examples.num_rows
    examples = Labelled(*(judged.examples[name].to_numpy() for name in (col.LABEL, col.WEIGHT, col.USER_ID)))
    rate = _rate(data.examples.filter(pa.array(data.train & shown)), added / max(int(examples.labels.sum()), 1))
    cuts, missing = _cuts(config, data, judged.examples, then, models)
    found, curves = evaluation.judge_predictions(config, examples, _predictions(predictors, judged, rate), cuts)
    found += Judged(notes=tuple(missing))
    if not added:
        return found, curves
    note = (
        f"Hardly any skipped impressions in the log: {added:,} random unwatched videos are among the examples as negatives, as "
        "in training, so the probabilities are not rates of the platform."
    )
    return dataclasses.replace(found, notes=(*found.notes, note)), curves


def _cuts(
    config: EvaluationConfig, data: TrainingSet, examples: pa.Table, then: tuple[pa.Table, pa.Table], models: Ensemble
) -> tuple[list[Shown], list[str]]:
    """Slices of the predicted examples, none where there are none, and what they cannot be cut by."""
    if not examples.num_rows:
        return [], []
    users, videos = then
    shown = examples[col.USER_ID].to_numpy()
    ids, video_ids = np.unique(shown), videos[col.VIDEO_ID].to_numpy()
    known = np.asarray(models.wals.user_vectors(ids).any(axis=1))
    people = evaluation.people_of(ids, users, data.examples, video_ids, known=known, at=data.test_start)
    young = np.sort(video_ids[evaluation.young_videos(config, videos, data.test_start)])
    return evaluation.slices_of_examples(config, people, shown, IdMap(young).lookup(examples[col.VIDEO_ID].to_numpy()) >= 0)


def _only(data: TrainingSet, mask: Mask) -> TrainingSet:
    """Some of the examples."""
    kept = {name: getattr(data, name)[mask] for name in ("train", "validation", "test")}
    return dataclasses.replace(data, examples=data.examples.filter(pa.array(mask)), **kept)


def _with_random_negatives(context: Context, data: TrainingSet, test: TrainingSet) -> TrainingSet:
    """The test split with random negatives by the rule of training, none of which the user has any example of.

    That rule looks at the log's skipped impressions, those of the test split here.
    """
    if not test.examples.num_rows:
        return test
    config = load("random_negatives", _training.RandomNegativesConfig)
    found = _training.with_random_negatives(context.lake, test, config)
    if found is test:
        return test
    users, videos = (IdMap.of(found.examples[name].to_numpy()) for name in (col.USER_ID, col.VIDEO_ID))
    seen = evaluation.pairs(data.examples, users, videos)
    places = (users.lookup(found.examples[col.USER_ID].to_numpy()), videos.lookup(found.examples[col.VIDEO_ID].to_numpy()))
    fresh = ~np.asarray(seen[places]).ravel()
    fresh[: test.examples.num_rows] = True
    return _only(found, fresh)


def _rate(examples: pa.Table, negatives_per_positive: float) -> float:
    """The share of positives in the train split, with so many negatives of weight 1 added for each."""
    labels, weights = examples[col.LABEL].to_numpy(), examples[col.WEIGHT].to_numpy()
    total = weights.sum() + negatives_per_positive * labels.sum()
    return float((labels * weights).sum() / total) if total else 0.5


def _predictions(predictors: Mapping[str, Predictor], data: TrainingSet, rate: float) -> dict[str, npt.NDArray[np.float64]]:
    """Probability of relevance of all examples by every model that predicts one, and by the rate of the train split."""
    n = data.examples.num_rows
    if not n:
        return {}
    examples, every = tower_data(data), np.ones(n, dtype=bool)
    return {**{name: model.predict(examples, every) for name, model in predictors.items()}, BASE_RATE: np.full(n, rate)}


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def main() -> None:
    """Command line: ``python -m jobs.evaluate --as-of ISO``."""
    _stage.main("evaluate", run, __doc__)


if __name__ == "__main__":
    main()
