"""Lists as PostgreSQL's ``COPY ... (FORMAT binary)`` takes them, made from Arrow without a loop over rows.

The format is that of the manual's page on COPY: a header, then each row as a count of fields and each field behind its length
in bytes, all big-endian. An array's elements lie one behind the other, each behind its length, so the elements of all lists are
written at once and each list is a slice of them; one call joins the pieces of every row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving.postgres._schema import LISTED

__all__ = ["HEADER", "TRAILER", "encoded"]

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

# The type's number in pg_type, which never changes, and a number's layout.
_TEXT = 25
_NUMBERS = {"int64": (20, ">i8"), "float64": (701, ">f8"), "float32": (700, ">f4")}
_ROW = np.dtype(
    [("fields", ">i2"), ("a", ">i4"), ("version", ">i4"), ("b", ">i4"), ("user_id", ">i8"), ("c", ">i4"), ("rows", ">i4")]
)
_ARRAY = np.dtype([(name, ">i4") for name in ("size", "dimensions", "nulls", "type", "length", "first")])


def encoded(version: int, lists: pa.Table, starts: npt.NDArray[np.int64]) -> memoryview:
    """Encode lists as rows of the tables ``full_lists`` and ``delta_lists``.

    Args:
        version: what they are of.
        lists: rows of ``schemas.RECOMMENDATIONS`` without nulls, each list in one piece and ordered by rank.
        starts: int64 (n_lists,), where each list begins.
    """
    ends = np.append(starts, lists.num_rows)
    lengths = np.diff(ends)
    head = np.empty(len(starts), _ROW)
    head["fields"], head["version"], head["rows"] = 3 + len(LISTED), version, lengths
    head["user_id"] = lists["user_id"].to_numpy()[starts]
    head["a"], head["b"], head["c"] = 4, 8, 4
    pieces = [_slices(head, np.arange(len(head) + 1) * _ROW.itemsize)]
    for field in LISTED:
        column = lists[field.name].combine_chunks()
        kind, data, cuts = _texts(column) if field.type == "string" else _numbers(column, *_NUMBERS[field.type])
        array = np.empty(len(starts), _ARRAY)
        array["dimensions"], array["nulls"], array["type"], array["length"], array["first"] = 1, 0, kind, lengths, 1
        array["size"] = _ARRAY.itemsize - 4 + np.diff(cuts[ends])
        pieces += [_slices(array, np.arange(len(array) + 1) * _ARRAY.itemsize), _slices(data, cuts[ends])]
    joined = pc.binary_join_element_wise(*pieces, b"")
    bounds = np.frombuffer(joined.buffers()[1], np.int32)
    return memoryview(joined.buffers()[2])[: int(bounds[len(joined)])]


def _numbers(column: pa.Array, kind: int, layout: str) -> tuple[int, npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """The elements of all lists, and where each begins and the last ends."""
    items = np.empty(len(column), np.dtype([("size", ">i4"), ("value", layout)]))
    items["size"], items["value"] = items.dtype["value"].itemsize, column.to_numpy()
    return kind, items, np.arange(len(column) + 1) * items.itemsize


def _texts(column: pa.Array) -> tuple[int, pa.Buffer, npt.NDArray[np.int64]]:
    """As :func:`_numbers`."""
    sizes = pc.binary_length(column).to_numpy().astype(">i4")
    items = pc.binary_join_element_wise(_slices(sizes, np.arange(len(sizes) + 1) * 4), column.cast(pa.binary()), b"")
    return _TEXT, items.buffers()[2], np.frombuffer(items.buffers()[1], np.int32)[: len(items) + 1].astype(np.int64)


def _slices(data: npt.NDArray[np.generic] | pa.Buffer, cuts: npt.NDArray[np.int64]) -> pa.Array:
    """Bytes between cuts, without a copy; int64 (n + 1,)."""
    buffer = data if isinstance(data, pa.Buffer) else pa.py_buffer(data)
    return pa.Array.from_buffers(pa.binary(), len(cuts) - 1, [None, pa.py_buffer(cuts.astype(np.int32)), buffer])
