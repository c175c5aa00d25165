"""A small world as the last scan sees it: tables and bundles of one day, and a plain Python twin of its checks."""

from __future__ import annotations

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from jobs import _bundles, _verdict
from jobs._recipe import Recipe
from jobs._tables import Partition
from jobs._window import DAY, iso
from models.bundle import seal
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS, USER_FEATURES, VIDEO_FEATURES
from tests.builders import MADE_BY_HAND, NO_HISTORY, NO_TRENDS, Workspace, arrow, moment, stage_context

END = moment("2026-01-08T00:00")
K = 5
RULES = [
    {"rule": "misinformation", "max_score": 0.8, "penalty": 1.0},
    {"rule": "clickbait", "max_score": 0.9, "penalty": 0.0},
    {"rule": "age", "max_days": 100.0, "half_life_days": None, "penalty": 0.0},
    {"rule": "near_duplicates"},
]
SETTINGS: dict[str, dict[str, Any]] = {"recommend": {"k": K, "rules": RULES}}
ROW = {"score": 1.0, "sources": "wals:1", "reason": "new", "rules": "", "propensity": 1.0, **dict.fromkeys(SCORE_PARTS, 0.0)}
_COUNTS = dict.fromkeys(("impressions", "views", "likes", "relevant"), 0.0)
Rows = list[dict[str, Any]]


@dataclass
class World:
    """Rows of the four tables, and what stands for a video that is not the first of its kind."""

    users: Rows
    videos: Rows
    lists: Rows
    fallback: Rows
    same: dict[int, int] = field(default_factory=dict)
    end: datetime = END

    def video(self, video_id: int) -> dict[str, Any]:
        """The facts of a video."""
        return next(row for row in self.videos if row["video_id"] == video_id)

    def user(self, user_id: int) -> dict[str, Any]:
        """The facts of a user."""
        return next(row for row in self.users if row["user_id"] == user_id)

    def row(self, user_id: int, rank: int) -> dict[str, Any]:
        """A row of a user's list."""
        return next(row for row in self.lists if (row["user_id"], row["rank"]) == (user_id, rank))

    def fallback_row(self, segment: str, rank: int) -> dict[str, Any]:
        """A row of a segment's list."""
        return next(row for row in self.fallback if (row["segment"], row["rank"]) == (segment, rank))


def video(video_id: int, **more: Any) -> dict[str, Any]:
    """A video that may be shown everywhere; the higher its id, the less popular."""
    row = {"video_id": video_id, "duration_seconds": 10.0, "uploaded_at": END - timedelta(days=10), **_COUNTS, **NO_TRENDS}
    return {**row, "popularity": 1000.0 - video_id, "blocked_countries": [], "removed": False, **more}


def user(user_id: int, country: str | None, watched: Iterable[int] = (), active: bool = True) -> dict[str, Any]:
    """A user."""
    row = {"user_id": user_id, "country": country, "watched": sorted(watched), "interaction_count": 3 * active}
    return {**row, **NO_HISTORY}


def small() -> World:
    """Six users and thirty videos of which some must not be shown; every list is right."""
    facts: dict[int, dict[str, Any]] = {
        100: {"blocked_countries": ["DE", "DE", "AT"]},
        103: {"removed": True},
        104: {"misinformation_score": 0.81},
        105: {"misinformation_score": 0.8, "clickbait_score": 0.9},  # at the limits
        106: {"clickbait_score": 0.95},
        107: {"uploaded_at": END - timedelta(days=101)},
        108: {"uploaded_at": END - timedelta(days=100)},
        110: {"blocked_countries": ["DE"]},
        111: {"blocked_countries": ["DE"]},
    }
    videos = [video(n, **facts.get(n, {})) for n in range(100, 130)]
    users = [
        user(1, "DE", [102]),
        user(2, "FR", [101, 999]),
        user(3, None),
        user(4, "FR", active=False),
        user(5, "DE", set(range(100, 130)) - {109, 110, 112}),  # 110 is blocked, 109 and 112 are the same
        user(6, "AT", range(90, 130)),  # nothing is left
    ]
    world = World(users, videos, [], [], {102: 101, 111: 110, 112: 109, 114: 109})
    world.lists = [row for one in users if one["interaction_count"] for row in rows_of(world, one)]
    for segment in ("all", "country=DE", "country=DE|language=en", "language=en"):
        shown = [v["video_id"] for v in videos if may(v, world.end) and "DE" not in v["blocked_countries"]][:K]
        world.fallback += [{"segment": segment, "rank": place + 1, "video_id": one, **ROW} for place, one in enumerate(shown)]
    return world


def rows_of(world: World, who: Mapping[str, Any], k: int = K) -> Rows:
    """A right list: in order of the id, one of each kind."""
    shown: dict[int, int] = {}
    for one in world.videos:
        if possible(world, who, one):
            shown.setdefault(world.same.get(one["video_id"], one["video_id"]), one["video_id"])
    return [{"user_id": who["user_id"], "rank": n + 1, "video_id": one, **ROW} for n, one in enumerate([*shown.values()][:k])]


def may(one: Mapping[str, Any], at: datetime) -> bool:
    """Whether a video may be shown to anybody."""
    return not one["removed"] and not over(one, at)


