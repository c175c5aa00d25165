"""Build what the recommend stage serves from: the catalogue's vectors and the FAISS index over them.

Reads the bundles that the gate passed, ``video_features`` and ``video_text``; writes the bundle ``serving``, bound to them by
digest. Its own digest is part of the model version that every published row carries. Where the index is not exact, the vectors
of some users of the day (``user_features``, ``query_text``) say what it misses; one that misses too much is not written (G6).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conf import load
from jobs import _bundles, _stage, _verdict
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._tracking import Tracker
from models.ann import IndexConfig, choose
from models.ensemble import Ensemble, indexable, save_catalogue
from models.features import with_text
from models.hashing import hashed_pairs
from models.recommend import RecommendConfig
from schemas import QUERY_TEXT, USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT
from schemas import columns as col

INDEX_FILE = "index.faiss"
CATALOGUE = "catalogue"
_SALT = 4  # the sample is not one that another stage draws


def run(context: Context) -> Report:
    """Build the serving bundle unless it was made from the same models and catalogue."""
    recipe = _recipe(context)
    found = _bundles.current(context, _bundles.SERVING, recipe)
    if found is not None:
        Tracker.open().register(found, {})
        return Report(up_to_date=True)
    ensemble = Ensemble.load(*_bundles.folders(_bundles.models(context)))
    today = [Partition(context.last_day)]
    videos = with_text(context.lake.read(VIDEO_FEATURES, today), context.lake.read(VIDEO_TEXT, today))
    catalogue = ensemble.catalogue(load("recommend", RecommendConfig).catalogue, videos, context.as_of)
    positions = indexable(catalogue, ensemble.retrieval)
    config = load("index", IndexConfig)
    asked = _queries(context, config, ensemble, len(positions))
    chosen = choose(config, catalogue.retrieval_vectors[positions], asked, positions)

    def write(folder: Path) -> None:
        save_catalogue(catalogue, folder / CATALOGUE)
        chosen.index.write(folder / INDEX_FILE)

    facts = {"videos": len(catalogue.video_ids), "indexed": len(positions), "index": chosen.facts()}
    bundle = _bundles.commit(context, _bundles.SERVING, recipe, write, facts)
    Tracker.open().register(bundle, {})
    return Report(read={"videos": len(catalogue.video_ids)}, wrote={"indexed videos": len(positions)}, notes=[chosen.note])


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the serving bundle stands."""
    _, status = _bundles.check(context, _bundles.SERVING, _recipe(context))
    return [Unit(f"bundle {_bundles.SERVING}", Partition(context.last_day), status)]


def _queries(context: Context, config: IndexConfig, ensemble: Ensemble, n_vectors: int) -> NDArray[np.float32]:
    """Retrieval's vectors of the users whose ids have the smallest hashes, float32 ``(n, dim)``; none for an exact index."""
    if config.kind_for(n_vectors) == "flat":
        return np.zeros((0, 0), dtype=np.float32)
    today = [Partition(context.last_day)]
    users = context.lake.read(USER_FEATURES, today)
    ids = users[col.USER_ID].to_numpy()
    first = np.argsort(hashed_pairs(ids, np.full_like(ids, _SALT)), kind="stable")[: config.sample_users]
    return ensemble.retrieval.user_vectors(users.take(first), context.lake.read(QUERY_TEXT, today), context.as_of)


def _recipe(context: Context) -> Recipe:
    """What the serving bundle is made from.

    Raises:
        ReelflowError: the gate did not pass the models.
    """
    _verdict.require_pass(context)
    inputs = {kind: bundle.digest for kind, bundle in _bundles.models(context).items()}
    for table in (USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT, QUERY_TEXT):
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
