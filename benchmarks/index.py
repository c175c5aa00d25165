"""Kinds of the retrieval index: building, size, recall, and searches 364 deep by batches of 512 on one thread.

Vectors are planted: clusters of uneven size around a few themes, users near a mixture of some clusters. What is random all over
has no neighbours to find, and says nothing about embeddings. Time is the processor's, so that what else runs disturbs less.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._figure import Figure
from conf import load
from models.ann import IndexConfig, VectorIndex, build_flat, choose, recall_against_exact
from schemas.errors import ReelflowError

SIZES = (12_000, 100_000)
KINDS = ("hnsw", "ivf_flat", "ivf_sq8", "ivf_pq")
DIM, USERS, BATCH, DEPTH = 66, 1_000, 512, 364
_FACTORY = {"hnsw": "IDMap,HNSW{links},Flat", "ivf_flat": "IVF{lists},Flat", "ivf_sq8": "IVF{lists},SQ8",
            "ivf_pq": "IDMap,IVF{lists},PQ66x4fs,RFlat"}  # fmt: skip


def planted(n_videos: int, n_users: int = USERS, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    groups = int(n_videos**0.5)
    centres = rng.standard_normal((24, dim))[rng.integers(24, size=groups)] + 0.7 * rng.standard_normal((groups, dim))
    share = 1 / np.arange(1, groups + 1) ** 0.7
    share /= share.sum()
    videos = centres[rng.choice(groups, size=n_videos, p=share)] + 0.6 * rng.standard_normal((n_videos, dim))
    liked = centres[rng.choice(groups, size=(n_users, 4), p=share)]
    users = np.einsum("qc,qcd->qd", rng.dirichlet([0.4] * 4, size=n_users), liked) + 0.35 * rng.standard_normal((n_users, dim))
    return _unit(videos), _unit(users)


def measure() -> list[Figure]:
    sizes = [int(size) for size in os.environ.get("REELFLOW_BENCH_VIDEOS", "").split(",") if size] or SIZES
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):
            return [figure for size in sizes for figure in _of_size(size)]
    finally:
        faiss.omp_set_num_threads(threads)


def _of_size(n_videos: int) -> list[Figure]:
    videos, users = planted(n_videos)
    at = f"{n_videos:,}"
    flat = build_flat(videos)
    exact = _rate(lambda batch: flat.search(batch, DEPTH), users)
    direct = _rate(lambda batch: flat.index.search(batch, DEPTH), users)
    figures = [Figure(f"{at} flat search", "queries/s", exact, direct, "IndexFlatIP")]
    for kind in KINDS:
        config = load("index", IndexConfig).model_copy(update={"kind": kind})
        factory = _FACTORY[kind].format(links=config.hnsw.links, lists=round(config.ivf.lists_per_root * n_videos**0.5))
        theirs = _seconds(lambda factory=factory: _built(factory, videos), 1)
        try:
            found, whole = _chosen(config, videos, users)
        except ReelflowError as error:
            print(f"{at} {kind}: {error}")
            continue
        name, index = f"{at} {kind}", found.index
        ours = _rate(lambda batch, index=index: index.search(batch, DEPTH), users)
        same = _rate(lambda batch, index=index: index.index.search(batch, DEPTH), users)
        recalls = [recall_against_exact(index, videos, users, depth) for depth in (100, DEPTH)]
        figures += [
            Figure(f"{name} build, tuned", "videos/s", n_videos / whole, n_videos / theirs, "FAISS factory, not tuned"),
            Figure(f"{name} size", "bytes/video", index.stored_bytes / n_videos, flat.stored_bytes / n_videos, "flat"),
            Figure(f"{name} recall@100", "per mille", 1000 * recalls[0], 1000, f"exact; effort {found.effort}"),
            Figure(f"{name} recall@{DEPTH}", "per mille", 1000 * recalls[1], 1000, "exact"),
            Figure(f"{name} distances", "a query", found.distances_per_query, n_videos, "flat"),
            Figure(f"{name} search", "queries/s", ours, same, "the same FAISS index"),
            Figure(f"{name} search, to flat", "queries/s", ours, exact, "flat"),
        ]
    return figures


def _chosen(config: IndexConfig, videos: np.ndarray, users: np.ndarray) -> tuple:
    started = time.process_time()
    found = choose(config, videos, users)
    return found, time.process_time() - started


def _built(factory: str, videos: np.ndarray) -> VectorIndex:
    index = faiss.index_factory(videos.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(videos)
    index.add_with_ids(videos, np.arange(len(videos)))
    return index


def _rate(search: Callable[[np.ndarray], object], users: np.ndarray) -> float:
    return len(users) / _seconds(lambda: [search(users[at : at + BATCH]) for at in range(0, len(users), BATCH)], 3)


def _seconds(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
