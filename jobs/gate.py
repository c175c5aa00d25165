"""Decide whether the new models may be deployed, and write the verdict.

Reads the bundles ``wals`` and ``towers`` of this ``as_of`` and of the newest published one before it, and the evaluation of
the former. Holds the final list of the holdout models on the test split against popularity (a floor), and correlates the final
models' predictions with the incumbent's on pairs that neither has seen (differential test, G1). Writes ``verdict.json`` and
exits normally either way: a refusal is a result, not an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf import load
from jobs import _bundles, _evaluation, _lane, _light_gate, _stage, _training, _verdict, evaluate
from jobs._recipe import code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._tracking import Published, Tracker
from jobs._training import TrainingSet
from jobs._window import iso
from models import evaluation
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.gate import Correlation, GateConfig, Verdict, correlation, decide
from models.ids import IdMap
from models.recommend import RecommendConfig, score_matrix
from schemas import columns as col
from schemas.errors import ReelflowError

_TRAINED = ("ranker", "retrieval", "wals")
"""Components that are models: the others are counters, on which two trainings agree anyway."""


def run(context: Context) -> Report:
    """Judge the candidates of this ``as_of``, unless the verdict on exactly these is there already."""
    if context.lane == _lane.HOURLY:
        return _light_gate.run(context)
    config = load("gate", GateConfig)
    bundles = _bundles.models(context)
    evaluated = _evaluation.require(context, evaluate.recipe(context, bundles))
    tracker = Tracker.open()
    incumbents = _incumbents(tracker, context.as_of)
    basis = _basis(context, bundles, incumbents, evaluated)
    found, status = _verdict.check(context, basis)
    if found is not None and status.current and not context.force:
        return Report(up_to_date=True, notes=[str(found["reason"])], facts={"passed": found["passed"]})
    ranking = load("recommend", RecommendConfig).weighed(evaluated["weights"])
    figures = {name: math.nan if value is None else float(value) for name, value in evaluated["metrics"].items()}
    compared, trouble = None, None
    if incumbents:
        data = _training.read(context, features=False)
        new = Ensemble.load(*_bundles.folders(bundles))
        try:
            fetched = {kind: tracker.fetch(published) for kind, published in incumbents.items()}
            old = Ensemble.load(*_bundles.folders(fetched))
            compared = _compare(context, config, ranking, data, new=new, old=old)
        except ReelflowError as error:
            trouble = f"the incumbent cannot be read: {error}"
    verdict = decide(config, correlation=compared, metrics=figures, trouble=trouble)
    reason = _reason(verdict)
    content = {
        "passed": verdict.passed,
        "reason": reason,
        "as_of": iso(context.as_of),
        "incumbent": {kind: iso(published.as_of) for kind, published in incumbents.items()},
        "basis": basis,
        "weights": ranking.weights,
        "metrics": {name: value if math.isfinite(value) else None for name, value in figures.items()},
        "correlation": {k: v if math.isfinite(v) else None for k, v in asdict(compared).items()} if compared else None,
        "verdict": json.loads(verdict.to_json()),
    }
    _verdict.write(context, content)
    tags = {"gate": "passed" if verdict.passed else "refused", "gate.reason": reason}
    for bundle in bundles.values():
        tracker.annotate(bundle, {}, tags)
    return Report(read={"users judged": int(figures["users"])}, notes=[reason], facts={"passed": verdict.passed, **figures})


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the verdict stands."""
    incumbents, bundles = _incumbents(Tracker.open(), context.as_of), _bundles.models(context)
    _, status = _verdict.check(
        context, _basis(context, bundles, incumbents, _evaluation.require(context, evaluate.recipe(context, bundles)))
    )
    return [Unit("verdict", Partition(context.last_day), status)]


def _basis(
    context: Context, bundles: Mapping[str, Bundle], incumbents: Mapping[str, Published], evaluated: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the verdict depends on."""
    return {
        **{kind: bundle.digest for kind, bundle in bundles.items()},
        "incumbent": {kind: published.digest for kind, published in incumbents.items()},
        "evaluation": _evaluation.digest(evaluated),
        "inputs": _training.inputs(context),
        "code_version": code_version("jobs/gate.py", "jobs/_training.py", "models"),
        "gate": load("gate", GateConfig).model_dump(mode="json"),
        "recommend": load("recommend", RecommendConfig).model_dump(mode="json"),
    }


def _incumbents(tracker: Tracker, before: datetime) -> dict[str, Published]:
    """The bundles that were published together last before ``before``; empty when there are none."""
    found = {kind: tracker.incumbent(kind, before) for kind in (_bundles.WALS, _bundles.TOWERS)}
    known = {kind: published for kind, published in found.items() if published is not None}
    return known if len(known) == len(found) else {}


def _compare(
    context: Context, config: GateConfig, ranking: RecommendConfig, data: TrainingSet, *, new: Ensemble, old: Ensemble
) -> Correlation:
    """Correlate both ensembles' predictions, popularity left out, for drawn users and videos.

    A pair counts that the user has not watched and that is no example of the look-back.
    """
    rng = np.random.default_rng(0)
    active = data.users.filter(pc.greater(data.users[col.INTERACTION_COUNT], 0)).sort_by(col.USER_ID)
    users = active.take(pa.array(np.sort(rng.permutation(active.num_rows)[: config.correlation_users])))
    trained = {
        name: {part: weight for part, weight in parts.items() if part in _TRAINED} for name, parts in ranking.weights.items()
    }
    models_only = ranking.weighed(trained)
    catalogue = new.catalogue(ranking.catalogue, data.videos, context.as_of)
    batch = new.users(ranking, users, data.queries, catalogue, context.as_of)
    positions = np.sort(rng.permutation(np.flatnonzero(catalogue.eligible))[: config.correlation_videos])
    seen = evaluation.pairs(data.examples, IdMap(batch.user_ids), IdMap(catalogue.video_ids)).toarray()
    seen[np.repeat(np.arange(len(batch)), np.diff(batch.watched_indptr)), batch.watched] = True
    # Popularity is no part of the comparison; the incumbent's may be of other segments.
    old = replace(old, popularity=new.popularity)
    theirs = old.catalogue(ranking.catalogue, data.videos, context.as_of)
    scores = score_matrix(models_only, catalogue, batch, positions)
    before = score_matrix(models_only, theirs, old.users(ranking, users, data.queries, theirs, context.as_of), positions)
    return correlation(scores, before, ~seen[:, positions])


def _reason(verdict: Verdict) -> str:
    """The verdict in one line: every check that failed, or what was found."""
    shown = [check for check in verdict.checks if check.passed == verdict.passed]
    said = "; ".join(f"{check.name}: {check.detail}" for check in shown)
    return f"{'passed' if verdict.passed else 'refused'}: {said}"


def main() -> None:
    """Command line: ``python -m jobs.gate --as-of ISO``."""
    _stage.main("gate", run, __doc__)


if __name__ == "__main__":
    main()
