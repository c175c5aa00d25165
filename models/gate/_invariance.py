"""Invariance tests (G4): changes that must not matter, do not; declared in ``gate.invariance``.

Scores are standardised, so an epsilon is in standard deviations of a user's scores. What concerns training and not a fitted
model (event ids, letter case of tags) is proven by tests of the repository on a planted log; see docs/gate.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from conf import Section
from models.gate._functional import likers, topics
from models.gate._probes import plant
from models.gate._scene import Scene, eligible, with_columns
from models.gate._verdict import Check, absent, at_least, at_most
from schemas import columns as col

Ints = npt.NDArray[np.int64]


class RowOrder(Section):
    """The order of the rows of users, videos and queries does not move a score, nor who else is in the batch."""

    check: Literal["row_order"]
    epsilon: float = Field(ge=0)
    """Largest change of any score, in standard deviations."""
    users: int = Field(ge=2)
    videos: int = Field(ge=2)

    def __call__(self, scene: Scene) -> Check:
        rng = scene.rng(self.check)
        users, positions = _drawn(scene, rng, self.users, self.videos)
        before = scene.scores(users, positions)
        order = rng.permutation(users.num_rows)
        queries = scene.queries.take(pa.array(rng.permutation(scene.queries.num_rows)))
        videos = scene.videos.take(pa.array(rng.permutation(scene.videos.num_rows)))
        mixed = replace(scene, videos=videos, queries=queries)
        after = mixed.scores(users.take(pa.array(order)), positions)
        half = order[: max(len(order) // 2, 1)]
        alone = mixed.scores(users.take(pa.array(half)), positions)
        moved = max(_largest(after - before[order]), _largest(alone - before[half]))
        said = f"largest change of {before.size} scores when rows of users, videos and queries change places: {moved:.1e}"
        return at_most(f"invariance:{self.check}", moved, self.epsilon, said, "something sums or joins by place")


class UnreadColumns(Section):
    """Columns that no model may read: where a table has one, other values in it move nothing."""

    check: Literal["unread_columns"]
    epsilon: float = Field(ge=0)
    columns: tuple[str, ...] = Field(min_length=1)
    """Names of columns of users or videos, such as the user's name."""
    users: int = Field(ge=2)
    videos: int = Field(ge=2)

    def __call__(self, scene: Scene) -> Check:
        rng = scene.rng(self.check)
        users, positions = _drawn(scene, rng, self.users, self.videos)
        before = scene.scores(users, positions)
        there = {
            side: [name for name in self.columns if name in rows.column_names]
            for side, rows in (("users", users), ("videos", scene.videos))
        }
        users = with_columns(users, {name: _mixed(users[name], rng) for name in there["users"]})
        changed = scene.with_videos(**{name: _mixed(scene.videos[name], rng) for name in there["videos"]})
        moved = _largest(changed.scores(users, positions) - before)
        said = f"largest change of {before.size} scores when their values change places ({_listed(there)}): {moved:.1e}"
        return at_most(
            f"invariance:{self.check}", moved, self.epsilon, said, "a model reads what it must not: remove the feature"
        )


class UnknownIds(Section):
    """Which id an unknown user has does not matter: two with the same attributes and history score alike."""

    check: Literal["unknown_ids"]
    epsilon: float = Field(ge=0)
    users: int = Field(ge=1)
    videos: int = Field(ge=2)

    def __call__(self, scene: Scene) -> Check:
        rng = scene.rng(self.check)
        users, positions = _drawn(scene, rng, self.users, self.videos)
        first = max(int(scene.users[col.USER_ID].to_numpy().max()), int(scene.models.wals.users.ids.max(initial=0))) + 1
        low = np.arange(first, first + users.num_rows, dtype=np.int64)
        one, other = (with_columns(users, {col.USER_ID: ids}) for ids in (low, low[::-1] + 1_000_003))
        moved = _largest(scene.scores(other, positions) - scene.scores(one, positions))
        said = f"largest change of {users.num_rows * len(positions)} scores of unknown users under another id: {moved:.1e}"
        return at_most(f"invariance:{self.check}", moved, self.epsilon, said, "a model computes with the value of an id")


