"""Let the published models go on with what happened since they were trained: what an hour does instead of training.

Reads the bundles ``wals`` and ``towers`` that were published last as of this time or before, ``examples`` of the look-back and
their features since then; writes both bundles as of this hour, with ``final`` only, and registers them as candidates of the
hourly lane. Users who acted since, or are new, are folded into WALS; the towers are fine-tuned; popularity by segment is
counted anew. It always begins at the daily models, so an hour that failed or never ran changes nothing for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf import load
from jobs import _bundles, _lane, _stage, _training, _verdict
from jobs._example_features import FeaturesConfig
from jobs._lane import HourlyConfig
from jobs._recipe import Recipe, code_version
from jobs._stage import Context, Report
from jobs._swap import read_json
from jobs._tables import Pending, Unit
from jobs._tower_data import tower_data
from jobs._tracking import LANE, Published, Tracker
from jobs._training import TrainingSet
from jobs._window import Window, compact, iso
from models.ensemble import POPULARITY, Ensemble
from models.segments import PopularityConfig, fit_popularity
from models.towers import FittedRanker, FittedRetrieval, TowersConfig, fine_tune
from models.wals import FittedWals
from schemas import EXAMPLES
from schemas import columns as col
from schemas.errors import ReelflowError
from serving import open_store

BASE, WEIGHTS = "base", "weights"
"""Properties of a bundle: what it went on from, and the weights that the gate passed with that."""


class _Saved(Protocol):
    def save(self, directory: Path) -> None: ...


_CODE = ("jobs/refresh.py", "jobs/_tower_data.py", *_training.CODE, "models", "schemas")


@dataclass(frozen=True, slots=True)
class Base:
    """The published models that an hour goes on from."""

    as_of: datetime
    published: Mapping[str, Published]
    weights: Mapping[str, Mapping[str, float]]

    @property
    def properties(self) -> dict[str, Any]:
        """As both bundles keep it."""
        digests = {kind: found.digest for kind, found in self.published.items()}
        return {LANE: _lane.HOURLY, BASE: {"as_of": iso(self.as_of), **digests}, WEIGHTS: self.weights}


def run(context: Context) -> Report:
    """Refresh the models unless both bundles of this hour were made from the same base, examples, code and settings."""
    if context.lane != _lane.HOURLY:
        raise ReelflowError("refresh: found the lane daily, which trains; expected --lane hourly")
    tracker = Tracker.open()
    base = base_of(context, tracker)
    recipe = _recipe(context, base)
    found = {kind: _bundles.current(context, kind, recipe) for kind in (_bundles.WALS, _bundles.TOWERS)}
    there = [bundle for bundle in found.values() if bundle is not None]
    if len(there) == len(found):
        for bundle in there:
            tracker.register(bundle, {})
        return Report(up_to_date=True)
    fetched = {kind: tracker.fetch(published) for kind, published in base.published.items()}
    old = Ensemble.load(*_bundles.folders(fetched))
    everything = _training.read(context, features=False)
    wals, figures = fold_in(context, old.wals, everything, base.as_of)
    context.say(
        f"{figures['folded_users']:,.0f} users acted since {iso(base.as_of)}, {figures['new_users']:,.0f} of them are new"
    )
    popularity = fit_popularity(
        load("popularity", PopularityConfig),
        everything.examples,
        everything.user_versions,
        at=context.as_of,
        half_life_days=everything.half_life_days,
    )
    towers, more = _fine_tuned(context, old, base.as_of)
    counts = {**figures, "users": float(len(wals.users)), "videos": float(len(wals.videos))}
    made = {
        _bundles.WALS: (_writer({"": wals, POPULARITY: popularity}), counts),
        _bundles.TOWERS: (_writer(towers), more),
    }
    bundles = [
        _bundles.commit(context, kind, recipe, write, {**base.properties, "metrics": metrics})
        for kind, (write, metrics) in made.items()
    ]
    versions = [tracker.register(bundle, bundle.properties["metrics"]) for bundle in bundles]
    return Report(
        read={"examples": everything.examples.num_rows, "new examples": int(more["new_examples"])},
        wrote={"users": len(wals.users), "videos": len(wals.videos)},
        notes=[f"from the models as of {iso(base.as_of)}", f"candidates v{', v'.join(versions)} of the lane hourly"],
        facts={**figures, **more},
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How both bundles of this hour stand."""
    recipe = _recipe(context, base_of(context, Tracker.open()))
    return [_training.unit(context, kind, recipe) for kind in (_bundles.WALS, _bundles.TOWERS)]


