"""A world of four users and three videos, and models that know every user's taste."""

from datetime import timedelta

import numpy as np
import pyarrow as pa

from models import evaluation
from schemas import EXAMPLES, QUERY_TEXT, USER_FEATURES, VIDEO_COUNTS, VIDEO_FEATURES
from tests.builders import NO_HISTORY, NO_TRENDS, arrow, moment

AT = moment("2026-01-07T12:00")
COUNTERS = ("impressions", "views", "likes", "relevant", "popularity")


def example(user, video, hours, **more):
    """An example so many hours after the start of the test split."""
    flags = dict.fromkeys(("clicked", "liked", "disliked", "completed", "shared", "missed"), False)
    row = {"user_id": user, "video_id": video, "occurred_at": AT + timedelta(hours=hours), "label": 0, **flags}
    basic = {"event_id": f"{user}-{video}-{hours}", "exposure": "impression", "known_at": row["occurred_at"]}
    return {**basic, "watch_seconds": 0.0, "sample_rate": 1.0, "weight": 1.0, **row, **more}


USERS = arrow(
    USER_FEATURES, [{"user_id": user, "interaction_count": 1, "watched": [12], **NO_HISTORY} for user in (4, 3, 2, 1)]
)
QUERIES = arrow(QUERY_TEXT, [{"query": "cats", "vector": [1.0]}])
VIDEOS = arrow(
    VIDEO_FEATURES,
    [
        {"video_id": video, "duration_seconds": 1.0, "uploaded_at": AT, "blocked_countries": [], "removed": False}
        | {**dict.fromkeys(COUNTERS, 99.0), **NO_TRENDS}
        for video in (12, 11, 10)
    ],
)
EXAMPLES_TABLE = arrow(
    EXAMPLES,
    [
        example(1, 10, -5, clicked=True),
        example(1, 10, 1, label=1),  # acted on before: not relevant again
        example(1, 11, 2, label=1),
        example(2, 10, -5, label=0),  # shown before, not acted on
        example(2, 10, 3, label=1),
        example(2, 12, 3, label=0),
        example(3, 12, -1, disliked=True),
        example(3, 12, 4, label=1),  # nothing else: user 3 is not judged
        example(4, 11, 0, label=1),  # at the very start: before
        example(2, 77, 5, label=1),  # no longer in the catalogue
    ],
)
DAYS = (("2026-01-05", 10, 4.0), ("2026-01-06", 10, 2.0), ("2026-01-06", 11, 1.0), ("2026-01-07", 12, 50.0))
COUNTS = arrow(
    VIDEO_COUNTS,
    [{"video_id": video, "impressions": number, "views": 0.0, "likes": 0.0, "relevant": number} for _, video, number in DAYS],
).append_column("dt", pa.array([day for day, _, _ in DAYS]).cast(pa.date32()))
CONFIG = evaluation.EvaluationConfig(
    max_users=100,
    bootstrap_samples=50,
    confidence=0.9,
    min_slice_users=2,
    max_slice_values=3,
    new_video_days=7,
    source_depth=30,
    seed=1,
)


def world_of(*, at=AT, max_users=100, users=USERS, videos=VIDEOS):
    """The world at the start of the test split."""
    return evaluation.holdout(
        users, videos, QUERIES, COUNTS, EXAMPLES_TABLE, at=at, half_life_days=1.0, max_users=max_users
    )  # fmt: skip


class Planted:
    """Knows every user's taste: 1 likes 11, 2 likes 10."""

    def user_vectors(self, users, *_):
        ids = users["user_id"].to_pylist() if isinstance(users, pa.Table) else users
        return np.array([[1.0, 0.0] if user == 1 else [0.0, 1.0] for user in ids], dtype=np.float32)

    def video_vectors(self, videos, *_):
        ids = videos["video_id"].to_pylist() if isinstance(videos, pa.Table) else videos
        return np.array([{10: [0.0, 1.0], 11: [1.0, 0.0]}.get(int(video), [0.6, 0.6]) for video in ids], dtype=np.float32)

    def known_videos(self, ids):
        return np.ones(len(ids), dtype=bool)
