"""Build what the recommend stage serves from: the catalogue's vectors and the FAISS index over them.

Reads the bundles that the gate passed and ``video_features``; writes the bundle ``serving``, bound to them by digest. Its
own digest is part of the model version that every published row carries.
"""

from __future__ import annotations

from pathlib import Path

from conf import load
from jobs import _bundles, _stage, gate
from jobs._stage import Context, Report
from jobs._tables import Partition, Recipe, code_version
from models.ann import IndexConfig, build
from models.ensemble import indexable, save_catalogue
from schemas import VIDEO_FEATURES

INDEX_FILE = "index.faiss"
CATALOGUE = "catalogue"


def run(context: Context) -> Report:
    """Build the serving bundle unless it was made from the same models and catalogue."""
    gate.require_pass(context)
    config = load("index", IndexConfig)
    models = {kind: _bundles.open_at(context, kind) for kind in (_bundles.WALS, _bundles.TOWERS)}
    today = [Partition(context.last_day)]
    inputs = {kind: bundle.digest for kind, bundle in models.items()} | {
        VIDEO_FEATURES.name: context.lake.digest(VIDEO_FEATURES, today)
    }
    recipe = Recipe(inputs, code_version("jobs/index.py", "models"), config.model_dump(mode="json"))
    if _bundles.current(context, _bundles.SERVING, recipe) is not None:
        return Report(up_to_date=True)
    ensemble = gate.ensemble(models)
    catalogue = ensemble.catalogue(context.lake.read(VIDEO_FEATURES, today), context.as_of)
    positions = indexable(catalogue, ensemble.retrieval)
    index = build(config, catalogue.retrieval_vectors[positions], positions)

    def write(folder: Path) -> None:
        save_catalogue(catalogue, folder / CATALOGUE)
        index.write(folder / INDEX_FILE)

    _bundles.commit(context, _bundles.SERVING, recipe, write, {"videos": len(catalogue.video_ids), "indexed": len(positions)})
    return Report(
        read={"videos": len(catalogue.video_ids)}, wrote={"indexed videos": len(positions)}, notes=[f"{config.kind} index"]
    )


def main() -> None:
    """Command line: ``python -m jobs.index --as-of ISO``."""
    _stage.main("index", run, __doc__)


if __name__ == "__main__":
    main()
