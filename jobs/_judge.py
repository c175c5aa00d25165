"""What becomes of the rows of one raw hour: kept, dropped as duplicates, or refused with a reason. No engine, no lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from conf import Section
from jobs._arrow import in_order_of_time, mask
from jobs._erased import Erased
from jobs._window import HOUR
from jobs.reading import Flaws, RawFile, RawReader, Rows
from schemas import INTERACTIONS, RAW_INTERACTIONS, REJECTED, InteractionType, RejectReason
from schemas import columns as col

KEPT, DUPLICATE, REFUSED, ERASED = "kept", "duplicate", "rejected", "erased"
"""What becomes of a row; an erased one is counted, and nothing of it is kept."""
_CARRIED = tuple(name for name in INTERACTIONS.columns if name != col.DURATION_SECONDS)
_TIE = tuple(name for name in _CARRIED if name not in (col.EVENT_ID, col.OCCURRED_AT))
_UNKNOWN = "_unknown"
_DURATION = INTERACTIONS.field(col.DURATION_SECONDS).arrow

Refusal = dict[str, str | None]
"""One row of REJECTED."""


class IngestConfig(Section):
    """Section ``ingest``."""

    max_watch_seconds: float
    """A watch longer than this is a broken clock and is rejected."""


@dataclass(frozen=True, slots=True)
class Durations:
    """The videos that exist: ids ascending, and seconds of each, both ``(n,)``."""

    video_ids: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]

    def find(self, wanted: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Seconds of each wanted video, NaN where it is null or unknown, and whether it is known."""
        ids = wanted.fill_null(0).to_numpy()
        if not len(self.video_ids):
            return np.full(len(ids), np.nan), np.zeros(len(ids), dtype=bool)
        places = np.minimum(np.searchsorted(self.video_ids, ids), len(self.video_ids) - 1)
        known = (self.video_ids[places] == ids) & mask(wanted.is_valid())
        return np.where(known, self.seconds[places], np.nan), known


@dataclass(frozen=True, slots=True)
class Judged:
    """The rows of an hour: INTERACTIONS and REJECTED in their order, and how many there are of each fate and each reason."""

    kept: pa.Table
    refused: pa.Table
    counts: dict[str, int]
    read: int
    event_ids: pa.Array
    """Of all sound rows, duplicates too: what the next hour must not repeat."""
    unknown_columns: frozenset[str]


def judge(
    hour: datetime,
    files: Sequence[RawFile],
    before: pa.Array,
    durations: Durations,
    config: IngestConfig,
    *,
    erased: Erased,
) -> Judged:
    """Decide for every row of an hour's files what becomes of it.

    Args:
        hour: its start.
        files: of its directory.
        before: the ``event_ids`` of the hour before it.
        durations: the videos that exist.
        config: limits.
        erased: users whose rows are left out, after everything else is decided: what becomes of other rows does not depend on
            who was erased.
    """
    sieve = _Sieve(hour, durations, config)
    read, unknown_columns = sieve.take_all(files)
    rows = sieve.rows()
    repeated = repeats(rows, before)
    stranger = rows[_UNKNOWN].to_numpy()
    refused = sieve.refused + [sieve.strangers[n] for n in stranger[~repeated & (stranger >= 0)]]
    sound = rows.filter(pa.array(~repeated & (stranger < 0)))
    kept = in_order_of_time(sound.filter(pa.array(~erased.holds(sound[col.USER_ID]))))
    named = [row for row in refused if not erased.in_record(row[col.RECORD])]
    gone = sound.num_rows - kept.num_rows + len(refused) - len(named)
    reasons = Counter(str(row[col.REASON]) for row in named)
    fates = {KEPT: kept.num_rows, DUPLICATE: int(repeated.sum()), REFUSED: len(named), ERASED: gone}
    counts = {name: count for name, count in {**fates, **reasons}.items() if count}
    return Judged(
        kept.select(INTERACTIONS.columns).cast(INTERACTIONS.arrow),
        refusals(named),
        counts,
        read,
        rows[col.EVENT_ID].combine_chunks(),
        frozenset(unknown_columns),
    )


def sound_ids(hour: datetime, files: Sequence[RawFile], config: IngestConfig) -> pa.Array:
    """The ``event_ids`` of an hour that is only needed for what its successor must not repeat."""
    sieve = _Sieve(hour, None, config)
    sieve.take_all(files)
    ids: pa.Array = sieve.rows()[col.EVENT_ID].combine_chunks()
    return ids


