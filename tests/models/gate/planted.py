"""A planted platform whose models are right by construction, and ways to break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

import conf
from models.ensemble import Ensemble
from models.gate import GateConfig, Scene
from models.ids import IdMap
from models.recommend import RecommendConfig
from models.segments import PopularityConfig, fit_popularity
from models.wals import FittedWals, WalsConfig
from schemas import EXAMPLES, QUERY_TEXT, USER_FEATURES, USER_VERSIONS, VIDEO_FEATURES
from schemas import columns as col
from tests.builders import NO_HISTORY, NO_TRENDS, arrow, moment

AT = moment("2026-01-08T00:00")
TOPICS, LANGUAGES = 5, ("aa", "bb")
VIDEOS, USERS = 400, 60
RULES = [{"rule": name} for name in ("removed", "blocked", "watched")]


def topic(video: np.ndarray) -> np.ndarray:
    return video % TOPICS


def spoken(ids: np.ndarray) -> np.ndarray:
    return ids // TOPICS % len(LANGUAGES)


def content(ids: np.ndarray) -> np.ndarray:
    """What a video is about: its topic, and its language twice as long, float32 ``(n, 7)``."""
    found = np.zeros((len(ids), TOPICS + len(LANGUAGES)), dtype=np.float32)
    found[np.arange(len(ids)), topic(ids)] = 1
    found[np.arange(len(ids)), TOPICS + spoken(ids)] = 2
    return found


def taste(users: pa.Table) -> np.ndarray:
    """Mean content of what each user liked, and the own language, ``(n, 7)``."""
    found = np.zeros((users.num_rows, TOPICS + len(LANGUAGES)), dtype=np.float32)
    for row, (liked, language) in enumerate(
        zip(users[col.LIKED_HISTORY].to_pylist(), users[col.LANGUAGE].to_pylist(), strict=True)
    ):
        if liked:
            found[row] = content(np.array(liked)).sum(axis=0) / (2 + len(liked))
        found[row, TOPICS + LANGUAGES.index(language)] += 0.5
    return found


@dataclass(frozen=True)
class Retrieval:
    """Knows the videos of the catalogue by their ids."""

    last: int = VIDEOS

    def video_vectors(self, ids: np.ndarray) -> np.ndarray:
        return content(ids) / np.sqrt(5, dtype=np.float32)

    def known_videos(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray(ids < self.last)

    def user_vectors(self, users: pa.Table, queries: pa.Table, at: Any) -> np.ndarray:
        found = taste(users)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Ranker:
    """Knows videos by tags, language and likes, and no ids."""

    love: float = 0.2

    def video_vectors(self, videos: pa.Table, at: Any) -> np.ndarray:
        tags = np.array(videos[col.TAGS_VECTOR].to_pylist(), dtype=np.float32)
        language = np.eye(len(LANGUAGES), dtype=np.float32)[[LANGUAGES.index(one) for one in videos[col.LANGUAGE].to_pylist()]]
        likes = np.log1p(videos[col.LIKES].to_numpy() + videos[col.LIKES_WEEK].to_numpy()).astype(np.float32)
        return np.concatenate([tags, 2 * language, self.love * likes[:, None]], axis=1)

    def user_vectors(self, users: pa.Table, queries: pa.Table, at: Any) -> np.ndarray:
        found = taste(users)
        return np.concatenate([found, np.ones((len(found), 1), dtype=np.float32)], axis=1)


@dataclass(frozen=True)
class Changed:
    """A model whose vectors of users or videos, or their arguments, are changed."""

    model: Any
    users: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors
    videos: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors

    def user_vectors(self, *asked: Any) -> np.ndarray:
        return self.users(self.model.user_vectors(*asked))

    def video_vectors(self, *asked: Any) -> np.ndarray:
        return self.videos(self.model.video_vectors(*asked))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def scene() -> Scene:
    """Users who like videos of one topic and their own language, and models that know it."""
    rng = np.random.default_rng(3)
    ids, people = np.arange(VIDEOS), np.arange(1, USERS + 1)
    likes = rng.integers(1, 50, VIDEOS)
    own = {int(user): rng.permutation(ids[(topic(ids) == user % TOPICS) & (spoken(ids) == user % 2)])[:8] for user in people}
    videos = [
        {"video_id": int(one), "creator_id": int(one), "language": LANGUAGES[spoken(ids)[one]], "duration_seconds": 100.0}
        | {"uploaded_at": AT - timedelta(days=30), "removed": False, "blocked_countries": [], **NO_TRENDS}
        | {"impressions": 100.0, "views": 50.0, "likes": float(likes[one]), "relevant": 10.0, "popularity": float(likes[one])}
        for one in ids
    ]
    table = arrow(VIDEO_FEATURES, videos)
    titles = np.concatenate([np.eye(TOPICS)[topic(ids)], rng.standard_normal((VIDEOS, 3)) / 2], axis=1)
    table = table.append_column(col.TITLE_VECTOR, pa.array(titles.tolist()))
    table = table.append_column(col.TAGS_VECTOR, pa.array(np.eye(TOPICS)[topic(ids)].tolist()))
    table = table.append_column(col.TITLE, pa.array([f"video {one}" for one in ids]))
    table = table.append_column(col.TAGS, pa.array([[f"t{one % TOPICS}"] for one in ids]))
    users = [
        {"user_id": user, "language": LANGUAGES[user % 2], "country": "DE" if user % 3 else "FR", "device": "a"}
        | {"interaction_count": 8, "watched": sorted(map(int, liked)), **NO_HISTORY}
        | {"watched_history": liked.tolist(), "watched_ages_seconds": [60] * 8}
        | {"liked_history": liked.tolist(), "liked_ages_seconds": [60] * 8, "valid_from": AT - timedelta(days=40)}
        for user, liked in own.items()
    ]
    events = [
        {"event_id": f"{user}-{place}", "user_id": user, "video_id": int(video), "exposure": "impression", "label": 1}
        | {
            "occurred_at": AT - timedelta(hours=2 + place),
            "known_at": AT - timedelta(hours=1),
            "weight": 1.0,
            "sample_rate": 1.0,
        }
        for user, liked in own.items()
        for place, video in enumerate(liked)
    ]
    examples = arrow(EXAMPLES, events)
    wanted = conf.load("wals", WalsConfig).model_copy(update={"factors": 7, "num_threads": 1})
    mean = np.stack([content(liked).mean(axis=0) for liked in own.values()]).astype(np.float32)
    wals = FittedWals.checked(wanted, IdMap(people.astype(np.int64)), IdMap(ids), mean, content(ids) / 5)
    popular = conf.load("popularity", PopularityConfig)
    popularity = fit_popularity(popular, examples, arrow(USER_VERSIONS, users), at=AT, half_life_days=3.0)
    ranking = conf.load("recommend", RecommendConfig).model_dump(mode="json")
    ranking |= {"k": 20, "rules": RULES, "rerank_pool": 100}
    ranking["exploration"]["slots"] = [10]
    return Scene(
        models=Ensemble(wals, Retrieval(), Ranker(), popularity),
        ranking=RecommendConfig.model_validate(ranking),
        users=arrow(USER_FEATURES, users),
        videos=table,
        queries=arrow(QUERY_TEXT, []),
        examples=examples,
        at=AT,
    )


def with_models(of: Scene, **models: Any) -> Scene:
    """The scene with other models in the place of some."""
    return of.with_models(replace(of.models, **models))


def all_of(
    of: Scene,
    *,
    users: Callable[[np.ndarray], np.ndarray] | None = None,
    videos: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Scene:
    """The scene in which all three models have changed vectors."""

    def same(vectors: np.ndarray) -> np.ndarray:
        return vectors

    wals = of.models.wals
    wals = replace(
        wals,
        user_factors=(users or same)(wals.user_factors).astype(np.float32),
        video_factors=(videos or same)(wals.video_factors).astype(np.float32),
    )
    towers = {name: Changed(getattr(of.models, name), users or same, videos or same) for name in ("retrieval", "ranker")}
    return with_models(of, wals=wals, **towers)


def declared(kind: str, check: str, **changes: Any) -> Any:
    """A check as conf/base.yaml declares it, sized for the planted platform."""
    config = conf.load("gate", GateConfig)
    found = next(one for one in getattr(config, kind) if one.check == check)
    sizes = {"users": 20, "videos": 40, "topics": 5, "min_videos": 20, "history": 6, "likes": 5, "min_examples": 1}
    fitting = {name: size for name, size in sizes.items() if name in type(found).model_fields}
    return found.model_copy(update={**fitting, **changes})
