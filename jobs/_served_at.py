"""Whose list was live when: a join of users and times with the history, from the lake alone.

What a user was shown at a time is the list of theirs in the newest layer of the version that was live then, however long before
that it was published: rollbacks and hours that went over a day are in ``publication_switches``. As with
:class:`~serving.RecommendationReader`, a list that has expired gives way to the fallback list, as long as that has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs._served import holds, partition_of, read_switches
from jobs._tables import Lake
from jobs._window import Window, micros
from schemas import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY
from schemas import columns as col

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ASKED = "asked"
"""Of a row of :attr:`Shown.rows`: the place of its user and time among those asked for, from 0."""


@dataclass(frozen=True, slots=True)
class Span:
    """A version of the store, and the time during which it was live; ``end`` is None for the one that is live now."""

    start: datetime
    end: datetime | None
    version: int
    layers: tuple[str, ...]
    """The ``model_version`` of all lists that it shows, the full publication's first."""
    expires_at: datetime | None
    """Of the version's own lists, and of its fallback lists; None in a row from before this was kept."""
    layers_expire_at: tuple[datetime | None, ...]
    """Of the lists of each layer; None likewise."""

    def gave_way(self, layer: int, moments: Ints) -> Bools:
        """Whether readers showed a fallback list instead of one of this layer: that had expired, the fallback lists had not.

        Where either is not known, a list is taken for one that had not expired.

        Args:
            layer: its place in ``layers``.
            moments: microseconds since 1970, UTC, int64 ``(n,)``.
        """
        own, fallback = self.layers_expire_at[layer], self.expires_at
        if own is None or fallback is None:
            return np.zeros(len(moments), dtype=bool)
        return np.asarray((moments >= micros(own)) & (moments < micros(fallback)), dtype=bool)


@dataclass(frozen=True, slots=True)
class Shown:
    """What each of some users was shown at some time; those asked for are named by their place, from 0."""

    rows: pa.Table
    """The lists: ``asked``, ``version``, and the columns of ``recommendation_history``; in order of ``asked`` and rank."""
    without_list: Ints
    """Who had no list of their own at that time: they saw the fallback list of their segment."""
    expired: Ints
    """Whose own list had expired by then, while the live version had not: they saw the fallback list of their segment."""
    nothing_live: Ints
    """Whose time is before the first publication."""
    not_kept: Ints
    """Whose list may have been one that the history does not hold: forgotten since, or lost before it was kept."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What was live from when to when, oldest first."""

    spans: tuple[Span, ...]
    as_of: dict[str, datetime]
    """Of the lists, by ``model_version``."""

    @classmethod
    def read(cls, lake: Lake) -> Timeline:
        """Read it from the lake."""
        table = read_switches(lake, lake.every(PUBLICATION_SWITCHES))
        rows = table.sort_by([(name, "ascending") for name in PUBLICATION_SWITCHES.key]).to_pylist()
        ends = [*(row[col.SWITCHED_AT] for row in rows[1:]), *([None] if rows else [])]
        spans = tuple(
            Span(
                row[col.SWITCHED_AT],
                end,
                row[col.VERSION],
                tuple(row[col.LAYERS]),
                row[col.EXPIRES_AT],
                tuple(row[col.LAYERS_EXPIRE_AT] or [None] * len(row[col.LAYERS])),
            )
            for row, end in zip(rows, ends, strict=True)
            if row[col.SWITCHED_AT] != end  # another switch within the same second
        )
        return cls(spans, {row[col.MODEL_VERSION]: row[col.AS_OF] for row in rows})

    def within(self, window: Window) -> list[Span]:
        """The spans that touch a window, the one that was live at its start with them."""
        return [span for span in self.spans if span.start < window.end and (span.end is None or span.end > window.start)]

    def at(self, moments: Ints) -> Ints:
        """The span in which each of some moments lies, -1 before the first.

        Args:
            moments: microseconds since 1970, UTC, int64 ``(n,)``.
        """
        starts = np.array([micros(span.start) for span in self.spans], dtype=np.int64)
        return np.asarray(np.searchsorted(starts, moments, side="right") - 1, dtype=np.int64)


