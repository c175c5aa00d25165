"""WALS on a Spark cluster: Spark's ALS with ``implicitPrefs``, with the inputs and outputs of ``models.wals.fit``.

Spark adds ``alpha * rating`` to a confidence of 1 by itself, so it is given the feedback weights and ``alpha = 1 /
unobserved_weight``. Its penalty on a row is ``regParam`` times the row's number of positive ratings, which is
``regularization_exponent: 1`` and nothing else; with another exponent there is no ``regParam`` that states the same objective,
and the engine refuses. `implicit`'s counts are rounded to powers of two, Spark's are not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession

from models.ids import IdMap
from models.wals import FittedWals, Problem, WalsConfig
from schemas import columns as col
from schemas.errors import ReelflowError

_MOST_IDS = 2**31 - 1  # Spark's ALS takes ids as 32-bit integers; ours are dense
_ID, _FACTORS = "id", "features"  # as ALSModel names them


def fit(
    spark: SparkSession,
    config: WalsConfig,
    user_ids: NDArray[np.int64],
    video_ids: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    checkpoints: Path,
) -> FittedWals:
    """Factorize the feedback on Spark; the start is Spark's own, drawn with ``config.seed`` by partition.

    Args:
        spark: the session.
        config: hyper-parameters.
        user_ids: int64 ``(n_pairs,)``, one entry a (user, video) pair; repeated pairs add up.
        video_ids: int64 ``(n_pairs,)``.
        weights: float64 ``(n_pairs,)``, above 0, as ``models.wals.confidence`` gives them.

        checkpoints: a folder that every executor can write, for this call alone. Without it the plan of some forty iterations
            overflows the stack of the JVM.

    Raises:
        ReelflowError: an exponent other than 1, more ids than Spark can number, no pair, lengths that differ, weights that are
            not positive, or factors that did not stay finite.
    """
    if config.regularization_exponent != 1:
        raise ReelflowError(
            f"wals.engine spark: found regularization_exponent {config.regularization_exponent}, expected 1, the only one that "
            "Spark's ALS knows; set it and a regularization that fits, or use the engine implicit"
        )
    problem = Problem.of(config, user_ids, video_ids, weights)
    if (most := max(len(problem.users), len(problem.videos))) > _MOST_IDS:
        raise ReelflowError(f"wals.engine spark: found {most} users or videos, expected at most {_MOST_IDS}")
    als = ALS(
        rank=config.factors,
        maxIter=config.iterations,
        regParam=config.regularization,
        alpha=1.0 / config.unobserved_weight,
        implicitPrefs=True,
        nonnegative=False,
        seed=config.seed,
        userCol=col.USER_ID,
        itemCol=col.VIDEO_ID,
        ratingCol=col.WEIGHT,
        checkpointInterval=5,
        intermediateStorageLevel="MEMORY_AND_DISK",
        finalStorageLevel="MEMORY_AND_DISK",
    )
    spark.sparkContext.setCheckpointDir(str(checkpoints))
    try:
        model = als.fit(_ratings(spark, config, problem))
        users = _collected(model.userFactors, problem.users, config)
        videos = _collected(model.itemFactors, problem.videos, config)
    finally:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return FittedWals.checked(config, problem.users, problem.videos, users, videos)


def _ratings(spark: SparkSession, config: WalsConfig, problem: Problem) -> DataFrame:
    """One row a positive cell: dense ids, and the feedback weight."""
    cells = problem.cells.tocoo()
    weight = (cells.data.astype(np.float64) - 1.0) * config.unobserved_weight
    rows = pa.table({
        col.USER_ID: pa.array(cells.row, pa.int32()),
        col.VIDEO_ID: pa.array(cells.col, pa.int32()),
        col.WEIGHT: pa.array(weight, pa.float32()),
    })  # fmt: skip
    return spark.createDataFrame(rows)


def _collected(factors: DataFrame, ids: IdMap, config: WalsConfig) -> NDArray[np.float32]:
    """Factors in order of the dense id, float32 ``(n, factors)``."""
    rows = factors.select(_ID, _FACTORS).toArrow()
    found = np.zeros((len(ids), config.factors), dtype=np.float32)
    flat = rows[_FACTORS].combine_chunks().flatten().to_numpy()
    found[rows[_ID].to_numpy()] = flat.reshape(-1, config.factors)
    return found
