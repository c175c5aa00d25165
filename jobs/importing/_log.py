"""From rows of a public data set to hours of raw interactions: one source row becomes a few events, seconds apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from jobs.importing._raw import write_hours
from schemas import RAW_INTERACTIONS, InteractionType
from schemas import columns as col

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_ROWS_AT_ONCE = 250_000


@dataclass(frozen=True, slots=True)
class Step:
    """Events of one kind that some source rows give."""

    kind: InteractionType
    rows: NDArray[np.bool_]
    after_us: int
    """How long after the row's own instant."""
    watch_seconds: NDArray[np.float64] | None = None
    """On a watch, where it is known: one value a source row."""


@dataclass(frozen=True, slots=True)
class Written:
    """What ``write_log`` wrote."""

    events: int
    hours: int
    last_us: int


def build_events(
    *,
    prefix: str,
    stamp: pa.Array,
    user: NDArray[np.int64],
    video: NDArray[np.int64],
    at_us: NDArray[np.int64],
    steps: Iterable[Step],
) -> pa.Table:
    """Events of the raw contract; the id of each is ``prefix-user-video-stamp-kind``.

    Args:
        prefix: names the source.
        stamp: text of each row's instant, as it goes into the ids.
        user: shape ``(n,)``.
        video: shape ``(n,)``.
        at_us: shape ``(n,)``.
        steps: the events; all rows of the first, then all of the second, and so on.
    """
    stem = pc.binary_join_element_wise(prefix, pa.array(user).cast(pa.string()), pa.array(video).cast(pa.string()), stamp, "-")
    parts = []
    for step in steps:
        mask = pa.array(step.rows)
        n = int(step.rows.sum())
        known = {
            col.EVENT_ID: pc.binary_join_element_wise(stem.filter(mask), step.kind.value, "-"),
            col.USER_ID: pa.array(user[step.rows]),
            col.VIDEO_ID: pa.array(video[step.rows]),
            col.INTERACTION_TYPE: pa.repeat(step.kind.value, n),
            col.OCCURRED_AT: pa.array(at_us[step.rows] + step.after_us, pa.timestamp("us", tz="UTC")),
        }
        if step.watch_seconds is not None:
            known[col.WATCH_SECONDS] = pa.array(step.watch_seconds[step.rows])
        schema = RAW_INTERACTIONS.arrow
        parts.append(pa.table([known.get(field.name, pa.nulls(n, field.type)) for field in schema], schema=schema))
    return pa.concat_tables(parts)


def write_log(root: Path, at_us: NDArray[np.int64], build: Callable[[slice], pa.Table]) -> Written:
    """Write the events of time-ordered source rows, a bounded number of them in memory at once.

    Events may fall into a later hour than their source row; they wait until no more rows can reach that hour.

    Args:
        root: folder of the raw logs.
        at_us: ascending instants of the source rows.
        build: the events of a slice of the source rows, none before its row.
    """
    events, hours, last_us = 0, 0, int(at_us[-1])
    waiting = RAW_INTERACTIONS.arrow.empty_table()
    for begin in tqdm(range(0, len(at_us), _ROWS_AT_ONCE), desc="writing", unit="block", leave=False, disable=None):
        end = begin + _ROWS_AT_ONCE
        rows = pa.concat_tables([waiting, build(slice(begin, end))])
        times = rows[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
        last_us = max(last_us, int(times.max()))
        settled = times < at_us[end] // HOUR_US * HOUR_US if end < len(at_us) else np.ones(len(times), bool)
        waiting = rows.filter(pa.array(~settled))
        hours += len(write_hours(root, rows.filter(pa.array(settled))))
        events += int(settled.sum())
    return Written(events, hours, last_us)


def first_instants(keys: NDArray[np.int64], at_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each key once, ascending, with its first instant; ``at_us`` ascends."""
    found, first = np.unique(keys, return_index=True)
    return found, at_us[first]


def date_of(at_us: int) -> str:
    """UTC date of an instant."""
    return str(np.datetime64(at_us, "us").astype("datetime64[D]"))
