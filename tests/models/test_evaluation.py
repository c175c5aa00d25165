from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

import conf
from models import evaluation
from models.ensemble import Ensemble
from models.ids import IdMap
from models.recommend import RecommendConfig
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


@pytest.fixture(scope="module")
def counts():
    days = [("2026-01-05", 10, 4.0), ("2026-01-06", 10, 2.0), ("2026-01-06", 11, 1.0), ("2026-01-07", 12, 50.0)]
    rows = [
        {"video_id": video, "impressions": number, "views": 0.0, "likes": 0.0, "relevant": number} for _, video, number in days
    ]
    return arrow(VIDEO_COUNTS, rows).append_column("dt", pa.array([day for day, _, _ in days]).cast(pa.date32()))


def world_of(counts, max_users=100):
    return evaluation.holdout(
        USERS, VIDEOS, QUERIES, counts, EXAMPLES_TABLE, at=AT, half_life_days=1.0, max_users=max_users
    )  # fmt: skip


def test_relevant_is_what_came_later_and_is_new(counts):
    world = world_of(counts)
    assert world.users["user_id"].to_pylist() == [1, 2]
    assert world.videos["video_id"].to_pylist() == [10, 11, 12]
    assert world.relevant.toarray().tolist() == [[False, True, False], [True, False, False]]
    assert world.at == AT
    assert world.queries is QUERIES


def test_watched_and_counters_are_those_of_the_start(counts):
    world = world_of(counts)
    assert world.users["watched"].to_pylist() == [[10], []]
    assert world.videos["relevant"].to_pylist() == [6, 1, 0]  # the day of the start is not over
    assert world.videos["popularity"].to_pylist() == [4 / 2 + 2, 1, 0]


def test_at_most_so_many_users_are_judged_and_always_the_same(counts):
    drawn = [world_of(counts, max_users=1).users["user_id"].to_pylist() for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) <= 1


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


def test_figures_of_a_world_by_hand(counts):
    config = conf.load("recommend", RecommendConfig)
    figures = evaluation.evaluate(config, Ensemble(Planted(), Planted(), Planted()), world_of(counts))
    assert figures["users"] == 2
    # Each user has one relevant video, and the models that know it put it first.
    for prefix in ("", "wals_", "retrieval_"):
        assert figures[f"{prefix}ndcg@10"] == pytest.approx(1.0)
        assert figures[f"{prefix}map@10"] == pytest.approx(1.0)
    # By popularity it is first for both: user 1 has watched 10, so 11 leads; 10 leads for user 2.
    assert figures["popularity_ndcg@10"] == pytest.approx(1.0)
    assert figures["precision@10"] == pytest.approx(0.1)
    assert figures["recall@10"] == figures["recall@100"] == pytest.approx(1.0)
    assert figures["coverage@100"] == pytest.approx(1.0)


def test_nobody_to_judge_has_no_figures(counts):
    world = evaluation.holdout(
        USERS, VIDEOS, QUERIES, counts, EXAMPLES_TABLE, at=AT + timedelta(days=1), half_life_days=1.0, max_users=5
    )  # fmt: skip
    models = Ensemble(Planted(), Planted(), Planted())
    assert evaluation.evaluate(conf.load("recommend", RecommendConfig), models, world) == {"users": 0.0}


def test_pairs_are_counted_once_and_strangers_left_out():
    found = evaluation.pairs(EXAMPLES_TABLE, IdMap(np.array([1, 2])), IdMap(np.array([10, 11, 12])))
    assert found.dtype == bool
    assert found.toarray().tolist() == [[True, True, False], [True, False, True]]
    assert found.nnz == 4