def base_of(context: Context, tracker: Tracker) -> Base:
    """The models that made what is live; where that knows a later time than this run may, the last ones that do not.

    Raises:
        ReelflowError: none were published by then, or what the gate said of them is not there.
    """
    live = open_store(context.paths.store).live()
    known = context.as_of if live is None or live.root_as_of > context.as_of else live.root_as_of
    found = {kind: tracker.incumbent(kind, known + timedelta(microseconds=1)) for kind in (_bundles.WALS, _bundles.TOWERS)}
    published = {kind: one for kind, one in found.items() if one is not None}
    if len(published) < len(found) or len({one.as_of for one in published.values()}) > 1:
        raise ReelflowError(
            f"refresh as of {iso(context.as_of)}: found no models that were published together by {iso(known)}; "
            "publish a run of the daily lane first"
        )
    as_of = published[_bundles.WALS].as_of
    verdict = read_json(context.paths.runs / compact(as_of) / _verdict.FILE, "verdict", "gate")
    if verdict is None or any(verdict["basis"].get(kind) != one.digest for kind, one in published.items()):
        raise ReelflowError(
            f"refresh as of {iso(context.as_of)}: found no verdict as of {iso(as_of)} on the models that were published, "
            "whose weights are needed; run the daily lane as of then again"
        )
    return Base(as_of, published, verdict["weights"])


def fold_in(context: Context, model: FittedWals, data: TrainingSet, since: datetime) -> tuple[FittedWals, dict[str, float]]:
    """WALS in which every user with an example whose label became known since then has the vector of all of theirs.

    Returns:
        The model, and how many users that were.
    """
    examples = data.examples
    known = pc.greater_equal(examples[col.KNOWN_AT], pa.scalar(since, examples[col.KNOWN_AT].type))
    active = pc.unique(examples.filter(known)[col.USER_ID])
    theirs = examples.filter(pc.is_in(examples[col.USER_ID], active))
    refreshed = model.refreshed(theirs, context.as_of)
    return refreshed, {"folded_users": float(len(active)), "new_users": float(len(refreshed.users) - len(model.users))}


def _fine_tuned(
    context: Context, old: Ensemble, since: datetime
) -> tuple[dict[str, FittedRetrieval | FittedRanker], dict[str, float]]:
    """Both towers, gone on with the newest examples since then; and what that took."""
    config, most = load("towers", TowersConfig), load("hourly", HourlyConfig).max_examples
    models: dict[str, FittedRetrieval | FittedRanker] = {"retrieval": old.retrieval, "ranker": old.ranker}
    hours = context.lake.partitions(EXAMPLES, Window(since, context.as_of))
    rows = sum(found.rows for hour in hours if (found := context.lake.manifest(EXAMPLES, hour)) is not None)
    figures = {"new_examples": float(rows)}
    if not rows or not most or not config.fine_tune.models:
        return models, figures
    data = _training.read(context, since=since)
    new = np.zeros(data.examples.num_rows, dtype=bool)
    new[-most:] = True  # in order of time
    towers = tower_data(data)
    models = {
        "retrieval": fine_tune(old.retrieval, config, towers, new, config.seed),
        "ranker": fine_tune(old.ranker, config, towers, new, config.seed),
    }
    for name, before in (("retrieval", old.retrieval), ("ranker", old.ranker)):
        passes = 0 if models[name] is before else len(models[name].history)
        figures[f"{name}_epochs"] = float(passes)
        context.say(f"{name}: {f'{passes} passes over {int(new.sum()):,} examples' if passes else 'as it was'}")
    return models, figures


def _writer(models: Mapping[str, _Saved]) -> Callable[[Path], None]:
    """Writes models below ``final``, each in the folder of its name; the first name may be empty."""

    def write(folder: Path) -> None:
        for name, model in models.items():
            (folder / _bundles.FINAL / name).mkdir(parents=True, exist_ok=True)
            model.save(folder / _bundles.FINAL / name)

    return write


def _recipe(context: Context, base: Base) -> Recipe:
    inputs = _training.inputs(context) | {f"base {kind}": found.digest for kind, found in base.published.items()}
    parameters = {
        "towers": load("towers", TowersConfig).model_dump(mode="json"),
        "popularity": load("popularity", PopularityConfig).model_dump(mode="json"),
        "popularity_half_life_days": load("features", FeaturesConfig).popularity_half_life_days,
        "max_examples": load("hourly", HourlyConfig).max_examples,
        "weights": base.weights,
        "window": str(context.window),
    }
    return Recipe(inputs, code_version(*_CODE), parameters)


def main() -> None:
    """Command line: ``python -m jobs.refresh --lane hourly --as-of ISO``."""
    _stage.main("refresh", run, __doc__)


if __name__ == "__main__":
    main()
