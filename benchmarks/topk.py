"""Top 100 of every user: the whole recommend core, and its retrieval part against ``implicit``'s own ``recommend``."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from benchmarks._figure import Figure, best_seconds
from conf import load
from models.ann import build_flat
from models.recommend import Catalogue, RecommendConfig, UserBatch, recommend_batch

USERS, VIDEOS, DIM = 4_000, 20_000, 48


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def measure() -> list[Figure]:
    rng = np.random.default_rng(0)
    users, videos = _unit(rng.standard_normal((USERS, DIM))), _unit(rng.standard_normal((VIDEOS, DIM)))
    watched = np.sort(rng.integers(VIDEOS, size=(USERS, 20)), axis=1).ravel()
    catalogue = Catalogue(
        video_ids=np.arange(VIDEOS), popularity=rng.pareto(1.0, VIDEOS), retrieval_vectors=videos, wals_vectors=videos,
        ranker_vectors=videos, eligible=np.ones(VIDEOS, dtype=bool), countries=(), blocked=np.zeros((0, VIDEOS), dtype=bool),
    )  # fmt: skip
    batch = UserBatch(
        user_ids=np.arange(USERS), retrieval=users, wals=users, ranker=users, country=np.full(USERS, -1),
        watched_indptr=np.arange(USERS + 1) * 20, watched=watched,
    )  # fmt: skip
    index, config = build_flat(videos), load("recommend", RecommendConfig)
    model = AlternatingLeastSquares(factors=DIM, num_threads=1)
    model.user_factors, model.item_factors = users, videos
    seen = sp.csr_matrix((np.ones(len(watched)), watched, batch.watched_indptr), shape=(USERS, VIDEOS))
    with threadpool_limits(1):
        reference = USERS / best_seconds(lambda: model.recommend(np.arange(USERS), seen, N=100))
        search = USERS / best_seconds(lambda: index.search(users, 100))
        everything = USERS / best_seconds(lambda: recommend_batch(config, catalogue, batch, index))
    name = "implicit recommend(N=100)"
    return [
        Figure("retrieval search, top 100", "users/s", search, reference, name),
        Figure("recommend, all of it", "users/s", everything, reference, name),
    ]