def over(one: Mapping[str, Any], at: datetime) -> bool:
    """Whether a video is over one of the limits of ``RULES``."""
    too_old = at - one["uploaded_at"] > timedelta(days=100)
    return (one.get("misinformation_score") or 0) > 0.8 or (one.get("clickbait_score") or 0) > 0.9 or too_old


def possible(world: World, who: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """Whether a video may be shown to a user."""
    seen, blocked = one["video_id"] in who["watched"], who["country"] in one["blocked_countries"]
    return may(one, world.end) and not seen and not blocked


def expected(world: World) -> dict[str, set[tuple[Any, ...]]]:
    """What each check must find: ``(owner, rank, video)``; ``(user, found, expected)`` of ``coverage``, ``length``."""
    found: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    videos = {row["video_id"]: row for row in world.videos}
    users = {row["user_id"]: row for row in world.users}
    lists: dict[tuple[str, Any], Rows] = defaultdict(list)
    for prefix, owner, rows in (("", "user_id", world.lists), ("fallback_", "segment", world.fallback)):
        for row in rows:
            lists[prefix, row[owner]].append(row)
    for (prefix, owner), rows in lists.items():
        who = users.get(owner) if not prefix else None
        country = (
            (who or {}).get("country")
            if not prefix
            else dict(p.split("=") for p in owner.split("|") if "=" in p).get("country")
        )
        before: list[int] = []
        for place, row in enumerate(sorted(rows, key=lambda row: (row["rank"], row["video_id"]))):
            for name in _faults(world, row, place, before, videos.get(row["video_id"]), who, country, prefix):
                found[prefix + name].add((owner, row["rank"], row["video_id"]))
            before.append(row["video_id"])
    length = Counter(row["user_id"] for row in world.lists)
    for who in world.users:
        kinds = {world.same.get(v["video_id"], v["video_id"]) for v in world.videos if possible(world, who, v)}
        should, there = min(K, len(kinds)), length[who["user_id"]]
        # K rows where fewer are possible repeat a video or show a wrong one: other checks name it.
        if there not in (should, K) and (there or who["interaction_count"]):
            found["length" if there else "coverage"].add((who["user_id"], there, should))
    if not any(row["segment"] == "all" for row in world.fallback):
        found["fallback_all"] = {()}
    there = {row["segment"] for row in world.fallback}
    if lost := {(row["segment"], row["parent"]) for row in world.fallback if row.get("parent") and row["parent"] not in there}:
        found["fallback_parents"] = lost
    return dict(found)


def _faults(  # noqa: PLR0912, PLR0917 - one branch a check
    world: World,
    row: Mapping[str, Any],
    place: int,
    before: list[int],
    facts: Mapping[str, Any] | None,
    who: Mapping[str, Any] | None,
    country: str | None,
    prefix: str,
) -> Iterator[str]:
    one = row["video_id"]
    if not prefix and who is None:
        yield "strangers"
    if row["rank"] != place + 1:
        yield "ranks"
    if one in before:
        yield "repeats"
    elif not prefix and world.same.get(one, one) in [world.same.get(other, other) for other in before]:
        yield "near_duplicates"
    if facts is None:
        yield "unknown"
    else:
        if facts["removed"]:
            yield "removed"
        if over(facts, world.end):
            yield "over_limit"
        if country in facts["blocked_countries"]:
            yield "blocked"
    if who is not None and one in who["watched"]:
        yield "watched"
    if not all(math.isfinite(row[name]) for name in ("score", *(SCORE_PARTS if "user_id" in row else ()))):
        yield "scores"
    if "user_id" in row and not 0 < row["propensity"] <= 1:
        yield "propensity"
    if not row["sources"].strip():
        yield "sources"


def write(space: Workspace, world: World) -> None:
    """Lay the world into the workspace as if every stage before the scan had run."""
    today, at = Partition((world.end - DAY).date()), iso(world.end)
    for table, rows, key in ((USER_FEATURES, world.users, "user_id"), (VIDEO_FEATURES, world.videos, "video_id")):
        space.lake.write(table, today, arrow(table, sorted(rows, key=lambda row, key=key: row[key])), MADE_BY_HAND)
    with space.environment():
        context = stage_context("scan", "--as-of", at)
        digests = {}
        for kind in (_bundles.WALS, _bundles.TOWERS, _bundles.SERVING):
            folder = _bundles.location(context, kind)
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "catalogue").mkdir(parents=True)
            if kind == _bundles.SERVING:
                ids = sorted(row["video_id"] for row in world.videos)
                np.save(folder / "catalogue" / "video_ids.npy", np.array(ids))
                np.save(folder / "catalogue" / "same_as.npy", np.array([ids.index(world.same.get(one, one)) for one in ids]))
            digests[kind] = seal(folder, kind=kind, properties={"as_of": at}).digest
        basis = {kind: digests[kind] for kind in (_bundles.WALS, _bundles.TOWERS)}
        _verdict.write(context, {"passed": True, "reason": "passed", "basis": basis, "weights": {}})
    recipe = Recipe(digests, "by hand", {"as_of": at})
    for table, rows in ((RECOMMENDATIONS, world.lists), (FALLBACK_RECOMMENDATIONS, world.fallback)):
        space.lake.write(table, today, arrow(table, rows), recipe)
