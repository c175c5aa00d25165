"""How often a video was shown, watched and liked in the hour, the day and the week before a moment, to the microsecond.

A window that ends at a moment covers part of that moment's hour, part of the hour in which the window begins, and whole hours
between them. The parts are counted among the events of the two hours; the whole hours are running sums over ``video_hours``.
So a week costs two hours of events, whatever its size, and memory holds a few hours of events and a week of counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs._window import HOUR, micros
from schemas import TREND_COUNTERS, TRENDS, VIDEO_HOURS
from schemas import columns as col

EVENT_COLUMNS = (col.VIDEO_ID, col.INTERACTION_TYPE, col.OCCURRED_AT)
"""What trends need of ``interactions``."""

_HOUR_US = 3_600_000_000
_SPANS = tuple(sorted({trend.hours for trend in TRENDS}))
_KINDS = [kind.value for kind in TREND_COUNTERS.values()]
_PLACES = {counter: place for place, counter in enumerate(TREND_COUNTERS)}

Ints = npt.NDArray[np.int64]


class HourOfEvents:
    """The events of one hour that count, ready to be asked how many there were of a video before some moment of it."""

    def __init__(self, events: pa.Table, start: datetime) -> None:
        """Sort an hour's events.

        Args:
            events: ``EVENT_COLUMNS`` of one hour, in any order.
            start: of the hour.
        """
        kind = pc.index_in(events[col.INTERACTION_TYPE], pa.array(_KINDS)).fill_null(-1).to_numpy()
        counted = kind >= 0
        video = events[col.VIDEO_ID].fill_null(0).to_numpy()[counted]
        offset = events[col.OCCURRED_AT].cast(pa.int64()).to_numpy()[counted] - micros(start)
        self.videos, code = np.unique(video, return_inverse=True)
        self.rows = len(video)
        self._keys, self._starts = [], []
        for place in range(len(_KINDS)):
            mine = kind[counted] == place
            keys = np.sort((code[mine] << 32) | offset[mine])  # an hour has fewer than 2^32 microseconds
            self._keys.append(keys)
            self._starts.append(np.searchsorted(keys, np.arange(len(self.videos) + 1) << 32))

    def before(self, videos: Ints, offsets: Ints) -> tuple[Ints, Ints]:
        """How many events of each kind came before a moment, and in the whole hour.

        Args:
            videos: int64 ``(n,)``.
            offsets: int64 ``(n,)`` microseconds since the start of the hour.

        Returns:
            Two int64 ``(n, n_counters)``.
        """
        shape = (len(videos), len(_KINDS))
        earlier, whole = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        if not len(self.videos):
            return earlier, whole
        code = np.minimum(np.searchsorted(self.videos, videos), len(self.videos) - 1)
        known = self.videos[code] == videos
        for place, (keys, starts) in enumerate(zip(self._keys, self._starts, strict=True)):
            first = starts[code]
            earlier[:, place] = np.where(known, np.searchsorted(keys, (code << 32) | offsets) - first, 0)
            whole[:, place] = np.where(known, starts[code + 1] - first, 0)
        return earlier, whole

    def counts(self) -> pa.Table:
        """The hour's rows of ``video_hours``, ascending by video."""
        counted = [np.bincount(keys >> 32, minlength=len(self.videos)).astype(np.int64) for keys in self._keys]
        return pa.table([pa.array(self.videos), *(pa.array(column) for column in counted)], schema=VIDEO_HOURS.arrow)


class Trends:
    """Answers how often videos were shown, watched and liked before some moments, hour by hour in order of time."""

    def __init__(
        self, events: Callable[[datetime], HourOfEvents], counts: Callable[[datetime], pa.Table], hours: Iterable[datetime]
    ) -> None:
        """Learn which videos there are.

        Args:
            events: gives the events of an hour.
            counts: gives the rows of ``video_hours`` of an hour.
            hours: all whose counts may be asked for.
        """
        self._events, self._counts = events, counts
        found = [counts(hour)[col.VIDEO_ID].to_numpy() for hour in hours]
        self._videos = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
        self._sums = {span: np.zeros((len(self._videos) + 1, len(_KINDS)), dtype=np.int64) for span in _SPANS}
        self._now: datetime | None = None

    def at(self, videos: Ints, moments: Ints) -> dict[str, npt.NDArray[np.int32]]:
        """Trends of some videos, each at a moment of its own; calls in order of time are the fastest.

        Args:
            videos: int64 ``(n,)``.
            moments: int64 ``(n,)`` microseconds since 1970; only events strictly before them count.

        Returns:
            ``TREND_FIELDS``: int32 ``(n,)`` each.
        """
        answers = {trend.column: np.zeros(len(videos), dtype=np.int32) for trend in TRENDS}
        if not len(moments):
            return answers
        hours = moments // _HOUR_US
        order = np.argsort(hours, kind="stable")
        distinct, first = np.unique(hours[order], return_index=True)
        for number, rows in zip(distinct.tolist(), np.split(order, first[1:]), strict=True):
            hour = datetime.fromtimestamp(number * 3600, UTC)
            wanted, offsets = videos[rows], moments[rows] - number * _HOUR_US
            # At its very start nothing of an hour lies before, and a run as of then must not read it.
            now = self._events(hour).before(wanted, offsets)[0] if offsets.any() else np.zeros(1, dtype=np.int64)
            self._advance(hour)
            known = self._codes(wanted)
            for span in _SPANS:
                earlier, whole = self._events(hour - span * HOUR).before(wanted, offsets)
                total = self._sums[span][known] + now + whole - earlier
                for trend in TRENDS:
                    if trend.hours == span:
                        answers[trend.column][rows] = total[:, _PLACES[trend.counter]]
        return answers

    def _advance(self, hour: datetime) -> None:
        """Bring each span's sums to the whole hours between the edges of a window that ends in ``hour``."""
        if self._now is None or not self._now <= hour <= self._now + max(_SPANS) * HOUR:
            for span, sums in self._sums.items():
                sums[:] = 0
                for back in range(1, span):
                    self._add(sums, hour - back * HOUR, 1)
        else:
            while self._now < hour:
                for span, sums in self._sums.items():
                    self._add(sums, self._now, 1)
                    self._add(sums, self._now - (span - 1) * HOUR, -1)
                self._now += HOUR
        self._now = hour

    def _add(self, sums: Ints, hour: datetime, sign: int) -> None:
        rows = self._counts(hour)
        places = self._codes(rows[col.VIDEO_ID].to_numpy())
        for place, counter in enumerate(TREND_COUNTERS):
            sums[places, place] += sign * rows[counter].to_numpy()  # a video has one row an hour

    def _codes(self, videos: Ints) -> Ints:
        """Row of the sums for each video; the last one, which stays 0, for a video that nothing happened to."""
        code = np.searchsorted(self._videos, videos)
        inside = np.minimum(code, max(len(self._videos) - 1, 0))
        if not len(self._videos):
            return np.zeros(len(videos), dtype=np.int64)
        return np.where(self._videos[inside] == videos, inside, len(self._videos))
