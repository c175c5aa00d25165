"""The candidate of a trial: trained on what the day's models were trained on, in a place of its own, and set beside them.

Bundles that the trial's settings do not change are the day's own. The others lie below ``bundles/shadow/<trial>/`` while the
run needs them, and are versions of ``reelflow-<kind>-shadow`` in MLflow, of which the newest stays: no alias of the daily
models, nothing in the store and no table of the lake is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conf import load, overlaid, resolved
from jobs import _bundles, _gate_material, _noise_floor, _shadow, _training, _verdict, evaluate, train_towers, train_wals
from jobs._lane import SHADOW
from jobs._recipe import Recipe, code_version
from jobs._shadow import ShadowConfig
from jobs._stage import Context
from jobs._tracking import Tracker
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.evaluation import EvaluationConfig
from models.gate import GateConfig, Scene, compare, differential_checks, jaccard, rbo
from models.recommend import RecommendConfig
from models.shadow import CANDIDATE, CHAMPION, followed, lists_of

_CODE = (
    "jobs/_shadow.py",
    "jobs/_shadow_candidate.py",
    "jobs/_gate_material.py",
    "jobs/evaluate.py",
    "jobs/train_towers.py",
    "jobs/train_wals.py",
    "jobs/_spark_als.py",
    "jobs/_tower_data.py",
    *_training.CODE,
    "models",
    "schemas",
)
_TRAININGS: Mapping[str, ModuleType] = {_bundles.WALS: train_wals, _bundles.TOWERS: train_towers}


def recipe(context: Context, config: ShadowConfig) -> Recipe:
    """What the lists of both sides are made from.

    Raises:
        ReelflowError: the day's models are missing, or the gate refused them.
    """
    verdict = _verdict.require_pass(context)
    bundles = {f"bundle {kind}": bundle.digest for kind, bundle in _bundles.models(context).items()}
    with _trial(config):
        own = {name: settings for name, settings in resolved().items() if name in _shadow.SECTIONS}
    parameters = {
        "candidate": own,
        "champion": {"recommend": load("recommend", RecommendConfig).model_dump(mode="json"), "weights": verdict["weights"]},
        "evaluation": load("evaluation", EvaluationConfig).model_dump(mode="json"),
        "gate": load("gate", GateConfig).model_dump(mode="json"),
        "settings": config.settings,
        "users": config.users,
        "window": str(context.window),
    }
    return Recipe({**_training.inputs(context), **bundles}, code_version(*_CODE), parameters)


def keep(context: Context, config: ShadowConfig, made_by: Recipe) -> None:
    """Train the candidate, make both sides' lists of the same users, compare, and keep all of it."""
    bundles, verdict = _bundles.models(context), _verdict.require_pass(context)
    own, stale = _own(context, config), _stale(context)
    for one in stale:
        context.say(f"the champion is not what would be made now: {one}")
    with _trial(config):
        made = _train(context, own, bundles)
        data = _training.read(own, features=False)
        early = Ensemble.load(*_bundles.folders(made, wals=_bundles.EARLY, towers=_bundles.EARLY))
        ranking = load("recommend", RecommendConfig)
        ranking = evaluate.choose_weights(own, load("evaluation", EvaluationConfig), ranking, early, data)
        candidate = _gate_material.scene(own, data, Ensemble.load(*_bundles.folders(made)), ranking)
    served = load("recommend", RecommendConfig).weighed(verdict["weights"])
    champion = candidate.with_models(Ensemble.load(*_bundles.folders(bundles)), served)
    users = followed(champion, config.users)
    context.say(f"lists of {users.num_rows:,} users by champion and candidate")
    lists = {CHAMPION: lists_of(champion, users), CANDIDATE: lists_of(candidate, users)}
    floor = _noise_floor.figures(context, {kind: bundle.digest for kind, bundle in bundles.items()})
    facts = {
        **_alike(candidate, champion.models, "no noise floor" if floor is None else f"noise floor {_pearson(floor):.4f}"),
        "lists_alike": _lists_alike(lists),
        "noise_floor": floor,
        "stale": stale,
        "metrics": {CHAMPION: _metrics(bundles), CANDIDATE: _metrics(made)},
        "weights": ranking.weights,
        "trained": sorted(kind for kind, bundle in made.items() if bundle is not bundles[kind]),
    }
    _shadow.keep(context, config.trial, made_by, users=users, lists=lists, facts=facts)
    clear(context, config)


def clear(context: Context, config: ShadowConfig) -> None:
    """Remove what the candidate of this run left, and older candidates from MLflow."""
    own = _own(context, config)
    for kind in _TRAININGS:
        shutil.rmtree(_bundles.location(own, kind), ignore_errors=True)
        Tracker.open().forget(kind, SHADOW, context.as_of)
    shutil.rmtree(own.run_folder, ignore_errors=True)


@contextmanager
def _trial(config: ShadowConfig) -> Iterator[None]:
    with overlaid(config.settings, "shadow.settings"):
        yield


def _own(context: Context, config: ShadowConfig) -> Context:
    """The run with a place of its own for models and unfinished trainings; what it reads is the day's."""
    base = context.paths.bundles / _shadow.FOLDER / config.trial
    where = context.paths.model_copy(update={"bundles": base, "runs": base / "runs"})
    return replace(context, paths=where, lane=SHADOW)


def _stale(context: Context) -> list[str]:
    """Where the day's own models were not made from what lies there now: a difference is then not of the settings alone."""
    units = [unit for stage in _TRAININGS.values() for unit in stage.plan(context, {})]
    return [f"{unit.name}: {unit.status.why}" for unit in units if not unit.status.current]


def _train(context: Context, own: Context, bundles: Mapping[str, Bundle]) -> dict[str, Bundle]:
    """The candidate's bundles: the day's own where the trial's settings would make the same."""
    made = {}
    for kind, stage in _TRAININGS.items():
        if all(unit.status.current for unit in stage.plan(context, {})):
            context.say(f"{kind}: the trial does not change it")
            made[kind] = bundles[kind]
            continue
        stage.run(own)
        made[kind] = _bundles.open_at(own, kind)
        Tracker.open().annotate(made[kind], {}, {"shadow": own.paths.bundles.name})
    return made


def _alike(candidate: Scene, champion: Ensemble, floor: str) -> dict[str, Any]:
    """How alike both score what users have not met, as the gate compares, and what its differential test would say."""
    config = load("gate", GateConfig)
    compared = compare(config, candidate, champion)
    checks = differential_checks(config, compared, None, floor)
    refused = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    return {"models_alike": compared.figures(), "gate": {"asked": len(checks), "refused": refused}}


def _lists_alike(lists: Mapping[str, NDArray[np.int64]]) -> dict[str, float | None]:
    """How alike the lists themselves are, rules and weights of each side included: means over users."""
    more = load("gate", GateConfig).differential
    depth = min(found.shape[1] for found in lists.values())
    new, old = lists[CANDIDATE][:, :depth], lists[CHAMPION][:, :depth]
    return {
        f"jaccard@{more.top}": _mean(jaccard(new, old, more.top)),
        "rbo": _mean(rbo(new, old, more.persistence)),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _pearson(floor: Mapping[str, Any]) -> float:
    return float(floor["pooled"]["pooled_pearson"])


def _metrics(bundles: Mapping[str, Bundle]) -> dict[str, float]:
    """What training reached on the validation split, by model."""
    return {f"{kind}_{name}": value for kind, one in bundles.items() for name, value in one.properties["metrics"].items()}
