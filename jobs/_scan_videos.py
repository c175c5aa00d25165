"""What the last scan knows of videos: which may be shown, which are nearly the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from jobs._session import read_files
from jobs._window import micros
from schemas import VIDEO_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError

OVER_LIMIT = "over_limit"
BLOCKED = "blocked"
STANDS_FOR = "stands_for"
"""The video that stands for all that are nearly the same as this one."""

_LIMITS: Mapping[str, str] = {"misinformation": "max_score", "clickbait": "max_score", "age": "max_days"}
_MICROS_PER_DAY = 86_400_000_000


def hard_limits(rules: Iterable[Mapping[str, Any] | BaseModel]) -> dict[str, float]:
    """What no video in a list may exceed, by the name of the rule; the least where a rule stands twice.

    Args:
        rules: ``recommend.rules``, as YAML or as read into classes. A limit that is null or absent does not hold.
    """
    limits: dict[str, float] = {}
    for rule in rules:
        given = rule.model_dump() if isinstance(rule, BaseModel) else rule
        name = str(given.get("rule"))
        limit = given.get(_LIMITS.get(name, ""))
        if limit is not None:
            limits[name] = min(float(limit), limits.get(name, float("inf")))
    return limits


def near_duplicates(catalogue: Path) -> pa.Table:
    """The videos that another one stands for, and which.

    Args:
        catalogue: of the serving bundle: ``video_ids.npy`` and ``same_as.npy``, positions of what stands for each.

    Raises:
        ReelflowError: the arrays are not there or do not fit each other.
    """
    try:
        ids, same_as = (
            np.load(catalogue / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("video_ids", "same_as")
        )
    except FileNotFoundError as error:
        raise ReelflowError(f"catalogue {catalogue}: found no {error.filename}; run the index stage again") from error
    if ids.shape != same_as.shape or (len(ids) and not 0 <= int(same_as.min()) <= int(same_as.max()) < len(ids)):
        raise ReelflowError(
            f"catalogue {catalogue}: found same_as of shape {same_as.shape} or with positions outside, expected one within "
            f"0 to {len(ids) - 1} for each of {len(ids)} videos; run the index stage again"
        )
    others = np.flatnonzero(same_as != np.arange(len(ids)))
    return pa.table({col.VIDEO_ID: pa.array(ids[others]), STANDS_FOR: pa.array(ids[same_as[others]])})


def video_facts(
    spark: SparkSession, files: Sequence[Path], at: datetime, limits: Mapping[str, float], alike: pa.Table
) -> DataFrame:
    """Look at every video as of a moment.

    Args:
        spark: the session.
        files: of VIDEO_FEATURES.
        at: when the lists are made.
        limits: as of :func:`hard_limits`.
        alike: as of :func:`near_duplicates`.

    Returns:
        ``video_id`` (unique), ``removed``, ``over_limit``, ``blocked`` (distinct countries, null for none), ``popularity``,
        ``stands_for``.
    """
    found = read_files(spark, VIDEO_FEATURES, files).select(
        col.VIDEO_ID,
        f.coalesce(f.col(col.REMOVED), f.lit(False)).alias(col.REMOVED),
        _over(limits, at).alias(OVER_LIMIT),
        f.when(f.size(col.BLOCKED_COUNTRIES) > 0, f.array_distinct(col.BLOCKED_COUNTRIES)).alias(BLOCKED),
        f.coalesce(f.col(col.POPULARITY), f.lit(0.0)).alias(col.POPULARITY),
    )
    if not len(alike):
        return found.withColumn(STANDS_FOR, f.col(col.VIDEO_ID))
    groups = found.join(spark.createDataFrame(alike), on=col.VIDEO_ID, how="left")
    return groups.withColumn(STANDS_FOR, f.coalesce(f.col(STANDS_FOR), f.col(col.VIDEO_ID)))


def may_be_shown() -> Column:
    """Whether a video of :func:`video_facts` may be shown at all."""
    return ~(f.col(col.REMOVED) | f.col(OVER_LIMIT))


def _over(limits: Mapping[str, float], at: datetime) -> Column:
    """Whether a video is over any limit. Compared as float32, the precision in which catalogues hold these facts."""
    measured = {
        "misinformation": f.coalesce(f.col(col.MISINFORMATION_SCORE), f.lit(0.0)),
        "clickbait": f.coalesce(f.col(col.CLICKBAIT_SCORE), f.lit(0.0)),
        "age": (f.lit(micros(at)) - f.unix_micros(col.UPLOADED_AT)) / _MICROS_PER_DAY,
    }
    over = [
        f.coalesce(measured[name].cast("float") > f.lit(limit).cast("float"), f.lit(False)) for name, limit in limits.items()
    ]
    return reduce(or_, over, f.lit(False))
