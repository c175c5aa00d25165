"""A planted lake of three days, on which the stages after ``features`` run without Spark."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs import _bundles, evaluate, gate, index, noise_floor, train_towers, train_wals
from jobs._tables import Partition
from jobs._tracking import PUBLISHED, Tracker
from jobs._window import DAY, Window, floor_hour, iso, midnight
from schemas import (
    EXAMPLE_FEATURES,
    EXAMPLES,
    QUERY_TEXT,
    USER_FEATURES,
    USER_VERSIONS,
    VIDEO_COUNTS,
    VIDEO_FEATURES,
    VIDEO_TEXT,
    VIDEO_VERSIONS,
)
from tests.builders import MADE_BY_HAND, NO_HISTORY, NO_TRENDS, Workspace, arrow, moment, stage_context
from tests.gates import small_gate

START, FIRST, SECOND = moment("2026-01-05T00:00"), moment("2026-01-07T00:00"), moment("2026-01-08T00:00")
USERS, VIDEOS = range(1, 41), range(100, 160)
REMOVED, BLOCKED_IN_DE = {103, 120}, {104, 121}
HALF_LIFE_DAYS = 2.0
RULES = [{"rule": name} for name in ("removed", "blocked", "watched")]  # its videos have four titles in all: near-duplicates
# Models that train within a second, and thresholds that models of two days of 40 users reach.
SETTINGS: dict[str, dict[str, Any]] = {
    "window": {"lookback_days": 3},
    "features": {"popularity_half_life_days": HALF_LIFE_DAYS},
    "wals": {"factors": 4, "iterations": 4, "regularization": 1.0},
    "towers": {
        "id_dim": 4,
        "category_dim": 2,
        "vector_dim": 2,
        "retrieval": {
            "min_steps_per_epoch": 5,
            "dim": 4,
            "hidden": [8],
            "history": 8,
            "blocks": 1,
            "max_epochs": 2,
            "average": 0.0,
        },
        "ranker": {"min_steps_per_epoch": 5, "dim": 4, "hidden": [8], "max_epochs": 2, "average": 0.0},
    },
    "recommend": {"k": 10, "generators": {"retrieval": 20, "wals": 20, "popular": 20}, "users_per_batch": 16, "rules": RULES},
    "scan": {"near_duplicates": False},
    "evaluation": {"bootstrap_samples": 100, "min_slice_users": 5},
    "gate": small_gate(
        min_correlation=0.3,
        pairs=(40, 60),
        drawn=20,
        drawn_videos=20,
        differential={
            "components": {"ranker": -1.0, "retrieval": -1.0, "wals": -1.0},
            "min_segment_users": 5,
            "top": 5,
            "depth": 10,
            "min_kept": 0.0,
        },
        floors={"min_users": 5, "min_slice_ratio": 0.1, "margin": 0.9},
    ),
}
_ZERO = dict.fromkeys(("impressions", "views", "likes", "relevant"), 0.0)


def planted(home: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> Workspace:
    """A workspace whose lake holds examples of three days, and the features as of the ends of the last two."""
    space = Workspace(home, {**SETTINGS, **(settings or {})})
    rows = examples()
    write_examples(space, rows, Window(START, SECOND))
    for end in (START + DAY, FIRST, SECOND):
        today = Partition((end - DAY).date())
        known = [row for row in rows if row["known_at"].date() == today.dt]
        space.lake.write(VIDEO_COUNTS, today, arrow(VIDEO_COUNTS, _counts(known)), MADE_BY_HAND)
    for end in (FIRST, SECOND):
        _write_features(space, [row for row in rows if row["known_at"] < end], end)
    return space


def write_examples(space: Workspace, rows: Iterable[Mapping[str, Any]], hours: Window) -> None:
    """Write examples and their features, each in the hour in which its label was known."""
    by_hour = defaultdict(list)
    for row in rows:
        by_hour[floor_hour(row["known_at"])].append({**NO_HISTORY, **NO_TRENDS, **row})
    for hour in hours.hours():
        for table in (EXAMPLES, EXAMPLE_FEATURES):
            space.lake.write(table, Partition.hour(hour), arrow(table, by_hour[hour]), MADE_BY_HAND)


def examples() -> list[dict[str, Any]]:
    """Impressions by chance; a user likes the videos of the own half, and video 100 pleases everybody."""
    chance, rows = random.Random(5), []
    for day in range(3):
        for user in USERS:
            for video in chance.sample(VIDEOS, 25):
                occurred = START + day * DAY + timedelta(seconds=chance.randrange(86400 - 600))
                label = int(chance.random() < (0.7 if video % 2 == user % 2 or video == 100 else 0.1))
                if not label and chance.random() > 0.5:
                    continue  # negatives are sampled at one half
                flags = {"clicked": bool(label), "liked": label and chance.random() < 0.3}
                row = {"event_id": f"{len(rows):06d}", "user_id": user, "video_id": video, "exposure": "impression"}
                row |= {"occurred_at": occurred, "known_at": occurred + timedelta(minutes=10), "device": chance.choice("ab")}
                row |= {"watch_seconds": 60.0 * label, "watch_fraction": 0.6 * label, "label": label, "missed": not label}
                row |= {name: bool(value) for name, value in flags.items()}
                row |= dict.fromkeys(("completed", "shared", "disliked"), False)
                rows.append(row | {"sample_rate": 1.0 if label else 0.5, "weight": 1.0 if label else 2.0})
    return rows


def train(space: Workspace, end: datetime) -> None:
    """Fit the models as of a day's end, and have them judged."""
    for stage in (train_wals, train_towers, evaluate, noise_floor, gate):
        space.run(stage, "--as-of", iso(end))


