"""What each user did last before a moment, correct to the microsecond (F4, F6). Arrow and numpy, no engine, no lake.

Events are kept in order of time, those of equal times in order of their id, so that a place among them tells before from
after. The last events of a user before a moment are then a slice of that user's places, found by two binary searches.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from conf import Section
from schemas import HISTORIES, History, InteractionType
from schemas import columns as col

EVENT_COLUMNS = (col.USER_ID, col.INTERACTION_TYPE, col.OCCURRED_AT, col.VIDEO_ID, col.QUERY)
"""What histories need of ``interactions``: the columns of ``user_history``."""

Ints = npt.NDArray[np.int64]


class HistoryConfig(Section):
    """Section ``features.history``: how many events of each kind a history holds."""

    watched: int = Field(ge=0)
    liked: int = Field(ge=0)
    seen: int = Field(ge=0)
    searched: int = Field(ge=0)

    def longest(self, name: str) -> int:
        """The length of the history called ``name``."""
        return int(getattr(self, name))


def tail(events: pa.Table, config: HistoryConfig, since: datetime) -> pa.Table:
    """The last events of each user and kind, at or after ``since``: all that the histories of later moments need.

    Args:
        events: ``EVENT_COLUMNS`` in order of time.
        config: how many of each kind.
        since: what lies before it is dropped.

    Returns:
        The kept rows, in their order.
    """
    keep = np.zeros(events.num_rows, dtype=bool)
    for name, history in HISTORIES.items():
        places = np.flatnonzero(_is(events, history.kind))
        users = events[col.USER_ID].to_numpy()[places]
        order = np.argsort(users, kind="stable")
        grouped = users[order]
        ends = np.searchsorted(grouped, grouped, side="right")
        keep[places[order[ends - np.arange(len(order)) <= config.longest(name)]]] = True
    keep &= _micros(events[col.OCCURRED_AT]) >= _micros_of(since)
    return events.filter(pa.array(keep))


def histories(events: pa.Table, users: Ints, at: Ints, config: HistoryConfig, reach: timedelta) -> dict[str, pa.ListArray]:
    """The histories of some users, each at a moment of its own.

    Args:
        events: ``EVENT_COLUMNS`` in order of time; of each user and kind at least the last ones before each moment.
        users: int64 ``(n,)``.
        at: int64 ``(n,)`` microseconds since 1970; only events strictly before them count.
        config: how many events of each kind.
        reach: events longer ago than this do not count.

    Returns:
        ``HISTORY_FIELDS``: lists ``(n,)``, newest first.
    """
    times = _micros(events[col.OCCURRED_AT])
    before, since = np.searchsorted(times, at), np.searchsorted(times, at - reach // timedelta(microseconds=1))
    found: dict[str, pa.ListArray] = {}
    for name, history in HISTORIES.items():
        places = np.flatnonzero(_is(events, history.kind))
        owners = events[col.USER_ID].to_numpy()[places]
        flat, lengths = _last(owners, places, users, (since, before), config.longest(name))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        rows = places[flat]
        ages = ((np.repeat(at, lengths) - times[rows]) // 1_000_000).astype(np.int32)
        found[history.values] = pa.ListArray.from_arrays(offsets, _values(events, history, rows))
        found[history.ages] = pa.ListArray.from_arrays(offsets, pa.array(ages))
    return found


def _last(owners: Ints, places: Ints, users: Ints, within: tuple[Ints, Ints], longest: int) -> tuple[Ints, Ints]:
    """For each query the last events of its user among some places, newest first.

    Args:
        owners: int64 ``(m,)`` user of each event.
        places: int64 ``(m,)``, ascending.
        users: int64 ``(n,)`` of the queries.
        within: int64 ``(n,)`` each: the place from which on events count, and that from which on they do not.
        longest: how many at most.

    Returns:
        Positions in ``places`` of all queries' events one after the other, and how many each query has ``(n,)``.
    """
    if not len(owners) or not longest:
        return np.empty(0, dtype=np.int64), np.zeros(len(users), dtype=np.int64)
    order = np.argsort(owners, kind="stable")
    grouped = owners[order]
    distinct, first = np.unique(grouped, return_index=True)
    span = int(places[-1]) + 2  # places are counts of events: user and place fit into one int64 below 2^31 of each
    keys = np.repeat(np.arange(len(distinct)), np.diff(np.append(first, len(grouped)))) * span + places[order]
    code = np.minimum(np.searchsorted(distinct, users), len(distinct) - 1)
    begin, end = (np.searchsorted(keys, code * span + np.minimum(places, span - 1)) for places in within)
    lengths = np.where(distinct[code] == users, np.clip(end - begin, 0, longest), 0)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat = np.repeat(end, lengths) - 1 - (np.arange(len(starts)) - starts)
    return order[flat], lengths


def _values(events: pa.Table, history: History, rows: Ints) -> pa.Array:
    if history.kind is InteractionType.SEARCH:
        return _whole(events[col.QUERY]).take(pa.array(rows)).fill_null("")
    return pa.array(_whole(events[col.VIDEO_ID]).fill_null(0).to_numpy()[rows])


def _is(events: pa.Table, kind: InteractionType) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.equal(events[col.INTERACTION_TYPE], kind.value).to_numpy()
    return found


def _micros(column: pa.ChunkedArray) -> Ints:
    found: Ints = column.cast(pa.int64()).to_numpy()
    return found


def _micros_of(moment: datetime) -> int:
    return int(pa.scalar(moment, pa.timestamp("us", tz="UTC")).value)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()
