"""The models that can be tuned: where their settings stand, and how one setting is judged on a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from conf import Section
from jobs._tower_data import tower_data
from jobs.tuning._sets import DataSet
from models import wals
from models.towers import TowersConfig, fit_ranker, fit_retrieval
from models.tuning import METRIC, SPACES, Dimension, foresight
from models.wals import WalsConfig, choose_half_life
from schemas import columns as col
from schemas.errors import ReelflowError

Progress = Callable[[Mapping[str, float]], None]
"""Called with each epoch's record; what it raises ends the fit."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a setting is worth on a data set."""

    figure: float
    learned: Mapping[str, float | None] = field(default_factory=dict)
    """What the fit itself found out."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be tuned."""

    name: str
    section: str
    config: type[Section]
    figure: str
    """What its settings are judged by."""
    sign: int
    """1 where a higher figure is better, -1 where a lower one is."""
    judge: Callable[[Section, DataSet, Progress], Judged]

    @property
    def space(self) -> tuple[Dimension, ...]:
        """What is searched."""
        return SPACES[self.name]


def _wals(config: Section, of: DataSet, _progress: Progress) -> Judged:
    """Lists of the half-life that training would take."""
    assert isinstance(config, WalsConfig)
    assert of.world is not None
    if config.engine != "implicit":
        raise ReelflowError(
            f"wals.engine: found {config.engine}, expected implicit for tuning, which has no session of Spark; set it for the "
            "study: its settings with regularization_exponent 1 mean the same to either engine"
        )
    before, after = (of.data.examples.filter(pa.array(mask)) for mask in (of.data.train, of.data.validation))
    model = choose_half_life(config, before, after, of.data.validation_start, wals.fit).model
    users, videos = of.world.users[col.USER_ID].to_numpy(), of.world.videos[col.VIDEO_ID].to_numpy()
    figure = foresight(of.world, model.user_vectors(users), model.video_vectors(videos))
    return Judged(figure, {"half_life_days": model.config.half_life_days})


def _retrieval(config: Section, of: DataSet, progress: Progress) -> Judged:
    """Lists by the vectors of the epoch that early stopping keeps."""
    assert isinstance(config, TowersConfig)
    assert of.world is not None
    own = config.retrieval
    if own.dim % own.heads:
        raise ReelflowError(f"towers.retrieval.heads: found {own.heads}, expected a divisor of dim {own.dim}; change either")
    model = fit_retrieval(config, tower_data(of.data), config.seed, progress)
    ids = of.world.videos[col.VIDEO_ID].to_numpy()
    users = model.user_vectors(of.world.users, of.world.queries, of.world.at)
    figure = foresight(of.world, users, model.video_vectors(ids), model.known_videos(ids))
    return Judged(figure, {"epochs": model.best_epoch})


def _ranker(config: Section, of: DataSet, progress: Progress) -> Judged:
    """Log loss on the validation impressions at the epoch that early stopping keeps."""
    assert isinstance(config, TowersConfig)
    model = fit_ranker(config, tower_data(of.data), config.seed, progress)
    return Judged(model.history[model.best_epoch - 1]["log_loss"], {"epochs": model.best_epoch})


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("wals", "wals", WalsConfig, METRIC, 1, _wals),
        Model("retrieval", "towers", TowersConfig, METRIC, 1, _retrieval),
        Model("ranker", "towers", TowersConfig, "log_loss", -1, _ranker),
    )
}
"""By name."""
