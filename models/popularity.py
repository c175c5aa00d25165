"""Popularity: counters of videos as of a midnight, and their time-decayed sum.

What was counted on day ``d`` is known from the midnight that ends it. As seen from day ``q > d`` it is ``q - d - 1`` days old
and weighs ``0.5 ** (age_days / half_life_days)``: yesterday counts in full. Training (each example as of its own day) and
inference (every video as of one day) call the same function, so that both see the same numbers (L4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.ids import IdMap
from schemas import columns as col
from schemas.errors import ReelflowError

Floats = NDArray[np.float64]
COUNTS = (col.IMPRESSIONS, col.VIEWS, col.LIKES, col.RELEVANT)
"""The counters that are summed without decay."""


def epoch_days(days: NDArray[Any] | pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Give days as days since 1970-01-01.

    Args:
        days: ``(n,)`` integers (already so), ``datetime64``, or an Arrow column of dates, timestamps or ``YYYY-MM-DD`` strings.

    Returns:
        int64 ``(n,)``.

    Raises:
        ReelflowError: a null, or something that is no date.
    """
    if isinstance(days, pa.Array | pa.ChunkedArray):
        if days.null_count:
            raise ReelflowError(f"days: found {days.null_count} nulls among {len(days)}, expected a date in every row")
        try:
            dates = (
                days.cast(pa.date32())
                if not pa.types.is_dictionary(days.type)
                else pc.cast(days.cast(pa.string()), pa.date32())
            )
        except pa.ArrowInvalid as error:
            raise ReelflowError(f"days: found {days.type} that is no date ({error}), expected YYYY-MM-DD") from error
        return np.asarray(dates.cast(pa.int32())).astype(np.int64)
    found = np.asarray(days)
    if np.issubdtype(found.dtype, np.datetime64):
        return found.astype("datetime64[D]").astype(np.int64)
    if not np.issubdtype(found.dtype, np.integer):
        raise ReelflowError(f"days: found type {found.dtype}, expected datetime64 or days since 1970-01-01")
    return found.astype(np.int64)


def decayed_counts(
    video_idx: NDArray[np.int64],
    day: NDArray[Any],
    amount: Floats,
    *,
    as_of_day: int,
    n_videos: int,
    half_life_days: float,
) -> Floats:
    """Sum what happened to each video before a midnight, halved every ``half_life_days``.

    Args:
        video_idx: int64 ``(n,)`` dense ids.
        day: ``(n,)`` days on which it happened, as :func:`epoch_days` takes them; ``as_of_day`` and later are left out.
        amount: float64 ``(n,)``.
        as_of_day: days since 1970-01-01 of the midnight from which one looks back.
        n_videos: size of the catalogue.
        half_life_days: age at which a count weighs half.

    Returns:
        float64 ``(n_videos,)``.
    """
    _positive(half_life_days)
    age_days = as_of_day - epoch_days(day) - 1
    seen = age_days >= 0
    weight = amount[seen] * 0.5 ** (age_days[seen] / half_life_days)
    return np.bincount(video_idx[seen], weight, n_videos).astype(np.float64)


def counters_as_of(
    counts: pa.Table, video_ids: NDArray[np.int64], days: NDArray[Any] | pa.Array | pa.ChunkedArray, half_life_days: float
) -> dict[str, Floats]:
    """Give the counters that were known of each queried video at the midnight that began its queried day.

    One pass over the distinct days keeps the running sums of every video and answers that day's queries from them. Memory: 40
    bytes a counted video for the sums; 40 bytes a query for the answer, and about as much again while it works.

    Args:
        counts: rows of ``video_id``, ``dt`` (a date, or ``YYYY-MM-DD``) and the four counts; several rows of one video and day
            add up.
        video_ids: int64 ``(n,)``; a video without counts has zeros.
        days: ``(n,)`` the day of each query, as :func:`epoch_days` takes them. Only strictly earlier days are summed.
        half_life_days: age at which a relevant action weighs half in ``popularity``.

    Returns:
        float64 ``(n,)`` each, in the order of the queries: ``impressions``, ``views``, ``likes``, ``relevant`` (plain sums) and
        ``popularity`` (decayed ``relevant``).

    Raises:
        ReelflowError: a missing column, a null, or a half-life that is not positive.
    """
    _positive(half_life_days)
    if missing := [name for name in (col.VIDEO_ID, col.DT, *COUNTS) if name not in counts.column_names]:
        raise ReelflowError(f"video counts: found no column {', '.join(missing)} among {', '.join(counts.column_names)}")
    if nulls := [name for name in (col.VIDEO_ID, col.DT, *COUNTS) if counts.column(name).null_count]:
        raise ReelflowError(f"video counts: found nulls in {', '.join(nulls)}, expected none; run the examples stage again")
    query_days = epoch_days(days)
    if query_days.shape != np.shape(video_ids):
        raise ReelflowError(
            f"counters: found {np.shape(video_ids)} videos and {query_days.shape} days, expected one day a video"
        )
    ids = np.asarray(counts.column(col.VIDEO_ID)).astype(np.int64)
    videos = IdMap.of(ids)
    answers = {name: np.zeros(len(query_days)) for name in (*COUNTS, col.POPULARITY)}
    if not len(videos) or not len(query_days):
        return answers

    count_days = epoch_days(counts.column(col.DT))
    count_order, count_bounds = _group(count_days)
    count_video = videos.lookup(ids)[count_order]
    amounts = {name: np.asarray(counts.column(name)).astype(np.float64)[count_order] for name in COUNTS}
    query_order, query_bounds = _group(query_days)
    query_video = videos.lookup(video_ids)[query_order]

    sums = {name: np.zeros(len(videos)) for name in (*COUNTS, col.POPULARITY)}
    now = min([*count_bounds, *query_bounds])
    for day in sorted({*count_bounds, *query_bounds}):
        sums[col.POPULARITY] *= 0.5 ** ((day - now) / half_life_days)
        now = day
        if day in query_bounds:
            asked = slice(*query_bounds[day])
            known = query_video[asked] >= 0
            video, row = query_video[asked][known], query_order[asked][known]
            for name, column in answers.items():
                column[row] = sums[name][video]
        if day in count_bounds:
            new = slice(*count_bounds[day])
            for name in COUNTS:
                sums[name] += np.bincount(count_video[new], amounts[name][new], len(videos))
            # Age 0 is tomorrow's view of today; the decay to tomorrow that comes next must not touch it.
            ahead = 0.5 ** (-1 / half_life_days)
            sums[col.POPULARITY] += ahead * np.bincount(count_video[new], amounts[col.RELEVANT][new], len(videos))
    return answers


def _group(days: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, tuple[int, int]]]:
    """Find an order that sorts rows by day, and where in it each day begins and ends."""
    order = np.argsort(days, kind="stable")
    distinct, starts = np.unique(days[order], return_index=True)
    ends = [*starts[1:].tolist(), len(days)]
    return order, dict(zip(distinct.tolist(), zip(starts.tolist(), ends, strict=True), strict=True))


def _positive(half_life_days: float) -> None:
    if not half_life_days > 0:
        raise ReelflowError(
            f"half-life: found {half_life_days} days, expected more than 0; mend features.popularity_half_life_days"
        )
