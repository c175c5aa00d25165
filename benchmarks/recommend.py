"""The recommend stage over a large catalogue: the whole of it on every core, its steps, and its retrieval against ``implicit``.

A planted platform (``_recommend_world``) whose users come in batches of the configured size, as Spark hands them to workers;
each worker has one core. What the towers make of a user's features before that is not in it.
``REELFLOW_BENCH_VIDEOS=N,N`` sets the catalogues, ``REELFLOW_BENCH_USERS=N`` the users of each, ``REELFLOW_BENCH_PLACES=N``
the local segments.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from benchmarks._figure import Figure, best_seconds
from benchmarks._recommend_memory import private_mb
from benchmarks._recommend_world import WALS, world
from conf import load
from models.ann import IndexConfig, VectorIndex, choose
from models.recommend import Catalogue, RecommendConfig, UserBatch, _batch, recommend_batch, rows

VIDEOS = tuple(int(n) for n in os.environ.get("REELFLOW_BENCH_VIDEOS", "20000,100000,200000").split(","))
USERS = int(os.environ.get("REELFLOW_BENCH_USERS", "4096"))
PLACES = int(os.environ.get("REELFLOW_BENCH_PLACES", "40"))
TODAY = date(2026, 1, 8)
_STEPS = {
    "candidates": (_batch, "_proposals"),
    "scores": (_batch._components, "raw_scores"),
    "rules": (_batch, "rerank"),
    "exploration": (_batch, "explore"),
}


def measure() -> Iterator[Figure]:
    """Users a second for each size of the catalogue."""
    config = load("recommend", RecommendConfig).model_copy(update={"learn_weights": False})
    every = {"ranker": 0.5, "retrieval": 0.7, "wals": 1.0, "popular": 0.1, "local": 0.1, "trend": 0.1, "fresh": 0.1}
    config = config.weighing({**every, "sponsored": 0.1})
    for n_videos in VIDEOS:
        catalogue, users = world(USERS, n_videos, places=PLACES)
        index = _index(catalogue, users)
        with threadpool_limits(1):
            yield from _figures(config, catalogue, users, index)


def _figures(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex) -> Iterator[Figure]:
    size, name = f"{len(catalogue.video_ids) // 1000}k videos", "implicit recommend(N=100), one thread"
    _recommend(config, catalogue, users.rows(0, 64), index)  # orders and copies that are made once a worker
    some = users.rows(0, 1024)
    reference = len(some) / best_seconds(partial(_implicit, catalogue, some), 2)
    searched = len(some) / best_seconds(lambda: index.search(some.retrieval, 100), 2)
    yield Figure(f"retrieval, top 100, {size}", "users/s", searched, reference, name)
    cores = os.cpu_count() or 1
    yield Figure(
        f"all of it, {cores} cores, {size}", "users/s", _on_every_core(cores, config, catalogue, users, index), reference, name
    )
    private, local = private_mb(config, catalogue, some, index, TODAY), catalogue.local.nbytes / 2**20
    yield Figure(f"private memory of a worker, {size}", "MB", private, local, f"popularity of {PLACES} local segments, mapped")
    alone, steps = _with_steps(config, catalogue, some, index)
    for step, seconds in steps.items():
        yield Figure(f"  {step}, {size}", "% of one core's time", 100 * seconds / alone, 100, "all of it")


def _index(catalogue: Catalogue, users: UserBatch) -> VectorIndex:
    """The index that the stage would build."""
    positions = np.flatnonzero(catalogue.eligible)
    return choose(load("index", IndexConfig), catalogue.retrieval_vectors[positions], users.retrieval[:1000], positions).index


def _recommend(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex) -> None:
    for start in range(0, len(users), config.users_per_batch):
        batch = users.rows(start, start + config.users_per_batch)
        rows(recommend_batch(config, catalogue, batch, index, TODAY), config, catalogue, batch)


def _on_every_core(cores: int, config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex) -> float:
    """Users a second of as many processes as there are cores, each with its share of the users, which share the arrays."""
    share = -(-len(users) // cores)
    parts = [users.rows(start, start + share) for start in range(0, len(users), share)]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_recommend, args=(config, catalogue, part, index)) for part in parts]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"recommend: workers ended with {[worker.exitcode for worker in workers]}")
    return len(users) / (time.perf_counter() - began)


def _with_steps(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex
) -> tuple[float, dict[str, float]]:
    """Seconds of all of it, and of each step."""
    spent = dict.fromkeys([*_STEPS, "rows of the table"], 0.0)
    with _timed(spent):
        began = time.perf_counter()
        for start in range(0, len(users), config.users_per_batch):
            batch = users.rows(start, start + config.users_per_batch)
            lists = recommend_batch(config, catalogue, batch, index, TODAY)
            before = time.perf_counter()
            rows(lists, config, catalogue, batch)
            spent["rows of the table"] += time.perf_counter() - before
        whole = time.perf_counter() - began
    return whole, spent


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Add up the time of each step while its function is called."""
    plain = {step: getattr(module, name) for step, (module, name) in _STEPS.items()}

    def counted(step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                spent[step] += time.perf_counter() - began

        return run

    try:
        for step, (module, name) in _STEPS.items():
            setattr(module, name, counted(step, plain[step]))
        yield
    finally:
        for step, (module, name) in _STEPS.items():
            setattr(module, name, plain[step])


def _implicit(catalogue: Catalogue, users: UserBatch) -> None:
    model = AlternatingLeastSquares(factors=WALS, num_threads=1)
    model.user_factors, model.item_factors = users.wals, catalogue.wals_vectors
    shape = (len(users), len(catalogue.video_ids))
    seen = sp.csr_matrix((np.ones(len(users.watched)), users.watched, users.watched_indptr), shape=shape)
    model.recommend(np.arange(len(users)), seen, N=100)