def build_index(space: Workspace, end: datetime) -> None:
    """Build the serving bundle of judged models."""
    space.run(index, "--as-of", iso(end))


def _counts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        count = found.setdefault(row["video_id"], dict(_ZERO))
        count["impressions"] += row["weight"]
        count["views"] += row["weight"] * row["clicked"]
        count["likes"] += row["weight"] * row["liked"]
        count["relevant"] += row["weight"] * row["label"]
    return [{"video_id": video, **found[video]} for video in sorted(found)]


def _write_features(space: Workspace, rows: list[dict[str, Any]], end: datetime) -> None:
    """Features as of a day's end, and what the snapshots and titles said from the start."""
    counts = {row["video_id"]: row for row in _counts(rows)}
    popularity: dict[int, float] = defaultdict(float)
    for row in rows:
        age = (end - midnight(row["known_at"].date())) / DAY - 1
        popularity[row["video_id"]] += row["label"] * row["weight"] * 0.5 ** (age / HALF_LIFE_DAYS)
    videos = [
        {"video_id": video, "creator_id": video % 7, "language": "en", "duration_seconds": 100.0, "uploaded_at": START - DAY}
        | {**_ZERO, **NO_TRENDS, **counts.get(video, {}), "popularity": popularity[video], "valid_from": START - DAY}
        | {"blocked_countries": ["DE"] if video in BLOCKED_IN_DE else [], "removed": video in REMOVED}
        | {"title_vector": [1.0, 0.0] if video % 2 else [0.0, 1.0], "tags_vector": None if video % 5 else [1.0]}
        for video in VIDEOS
    ]
    watched: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        if row["clicked"]:
            watched[row["user_id"]].add(row["video_id"])
    users = [
        {"user_id": user, "age": 20 + user % 50, "country": "DE" if user % 3 == 0 else "FR", "language": "en", "device": "a"}
        | {"interaction_count": len(watched[user]), "watched": sorted(watched[user]), "valid_from": START - DAY, **NO_HISTORY}
        for user in USERS
    ]
    queries = [{"query": "cats", "vector": [1.0, 0.0]}]
    tables = {USER_FEATURES: users, USER_VERSIONS: users, VIDEO_FEATURES: videos, VIDEO_VERSIONS: videos}
    for table, known in {**tables, VIDEO_TEXT: videos, QUERY_TEXT: queries}.items():
        space.lake.write(table, Partition((end - DAY).date()), arrow(table, known), MADE_BY_HAND)


def publish_by_hand(space: Workspace, as_of: datetime) -> None:
    """Let the models of a day count as published, so that they are the next day's incumbent."""
    with space.environment():
        context, tracker = stage_context("publish", "--as-of", iso(as_of)), Tracker.open()
        for kind in (_bundles.WALS, _bundles.TOWERS):
            tracker.note_publication(_bundles.open_at(context, kind), "by-hand")
            published = tracker.of_publication(kind, "by-hand")
            assert published is not None
            tracker.set_standing(published, PUBLISHED)
