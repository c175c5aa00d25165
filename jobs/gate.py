"""Decide whether the new models may be deployed, and write the verdict.

Reads the bundles ``wals`` and ``towers`` of this ``as_of`` and of the newest published one before it. Judges the final list
of the holdout models on the test split against popularity (a floor), and correlates the final models' predictions with the
incumbent's on pairs that neither has seen (differential test, G1). Writes ``verdict.json`` and exits normally either way:
a refusal is a result, not an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf import load
from jobs import _bundles, _stage, _training
from jobs._stage import Context, Report
from jobs._tables import code_version
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

FILE = "verdict.json"
_WEIGHTS = ("weights", "new_user_weights")


def run(context: Context) -> Report:
    """Judge the candidates of this ``as_of``, unless the verdict on exactly these is there already."""
    config, ranking = load("gate", GateConfig), load("recommend", RecommendConfig)
    bundles = {kind: _bundles.open_at(context, kind) for kind in (_bundles.WALS, _bundles.TOWERS)}
    tracker = Tracker.open()
    incumbents = _incumbents(tracker, context.as_of)
    basis = _basis(context, config, ranking, bundles, incumbents)
    if not context.force and (found := _read(context.run_folder / FILE)) is not None and found.get("basis") == basis:
        return Report(up_to_date=True, notes=[str(found["reason"])], facts={"passed": found["passed"]})
    data = _training.read(context)
    ranking = _choose_weights(config, ranking, bundles, data)
    figures = _holdout_figures(config, ranking, bundles, data)
    compared, trouble = None, None
    if incumbents:
        new = ensemble(bundles)
        try:
            old = ensemble({kind: tracker.fetch(published) for kind, published in incumbents.items()})
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
        "weights": {name: getattr(ranking, name) for name in _WEIGHTS},
        "metrics": {name: value if math.isfinite(value) else None for name, value in figures.items()},
        "correlation": {k: v if math.isfinite(v) else None for k, v in asdict(compared).items()} if compared else None,
        "verdict": json.loads(verdict.to_json()),
    }
    context.run_folder.mkdir(parents=True, exist_ok=True)
    target = context.run_folder / FILE
    staged = target.with_suffix(".tmp")
    staged.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    staged.replace(target)
    tags = {"gate": "passed" if verdict.passed else "refused", "gate.reason": reason}
    for bundle in bundles.values():
        tracker.annotate(bundle, figures, tags)
    return Report(read={"users judged": int(figures["users"])}, notes=[reason], facts={"passed": verdict.passed, **figures})


def require_pass(context: Context) -> dict[str, Any]:
    """The verdict of this ``as_of``, which must be a pass on the very bundles that lie there.

    Raises:
        ReelflowError: there is no verdict, it refused, or it judged other bundles.
    """
    found = _read(context.run_folder / FILE)
    if found is None:
        raise ReelflowError(f"verdict {context.run_folder / FILE}: not found; run gate --as-of {iso(context.as_of)} first")
    if not found["passed"]:
        raise ReelflowError(f"verdict as of {iso(context.as_of)}: the gate refused: {found['reason']}; what is live stays live")
    for kind in (_bundles.WALS, _bundles.TOWERS):
        digest = _bundles.open_at(context, kind).digest
        if found["basis"][kind] != digest:
            raise ReelflowError(f"verdict as of {iso(context.as_of)}: it judged another {kind} bundle; run gate again")
    return found


def chosen_ranking(verdict: Mapping[str, Any]) -> RecommendConfig:
    """Section ``recommend`` with the weights that the verdict was passed on."""
    return load("recommend", RecommendConfig).model_copy(update=verdict["weights"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ReelflowError(f"verdict {path}: not valid JSON ({error}); delete it and run gate again") from error
    return content


def _basis(
    context: Context, config: GateConfig, ranking: RecommendConfig, bundles: dict[str, Bundle], incumbents: dict[str, Published]
) -> dict[str, Any]:
    """Everything that the verdict depends on."""
    return {
        **{kind: bundle.digest for kind, bundle in bundles.items()},
        "incumbent": {kind: published.digest for kind, published in incumbents.items()},
        "inputs": _training.inputs(context),
        "code_version": code_version("jobs/gate.py", "jobs/_training.py", "models"),
        "gate": config.model_dump(mode="json"),
        "recommend": ranking.model_dump(mode="json"),
    }


def _choose_weights(
    config: GateConfig, ranking: RecommendConfig, bundles: Mapping[str, Bundle], data: TrainingSet
) -> RecommendConfig:
    """Weigh popularity by the validation split, with models that have not trained on it."""
    models = ensemble(bundles, wals=_bundles.EARLY, towers=_bundles.HOLDOUT)
    known = data.examples.filter(pa.array(~data.test))
    return evaluation.choose_popular_weights(ranking, models, _world(config, data, known, data.validation_start))


def _holdout_figures(
    config: GateConfig, ranking: RecommendConfig, bundles: Mapping[str, Bundle], data: TrainingSet
) -> dict[str, float]:
    models = ensemble(bundles, wals=_bundles.HOLDOUT, towers=_bundles.HOLDOUT)
    return evaluation.evaluate(ranking, models, _world(config, data, data.examples, data.test_start))


def _world(config: GateConfig, data: TrainingSet, examples: pa.Table, at: datetime) -> evaluation.Holdout:
    """What could be known at ``at``, and what the examples after it ask for."""
    return evaluation.holdout(
        data.users,
        data.videos,
        data.counts,
        examples,
        at=at,
        half_life_days=data.half_life_days,
        max_users=config.evaluation_users,
    )


def ensemble(bundles: Mapping[str, Bundle], *, wals: str = _bundles.FINAL, towers: str = _bundles.FINAL) -> Ensemble:
    """The models of two bundles: the final ones, or those named."""
    return Ensemble.load(bundles[_bundles.WALS].path / wals, bundles[_bundles.TOWERS].path / towers)


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
    without = {name: {**getattr(ranking, name), "popular": 0.0} for name in _WEIGHTS}
    models_only = ranking.model_copy(update=without)
    catalogue = new.catalogue(data.videos, context.as_of)
    batch = new.users(users, catalogue, context.as_of)
    positions = np.sort(rng.permutation(np.flatnonzero(catalogue.eligible))[: config.correlation_videos])
    seen = evaluation.pairs(data.examples, IdMap(batch.user_ids), IdMap(catalogue.video_ids)).toarray()
    seen[np.repeat(np.arange(len(batch)), np.diff(batch.watched_indptr)), batch.watched] = True
    theirs = old.catalogue(data.videos, context.as_of)
    scores = score_matrix(models_only, catalogue, batch, positions)
    before = score_matrix(models_only, theirs, old.users(users, theirs, context.as_of), positions)
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
