"""Build what the recommend stage serves from: the catalogue's vectors and the FAISS index over them.

Reads the bundles that the gate passed and ``video_features``; writes the bundle ``serving``, bound to them by digest. Its
own digest is part of the model version that every published row carries.
"""

from __future__ import annotations

from pathlib import Path

from conf import load
from jobs import _bundles, _stage, _verdict
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from models.ann import IndexConfig, build
from models.ensemble import Ensemble, indexable, save_catalogue
from models.features import with_text
from models.recommend import RecommendConfig
from schemas import VIDEO_FEATURES, VIDEO_TEXT

INDEX_FILE = "index.faiss"
CATALOGUE = "catalogue"


def run(context: Context) -> Report:
    """Build the serving bundle unless it was made from the same models and catalogue."""
    recipe = _recipe(context)
    if _bundles.current(context, _bundles.SERVING, recipe) is not None:
        return Report(up_to_date=True)
    ensemble = Ensemble.load(*_bundles.folders(_bundles.models(context)))
    today = [Partition(context.last_day)]
    videos = with_text(context.lake.read(VIDEO_FEATURES, today), context.lake.read(VIDEO_TEXT, today))
    catalogue = ensemble.catalogue(load("recommend", RecommendConfig).catalogue, videos, context.as_of)
    positions = indexable(catalogue, ensemble.retrieval)
    config = load("index", IndexConfig)
    index = build(config, catalogue.retrieval_vectors[positions], positions)

    def write(folder: Path) -> None:
        save_catalogue(catalogue, folder / CATALOGUE)
        index.write(folder / INDEX_FILE)

    _bundles.commit(context, _bundles.SERVING, recipe, write, {"videos": len(catalogue.video_ids), "indexed": len(positions)})
    return Report(
        read={"videos": len(catalogue.video_ids)}, wrote={"indexed videos": len(positions)}, notes=[f"{config.kind} index"]
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the serving bundle stands."""
    _, status = _bundles.check(context, _bundles.SERVING, _recipe(context))
    return [Unit(f"bundle {_bundles.SERVING}", Partition(context.last_day), status)]


def _recipe(context: Context) -> Recipe:
    """What the serving bundle is made from.

    Raises:
        ReelflowError: the gate did not pass the models.
    """
    _verdict.require_pass(context)
    inputs = {kind: bundle.digest for kind, bundle in _bundles.models(context).items()}
    for table in (VIDEO_FEATURES, VIDEO_TEXT):
        inputs[table.name] = context.lake.digest(table, [Partition(context.last_day)])
    parameters = {
        **load("index", IndexConfig).model_dump(mode="json"),
        "catalogue": load("recommend", RecommendConfig).catalogue.model_dump(mode="json"),
    }
    return Recipe(inputs, code_version("jobs/index.py", "models"), parameters)


def main() -> None:
    """Command line: ``python -m jobs.index --as-of ISO``."""
    _stage.main("index", run, __doc__)


if __name__ == "__main__":
    main()