def shown(lake: Lake, user_ids: Ints, moments: Ints, k: int | None = None) -> Shown:
    """What each user was shown at a time.

    Holds the lists of those asked for in memory: ask day by day. Of the lake only the partitions are read that were live then.

    Args:
        lake: that publications were kept in.
        user_ids: who, int64 ``(n,)``; a user may be asked for many times.
        moments: when, in microseconds since 1970, UTC, int64 ``(n,)``.
        k: only the first k of each list.

    Raises:
        TableError: a partition of the history is archived; the message names the command that restores it.
    """
    timeline = Timeline.read(lake)
    spans = timeline.at(moments)
    wanted = _wanted(timeline, spans)
    lists = {name: _lists(lake, name, timeline.as_of[name], user_ids[asked], k) for name, asked in wanted.items()}
    chosen, open_ = np.full(len(user_ids), -1, dtype=np.int64), spans >= 0
    names, not_kept, expired = list(lists), np.zeros(len(user_ids), dtype=bool), np.zeros(len(user_ids), dtype=bool)
    for number in sorted({*spans[spans >= 0].tolist()}):
        inside, span = np.flatnonzero(spans == number), timeline.spans[number]
        for layer, name in reversed([*enumerate(span.layers)]):
            rows, left = lists[name], inside[open_[inside]]
            if rows is None:
                not_kept[left], open_[left] = True, False
            else:
                theirs = left[np.isin(user_ids[left], rows[col.USER_ID].to_numpy())]
                expired[theirs] = span.gave_way(layer, moments[theirs])
                chosen[theirs[~expired[theirs]]], open_[theirs] = names.index(name), False
    versions = np.array([span.version for span in timeline.spans], dtype=np.int64)
    parts = []
    for number, rows in enumerate(lists.values()):
        if rows is not None and len(asked := np.flatnonzero(chosen == number)):
            parts.append(_joined(rows, asked, user_ids[asked], versions[spans[asked]]))
    return Shown(
        rows=_in_order(parts),
        without_list=np.flatnonzero(open_),
        expired=np.flatnonzero(expired),
        nothing_live=np.flatnonzero(spans < 0),
        not_kept=np.flatnonzero(not_kept),
    )


def _wanted(timeline: Timeline, spans: Ints) -> dict[str, Ints]:
    """For each ``model_version`` that may be the answer, the places of those who may have its list."""
    found: dict[str, list[Ints]] = {}
    for number in sorted({*spans[spans >= 0].tolist()}):
        for name in timeline.spans[number].layers:
            found.setdefault(name, []).append(np.flatnonzero(spans == number))
    return {name: np.concatenate(places) for name, places in found.items()}


def _lists(lake: Lake, name: str, as_of: datetime, user_ids: Ints, k: int | None) -> pa.Table | None:
    """The lists of some users, in order of user and rank; None where the history does not hold this ``model_version``."""
    partition = partition_of(as_of)
    if not holds(lake, partition, name):
        return None
    users = np.unique(user_ids)
    user = pc.field(col.USER_ID)
    # The bounds let whole row groups be left out.
    wanted = (pc.field(col.MODEL_VERSION) == name) & (user >= users[0]) & (user <= users[-1]) & user.isin(pa.array(users))
    if k is not None:
        wanted &= pc.field(col.RANK) <= k
    files = lake.files(RECOMMENDATION_HISTORY, [partition])
    rows = pq.read_table(files, columns=list(RECOMMENDATION_HISTORY.columns), filters=wanted, partitioning=None)
    return rows.cast(RECOMMENDATION_HISTORY.arrow).sort_by([(col.USER_ID, "ascending"), (col.RANK, "ascending")])


def _joined(rows: pa.Table, asked: Ints, user_ids: Ints, versions: Ints) -> pa.Table:
    """The rows of each of those asked for, all of whom have some."""
    owners = rows[col.USER_ID].to_numpy()
    first, end = np.searchsorted(owners, user_ids, side="left"), np.searchsorted(owners, user_ids, side="right")
    lengths = end - first
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(first, lengths)
    found = rows.take(pa.array(places))
    return found.add_column(0, col.VERSION, pa.array(np.repeat(versions, lengths))).add_column(
        0, ASKED, pa.array(np.repeat(asked, lengths))
    )


def _in_order(parts: Sequence[pa.Table]) -> pa.Table:
    schema = pa.schema([(ASKED, pa.int64()), (col.VERSION, pa.int64()), *RECOMMENDATION_HISTORY.arrow])
    return pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)]).sort_by(
        [(ASKED, "ascending"), (col.RANK, "ascending")]
    )
