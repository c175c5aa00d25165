"""The recommend stage over a large catalogue: the whole of it on every core, its steps, and its searches against ``implicit``.

A planted platform (``_recommend_world``) whose users come in batches of the configured size, as Spark hands them to workers;
each worker has one core. What the towers make of a user's features before that is not in it. Each search is compared with
``implicit``'s ``recommend(N=100)`` over the same vectors for the same users, both without what they watched; the share of the
exact answer that it finds stands beside. Indexes are tuned on other users.
``REELFLOW_BENCH_VIDEOS=N,N`` sets the catalogues, ``REELFLOW_BENCH_USERS=N`` the users of each, ``REELFLOW_BENCH_PLACES=N``
the local segments.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks._figure import Figure, best_seconds
from benchmarks._recommend_memory import private_mb
from benchmarks._recommend_world import world
from conf import load
from models.ann import Choice, IndexConfig, choose
from models.recommend import (
    Catalogue,
    Generator,
    Indexes,
    RecommendConfig,
    UserBatch,
    _batch,
    generators,
    recommend_batch,
    rows,
)
from models.recommend._candidates import Filter

VIDEOS = tuple(int(n) for n in os.environ.get("REELFLOW_BENCH_VIDEOS", "20000,100000,200000").split(","))
USERS = int(os.environ.get("REELFLOW_BENCH_USERS", "4096"))
PLACES = int(os.environ.get("REELFLOW_BENCH_PLACES", "40"))
TODAY = date(2026, 1, 8)
DEPTH, TURNS = 100, 4
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
    seconds: dict[int, float] = {}
    for n_videos in VIDEOS:
        catalogue, users = world(USERS, n_videos, places=PLACES)
        with threadpool_limits(1):
            seconds[n_videos] = yield from _figures(config, catalogue, users)
    for many in VIDEOS[1:]:
        name = f"seconds for {USERS:,} users, {many // 1000}k videos"
        yield Figure(name, "s", seconds[many], seconds[VIDEOS[0]], f"{VIDEOS[0] // 1000}k videos")


def _figures(config: RecommendConfig, catalogue: Catalogue, users: UserBatch) -> abc.Generator[Figure, None, float]:
    """Figures of one catalogue; returns the seconds that all users take."""
    size = f"{len(catalogue.video_ids) // 1000}k videos"
    chosen = _chosen(catalogue, users.rows(len(users) - 1000, len(users)))
    indexes = Indexes(**{name: choice.index for name, choice in chosen.items()})
    _recommend(config, catalogue, users.rows(0, 64), indexes)  # orders and copies that are made once a worker
    some = users.rows(0, 1024)
    rates = {}
    for name, choice in chosen.items():
        propose = partial(_proposals, config, catalogue, some, name=name)
        seconds, theirs = _alternately(partial(propose, indexes), _implicit(catalogue, some, name))
        rates[name] = len(some) / theirs
        reference = "implicit recommend(N=100) over the same vectors, one thread"
        yield Figure(f"{name}, top 100, {size}", "users/s", len(some) / seconds, rates[name], reference)
        exact = propose(Indexes.exact(catalogue, np.flatnonzero(catalogue.eligible)))
        found = np.mean([len(np.intersect1d(*pair)) / DEPTH for pair in zip(propose(indexes), exact, strict=True)])
        yield Figure(f"  recall@100, {choice.kind}, effort {choice.effort}", "per mille", 1000 * found, 1000, "exact")
    cores = os.cpu_count() or 1
    whole = _on_every_core(cores, config, catalogue, users, indexes)
    yield Figure(f"all of it, {cores} cores, {size}", "users/s", whole, rates["wals"], "implicit recommend(N=100), one thread")
    half = _on_every_core(cores, config, catalogue, users.rows(0, len(users) // 2), indexes)
    name = f"seconds for {len(users):,} users, {size}"
    yield Figure(name, "s", len(users) / whole, len(users) // 2 / half, "half as many users")
    private, local = private_mb(config, catalogue, some, indexes, TODAY), catalogue.local.nbytes / 2**20
    yield Figure(f"private memory of a worker, {size}", "MB", private, local, f"popularity of {PLACES} local segments, mapped")
    alone, steps = _with_steps(config, catalogue, some, indexes)
    for step, seconds in steps.items():
        yield Figure(f"  {step}, {size}", "% of one core's time", 100 * seconds / alone, 100, "all of it")
    return len(users) / whole


def _chosen(catalogue: Catalogue, users: UserBatch) -> dict[str, Choice]:
    """The indexes that the stage would build."""
    config, asked = load("index", IndexConfig), Indexes.queries(users)
    return {
        name: choose(config, part.vectors, asked[name], part.positions, lengths_vary=part.lengths_vary)
        for name, part in Indexes.searched(catalogue, np.flatnonzero(catalogue.eligible)).items()
    }


def _proposals(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes, *, name: Generator
) -> NDArray[np.int64]:
    """What a generator proposes to each user, ``(n_users, DEPTH)``, padded with -1."""
    found = np.full((len(users), DEPTH), -1, dtype=np.int64)
    world = generators.World(config, catalogue, indexes)
    for start in range(0, len(users), config.users_per_batch):
        batch = users.rows(start, start + config.users_per_batch)
        may = Filter(catalogue.eligible, catalogue.blocked, batch.country, batch.watched_indptr, batch.watched)
        rows, positions = _batch._proposed(generators.BY_NAME[name](world, batch), DEPTH, may)
        found[start + rows] = positions
    return found


def _implicit(catalogue: Catalogue, users: UserBatch, name: Generator) -> Callable[[], object]:
    """The same by ``implicit``, which blocks nothing and removes nothing but what was watched."""
    of_users, of_videos = {
        "retrieval": (users.retrieval, catalogue.retrieval_vectors),
        "wals": (users.wals, catalogue.wals_vectors),
        "similar": (users.content, catalogue.facts.content),
    }[name]
    model = AlternatingLeastSquares(factors=of_users.shape[1], num_threads=1)
    model.user_factors, model.item_factors = of_users, of_videos
    shape = (len(users), len(catalogue.video_ids))
    seen = sp.csr_matrix((np.ones(len(users.watched)), users.watched, users.watched_indptr), shape=shape)
    return partial(model.recommend, np.arange(len(users)), seen, N=DEPTH)


def _alternately(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """The least seconds of each over several turns, so that what else runs disturbs both."""
    turns = [(best_seconds(ours, 1), best_seconds(theirs, 1)) for _ in range(TURNS)]
    return min(one for one, _ in turns), min(other for _, other in turns)


def _recommend(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes) -> None:
    for start in range(0, len(users), config.users_per_batch):
        batch = users.rows(start, start + config.users_per_batch)
        rows(recommend_batch(config, catalogue, batch, indexes, TODAY), config, catalogue, batch)


def _on_every_core(cores: int, config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes) -> float:
    """Users a second of as many processes as there are cores, each with its share of the users, which share the arrays."""
    share = -(-len(users) // cores)
    parts = [users.rows(start, start + share) for start in range(0, len(users), share)]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_recommend, args=(config, catalogue, part, indexes)) for part in parts]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"recommend: workers ended with {[worker.exitcode for worker in workers]}")
    return len(users) / (time.perf_counter() - began)


def _with_steps(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes
) -> tuple[float, dict[str, float]]:
    """Seconds of all of it, and of each step."""
    spent = dict.fromkeys([*_STEPS, "rows of the table"], 0.0)
    with _timed(spent):
        began = time.perf_counter()
        for start in range(0, len(users), config.users_per_batch):
            batch = users.rows(start, start + config.users_per_batch)
            lists = recommend_batch(config, catalogue, batch, indexes, TODAY)
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
