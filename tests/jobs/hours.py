"""The planted platform of ``tests.jobs.planted``, hour by hour: a day that is live, and hours that go over it."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs import gate, index, publish, recommend, refresh, scan
from jobs._stage import Report
from jobs._tables import Partition
from jobs._window import HOUR, Window, floor_hour, iso, last_day
from schemas import INTERACTIONS, QUERY_TEXT, USER_FEATURES, USER_VERSIONS, VIDEO_FEATURES, VIDEO_TEXT, VIDEO_VERSIONS
from serving import SqliteStore
from tests.builders import MADE_BY_HAND, Workspace, arrow
from tests.jobs import planted
from tests.jobs.planted import FIRST, train

HOURS = (refresh, gate, index, recommend, scan, publish)
"""What an hour runs of the stages that follow ``features``, in order."""

SETTINGS: dict[str, dict[str, Any]] = {
    **planted.SETTINGS,
    "hourly": {"min_correlation": 0.5, "correlation_users": 40, "correlation_videos": 60},
    "scan": {"near_duplicates": False, "max_coverage_ratio": None, "max_popularity_share_change": None},
}
_COLUMNS = "user_id, rank, video_id, score, sources, reason, rules, propensity, model_version, as_of, expires_at"


def live_day(home: Path) -> Workspace:
    """The platform with the day that ends at ``FIRST`` trained, judged and published."""
    space = planted.planted(home, SETTINGS)
    train(space, FIRST)
    for stage in (index, recommend, scan, publish):
        space.run(stage, "--as-of", iso(FIRST))
    return space


def happened(space: Workspace, as_of: datetime, active: Mapping[int, int]) -> list[dict[str, Any]]:
    """Let some users watch a video each in the hour that ends at a time: the lake as of then, and what was known by then.

    Args:
        space: where.
        as_of: the end of the hour.
        active: by user, the video; an impression at half past, known ten minutes later.
    """
    planned = [row for row in planted.examples() if row["known_at"] < FIRST]
    later = [row_of(user, video, as_of - HOUR / 2) for user, video in active.items()]
    past = space.home / "happened"
    before = [row_of(*map(int, line.split()[:2]), datetime.fromisoformat(line.split()[2])) for line in _lines(past)]
    with past.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{user} {video} {(as_of - HOUR / 2).isoformat()}\n" for user, video in active.items())
    rows = [*planned, *before, *later]
    write_log(space, [*before, *later], Window(FIRST, as_of))
    write_state(space, rows, as_of)
    return rows


def write_log(space: Workspace, rows: Iterable[Mapping[str, Any]], hours: Window) -> None:
    """Write examples, and the impressions that they are of, each in its hour."""
    rows = list(rows)
    planted.write_examples(space, rows, hours)
    by_hour = defaultdict(list)
    for row in rows:
        event = {name: row[name] for name in ("event_id", "user_id", "video_id", "occurred_at")}
        by_hour[floor_hour(row["occurred_at"])].append({**event, "interaction_type": "impression"})
    for hour in hours.hours():
        space.lake.write(INTERACTIONS, Partition.hour(hour), arrow(INTERACTIONS, by_hour[hour]), MADE_BY_HAND)


def write_state(space: Workspace, rows: list[dict[str, Any]], as_of: datetime, removed: Iterable[int] = ()) -> None:
    """Write users and videos as they are at a time, into the partition of its day."""
    day = Partition(last_day(as_of))
    yesterday = Partition(last_day(FIRST))
    kept = {t: space.lake.read(t, [yesterday]) for t in (USER_VERSIONS, VIDEO_VERSIONS, VIDEO_TEXT, QUERY_TEXT)}
    for table, content in kept.items():
        space.lake.write(table, day, content, MADE_BY_HAND)
    watched: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        if row["clicked"]:
            watched[row["user_id"]].add(row["video_id"])
    users = space.lake.read(USER_FEATURES, [yesterday]).to_pylist()
    users = [{**user, "watched": sorted(watched[user["user_id"]]), "interaction_count": 1} for user in users]
    videos = space.lake.read(VIDEO_FEATURES, [yesterday]).to_pylist()
    videos = [{**video, "removed": video["removed"] or video["video_id"] in set(removed)} for video in videos]
    space.lake.write(USER_FEATURES, day, arrow(USER_FEATURES, users), MADE_BY_HAND)
    space.lake.write(VIDEO_FEATURES, day, arrow(VIDEO_FEATURES, videos), MADE_BY_HAND)


def run_hour(space: Workspace, as_of: datetime, *options: str) -> dict[str, Report]:
    """Run an hour's stages; what each said, by its name."""
    found = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for stage in HOURS:
            found[stage.__name__.removeprefix("jobs.")] = space.run(stage, "--lane", "hourly", "--as-of", iso(as_of), *options)
    return found


def store(space: Workspace) -> SqliteStore:
    return SqliteStore(space.home / "store" / "recommendations.sqlite")


def rows_of(space: Workspace) -> dict[int, list[tuple[Any, ...]]]:
    """Every row that apps read, by user."""
    connection = sqlite3.connect(space.home / "store" / "recommendations.sqlite")
    try:
        found = defaultdict(list)
        for row in connection.execute(f"SELECT {_COLUMNS} FROM recommendations ORDER BY user_id, rank"):
            found[row[0]].append(row)
        return dict(found)
    finally:
        connection.close()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def row_of(user: int, video: int, occurred: datetime) -> dict[str, Any]:
    """A video that pleased a user."""
    return {
        "event_id": f"hour-{occurred.isoformat()}-{user}",
        "user_id": user,
        "video_id": video,
        "exposure": "impression",
        "occurred_at": occurred,
        "known_at": occurred + HOUR / 6,
        "device": "a",
        "watch_seconds": 60.0,
        "watch_fraction": 0.6,
        "label": 1,
        "missed": False,
        "clicked": True,
        "liked": True,
        "completed": False,
        "shared": False,
        "disliked": False,
        "sample_rate": 1.0,
        "weight": 1.0,
    }
