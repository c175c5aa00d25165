"""Two figures of a day's lists that a fault moves far: how much of the catalogue they show, and how much of them is popular."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as f

from jobs._scan_videos import may_be_shown
from schemas import columns as col

TODAY, BEFORE = "today", "before"
_DAY, _TIMES, _HEAD, _MAY, _VIDEOS = "day", "times", "head", "may", "videos"


@dataclass(frozen=True, slots=True)
class Day:
    """One day's lists: ``video_id`` of each row, and facts of the videos as of ``_scan_videos.video_facts``."""

    shown: DataFrame
    videos: DataFrame


def figures(days: Mapping[str, Day], head_fraction: float) -> dict[str, dict[str, float]]:
    """Measure the lists of some days in one job.

    Args:
        days: by name.
        head_fraction: share of the videos that may be shown, most popular first and at least one, that are the head. Equal
            popularity goes by id.

    Returns:
        By day: ``coverage``, distinct videos shown over videos that may be shown; ``popularity_share``, rows that show a video
        of the head over rows; ``distinct videos``, ``eligible videos``. A day without rows or videos has no shares.
    """
    shown = reduce(DataFrame.unionByName, (_of(name, day.shown.select(col.VIDEO_ID)) for name, day in days.items()))
    videos = reduce(
        DataFrame.unionByName,
        (_of(name, day.videos.select(col.VIDEO_ID, col.POPULARITY, may_be_shown().alias(_MAY))) for name, day in days.items()),
    )
    best_first = Window.partitionBy(_DAY).orderBy(f.col(col.POPULARITY).desc(), col.VIDEO_ID)
    head_size = f.greatest(f.lit(1), f.round(f.count("*").over(Window.partitionBy(_DAY)) * head_fraction))
    eligible = videos.filter(_MAY).select(_DAY, col.VIDEO_ID, (f.row_number().over(best_first) <= head_size).alias(_HEAD))
    times = shown.groupBy(_DAY, col.VIDEO_ID).agg(f.count("*").alias(_TIMES))
    joined = times.join(eligible, on=[_DAY, col.VIDEO_ID], how="full")
    found = (
        joined.groupBy(_DAY)
        .agg(
            f.count(_TIMES).alias(_VIDEOS),
            f.count(_HEAD).alias(_MAY),
            f.sum(_TIMES).alias(_TIMES),
            f.sum(f.when(f.col(_HEAD), f.col(_TIMES))).alias(_HEAD),
        )
        .collect()
    )
    return {row[_DAY]: _shares(row[_VIDEOS], row[_MAY], row[_TIMES] or 0, row[_HEAD] or 0) for row in found}


def _of(day: str, rows: DataFrame) -> DataFrame:
    return rows.withColumn(_DAY, f.lit(day))


def _shares(shown: int, eligible: int, rows: int, head_rows: int) -> dict[str, float]:
    found: dict[str, float] = {"distinct videos": shown, "eligible videos": eligible}
    if rows and eligible:
        found |= {"coverage": shown / eligible, "popularity_share": head_rows / rows}
    return found
