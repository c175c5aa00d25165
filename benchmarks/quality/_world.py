"""The question that every model is asked: from what was known at a moment, which videos were relevant after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from benchmarks.quality._workspace import Workspace
from jobs._stage import Context
from jobs._tables import Partition
from jobs._window import Window, micros
from models.ids import IdMap
from schemas import EXAMPLES, INTERACTIONS, VIDEO_FEATURES, InteractionType
from schemas import columns as col
from schemas.errors import ReelflowError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
DEPTH = 100
"""Length of every judged list."""
INPUTS = ("positives", "watches")
"""What a baseline may learn from: examples with label 1, or all that was clicked or watched."""
_WATCHED = (InteractionType.CLICK.value, InteractionType.WATCH.value)
_ACTED = (*_WATCHED, InteractionType.LIKE.value, InteractionType.DISLIKE.value)


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Pairs of a user and a video in order of time, by dense ids; each ``(n,)``."""

    user: Ints
    video: Ints
    at_us: Ints

    def where(self, kept: npt.NDArray[np.bool_]) -> Events:
        """Those of a mask."""
        return Events(self.user[kept], self.video[kept], self.at_us[kept])

    def firsts(self) -> Events:
        """The first event of each pair, in order of time."""
        _, first = np.unique(self.user * (self.video.max(initial=0) + 1) + self.video, return_index=True)
        return self.where(np.sort(first))  # type: ignore[arg-type]

    def matrix(self, shape: tuple[int, int]) -> sp.csr_matrix:
        """Which pairs there are: bool CSR."""
        found = sp.coo_matrix((np.ones(len(self.user), dtype=bool), (self.user, self.video)), shape=shape).tocsr()
        found.sum_duplicates()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What was known at a moment, and what turned out relevant.

    Attributes:
        user_ids: int64 ``(n_users,)`` ascending: who acted before or is judged.
        video_ids: int64 ``(n_videos,)`` ascending: the catalogue.
        inputs: by the names of ``INPUTS``, what happened before the moment, each pair once.
        seen: bool CSR ``(n_users, n_videos)``, acted on before; in nobody's list.
        removed: bool ``(n_videos,)``, in nobody's list.
        relevant: bool CSR ``(n_users, n_videos)``, relevant after the moment and not seen before.
        judged: int64 ``(n_judged,)``: users with anything relevant.
        at_us: the moment.
    """

    user_ids: Ints
    video_ids: Ints
    inputs: Mapping[str, Events]
    seen: sp.csr_matrix
    removed: npt.NDArray[np.bool_]
    relevant: sp.csr_matrix
    judged: Ints
    at_us: int

    @property
    def shape(self) -> tuple[int, int]:
        """Users and videos."""
        return len(self.user_ids), len(self.video_ids)

    def matrix(self, name: str) -> sp.csr_matrix:
        """An input as float32 CSR of ones ``(n_users, n_videos)``."""
        return self.inputs[name].matrix(self.shape).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Both sides of the cut: what is needed to ask about any moment.

    Attributes:
        user_ids: int64 ``(n_users,)`` ascending.
        video_ids: int64 ``(n_videos,)`` ascending, the catalogue as of the cut.
        removed: bool ``(n_videos,)``.
        positives: examples with label 1, of both sides.
        watches: clicks and watches before the cut.
        acted: all that takes a video out of its user's lists, before the cut.
        cut_us: the cut.
        strange: positives after the cut of videos that the catalogue does not hold.
    """

    user_ids: Ints
    video_ids: Ints
    removed: npt.NDArray[np.bool_]
    positives: Events
    watches: Events
    acted: Events
    cut_us: int
    strange: int

    def test(self) -> World:
        """The question of the holdout."""
        return self._world(self.cut_us, np.iinfo(np.int64).max)

    def validation(self, share: float = 0.15) -> World:
        """The same question about the newest share of the positives before the cut; the holdout has no part in it."""
        known = self.positives.at_us[self.positives.at_us < self.cut_us]
        return self._world(int(np.quantile(known, 1 - share, method="lower")), self.cut_us)

    def _world(self, at_us: int, until_us: int) -> World:
        shape = (len(self.user_ids), len(self.video_ids))
        seen = self.acted.where(self.acted.at_us < at_us).matrix(shape)
        at = self.positives.at_us
        after = self.positives.where((at >= at_us) & (at < until_us)).matrix(shape)
        relevant = (after.astype(np.int8) - after.multiply(seen).astype(np.int8)).astype(bool)
        relevant.eliminate_zeros()
        inputs = {"positives": self.positives, "watches": self.watches}
        return World(
            user_ids=self.user_ids,
            video_ids=self.video_ids,
            inputs={name: events.where(events.at_us < at_us).firsts() for name, events in inputs.items()},
            seen=seen,
            removed=self.removed,
            relevant=relevant,
            judged=np.flatnonzero(np.diff(relevant.indptr)),
            at_us=at_us,
        )


def read_log(context: Context, labels: Workspace, window: Window) -> Log:
    """Read both workspaces.

    Args:
        context: of the training workspace, as of the cut.
        labels: the workspace with what came after.
        window: what ``labels`` covers.

    Raises:
        ReelflowError: nothing relevant came after the cut.
    """
    lake, cut_us = context.lake, micros(context.as_of)
    catalogue = lake.read(VIDEO_FEATURES, [Partition(context.last_day)]).sort_by(col.VIDEO_ID)
    interactions = lake.read(INTERACTIONS, lake.partitions(INTERACTIONS, context.window))
    kinds = interactions[col.INTERACTION_TYPE]
    watches, acted = (interactions.filter(pc.is_in(kinds, pa.array(names))) for names in (_WATCHED, _ACTED))
    with labels.environment():
        later = labels.context(window.end).lake
        after = _positives(later.read(EXAMPLES, later.partitions(EXAMPLES, window)))
    after = after.filter(pc.greater_equal(after[col.OCCURRED_AT], pa.scalar(context.as_of)))
    if not after.num_rows:
        raise ReelflowError(
            f"holdout: found nothing relevant at or after {context.as_of}, expected some; choose an earlier cut"
        )
    before = _positives(lake.read(EXAMPLES, lake.partitions(EXAMPLES, context.window)))
    before = before.filter(pc.less(before[col.OCCURRED_AT], pa.scalar(context.as_of)))
    positives = pa.concat_tables([part.select(_PAIR) for part in (before, after)])
    users = IdMap.of(np.concatenate([part[col.USER_ID].to_numpy() for part in (acted, positives)]))
    videos = IdMap(catalogue[col.VIDEO_ID].to_numpy())
    return Log(
        user_ids=users.ids,
        video_ids=videos.ids,
        removed=catalogue[col.REMOVED].to_numpy(),
        positives=_events(positives, users, videos),
        watches=_events(watches, users, videos),
        acted=_events(acted, users, videos),
        cut_us=cut_us,
        strange=int((videos.lookup(after[col.VIDEO_ID].to_numpy()) < 0).sum()),
    )


_PAIR = [col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT]


def _positives(examples: pa.Table) -> pa.Table:
    return examples.filter(pc.equal(examples[col.LABEL], 1))


def _events(rows: pa.Table, users: IdMap, videos: IdMap) -> Events:
    """Rows of known videos in order of time; equal times in order of user and video."""
    user, video = users.lookup(rows[col.USER_ID].to_numpy()), videos.lookup(rows[col.VIDEO_ID].to_numpy())
    at_us = rows[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    order = np.lexsort((video, user, at_us))
    found = Events(user[order], video[order], at_us[order])
    return found.where(found.video >= 0)
