"""Events as columns: what a day of the platform produced, and how it becomes rows of the raw contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.simulation._places import DEVICES
from schemas import RAW_INTERACTIONS, InteractionType
from schemas import columns as col

KINDS = tuple(InteractionType)
CODE = {kind: code for code, kind in enumerate(KINDS)}
RAW_SCHEMA = pa.schema([field.with_nullable(True) for field in RAW_INTERACTIONS.arrow])
"""The raw contract without its null rules, because planted errors break them."""


@dataclass(frozen=True, slots=True)
class Events:
    """Arrays of one row an event."""

    serial: NDArray[np.int64]
    """Unique; ``event_id`` is made of it."""
    kind: NDArray[np.int64]
    """Row of ``KINDS``."""
    user: NDArray[np.int64]
    """Row of the users."""
    video: NDArray[np.int64]
    """Row of the videos, -1 for none."""
    at_us: NDArray[np.int64]
    watch_seconds: NDArray[np.float64]
    """NaN for none."""
    text: NDArray[np.object_]
    """The query of a search, the comment of a comment, else None."""
    latitude: NDArray[np.float64]
    """NaN for none."""
    longitude: NDArray[np.float64]
    device: NDArray[np.int64]
    """Row of ``DEVICES``."""
    request: NDArray[np.int64]
    """-1 for none."""
    position: NDArray[np.int64]
    """-1 for none."""

    def __len__(self) -> int:
        return len(self.serial)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Events:
        """Some rows, by number or by mask."""
        return Events(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concat(parts: Sequence[Events]) -> Events:
        """The rows of all parts, one after the other."""
        return Events(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Events)))

    def to_table(self, user_ids: NDArray[np.int64], video_ids: NDArray[np.int64]) -> pa.Table:
        """Rows of the raw contract, in this order."""
        numbers = pa.array(self.serial).cast(pa.string())
        requests = pa.array(self.request, mask=self.request < 0).cast(pa.string())
        text = pa.array(self.text, pa.string())
        columns = {
            col.EVENT_ID: pc.binary_join_element_wise("e", numbers, ""),
            col.USER_ID: pa.array(user_ids[self.user]),
            col.VIDEO_ID: pa.array(video_ids[self.video], mask=self.video < 0),
            col.INTERACTION_TYPE: pa.array([kind.value for kind in KINDS]).take(pa.array(self.kind)),
            col.OCCURRED_AT: pa.array(self.at_us, pa.timestamp("us", tz="UTC")),
            col.WATCH_SECONDS: pa.array(self.watch_seconds, from_pandas=True),
            col.QUERY: _only(text, self.kind == CODE[InteractionType.SEARCH]),
            col.COMMENT: _only(text, self.kind == CODE[InteractionType.COMMENT]),
            col.LATITUDE: pa.array(self.latitude, from_pandas=True),
            col.LONGITUDE: pa.array(self.longitude, from_pandas=True),
            col.DEVICE: pa.array(DEVICES).take(pa.array(self.device)),
            col.REQUEST_ID: pc.binary_join_element_wise("r", requests, ""),
            col.POSITION: pa.array(self.position.astype(np.int32), mask=self.position < 0),
        }
        return pa.table(columns, schema=RAW_SCHEMA)


def event_ids(serial: NDArray[np.int64]) -> pa.Array:
    """The ``event_id`` of each serial number."""
    return pc.binary_join_element_wise("e", pa.array(serial).cast(pa.string()), "")


def _only(text: pa.Array, where: NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(where), text, pa.scalar(None, pa.string()))
