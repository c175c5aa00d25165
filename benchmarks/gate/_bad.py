"""Candidates that are broken in a known way: by their training, or by what became of their vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.gate._world import Recipe
from models.ensemble import Ensemble

Vectors = npt.NDArray[np.float32]
Break = Callable[[Vectors, np.random.Generator], Vectors]

MODELS = ("wals", "retrieval", "ranker")


@dataclass(frozen=True, slots=True)
class _Broken:
    """A model whose vectors are changed on the way out; all else is the model's own."""

    model: Any
    users: Break | None
    videos: Break | None
    seed: int

    def user_vectors(self, users: pa.Table, queries: pa.Table, at: datetime) -> Vectors:
        found = self.model.user_vectors(users, queries, at)
        return self.users(found, np.random.default_rng(self.seed)) if self.users else found

    def video_vectors(self, *asked: Any) -> Vectors:
        found = self.model.video_vectors(*asked)
        return self.videos(found, np.random.default_rng(self.seed)) if self.videos else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def broken(
    models: Mapping[str, Ensemble], which: str, seed: int, *, users: Break | None = None, videos: Break | None = None
) -> dict[str, Ensemble]:
    """Models of all ages, one of which (or ``all``) has other vectors of users or videos."""
    result = {}
    for age, one in models.items():
        changed: dict[str, Any] = {}
        for name in MODELS if which == "all" else (which,):
            model = getattr(one, name)
            if name == "wals":
                rng = np.random.default_rng(seed)
                of_users = users(model.user_factors, rng) if users else model.user_factors
                rng = np.random.default_rng(seed)
                of_videos = videos(model.video_factors, rng) if videos else model.video_factors
                changed[name] = replace(model, user_factors=of_users, video_factors=of_videos)
            else:
                changed[name] = _Broken(model, users, videos, seed)
        result[age] = replace(one, **changed)
    return result


def shuffled(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    return vectors[rng.permutation(len(vectors))]


def negated(vectors: Vectors, _rng: np.random.Generator) -> Vectors:
    return -vectors


def zeroed(vectors: Vectors, _rng: np.random.Generator) -> Vectors:
    return np.zeros_like(vectors)


def shifted(vectors: Vectors, _rng: np.random.Generator) -> Vectors:
    return np.roll(vectors, 1, axis=0)


def alike(vectors: Vectors, _rng: np.random.Generator) -> Vectors:
    """Everybody becomes the mean user."""
    return np.broadcast_to(vectors.mean(axis=0, keepdims=True), vectors.shape).astype(np.float32).copy()


def with_nan(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    found = vectors.copy()
    if len(found):
        found[rng.integers(len(found)), 0] = np.nan
    return found


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to be bad: by a recipe of training, or by a break of one model's or all models' vectors."""

    recipe: Callable[[int, list[str]], Recipe] | None = None
    users: Break | None = None
    videos: Break | None = None
    which: tuple[str, ...] = (*MODELS, "all")


KINDS: dict[str, Kind] = {
    "shuffled video vectors": Kind(videos=shuffled),
    "shuffled user vectors": Kind(users=shuffled),
    "sign flipped": Kind(users=negated),
    "one tower zeroed": Kind(users=zeroed),
    "ids of videos shifted": Kind(videos=shifted),
    "ids of users shifted": Kind(users=shifted),
    "popularity collapse": Kind(users=alike, which=("all",)),
    "NaN": Kind(videos=with_nan),
    "stale data": Kind(recipe=lambda seed, _: Recipe(stale_days=1.0 + seed % 3)),
    "label leak": Kind(recipe=lambda *_: Recipe(leak=True)),
    "language lost": Kind(recipe=lambda seed, languages: Recipe(lost_language=languages[seed % len(languages)])),
    "half-trained": Kind(recipe=lambda *_: Recipe(epochs_share=0.5)),
    "shuffled labels": Kind(recipe=lambda *_: Recipe(shuffled_labels=True)),
}


def name_of_break(kind: Kind, seed: int) -> str:
    """Which model is broken for this seed."""
    return kind.which[seed % len(kind.which)]
