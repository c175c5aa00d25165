"""A planted platform for the recommend stage's benchmarks: clusters of videos, users with a mixture of tastes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.recommend import Catalogue, UserBatch, VideoFacts

Floats = NDArray[np.float32]

CLUSTERS, WATCHED = 300, 40
RETRIEVAL, WALS, RANKER, CONTENT = 64, 32, 32, 64
LANGUAGES, COUNTRIES = 8, 10


def world(n_users: int, n_videos: int, *, places: int = 40, seed: int = 0) -> tuple[Catalogue, UserBatch]:
    """Videos in clusters whose sizes fall as a power law, users near three of them: vectors lie as trained ones do.

    Gaussian vectors, all at right angles to each other, have no neighbours to find and flatter exact search. WALS vectors are
    as long as trained ones: of the simulator's 10,477 videos that have one, lengths are distributed as 0.19 times an
    exponential variable (10, 50, 90, 99, 100 % are at most 0.016, 0.12, 0.47, 0.87, 1.6), with a rank correlation of 0.85 with
    popularity.
    """
    rng = np.random.default_rng(seed)
    size = 1 / np.arange(1, CLUSTERS + 1)
    cluster = rng.choice(CLUSTERS, n_videos, p=size / size.sum())
    tastes = rng.choice(CLUSTERS, (n_users, 3), p=size / size.sum())
    share = rng.dirichlet(np.ones(3), n_users).astype(np.float32)

    def vectors(dim: int) -> tuple[Floats, Floats]:
        centres = rng.standard_normal((CLUSTERS, dim)).astype(np.float32)
        videos = centres[cluster] + 0.7 * rng.standard_normal((n_videos, dim)).astype(np.float32)
        users = np.einsum("ut,utd->ud", share, centres[tastes]) + 0.4 * rng.standard_normal((n_users, dim)).astype(np.float32)
        return videos, users

    retrieval, wals, ranker, content = (vectors(dim) for dim in (RETRIEVAL, WALS, RANKER, CONTENT))
    popularity = rng.pareto(1.0, n_videos)
    lengths = np.empty((n_videos, 1), dtype=np.float32)
    lengths[np.argsort(np.log1p(popularity) * rng.lognormal(0, 0.7, n_videos)), 0] = np.sort(rng.exponential(0.19, n_videos))
    watched = np.sort(rng.integers(n_videos, size=(n_users, WATCHED)), axis=1).ravel()
    facts = VideoFacts(
        creator=rng.integers(0, n_videos // 10 + 1, n_videos),
        language=rng.integers(0, LANGUAGES, n_videos),
        age_days=rng.exponential(60, n_videos).astype(np.float32),
        impressions=rng.pareto(1.0, n_videos).astype(np.float32) * 100,
        trend=rng.standard_normal(n_videos).astype(np.float32),
        misinformation=rng.beta(0.6, 12.0, n_videos).astype(np.float32),
        clickbait=rng.beta(1.2, 6.0, n_videos).astype(np.float32),
        sponsored=np.where(rng.random(n_videos) < 0.02, 0.5, 0).astype(np.float32),
        same_as=np.where(rng.random(n_videos) < 0.02, rng.integers(0, n_videos, n_videos), np.arange(n_videos)),
        content=unit(content[0]),
    )
    facts.same_as[facts.same_as] = facts.same_as[facts.same_as]  # what stands for others stands for itself
    catalogue = Catalogue(
        video_ids=np.arange(n_videos),
        popularity=popularity,
        retrieval_vectors=unit(retrieval[0]),
        wals_vectors=unit(wals[0]) * lengths,
        ranker_vectors=ranker[0] * 0.1,
        eligible=rng.random(n_videos) < 0.99,
        countries=tuple(f"C{n}" for n in range(COUNTRIES)),
        blocked=rng.random((COUNTRIES, n_videos)) < 0.01,
        languages=tuple(f"l{n}" for n in range(LANGUAGES)),
        local_segments=("all", *(f"place={n}" for n in range(1, places))),
        local=np.stack([(popularity * rng.gamma(1.0, size=n_videos)).astype(np.float32) for _ in range(places)]),
        facts=facts,
    )
    users = UserBatch(
        user_ids=np.arange(n_users),
        retrieval=unit(retrieval[1]),
        wals=wals[1].astype(np.float32),
        ranker=ranker[1].astype(np.float32),
        content=unit(content[1]),
        country=rng.integers(-1, COUNTRIES, n_users),
        language=rng.integers(0, LANGUAGES, n_users),
        local=rng.integers(0, places, n_users),
        segment=rng.integers(0, 3, n_users),
        watched_indptr=np.arange(n_users + 1) * WATCHED,
        watched=watched,
    )
    return catalogue, users


def unit(vectors: Floats) -> Floats:
    """Rows of length 1."""
    found: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found
