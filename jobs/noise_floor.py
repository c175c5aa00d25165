"""Measure the noise floor of the differential test (G2): how alike two trainings of the same data with other seeds are.

Trains a twin of the final models of this ``as_of`` with other seeds, and compares it with them as the gate compares candidate
and incumbent. Writes ``runs/<as_of>/two_seeds.json``. There is nothing to measure for where no incumbent exists. A floor that
was measured at most ``gate.noise_floor_days`` before is used again while code, settings and the volume of data are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conf import load
from jobs import _bundles, _gate_material, _noise_floor, _stage, _training, train_towers, train_wals
from jobs._recipe import code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._tracking import Tracker
from jobs._training import TrainingSet
from jobs._window import iso
from models import wals
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.gate import GateConfig, compare
from models.recommend import RecommendConfig
from models.towers import FittedRanker, FittedRetrieval, TowersConfig, fit_ranker, fit_retrieval
from models.wals import FittedWals, WalsConfig
from schemas import EXAMPLES

_CODE = ("jobs/noise_floor.py", "jobs/_gate_material.py", *_training.CODE, "models")
_OTHER_SEED = 1_000_003
"""Added to every seed for the twin."""


def run(context: Context) -> Report:
    """Measure, unless nobody will ask, or it is known."""
    bundles = _bundles.models(context)
    basis = _basis(context, bundles)
    found, status = _noise_floor.check(context, basis)
    if found is not None and status.current and not context.force:
        return Report(up_to_date=True, notes=[_said(found)])
    if not _gate_material.incumbents(Tracker.open(), context.as_of):
        _noise_floor.write(context, basis, {"figures": None, "why": "no incumbent: nothing is compared"})
        return Report(notes=["no incumbent: nothing to measure for"])
    config = load("gate", GateConfig)
    earlier = None if context.force else _noise_floor.recent(context, basis["regime"], config.noise_floor_days)
    if earlier is not None:
        _noise_floor.write(context, basis, earlier)
        return Report(notes=[_said(earlier)])
    data = _training.read(context)
    twin = _twin(context, data, bundles)
    ranking = load("recommend", RecommendConfig)
    scene = _gate_material.scene(context, data, Ensemble.load(*_bundles.folders(bundles)), ranking)
    content = {"figures": compare(config, scene, twin).figures(), "measured_as_of": iso(context.as_of)}
    _noise_floor.write(context, basis, content)
    return Report(read={"examples": data.examples.num_rows}, notes=[_said(content)])


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the noise floor stands."""
    _, status = _noise_floor.check(context, _basis(context, _bundles.models(context)))
    return [Unit("noise floor", Partition(context.last_day), status)]


def _basis(context: Context, bundles: Mapping[str, Bundle]) -> dict[str, Any]:
    """What the floor depends on: these models, and the regime in which an earlier one still holds."""
    gate = load("gate", GateConfig)
    sizes = {kind: bundle.properties["recipe"]["parameters"] for kind, bundle in bundles.items()}
    settings = {kind: {name: value for name, value in found.items() if name != "window"} for kind, found in sizes.items()}
    asked = gate.model_dump(mode="json", include={"correlation_users", "correlation_videos", "differential"})
    return {
        "bundles": {kind: bundle.digest for kind, bundle in bundles.items()},
        "incumbent": bool(_gate_material.incumbents(Tracker.open(), context.as_of)),
        "regime": {
            "code_version": code_version(*_CODE),
            "settings": settings,
            "asked": asked,
            "recommend": load("recommend", RecommendConfig).model_dump(mode="json"),
            "examples": _examples(context),
        },
    }


def _examples(context: Context) -> int:
    """How many examples the look-back has."""
    manifests = (context.lake.manifest(EXAMPLES, one) for one in context.lake.partitions(EXAMPLES, context.window))
    return sum(manifest.rows for manifest in manifests if manifest is not None)


def _twin(context: Context, data: TrainingSet, bundles: Mapping[str, Bundle]) -> Ensemble:
    """The final models with other seeds; epochs and half-life are those that the first ones found."""
    towers = load("towers", TowersConfig)
    judged = _training.with_random_negatives(context.lake, data, load("random_negatives", _training.RandomNegativesConfig))
    early = bundles[_bundles.TOWERS].path / _bundles.EARLY
    seed = towers.seed + _OTHER_SEED
    context.say("training a twin of the retrieval model with another seed")
    epochs = max(1, FittedRetrieval.load(early / "retrieval").best_epoch)
    retrieval = fit_retrieval(towers, train_towers.everything(data), seed, epochs=epochs)
    context.say("and of the ranker")
    epochs = max(1, FittedRanker.load(early / "ranker").best_epoch)
    ranker = fit_ranker(towers, train_towers.everything(judged), seed, epochs=epochs)
    first = Ensemble.load(*_bundles.folders(bundles))
    return Ensemble(_wals(context, data, bundles[_bundles.WALS]), retrieval, ranker, first.popularity)


def _wals(context: Context, data: TrainingSet, bundle: Bundle) -> FittedWals:
    config = load("wals", WalsConfig).with_half_life(bundle.properties["half_life_days"])
    config = config.model_copy(update={"seed": config.seed + _OTHER_SEED})
    return train_wals.engine_of(config, context)(config, *wals.confidence(data.examples, config, context.as_of))


def _said(content: Mapping[str, Any]) -> str:
    figures = content.get("figures")
    if figures is None:
        return str(content.get("why", "no noise floor"))
    pooled, rbo = figures["pooled"]["pooled_pearson"], figures["overlap"]["rbo"].get("mean")
    return f"two seeds of the same data: Pearson {pooled:.4f}, RBO {rbo:.4f}, measured as of {content['measured_as_of']}"


def main() -> None:
    """Command line: ``python -m jobs.noise_floor --as-of ISO``."""
    _stage.main("noise_floor", run, __doc__)


if __name__ == "__main__":
    main()
