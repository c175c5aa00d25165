"""A small simulated platform, two days of it through the stages, and trainings of seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from conf import load, workspace
from jobs import _gate_material, _stage, _training, evaluate, examples, features, ingest, simulate, text
from jobs._stage import Context
from jobs._tower_data import tower_data
from jobs._training import TrainingSet
from models import evaluation, wals
from models.ensemble import Ensemble
from models.evaluation import EvaluationConfig, Holdout
from models.recommend import RecommendConfig
from models.segments import PopularityConfig, fit_popularity
from models.towers import TowersConfig, fit_ranker, fit_retrieval
from models.wals import WalsConfig

Mask = npt.NDArray[np.bool_]

EARLY, HOLDOUT, FINAL = "early", "holdout", "final"
AGES = (EARLY, HOLDOUT, FINAL)
JUDGED = (HOLDOUT, FINAL)
"""What the gate looks at; the third only chooses the weights."""
_DAYS = ("2026-01-11T00:00:00Z", "2026-01-12T00:00:00Z")
SETTINGS: dict[str, Any] = {
    "window": {"lookback_days": 6, "history_days": 6},
    "simulate": {
        "users": 1000, "videos": 600, "days": 7, "start": "2026-01-05", "sessions_per_user_day": 1.5, "relevant_rate": 0.1,
        "malformed_fraction": 0.0, "duplicate_fraction": 0.0,
    },
    "expectations": {"max_label_rate": 1.0},
    "popularity": {"min_events": 20.0},
    "wals": {"factors": 8, "iterations": 6, "regularization": 2.0, "num_threads": 1, "half_lives_days": [4.0]},
    "text": {"threads": 1, "tags": {"epochs": 5}},
    "towers": {
        "id_dim": 8, "category_dim": 4, "vector_dim": 8,
        "retrieval": {"dim": 16, "hidden": [32], "history": 10, "blocks": 0, "min_steps_per_epoch": 25, "max_epochs": 3},
        "ranker": {"dim": 16, "hidden": [32], "min_steps_per_epoch": 25, "max_epochs": 2},
    },
    "recommend": {"k": 50, "generators": {"retrieval": 80, "wals": 60, "popular": 60}, "exploration": {"slots": [25]}},
    "evaluation": {"bootstrap_samples": 400},
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a training goes wrong; the default is a good one.

    Attributes:
        stale_days: the newest examples that are missing.
        lost_language: whose videos' examples are missing.
        leak: whether every part is trained on everything, the test split included.
        epochs_share: of the epochs and iterations that a whole training takes.
        shuffled_labels: whether labels are dealt anew among the examples.
    """

    stale_days: float = 0.0
    lost_language: str | None = None
    leak: bool = False
    epochs_share: float = 1.0
    shuffled_labels: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """What training and gate read as of the end of one day."""

    context: Context
    data: TrainingSet
    validation: Holdout
    test: Holdout
    ranking: RecommendConfig


def make(folder: Path, seed: int) -> Path:
    """Simulate a platform and take two days of it through the stages up to the features, once; returns its settings."""
    settings = folder / "settings.yaml"
    if settings.exists():
        return settings
    folder.mkdir(parents=True, exist_ok=True)
    given = {**SETTINGS, "simulate": {**SETTINGS["simulate"], "seed": seed}}
    staged = folder / "settings.tmp"
    staged.write_text(yaml.safe_dump(given), encoding="utf-8")
    with workspace(folder, staged), contextlib.redirect_stdout(io.StringIO()):
        if simulate.main([]):
            raise SystemExit("gate: the simulator failed")
        for as_of in _DAYS:
            for stage in (ingest, examples, text, features):
                stage.run(_context(stage.__name__.removeprefix("jobs."), as_of))
    staged.rename(settings)
    return settings


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Within, this platform's workspace and settings are those of the process."""
    with workspace(folder, folder / "settings.yaml"):
        yield


