"""Small publications whose right answer is obvious: every value says which day and attempt it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from schemas.segments import parent_of
from serving import Publication, PublishResult, ServingStore

USERS = 20
K = 5


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def publication(number: int, generation: int) -> Publication:
    return Publication(
        as_of=day(number),
        generation=generation,
        model_version=f"model-{number}-{generation}",
        expires_at=day(number) + timedelta(hours=48),
    )


def video(number: int, generation: int, rank: int) -> int:
    """The video at a rank: tells the day and the generation, and differs between ranks."""
    return number * 1_000_000 + generation * 1_000 + rank


def rows(
    number: int, generation: int, users: int = USERS, k: int = K, per_batch: int = 7, *, first_user: int = 1
) -> Iterator[pa.RecordBatch]:
    """Yield every user's list, a few users a batch."""
    for start in range(first_user, first_user + users, per_batch):
        group = range(start, min(start + per_batch, first_user + users))
        yield batch([(user, rank, video(number, generation, rank)) for user in group for rank in range(1, k + 1)], number)


def batch(values: list[tuple[int, int, int]], number: int = 8, scores: list[float | None] | None = None) -> pa.RecordBatch:
    """A batch of (user, rank, video); the score of a rank is its inverse unless it is given."""
    users, ranks, videos = (list(column) for column in zip(*values, strict=True)) if values else ([], [], [])
    return pa.RecordBatch.from_arrays(
        [
            pa.array(users, pa.int64()),
            pa.array(ranks, pa.int32()),
            pa.array(videos, pa.int64()),
            pa.array([1 / rank for rank in ranks] if scores is None else scores, pa.float64()),
            pa.array([f"retrieval:{rank}" for rank in ranks], pa.string()),
            pa.array([f"day {number}"] * len(ranks), pa.string()),
            pa.array([f"creators:{rank}>{rank + 1}" if rank % 2 else "" for rank in ranks], pa.string()),
            pa.array([1 / max(rank, 1) for rank in ranks], pa.float64()),
            *(pa.array([rank + place / 8 for rank in ranks], pa.float32()) for place in range(len(SCORE_PARTS))),
        ],
        schema=RECOMMENDATIONS.arrow,
    )


def fallback(number: int, generation: int, segments: tuple[str, ...] = ("all", "country=DE"), k: int = K) -> pa.Table:
    cells = [(segment, rank) for segment in segments for rank in range(1, k + 1)]
    return pa.table(
        {
            "segment": pa.array([segment for segment, _ in cells], pa.string()),
            "parent": pa.array([parent_of(segment) for segment, _ in cells], pa.string()),
            "rank": pa.array([rank for _, rank in cells], pa.int32()),
            "video_id": pa.array([video(number, generation, rank) + 500 for _, rank in cells], pa.int64()),
            "score": pa.array([1 / rank for _, rank in cells], pa.float64()),
            "sources": pa.array([f"popular:{rank}" for _, rank in cells], pa.string()),
            "reason": pa.array([f"popular on day {number} in {segment}" for segment, _ in cells], pa.string()),
        },
        schema=FALLBACK_RECOMMENDATIONS.arrow,
    )


def publish(store: ServingStore, number: int, generation: int | None = None, keep: int = 3, **sizes: int) -> PublishResult:
    """Publish a whole day with the next generation, or with a given one."""
    generation = store.next_generation() if generation is None else generation
    return store.publish(
        publication(number, generation), rows(number, generation, **sizes), fallback(number, generation), keep_versions=keep
    )


def videos(store: ServingStore, user: int = 1, k: int = 100) -> list[int]:
    return [row.video_id for row in store.read(user, k)]


def expected(number: int, generation: int, k: int = K) -> list[int]:
    return [video(number, generation, rank) for rank in range(1, k + 1)]
