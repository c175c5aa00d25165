"""Small operations on Arrow tables that several stages need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas import columns as col


def in_order_of_time(rows: pa.Table) -> pa.Table:
    """Rows in order of ``(occurred_at, event_id)``: by time as numbers, and texts are compared only where times are equal."""
    at = rows[col.OCCURRED_AT].cast(pa.int64()).to_numpy()
    order = np.argsort(at, kind="stable")
    equal = at[order][1:] == at[order][:-1]
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False)) if len(equal) else np.empty(0, dtype=np.int64)
    if len(tied):
        group = rows.select([col.OCCURRED_AT, col.EVENT_ID]).take(pa.array(order[tied]))
        keys = [(col.OCCURRED_AT, "ascending"), (col.EVENT_ID, "ascending")]
        order[tied] = order[tied][pc.sort_indices(group, sort_keys=keys).to_numpy()]
    return rows if _ascending(order) else rows.take(pa.array(order))


def mask(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """A column of booleans as bool (n,); null counts as false."""
    found: npt.NDArray[np.bool_] = column.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _ascending(order: npt.NDArray[np.int64]) -> bool:
    return bool((order[1:] > order[:-1]).all())