def day(place: int) -> Day:
    """Read one of the two days, within :func:`inside`."""
    context = _context("gate", _DAYS[place])
    config, data = load("evaluation", EvaluationConfig), _training.read(context)
    assert data.histories is not None
    read_once = list(data.histories())
    data = dataclasses.replace(data, histories=lambda: iter(read_once))
    known = data.examples.filter(pc.less_equal(data.examples["known_at"], pa.scalar(data.test_start)))
    then = _training.world_at(context, data, data.validation_start)
    validation = evaluate._holdout(config, data, then, known, at=data.validation_start)
    test = _gate_material.test_split(context, config, data)
    return Day(context, data, validation, test, load("recommend", RecommendConfig))


def train(of: Day, seed: int, recipe: Recipe | None = None, ages: Sequence[str] = AGES) -> dict[str, Ensemble]:
    """Train the models of all three ages, or some, as the training stages do, with a number of epochs that is given."""
    how, data = recipe or Recipe(), of.data
    everything = np.ones(data.examples.num_rows, dtype=bool)
    masks = {EARLY: data.train, HOLDOUT: data.train | data.validation, FINAL: everything}
    ends = {EARLY: data.validation_start, HOLDOUT: data.test_start, FINAL: of.context.as_of}
    if how.shuffled_labels:
        rng = np.random.default_rng(seed)
        labels = rng.permutation(data.examples["label"].to_numpy())
        place = data.examples.schema.get_field_index("label")
        data = dataclasses.replace(data, examples=data.examples.set_column(place, "label", pa.array(labels)))
    kept = _kept(data, how)
    return {name: _fit(data, (everything if how.leak else masks[name]) & kept, ends[name], how, seed) for name in ages}


def weighed(of: Day, models: Mapping[str, Ensemble]) -> RecommendConfig:
    """The weights that the validation split chooses, as the evaluation stage does."""
    return evaluation.choose_weights(of.ranking, models[EARLY], of.validation)


def _fit(data: TrainingSet, mask: Mask, end: datetime, how: Recipe, seed: int) -> Ensemble:
    at = end - timedelta(days=how.stale_days)
    if how.stale_days:
        occurred = data.examples["occurred_at"]
        mask = mask & np.asarray(pc.less(occurred, pa.scalar(at, occurred.type)).to_numpy())
    towers, factors = load("towers", TowersConfig), load("wals", WalsConfig)
    epochs = {name: max(1, round(how.epochs_share * getattr(towers, name).max_epochs)) for name in ("retrieval", "ranker")}
    if how.epochs_share < 1:  # interrupted within an epoch as well
        towers = towers.model_copy(
            update={
                name: getattr(towers, name).model_copy(update={"min_steps_per_epoch": 2, "batch_size": 1_000_000})
                for name in ("retrieval", "ranker")
            }
        )
        factors = factors.model_copy(update={"iterations": 1})
    examples_ = data.examples.filter(pa.array(mask))
    factors = factors.with_half_life(factors.half_lives_days[0]).model_copy(update={"seed": seed})
    told = dataclasses.replace(tower_data(data), train=mask, validation=np.zeros_like(mask))
    popular = load("popularity", PopularityConfig)
    return Ensemble(
        wals.fit(factors, *wals.confidence(examples_, factors, at)),
        fit_retrieval(towers, told, seed, epochs=epochs["retrieval"]),
        fit_ranker(towers, told, seed, epochs=epochs["ranker"]),
        fit_popularity(popular, examples_, data.user_versions, at=at, half_life_days=data.half_life_days),
    )


def _kept(data: TrainingSet, how: Recipe) -> Mask:
    if how.lost_language is None:
        return np.ones(data.examples.num_rows, dtype=bool)
    lost = data.videos.filter(pc.equal(data.videos["language"], how.lost_language))["video_id"]
    inside_ = pc.is_in(data.examples["video_id"], value_set=lost.combine_chunks())
    return ~np.asarray(inside_.to_numpy())


def _context(stage: str, as_of: str) -> Context:
    return _stage.context(stage, _stage.command_line(stage, None).parse_args(["--as-of", as_of]))