class Draws(Section):
    """Another seed of the draws (``recommend.exploration.salt``) changes nothing above the first place of exploration."""

    check: Literal["draws"]
    max_moved: float = Field(ge=0, lt=1)
    """Share of the places above the first one of exploration that may differ."""
    users: int = Field(ge=1)

    def __call__(self, scene: Scene) -> Check:
        rng, config = scene.rng(self.check), scene.ranking
        users = scene.active.take(pa.array(np.sort(rng.permutation(scene.active.num_rows)[: self.users])))
        salted = config.exploration.model_copy(update={"salt": config.exploration.salt + "-another"})
        lists = [
            scene.listed(config.model_copy(update={"exploration": explore}), users).positions
            for explore in (config.exploration, salted)
        ]
        slots = config.exploration.slots
        above = (slots[0] - 1) if slots else config.k
        if not above or not users.num_rows:
            return absent(f"invariance:{self.check}", False, "no place above the first one of exploration")
        moved = float((lists[0][:, :above] != lists[1][:, :above]).mean())
        said = f"share of the first {above} places of {users.num_rows} users that another salt changes: {moved:.4f}"
        return at_most(f"invariance:{self.check}", moved, self.max_moved, said, "a draw reaches what it must not")


class OneLike(Section):
    """One like more of a topic does not lower that topic: its videos' mean score over planted users."""

    check: Literal["one_like"]
    min_rise: float
    """Standard deviations, of the mean over all planted users; a little below 0 for noise."""
    topics: int = Field(ge=1)
    users: int = Field(ge=1)
    """Planted users of each topic."""
    history: int = Field(ge=2)
    """Likes before, of videos drawn from the whole catalogue."""
    videos: int = Field(ge=2)
    """Videos with the tag, and as many without, over which scores are standardised."""
    min_videos: int = Field(ge=2)
    needed: bool
    """Whether a catalogue without such tags is refused."""

    def __call__(self, scene: Scene) -> Check:
        name = f"invariance:{self.check}"
        has = topics(scene, self.topics, self.min_videos)
        if not has or not scene.users.num_rows:
            return absent(name, self.needed, f"no tag on {self.min_videos} videos")
        rng, ids = scene.rng(self.check), scene.videos[col.VIDEO_ID].to_numpy()
        rows, liked = likers(scene, has, self.users, 1, rng)
        good = np.flatnonzero(eligible(scene))
        before = [rng.choice(good, min(self.history, len(good)), replace=False) for _ in rows]
        after = [np.concatenate([one, history]) for one, history in zip(liked, before, strict=True)]
        real = scene.users.take(pa.array(np.concatenate([rows, rows])))
        planted, users = plant(scene, real, [ids[history] for history in (*before, *after)])
        changes = {}
        for place, (tag, mask) in enumerate(has.items()):
            own = np.arange(place * self.users, (place + 1) * self.users)
            inside, outside = (rng.permutation(good[kind])[: self.videos] for kind in (mask[good], ~mask[good]))
            both = np.concatenate([own, own + len(rows)])
            scores = planted.scores(users.take(pa.array(both)), np.concatenate([inside, outside]))[:, : len(inside)]
            mean = scores.mean(axis=1)
            changes[tag] = float((mean[len(own) :] - mean[: len(own)]).mean())
        rise = float(np.mean(list(changes.values())))
        said = ", ".join(f"{tag} {change:+.3f}" for tag, change in changes.items())
        return at_least(
            name, rise, self.min_rise, f"one like more moves its topic by {rise:+.4f} standard deviations over "
            f"{len(rows)} planted users ({said})", "likes push away what was liked: look at signs and histories",
        )  # fmt: skip


def _drawn(scene: Scene, rng: np.random.Generator, users: int, videos: int) -> tuple[pa.Table, Ints]:
    rows = np.sort(rng.permutation(scene.active.num_rows)[:users])
    positions = np.sort(rng.permutation(np.flatnonzero(eligible(scene)))[:videos])
    return scene.active.take(pa.array(rows)), positions


def _largest(changes: npt.NDArray[np.float32]) -> float:
    return float(np.abs(changes).max(initial=0.0))


def _mixed(column: pa.ChunkedArray, rng: np.random.Generator) -> pa.ChunkedArray:
    return column.take(pa.array(rng.permutation(len(column))))


def _listed(there: dict[str, list[str]]) -> str:
    return "; ".join(f"{side}: {', '.join(names) or 'has none of them'}" for side, names in there.items())


InvarianceConfig = RowOrder | UnreadColumns | UnknownIds | Draws | OneLike
"""One entry of ``gate.invariance``: the key ``check`` names it, the others are its parameters."""
