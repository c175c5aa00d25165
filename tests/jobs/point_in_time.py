"""A brute-force twin of point-in-time features: plain loops over plain rows, one example at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

KINDS = {"watched": "watch", "liked": "like", "seen": "impression", "searched": "search"}
SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
COUNTED = {"impressions": "impression", "views": "watch", "likes": "like"}


def history_of(
    rows: Iterable[Mapping[str, Any]], user: int, at: datetime, lengths: Mapping[str, int], reach: timedelta
) -> dict[str, list[Any]]:
    """The user's last events strictly before ``at``, newest first."""
    found: dict[str, list[Any]] = {}
    for name, kind in KINDS.items():
        mine = [
            r for r in rows if r["user_id"] == user and r["interaction_type"] == kind and at - reach <= r["occurred_at"] < at
        ]
        mine.sort(key=lambda r: (r["occurred_at"], r["event_id"]), reverse=True)
        mine = mine[: lengths[name]]
        what = "query" if kind == "search" else "video_id"
        found[f"{name}_history"] = [r[what] for r in mine]
        found[f"{name}_ages_seconds"] = [(at - r["occurred_at"]) // timedelta(seconds=1) for r in mine]
    return found


def trends_of(rows: Iterable[Mapping[str, Any]], video: int | None, at: datetime) -> dict[str, int]:
    """How often the video was shown, watched and liked in the hour, day and week before ``at``."""
    return {
        f"{counter}_last_{name}": sum(
            r["video_id"] == video and r["interaction_type"] == kind and at - span <= r["occurred_at"] < at for r in rows
        )
        for counter, kind in COUNTED.items()
        for name, span in SPANS.items()
    }
