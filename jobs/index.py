"""Build what the recommend stage serves from: the catalogue's vectors and a FAISS index over each kind that proposes videos.

Reads the bundles that the gate passed, ``video_features`` and ``video_text``; writes the bundle ``serving``, bound to them by
digest. Its own digest is part of the model version that every published row carries. Where an index is not exact, the vectors
of some users of the day (``user_features``, ``query_text``) say what it misses; one that misses too much is not written (G6).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conf import load
from jobs import _bundles, _stage, _verdict
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._tables import Partition, Pending, Unit
from jobs._tracking import Tracker
from models.ann import Choice, IndexConfig, choose, kind_built
from models.ensemble import Ensemble, indexable, save_catalogue
from models.features import with_text
from models.hashing import hashed_pairs
from models.recommend import Catalogue, Indexes, RecommendConfig
from schemas import QUERY_TEXT, USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT
from schemas import columns as col

INDEXES = "indexes"
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
    chosen = _chosen(context, ensemble, catalogue)

    def write(folder: Path) -> None:
        save_catalogue(catalogue, folder / CATALOGUE)
        Indexes(**{name: choice.index for name, choice in chosen.items()}).write(folder / INDEXES)

    about = {name: {"videos": len(choice.index), **choice.facts()} for name, choice in chosen.items()}
    bundle = _bundles.commit(context, _bundles.SERVING, recipe, write, {"videos": len(catalogue.video_ids), "indexes": about})
    Tracker.open().register(bundle, {})
    return Report(
        read={"videos": len(catalogue.video_ids)},
        wrote={f"{name} index": len(choice.index) for name, choice in chosen.items()},
        notes=[f"{name}: {choice.note}" for name, choice in chosen.items()],
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the serving bundle stands."""
    _, status = _bundles.check(context, _bundles.SERVING, _recipe(context))
    return [Unit(f"bundle {_bundles.SERVING}", Partition(context.last_day), status)]


def _chosen(context: Context, ensemble: Ensemble, catalogue: Catalogue) -> dict[str, Choice]:
    """Each index, of the kind for its number of vectors.

    Raises:
        ReelflowError: one whose kind was set by hand misses too much (G6).
    """
    config, parts = load("index", IndexConfig), Indexes.searched(catalogue, indexable(catalogue, ensemble.retrieval))
    exact = all(kind_built(config, len(part.positions)) == "flat" for part in parts.values())
    asked = {} if exact else _queries(context, config, ensemble, catalogue)
    nobody = np.zeros((0, 0), dtype=np.float32)
    return {
        name: choose(
            config, part.vectors, asked.get(name, nobody), part.positions, lengths_vary=part.lengths_vary, name=f"index {name}"
        )
        for name, part in parts.items()
    }


def _queries(
    context: Context, config: IndexConfig, ensemble: Ensemble, catalogue: Catalogue
) -> Mapping[str, NDArray[np.float32]]:
    """What the users whose ids have the smallest hashes ask each index, float32 ``(n, dim)``."""
    today = [Partition(context.last_day)]
    users = context.lake.read(USER_FEATURES, today)
    ids = users[col.USER_ID].to_numpy()
    first = np.argsort(hashed_pairs(ids, np.full_like(ids, _SALT)), kind="stable")[: config.sample_users]
    queries = context.lake.read(QUERY_TEXT, today)
    return Indexes.queries(
        ensemble.users(load("recommend", RecommendConfig), users.take(first), queries, catalogue, context.as_of)
    )


def _recipe(context: Context) -> Recipe:
    """What the serving bundle is made from.

    Raises:
        ReelflowError: the gate did not pass the models.
    """
    _verdict.require_pass(context)
    inputs = {kind: bundle.digest for kind, bundle in _bundles.models(context).items()}
    for table in (USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT, QUERY_TEXT):
        inputs[table.name] = context.lake.digest(table, [Partition(context.last_day)])
    recommend = load("recommend", RecommendConfig)
    parameters = {
        **load("index", IndexConfig).model_dump(mode="json"),
        "catalogue": recommend.catalogue.model_dump(mode="json"),
        "similar_history": recommend.similar_history,
    }
    return Recipe(inputs, code_version("jobs/index.py", "models"), parameters)


def main() -> None:
    """Command line: ``python -m jobs.index --as-of ISO``."""
    _stage.main("index", run, __doc__)


if __name__ == "__main__":
    main()
