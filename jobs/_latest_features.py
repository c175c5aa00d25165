"""Features of users and videos as of the end of the window: what inference reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs import _counts
from jobs._example_features import Look, trends_at
from jobs._fan_out import fan_out
from jobs._history import histories
from jobs._stage import Context
from jobs._tables import Lake, Partition
from jobs._window import DAY, micros
from models.popularity import counters_as_of
from models.rows import look_up
from schemas import INTERACTIONS, USER_FEATURES, USER_HISTORY, USERS, VIDEO_FEATURES, VIDEOS, InteractionType
from schemas import columns as col

_WATCHED = [
    kind.value for kind in (InteractionType.CLICK, InteractionType.WATCH, InteractionType.LIKE, InteractionType.DISLIKE)
]
_EVENTS = (col.USER_ID, col.VIDEO_ID, col.INTERACTION_TYPE, col.DEVICE)
_ATTRIBUTES = (col.AGE, col.GENDER, col.LANGUAGE, col.COUNTRY, col.CITY)
_FACTS = (
    col.VIDEO_ID, col.CREATOR_ID, col.LANGUAGE, col.DURATION_SECONDS, col.UPLOADED_AT, col.MISINFORMATION_SCORE,
    col.CLICKBAIT_SCORE, col.SPONSORED_BOOST,
)  # fmt: skip
_MB_PER_ROW = 20e-6


@dataclass(frozen=True, slots=True)
class _Activity:
    """What the users of some hours did."""

    watched: pa.Table
    """Distinct pairs of user and video."""
    actions: pa.Table
    """Events other than impressions of every user of the log: ``user_id``, ``interaction_count``."""
    devices: pa.Table
    """The newest device of each user who has one: ``user_id``, ``device``."""

    def __add__(self, later: _Activity) -> _Activity:
        return _Activity(
            _distinct(pa.concat_tables([self.watched, later.watched])),
            _sums(pa.concat_tables([self.actions, later.actions])),
            _newest(pa.concat_tables([self.devices, later.devices])),
        )


def user_features(context: Context, look: Look) -> pa.Table:
    """One row per user of the snapshots or the log: attributes, newest device, histories, and what was watched already."""
    lake, today = context.lake, Partition(context.last_day)
    partitions = lake.partitions(INTERACTIONS, context.window)
    rows = [found.rows + 1.0 for partition in partitions if (found := lake.manifest(INTERACTIONS, partition)) is not None]
    parts = fan_out(context, partitions, partial(_activity, lake), weights=rows, megabytes=sum(rows) * _MB_PER_ROW)
    done = reduce(_Activity.__add__, parts, _activity(lake, []))
    users = lake.read(USERS, [today])
    ids = np.union1d(users[col.USER_ID].to_numpy(), done.actions[col.USER_ID].to_numpy())
    keys = pa.array(ids)
    events = lake.read_if_made(USER_HISTORY, today)  # a log that never was has no history
    attributes = look_up(keys, users, col.USER_ID, _ATTRIBUTES)
    made = {name: attributes[name] for name in attributes.column_names}
    made[col.DEVICE] = look_up(keys, done.devices, col.USER_ID, [col.DEVICE])[col.DEVICE]
    actions = look_up(keys, done.actions, col.USER_ID, [col.INTERACTION_COUNT])[col.INTERACTION_COUNT]
    made[col.INTERACTION_COUNT] = actions.fill_null(0)
    made[col.WATCHED] = _lists(ids, done.watched)
    made |= histories(events, ids, np.full(len(ids), micros(context.as_of)), look.history, look.reach)
    return pa.table({name: made[name] for name in USER_FEATURES.columns}).cast(USER_FEATURES.arrow)


def video_features(context: Context, half_life_days: float) -> pa.Table:
    """One row per uploaded video: facts of its newest snapshot, counters of the look-back, and trends."""
    videos = context.lake.read(VIDEOS, [Partition(context.last_day)]).sort_by(col.VIDEO_ID)
    videos = videos.filter(pc.less(videos[col.UPLOADED_AT], pa.scalar(context.as_of, videos[col.UPLOADED_AT].type)))
    ids = videos[col.VIDEO_ID].to_numpy()
    made = {name: videos[name] for name in _FACTS}
    tomorrow = pa.repeat(pa.scalar(context.last_day + DAY), len(ids))
    made |= _arrays(counters_as_of(_counts.read(context), ids, tomorrow, half_life_days))
    made |= _arrays(trends_at(context.lake, ids, np.full(len(ids), micros(context.as_of))))
    countries = [None if names is None else sorted(names) for names in videos[col.BLOCKED_COUNTRIES].to_pylist()]
    made[col.BLOCKED_COUNTRIES] = pa.array([names or [] for names in countries], pa.list_(pa.string()))
    made[col.REMOVED] = videos[col.REMOVED].fill_null(False)
    return pa.table({name: made[name] for name in VIDEO_FEATURES.columns}).cast(VIDEO_FEATURES.arrow)


def _activity(lake: Lake, partitions: Sequence[Partition]) -> _Activity:
    """What the users of some hours did, read hour by hour."""
    found = _of_hour(lake.read(INTERACTIONS, [], _EVENTS))
    for partition in partitions:
        found += _of_hour(lake.read(INTERACTIONS, [partition], _EVENTS))
    return found


def _of_hour(events: pa.Table) -> _Activity:
    kind = events[col.INTERACTION_TYPE]
    acted = pc.not_equal(kind, InteractionType.IMPRESSION.value).cast(pa.int64())
    actions = pa.table({col.USER_ID: events[col.USER_ID], col.INTERACTION_COUNT: acted})
    watched = events.filter(pc.is_in(kind, pa.array(_WATCHED))).select([col.USER_ID, col.VIDEO_ID])
    devices = events.filter(pc.is_valid(events[col.DEVICE])).select([col.USER_ID, col.DEVICE])
    return _Activity(_distinct(watched), _sums(actions), _newest(devices))


def _distinct(pairs: pa.Table) -> pa.Table:
    return pairs.group_by([col.USER_ID, col.VIDEO_ID]).aggregate([])


def _sums(actions: pa.Table) -> pa.Table:
    summed = actions.group_by(col.USER_ID).aggregate([(col.INTERACTION_COUNT, "sum")])
    return summed.rename_columns([col.USER_ID, col.INTERACTION_COUNT])


def _newest(devices: pa.Table) -> pa.Table:
    """The last row of each user."""
    users = devices[col.USER_ID].to_numpy()
    _, place = np.unique(users[::-1], return_index=True)
    return devices.take(pa.array(len(users) - 1 - place)).combine_chunks()


def _lists(ids: NDArray[np.int64], pairs: pa.Table) -> pa.ListArray:
    """The videos of each user, ascending ``(n,)``."""
    users, videos = (pairs[name].to_numpy() for name in (col.USER_ID, col.VIDEO_ID))
    order = np.lexsort((videos, users))
    offsets = np.append(np.searchsorted(users[order], ids), len(users)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(videos[order]))


def _arrays(columns: dict[str, NDArray[np.float64]] | dict[str, NDArray[np.int32]]) -> dict[str, pa.Array]:
    return {name: pa.array(column) for name, column in columns.items()}
