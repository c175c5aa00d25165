"""Data sets to tune on: what training knows of a workspace before the test split begins, and the question of validation."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf import Section, home, load, workspace
from jobs import _stage, _training
from jobs._example_features import FeaturesConfig
from jobs._recipe import Recipe, code_version
from jobs._stage import Context
from jobs._training import TrainingSet
from jobs._window import iso, parse_time
from models import evaluation
from models.evaluation import EvaluationConfig, Holdout
from schemas import EXPOSURES
from schemas import columns as col
from schemas.errors import ReelflowError

_CODE = ("jobs/tuning/_models.py", "jobs/tuning/_sets.py", "jobs/tuning/_study.py", *_training.CODE, "models", "schemas")


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace and a moment."""

    home: Path | None
    """Its folder; ``None`` for the one that this process was given."""
    as_of: datetime

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Let this process's configuration be that of the workspace: its own ``conf.yaml`` if it has one."""
        if self.home is None:
            yield
            return
        own = self.home / "conf.yaml"
        with workspace(self.home, own if own.exists() else None):
            yield

    def context(self) -> Context:
        """What a stage is given there; to be used within ``environment``."""
        return _stage.context("tune", argparse.Namespace(as_of=iso(self.as_of), start=None, end=None, force=False))


@dataclass(frozen=True, slots=True)
class DataSet:
    """What fits and their judges are given of a workspace. Nothing of it is of the test split."""

    name: str
    config: Section
    """Of the model, as configured there."""
    data: TrainingSet
    world: Holdout | None
    """The start of the validation split and what users liked in it; none for a model that is judged by probabilities."""
    kept_watches: int
    """``features.history.watched``: no encoder may read more."""
    recipe: Recipe
    """What determines all figures on it."""


def place_of(text: str) -> Place:
    """Read ``HOME@AS_OF``.

    Raises:
        ReelflowError: it is not of that form, or there is no such folder.
    """
    folder, _, as_of = text.rpartition("@")
    if not folder or not Path(folder).is_dir():
        raise ReelflowError(
            f"--also {text}: found no workspace {folder or text!r}, expected HOME@AS_OF, for example var@2026-01-08T00:00:00Z"
        )
    return Place(Path(folder).resolve(), parse_time(as_of))


def opened(place: Place, section: str, into: type[Section], *, model: str) -> DataSet:
    """Read a workspace for a model.

    Args:
        place: where and when.
        section: of the model.
        into: its class.
        model: by name.

    Raises:
        ReelflowError: stages before training have not run there, or validation asks nothing.
    """
    with place.environment():
        context = place.context()
        name = f"{home().name}@{iso(place.as_of)}"
        config, history = load(section, into), load("features", FeaturesConfig).history
        recipe = _recipe(context, section, config)
        data = without_test(_training.read(context, features=model != "wals"))
        world = None
        if model == "ranker":
            negatives = load("random_negatives", _training.RandomNegativesConfig)
            data = _training.with_random_negatives(context.lake, data, negatives)
            shown = pc.equal(data.examples[col.EXPOSURE], EXPOSURES[0]).to_numpy()
            if not (shown & data.train).any():  # the ranker then learns from all examples
                shown = np.ones_like(shown)
            asked, what = int((data.validation & shown).sum()), "impressions"
        else:
            world = _world(context, data)
            asked, what = world.users.num_rows, "users who liked something new"
    if not asked:
        raise ReelflowError(
            f"data set {name}: found no {what} in the validation split, expected some to judge {model} by; widen "
            "window.lookback_days or split.validation_fraction, or leave it out"
        )
    context.say(
        f"{name}: {int(data.train.sum()):,} examples to train, {int(data.validation.sum()):,} to validate, {asked:,} {what}"
    )
    return DataSet(name, config, data, world, history.watched, recipe)


def without_test(data: TrainingSet) -> TrainingSet:
    """What was known when the test split began: no example of it, no watch, and no count of a day that reaches into it."""
    start = pa.scalar(data.test_start, pa.timestamp("us", tz="UTC"))
    known = pc.less_equal(data.examples[col.KNOWN_AT], start).to_numpy() & ~data.test
    return dataclasses.replace(
        data,
        examples=data.examples.filter(pa.array(known)),
        watches=data.watches.filter(pc.less(data.watches[col.OCCURRED_AT], start)),
        counts=data.counts.filter(pc.less(data.counts[col.DT], pa.scalar(data.test_start.date()))),
        train=data.train[known],
        validation=data.validation[known],
        test=np.zeros(int(known.sum()), dtype=bool),
    )


def _world(context: Context, data: TrainingSet) -> Holdout:
    at = data.validation_start
    users, videos = _training.world_at(context, data, at)
    return evaluation.holdout(
        users,
        videos,
        data.queries,
        data.counts,
        data.examples,
        at=at,
        half_life_days=data.half_life_days,
        max_users=load("evaluation", EvaluationConfig).max_users,
    )


def _recipe(context: Context, section: str, config: Section) -> Recipe:
    parameters: Mapping[str, Any] = {
        section: config.model_dump(mode="json"),
        "split": load("split", _training.SplitConfig).model_dump(mode="json"),
        "random_negatives": load("random_negatives", _training.RandomNegativesConfig).model_dump(mode="json"),
        "popularity_half_life_days": load("features", FeaturesConfig).popularity_half_life_days,
        "kept_watches": load("features", FeaturesConfig).history.watched,
        "max_users": load("evaluation", EvaluationConfig).max_users,
        "window": str(context.window),
    }
    return Recipe(_training.inputs(context), code_version(*_CODE), parameters)
