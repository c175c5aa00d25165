"""WALS against calling ``implicit`` directly on the prepared matrix, which knows one penalty for all rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from benchmarks._figure import Figure, best_seconds
from conf import load
from models import wals
from models.wals import WalsConfig

USERS, VIDEOS, PAIRS = 20_000, 10_000, 1_000_000


def measure() -> list[Figure]:
    config = load("wals", WalsConfig)
    alike = config.model_copy(update={"regularization_exponent": 0.0, "cg_steps": 3})
    rng = np.random.default_rng(0)
    users, videos = rng.integers(USERS, size=PAIRS), (rng.pareto(1.0, PAIRS) * 50).astype(np.int64) % VIDEOS
    weights = np.ones(PAIRS)
    cells = sp.csr_matrix((weights, (users, videos)), shape=(USERS, VIDEOS)).astype(np.float32)
    cells.data = 1.0 + cells.data / config.unobserved_weight

    def direct() -> None:
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=config.factors, iterations=config.iterations, regularization=config.regularization,
                alpha=1.0, num_threads=config.num_threads, random_state=0, dtype=np.float32,
            )  # fmt: skip
            model.fit(cells, show_progress=False)

    reference = PAIRS / best_seconds(direct)
    ours = PAIRS / best_seconds(lambda: wals.fit(config, users, videos, weights))
    same = PAIRS / best_seconds(lambda: wals.fit(alike, users, videos, weights))
    return [
        Figure("WALS fit", "pairs/s", ours, reference, "implicit with its own settings on the prepared matrix"),
        Figure("WALS fit, one penalty, 3 CG steps", "pairs/s", same, reference, "the same"),
    ]
