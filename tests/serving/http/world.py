"""A small workspace with everything the page can show: two days of lists, videos with facts, users with histories."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, USER_FEATURES, VIDEOS, Table
from schemas.segments import parent_of
from serving import Publication, SqliteStore
from tests.serving.builders import batch

DAYS = (datetime(2026, 1, 7, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC))
"""What the lists of the two days are as of."""
NOW = "2026-01-08T05:00:00Z"
STALE = "2026-01-10T05:00:00Z"
USERS = (42, 43, 44)
K = 60
SEGMENTS = ("all", "country=DE", "country=DE|language=de", "language=de")
_WORDS = (
    ("cooking", "Bread that needs no kneading"),
    ("travel", "Three days on foot across the Harz"),
    ("music", "A piano with nine keys"),
)


def videos_of(user: int, day: datetime, k: int = K) -> list[int]:
    """A user's list of a day: half of it is that of the day before, a place further down."""
    shift = 0 if day == DAYS[0] else k // 2
    return [1000 + (user * 7 + shift + place) % 200 for place in range(k)]


def make(home: Path, above: int = 0) -> SqliteStore:
    """Write the lake and publish the second day; returns the store. Every id is ``above`` more than is said here."""
    lake = home / "lake"
    for day in DAYS:
        dt = f"dt={(day - timedelta(days=1)).date()}"
        lists = [(user + above, rank, video + above) for user in USERS for rank, video in enumerate(videos_of(user, day), 1)]
        _write(lake, RECOMMENDATIONS, dt, pa.Table.from_batches([batch(lists, day.day)]))
        _write(lake, FALLBACK_RECOMMENDATIONS, dt, _fallback(day, above))
    _write(lake, VIDEOS, dt, _rows(VIDEOS, [_video(video, above) for video in range(1000, 1200)]))
    histories = [
        {
            "user_id": user + above,
            "interaction_count": 50 - user,
            "watched_history": [1100 + user + above, 1101 + above],
            "watched_ages_seconds": [7200, 90000],
        }
        for user in (*USERS, 50)
    ]
    _write(lake, USER_FEATURES, dt, _rows(USER_FEATURES, histories))
    store = SqliteStore(home / "store" / "recommendations.sqlite")
    known = Publication(
        as_of=DAYS[1],
        generation=store.next_generation(),
        model_version="2026-01-08-small",
        expires_at=DAYS[1] + timedelta(days=2),
    )
    store.publish(known, [batch(lists, DAYS[1].day)], _fallback(DAYS[1], above), 3)
    return store


def _fallback(day: datetime, above: int) -> pa.Table:
    return _rows(
        FALLBACK_RECOMMENDATIONS,
        [
            {
                "segment": segment, "parent": parent_of(segment), "rank": rank, "score": 1 / rank,
                "video_id": 10 * (100 + day.day) + place * 5 + rank + above, "sources": f"local:{rank}",
                "reason": f"popular in {segment}",
            }
            for place, segment in enumerate(SEGMENTS)
            for rank in range(1, K + 1)
        ],
    )  # fmt: skip


def _video(video: int, above: int) -> dict[str, Any]:
    topic, title = _WORDS[video % len(_WORDS)]
    return {
        "video_id": video + above, "creator_id": 10 + video % 9 + above, "title": f"{title} ({video})", "tags": [topic, "new"],
        "language": "en", "duration_seconds": 40.0 + video, "view_count": video * 37, "snapshot_date": "2026-01-07",
        "uploaded_at": DAYS[1] - timedelta(hours=video % 90 + 1),
    }  # fmt: skip


def _rows(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in table.columns} for row in rows]).cast(_nullable(table))


def _nullable(table: Table) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in table.arrow])


def _write(lake: Path, table: Table, dt: str, rows: pa.Table) -> None:
    folder = lake / table.name / dt
    folder.mkdir(parents=True)
    pq.write_table(rows.cast(_nullable(table)), folder / "part-0.parquet")
    (folder / "_manifest.json").write_text(json.dumps({}), encoding="utf-8")
