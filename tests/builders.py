"""Hand-written raw logs: a few rows whose right outcome is obvious."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

VIDEO = {
    "title": "a title",
    "tags": ["x", "y"],
    "language": "en",
    "duration_seconds": 100.0,
    "uploaded_at": "2026-01-01T00:00:00Z",
}


def event(event_id: str, kind: str, at: str, user: int = 1, video: int | None = 10, **more: Any) -> dict[str, Any]:
    """One raw interaction on 2026-01-07 (or the full time given)."""
    moment = at if "T" in at else f"2026-01-07T{at}Z"
    return {"event_id": event_id, "user_id": user, "video_id": video, "interaction_type": kind, "occurred_at": moment, **more}


def video(video_id: int, **more: Any) -> dict[str, Any]:
    """One raw video of 100 seconds, uploaded on 2026-01-01."""
    return {"video_id": video_id, **VIDEO, **more}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> None:
    """Append rows as JSON lines; a string goes in as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        for row in rows:
            stream.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


def write_raw(
    root: Path,
    events: Iterable[Mapping[str, Any]],
    videos: Iterable[Mapping[str, Any]] = (),
    users: Iterable[Mapping[str, Any]] = (),
    snapshot: str = "2026-01-07",
) -> None:
    """Write raw logs below ``root``: each event into the directory of its own hour, one snapshot of videos and users."""
    hours: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in events:
        hours[f"dt={row['occurred_at'][:10]}/hr={row['occurred_at'][11:13]}"].append(row)
    for hour, rows in hours.items():
        write_lines(root / "interactions" / hour / "events.jsonl", rows)
    write_lines(root / "videos" / f"dt={snapshot}" / "videos.jsonl", videos)
    write_lines(root / "users" / f"dt={snapshot}" / "users.jsonl", users)
