"""Decide whether the new models may be deployed, and write the verdict with all that is behind it.

Reads the bundles ``wals`` and ``towers`` of this ``as_of`` and of the newest published one before it, the evaluation of the
former, the noise floor, and what training read. Compares predictions with the incumbent's on pairs that neither has seen
(differential test, G1, G2), asks what is declared in ``gate.functional`` and ``gate.invariance`` (G3, G4), and holds the lists
of the models that have not seen the test split against baselines and the incumbent (floors, G5). Writes ``verdict.json`` and
``verdict.html`` and exits normally either way: a refusal is a result, not an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from conf import load
from jobs import (
    _bundles,
    _evaluation,
    _gate_material,
    _gate_page,
    _lane,
    _light_gate,
    _noise_floor,
    _stage,
    _training,
    _verdict,
    evaluate,
)
from jobs._recipe import code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._tracking import Published, Tracker
from jobs._window import iso
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.evaluation import EvaluationConfig
from models.gate import Correlation, GateConfig, Judgement, Material, Verdict, judge
from models.recommend import RecommendConfig
from schemas.errors import ReelflowError

_CODE = (
    "jobs/gate.py",
    "jobs/_gate_material.py",
    "jobs/_gate_page.py",
    "jobs/_report_html.py",
    "jobs/_training.py",
    "models",
)


def run(context: Context) -> Report:
    """Judge the candidates of this ``as_of``, unless the verdict on exactly these is there already."""
    if context.lane == _lane.HOURLY:
        return _light_gate.run(context)
    bundles = _bundles.models(context)
    evaluated = _evaluation.require(context, evaluate.recipe(context, bundles))
    tracker = Tracker.open()
    incumbents = _gate_material.incumbents(tracker, context.as_of)
    floor = _noise_floor.figures(context, {kind: bundle.digest for kind, bundle in bundles.items()})
    basis = _basis(context, bundles, incumbents, evaluated, floor)
    found, status = _verdict.check(context, basis)
    if found is not None and status.current and not context.force:
        return Report(up_to_date=True, notes=[str(found["reason"])], facts={"passed": found["passed"]})
    figures = {name: math.nan if value is None else float(value) for name, value in evaluated["metrics"].items()}
    ranking = load("recommend", RecommendConfig).weighed(evaluated["weights"])
    material = _material(context, ranking, tracker, bundles=bundles, incumbents=incumbents, figures=figures, floor=floor)
    judgement = judge(load("gate", GateConfig), load("evaluation", EvaluationConfig), material)
    reason = reason_of(judgement.verdict)
    content = {
        "passed": judgement.verdict.passed,
        "reason": reason,
        "as_of": iso(context.as_of),
        "incumbent": {kind: iso(published.as_of) for kind, published in incumbents.items()},
        "basis": basis,
        "weights": ranking.weights,
        "metrics": {name: value if math.isfinite(value) else None for name, value in figures.items()},
        "correlation": _pooled(judgement),
        "verdict": json.loads(judgement.verdict.to_json()),
        "differential": judgement.differential,
        "noise_floor": floor,
        "floors": [floor.to_dict() for floor in judgement.floors],
        "moved": judgement.moved,
    }
    _verdict.write(context, content)
    page = _gate_page.write(context, content)
    tags = {"gate": "passed" if judgement.verdict.passed else "refused", "gate.reason": reason}
    for bundle in bundles.values():
        tracker.annotate(bundle, {}, tags)
        tracker.attach(bundle, page, "gate")
    return Report(
        read={"users judged": int(figures["users"])},
        notes=[reason, f"open {page}"],
        facts={"passed": judgement.verdict.passed, **figures},
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the verdict stands."""
    if context.lane == _lane.HOURLY:
        return _light_gate.plan(context)
    incumbents, bundles = _gate_material.incumbents(Tracker.open(), context.as_of), _bundles.models(context)
    evaluated = _evaluation.require(context, evaluate.recipe(context, bundles))
    floor = _noise_floor.figures(context, {kind: bundle.digest for kind, bundle in bundles.items()})
    _, status = _verdict.check(context, _basis(context, bundles, incumbents, evaluated, floor))
    return [Unit("verdict", Partition(context.last_day), status)]


def reason_of(verdict: Verdict) -> str:
    """The verdict in one line: every check that failed, or how many passed and what G1 and the floor found."""
    failed = [check for check in verdict.checks if not check.passed]
    if failed:
        return "refused: " + "; ".join(f"{check.name}: {check.detail}" for check in failed)
    told = [check for check in verdict.checks if check.name.startswith(_TOLD)]
    return f"passed {len(verdict.checks)} checks: " + "; ".join(f"{check.name}: {check.detail}" for check in told)


_TOLD = ("correlation_with_incumbent", "ndcg@10_against_popularity")


def _basis(
    context: Context,
    bundles: Mapping[str, Bundle],
    incumbents: Mapping[str, Published],
    evaluated: Mapping[str, Any],
    floor: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Everything that the verdict depends on."""
    return {
        **{kind: bundle.digest for kind, bundle in bundles.items()},
        "incumbent": {kind: published.digest for kind, published in incumbents.items()},
        "evaluation": _evaluation.digest(evaluated),
        "noise_floor": _noise_floor.digest(floor),
        "inputs": _training.inputs(context),
        "code_version": code_version(*_CODE),
        "gate": load("gate", GateConfig).model_dump(mode="json"),
        "evaluated_by": load("evaluation", EvaluationConfig).model_dump(mode="json"),
        "recommend": load("recommend", RecommendConfig).model_dump(mode="json"),
    }


def _material(
    context: Context,
    ranking: RecommendConfig,
    tracker: Tracker,
    *,
    bundles: Mapping[str, Bundle],
    incumbents: Mapping[str, Published],
    figures: Mapping[str, float],
    floor: Mapping[str, Any] | None,
) -> Material:
    """All that is judged; an incumbent that cannot be read is trouble, not an error."""
    data = _training.read(context, features=False)
    holdout = Ensemble.load(*_bundles.folders(bundles, wals=_bundles.HOLDOUT, towers=_bundles.HOLDOUT))
    old: dict[str, Any] = {}
    try:
        if incumbents:
            fetched = {kind: tracker.fetch(published) for kind, published in incumbents.items()}
            old["incumbent"] = Ensemble.load(*_bundles.folders(fetched))
            part, why = _gate_material.unspoilt(context, fetched, data.test_start)
            old["incomparable"] = "" if part else why
            if part:
                served = _gate_material.weights_of(
                    _verdict.of(context, max(one.as_of for one in incumbents.values())), fetched, ranking
                )
                old["incumbent_judged"] = served, Ensemble.load(*_bundles.folders(fetched, wals=part, towers=part))
    except ReelflowError as error:
        old = {"trouble": f"the incumbent cannot be read: {error}"}
    return Material(
        scene=_gate_material.scene(context, data, Ensemble.load(*_bundles.folders(bundles)), ranking),
        world=_gate_material.test_split(context, load("evaluation", EvaluationConfig), data),
        judged=(ranking, holdout),
        metrics=figures,
        roc_auc=_gate_material.roc_auc(context),
        noise_floor=floor,
        **old,
    )


def _pooled(judgement: Judgement) -> dict[str, Any] | None:
    """G1's own figures, by the names of ``Correlation``."""
    if judgement.differential is None:
        return None
    return {name: judgement.differential["pooled"][name] for name in Correlation.__slots__}


def main() -> None:
    """Command line: ``python -m jobs.gate --as-of ISO``."""
    _stage.main("gate", run, __doc__)


if __name__ == "__main__":
    main()