def repeats(rows: pa.Table, before: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows repeat an ``event_id`` of the hour before, or of an earlier row; of equal times the smaller row is first."""
    ids = rows[col.EVENT_ID].combine_chunks()
    repeated = mask(pc.is_in(ids, value_set=before)).copy()
    codes = ids.dictionary_encode().indices.to_numpy() if len(ids) else np.empty(0, dtype=np.int32)
    often = np.flatnonzero((np.bincount(codes) > 1)[codes]) if len(codes) else codes
    if len(often):
        group = rows.take(pa.array(often)).append_column("_code", pa.array(codes[often]))
        order = pc.sort_indices(group, sort_keys=[(name, "ascending") for name in ("_code", col.OCCURRED_AT, *_TIE)]).to_numpy()
        ordered = codes[often][order]
        repeated[often[order[1:][ordered[1:] == ordered[:-1]]]] = True
    return repeated


def refusals(rows: Iterable[Refusal]) -> pa.Table:
    """Rows of REJECTED in the table's own order."""
    ordered = sorted(rows, key=lambda row: tuple(row[name] or "" for name in REJECTED.columns))
    return pa.Table.from_pylist(ordered, REJECTED.arrow)


def without(flaws: Flaws, rows: int) -> npt.NDArray[np.bool_]:
    """Which of so many rows have no flaw."""
    sound = np.ones(rows, dtype=bool)
    sound[flaws.rows] = False
    return sound


def refused_rows(source: str, file: str, batch: Rows, flaws: Flaws) -> list[Refusal]:
    """Rows of REJECTED for the flawed rows of a batch."""
    said = zip(flaws.reasons, flaws.details, batch.records(flaws.rows), strict=True)
    return [refusal(source, file, reason, detail, record) for reason, detail, record in said]


def refusal(source: str, file: str, reason: str, detail: str, record: str | None) -> Refusal:
    """One row of REJECTED."""
    return {col.SOURCE: source, col.FILE: file, col.REASON: reason, col.DETAIL: detail, col.RECORD: record}


@dataclass(slots=True)
class _Sieve:
    """Sorts rows into sound ones, those of a video that is unknown, and refused ones."""

    hour: datetime
    durations: Durations | None
    """The videos that exist; None where that does not matter."""
    config: IngestConfig
    sound: list[pa.Table] = field(default_factory=list)
    """With ``_unknown``: a place in ``strangers``, or -1."""
    strangers: list[Refusal] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def take_all(self, files: Sequence[RawFile]) -> tuple[int, set[str]]:
        """Sort the rows of some files; returns how many they hold, and the columns that the contract does not know."""
        read, unknown_columns = 0, set[str]()
        for file in files:
            reader = RawReader(file, RAW_INTERACTIONS)
            for batch in reader.batches():
                self._take(batch, "/".join(file.path.parts[-4:]))
            read += reader.rows
            unknown_columns |= reader.unknown_columns
        return read, unknown_columns

    def rows(self) -> pa.Table:
        """All sound rows, in one chunk a column."""
        return pa.concat_tables([_nothing(), *self.sound]).combine_chunks()

    def _take(self, batch: Rows, file: str) -> None:
        flaws, videos = self._flaws(batch), batch.table[col.VIDEO_ID]
        good = without(flaws, batch.table.num_rows)
        self.refused += refused_rows(RAW_INTERACTIONS.name, file, batch, flaws)
        seconds, known = self.durations.find(videos) if self.durations else (np.full(len(good), np.nan), good)
        unknown = np.flatnonzero(good & ~known & mask(videos.is_valid()))
        stranger = np.full(batch.table.num_rows, -1, dtype=np.int64)
        stranger[unknown] = np.arange(len(unknown)) + len(self.strangers)
        for row, record in zip(unknown.tolist(), batch.records(unknown), strict=True):
            detail = batch.shown(col.VIDEO_ID, row)
            self.strangers.append(refusal(RAW_INTERACTIONS.name, file, RejectReason.UNKNOWN_VIDEO.value, detail, record))
        rows = batch.table.select(_CARRIED).append_column(_UNKNOWN, pa.array(stranger))
        rows = rows.append_column(_DURATION, pa.array(seconds, mask=~known))
        self.sound.append(rows if good.all() else rows.filter(pa.array(good)))

    def _flaws(self, batch: Rows) -> Flaws:
        """What the contract says, and the rules of the interaction log beyond types and ranges."""
        table, flaws = batch.table, batch.flaws
        at, no_video = table[col.OCCURRED_AT], pc.is_null(table[col.VIDEO_ID])
        no_search = pc.fill_null(pc.not_equal(table[col.INTERACTION_TYPE], InteractionType.SEARCH.value), True)
        too_long = pc.greater(table[col.WATCH_SECONDS], self.config.max_watch_seconds)
        elsewhere = pc.or_(pc.less(at, self.hour), pc.greater_equal(at, self.hour + HOUR))
        rules: tuple[tuple[pa.ChunkedArray, RejectReason, Callable[[int], str]], ...] = (
            (pc.and_(no_video, no_search), RejectReason.MISSING_VALUE, lambda _: f"{col.VIDEO_ID} is null"),
            (too_long, RejectReason.OUT_OF_RANGE, lambda row: batch.shown(col.WATCH_SECONDS, row)),
            (
                elsewhere,
                RejectReason.OUTSIDE_PARTITION,
                lambda row: f"{batch.shown(col.OCCURRED_AT, row)} does not lie in the directory's hour",
            ),
        )
        for broken, reason, detail in rules:
            flaws = flaws.add(mask(broken), reason, detail)
        return flaws


def _nothing() -> pa.Table:
    fields = [RAW_INTERACTIONS.field(name).arrow for name in _CARRIED]
    return pa.schema([*fields, pa.field(_UNKNOWN, pa.int64()), _DURATION]).empty_table()
