"""What moved most between incumbent and candidate, with examples that a person can judge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from models.gate._config import DifferentialConfig
from models.gate._differential import Compared
from models.gate._scene import Scene
from models.rows import one_chunk
from schemas import columns as col

_EXAMPLE = 5
"""Places of a user's list that are shown."""


def movement(config: DifferentialConfig, scene: Scene, found: Compared) -> dict[str, Any]:
    """Name the users, videos and segments that moved most.

    Users are those whose lists agree least (rank-biased overlap), with their first places before and after and the place that
    each video has in the other list. Videos are those whose mean score over the drawn users rose or fell most, and those that
    entered or left most users' first places. Ties go to the lower id.

    Args:
        config: section ``gate.differential``.
        scene: names the videos.
        found: the comparison.

    Returns:
        Plain values: ``users``, ``risen``, ``fallen``, ``entered``, ``left`` and ``segments``.
    """
    name = _Names(scene)
    worst = np.argsort(np.where(np.isnan(found.rbo), np.inf, found.rbo), kind="stable")[: config.shown]
    change = np.where(found.unseen, found.scores[0] - found.scores[1], np.nan)
    asked = found.unseen.any(axis=0)
    mean = np.full(len(found.positions), 0.0)
    mean[asked] = np.nanmean(change[:, asked], axis=0)
    order = np.argsort(mean, kind="stable")
    after, before = (_appearances(one.positions[:, : config.top], len(name.ids)) for one in found.lists)
    gained = after - before
    listed = np.argsort(-gained, kind="stable")

    def video(position: int) -> dict[str, Any]:
        return {**name.video(position), "lists_before": int(before[position]), "lists_after": int(after[position])}

    def scored(places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        return [{**video(int(found.positions[at])), "mean_change": round(float(mean[at]), 4)} for at in places]

    return {
        "users": [_user(scene, found, name, int(row)) for row in worst],
        "risen": scored(order[::-1][: config.shown]),
        "fallen": scored(order[: config.shown]),
        "entered": [video(int(at)) for at in listed[: config.shown] if gained[at] > 0],
        "left": [video(int(at)) for at in listed[::-1][: config.shown] if gained[at] < 0],
        "segments": [
            {"kind": kind, "value": value, "pearson": round(one.pooled_pearson, 4), "users": one.users}
            for kind, parts in found.segments.items()
            for value, one in sorted(parts.items())
            if math.isfinite(one.pooled_pearson)
        ],
    }


class _Names:
    """Titles and languages of the catalogue's positions."""

    def __init__(self, scene: Scene) -> None:
        videos = scene.videos.sort_by(col.VIDEO_ID)
        self.ids = videos[col.VIDEO_ID].to_numpy()
        titled = col.TITLE in videos.column_names
        self.titles = one_chunk(videos[col.TITLE]).to_pylist() if titled else [None] * len(self.ids)
        self.languages = one_chunk(videos[col.LANGUAGE]).to_pylist()

    def video(self, position: int) -> dict[str, Any]:
        """What a person needs to recognise a video."""
        return {
            "video_id": int(self.ids[position]),
            "title": self.titles[position],
            "language": self.languages[position],
        }


def _user(scene: Scene, found: Compared, name: _Names, row: int) -> dict[str, Any]:
    person = found.users.slice(row, 1).to_pylist()[0]
    new, old = (one.positions[row] for one in found.lists)
    segment = scene.ranking.segments[int(scene.ranking.segment_of(found.users.slice(row, 1))[0])].name
    return {
        "user_id": person[col.USER_ID],
        "language": person[col.LANGUAGE],
        "country": person[col.COUNTRY],
        "segment": segment,
        "watched": len(person[col.WATCHED] or ()),
        "liked_last": [name.titles[at] for at in _positions(name, person[col.LIKED_HISTORY])[:_EXAMPLE]],
        "rbo": round(float(found.rbo[row]), 4) if math.isfinite(found.rbo[row]) else None,
        "before": _places(name, old, new),
        "after": _places(name, new, old),
    }


def _places(name: _Names, of: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """The first places of a list, each with its place in the other one; ``None`` where that does not hold it."""
    result = []
    for rank, position in enumerate(of[:_EXAMPLE].tolist(), start=1):
        if position >= 0:
            there = np.flatnonzero(other == position)
            result.append({**name.video(position), "rank": rank, "other_rank": int(there[0]) + 1 if len(there) else None})
    return result


def _positions(name: _Names, ids: list[int] | None) -> list[int]:
    wanted = np.array(ids or [], dtype=np.int64)
    places = np.searchsorted(name.ids, wanted)
    known = (places < len(name.ids)) & (name.ids[np.minimum(places, len(name.ids) - 1)] == wanted)
    return [int(place) for place in places[known]]


def _appearances(positions: npt.NDArray[np.int64], n_videos: int) -> npt.NDArray[np.int64]:
    return np.bincount(positions[positions >= 0], minlength=n_videos)
