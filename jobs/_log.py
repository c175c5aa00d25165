"""The clean log as features read it: what a stretch of it holds, its hours one by one, and its users' last events."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from datetime import date, datetime, timedelta
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from jobs import _history, _trends
from jobs._history import HistoryConfig, tail
from jobs._recipe import canonical
from jobs._tables import Lake, Partition
from jobs._trends import HourOfEvents
from jobs._window import DAY, HOUR, Window, floor_hour, micros, midnight
from schemas import INTERACTIONS, VIDEO_HOURS
from schemas import columns as col

_ROWS_AT_A_TIME = 250_000
_ROWS_KEPT = 1_000_000  # an hour is needed by its own examples and by those of 1, 24 and 168 hours later
_HOURS_KEPT = 170  # of counts: the window of a week forgets the hour that it leaves

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class EventLog:
    """What the hours of a window hold, from their manifests, each read once."""

    def __init__(self, lake: Lake, window: Window, pending: Collection[Partition] = ()) -> None:
        """Read the manifests.

        Args:
            lake: holds ``interactions``.
            window: whole hours.
            pending: hours that are yet to be made.
        """
        self._coming = sorted(partition for partition in pending if window.start <= partition.start < window.end)
        self._starts = [partition.start for partition in self._coming]
        self._digests: dict[datetime, str] = {}
        rows = dict.fromkeys(self._starts, 0)
        for partition in lake.partitions(INTERACTIONS, window):
            found = lake.manifest(INTERACTIONS, partition)
            if found is not None:
                self._digests[partition.start], rows[partition.start] = found.digest, found.rows
        self.hours = sorted(rows)
        """The start of every hour that is there or to come."""
        self._so_far = [0, *np.cumsum([rows[hour] for hour in self.hours]).tolist()]
        self._days: dict[date, str] = {}

    def rows(self, window: Window) -> int:
        """Interactions of a window."""
        return self.rows_before(window.end) - self.rows_before(window.start)

    def rows_before(self, moment: datetime) -> int:
        """Interactions of all hours before one."""
        return int(self._so_far[bisect_left(self.hours, moment)])

    def coming(self, window: Window) -> list[Partition]:
        """Hours of a window that are yet to be made."""
        return self._coming[bisect_left(self._starts, window.start) : bisect_left(self._starts, window.end)]

    def digest(self, window: Window) -> str:
        """One digest of the content of a window of whole hours."""
        summary = {}
        at = window.start
        while at < window.end:
            whole = at == midnight(at.date()) and at + DAY <= window.end
            summary[at.isoformat()] = self._of_day(at.date()) if whole else self._digests.get(at, "")
            at += DAY if whole else HOUR
        return hashlib.sha256(canonical({key: value for key, value in summary.items() if value}).encode()).hexdigest()

    def _of_day(self, day: date) -> str:
        """Digest of a whole day, empty where it holds nothing."""
        if day not in self._days:
            hours = self.hours[bisect_left(self.hours, midnight(day)) : bisect_left(self.hours, midnight(day) + DAY)]
            found = {hour.isoformat(): self._digests.get(hour, "") for hour in hours}
            self._days[day] = hashlib.sha256(canonical(found).encode()).hexdigest() if any(found.values()) else ""
        return self._days[day]


class Recent(Generic[K, V]):
    """Remembers what was made last, up to a size; asked for something else, makes it."""

    def __init__(self, make: Callable[[K], V], room: int, size: Callable[[V], int] = lambda _: 1) -> None:
        self._make, self._room, self._size = make, room, size
        self._held: OrderedDict[K, V] = OrderedDict()
        self._used = 0

    def __call__(self, key: K) -> V:
        """The value of a key."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        value = self._held[key] = self._make(key)
        self._used += self._size(value)
        while self._used > self._room and len(self._held) > 1:
            self._used -= self._size(self._held.popitem(last=False)[1])
        return value


def hours_of_events(lake: Lake) -> Recent[datetime, HourOfEvents]:
    """Gives hours of the log for trends; an hour that is not there is empty."""

    def read(hour: datetime) -> HourOfEvents:
        return HourOfEvents(lake.read_if_made(INTERACTIONS, Partition.hour(hour), _trends.EVENT_COLUMNS), hour)

    return Recent(read, _ROWS_KEPT, lambda hour: hour.rows + 1000)


def hours_of_counts(lake: Lake) -> Recent[datetime, pa.Table]:
    """Gives hours of ``video_hours``; an hour that is not there is empty."""
    return Recent(lambda hour: lake.read_if_made(VIDEO_HOURS, Partition.hour(hour)), _HOURS_KEPT)


class LastEvents:
    """The last events of each user, as time goes on."""

    def __init__(self, lake: Lake, config: HistoryConfig, reach: timedelta, state: pa.Table, at: datetime) -> None:
        """Begin with what is known at a moment.

        Args:
            lake: holds ``interactions``.
            config: how many events of each kind.
            reach: what is longer ago is dropped.
            state: rows of ``user_history`` as of ``at``.
            at: a whole hour.
        """
        self._lake, self._config, self._reach = lake, config, reach
        self._held, self._until = state, at

    @property
    def until(self) -> datetime:
        """Everything before this hour was read."""
        return self._until

    def as_of(self, moment: datetime) -> pa.Table:
        """Rows of ``user_history`` as of a whole hour, not before ``until``."""
        read = 0
        while self._until < moment:
            hour = self._next_hour()
            self._held = pa.concat_tables([self._held, hour])
            read += hour.num_rows
            if read > _ROWS_AT_A_TIME:
                self._forget(self._until)
                read = 0
        self._forget(moment)
        return self._held

    def within(self, window: Window) -> pa.Table:
        """All that histories as of any moment of a window need; windows come in order of time and may overlap."""
        start = floor_hour(window.start)
        if self._until < start:
            self.as_of(start)
        parts = [self._held]
        while self._until < window.end:
            parts.append(self._next_hour())
        self._held = pa.concat_tables(parts)
        self._forget(start)
        return self._held

    def _next_hour(self) -> pa.Table:
        hour = Partition.hour(self._until)
        self._until += HOUR
        return self._lake.read_if_made(INTERACTIONS, hour, _history.EVENT_COLUMNS)

    def _forget(self, moment: datetime) -> None:
        """Keep of what came before a moment only the last events of each user."""
        at = self._held[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
        cut = int(np.searchsorted(at, micros(moment)))
        before = tail(self._held.slice(0, cut), self._config, moment - self._reach)
        self._held = pa.concat_tables([before, self._held.slice(cut)]).combine_chunks()
