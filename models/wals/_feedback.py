"""From examples to the weight of each (user, video) pair."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.ids import IdMap
from models.wals._config import Feedback, WalsConfig
from schemas import columns as col

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

_MICROS_PER_DAY = 86_400_000_000
_LEAST_AGE_WEIGHT = 1e-6


def confidence(examples: pa.Table, config: WalsConfig, at: datetime) -> Pairs:
    """Sum the feedback weight of every (user, video) pair with positive feedback, as it weighs at a moment.

    Args:
        examples: rows with the columns ``user_id``, ``video_id``, ``occurred_at``, ``label``, ``clicked``, ``liked``,
            ``shared`` and ``disliked``. An example adds the weight of each kind of feedback that it shows, halved for every
            ``half_life_days`` that it is old; one that began after ``at`` is not old.
        config: names the weights.
        at: the moment, with a time zone.

    Returns:
        user ids and video ids, int64 ``(n_pairs,)``, and weights, float64 ``(n_pairs,)``, all above 0, ordered by user and
        video. A pair with a dislike in any example is left out.
    """
    users, videos = (np.asarray(examples.column(name)).astype(np.int64) for name in (col.USER_ID, col.VIDEO_ID))
    amount = _feedback(examples, config) * _age_weight(examples, config, at)
    disliked = _flag(examples, col.DISLIKED)
    matters = (amount > 0) | disliked
    users, videos, amount, disliked = users[matters], videos[matters], amount[matters], disliked[matters]
    user_map, video_map = IdMap.of(users), IdMap.of(videos)
    width = max(len(video_map), 1)
    pairs, group = np.unique(user_map.lookup(users) * width + video_map.lookup(videos), return_inverse=True)
    total = np.bincount(group, amount, len(pairs)).astype(np.float64)
    refused = np.bincount(group, disliked, len(pairs)) > 0
    wanted = ~refused & (total > 0)
    kept = pairs[wanted]
    return user_map.ids[kept // width], video_map.ids[kept % width], total[wanted]


def _feedback(examples: pa.Table, config: WalsConfig) -> NDArray[np.float64]:
    """What each example adds when it is new (n,)."""
    relevant = _flag(examples, col.LABEL)
    shown: dict[Feedback, NDArray[np.bool_]] = {
        "relevant": relevant,
        "like": _flag(examples, col.LIKED),
        "share": _flag(examples, col.SHARED),
        "watch": _flag(examples, col.CLICKED) & ~relevant,
    }
    amount = np.zeros(examples.num_rows)
    for kind, flag in shown.items():
        amount += config.feedback_weights.get(kind, 0.0) * flag
    return amount


def _age_weight(examples: pa.Table, config: WalsConfig, at: datetime) -> NDArray[np.float64]:
    """What is left of each example's weight (n,); never nothing, so that old feedback still tells what is liked."""
    if config.half_life_days is None:
        return np.ones(examples.num_rows)
    began = np.asarray(examples.column(col.OCCURRED_AT).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()))
    age_days = np.maximum(at.timestamp() * 1e6 - began, 0.0) / _MICROS_PER_DAY
    return np.maximum(0.5 ** (age_days / config.half_life_days), _LEAST_AGE_WEIGHT)


def _flag(examples: pa.Table, name: str) -> NDArray[np.bool_]:
    return np.asarray(examples.column(name)).astype(np.float64) > 0
