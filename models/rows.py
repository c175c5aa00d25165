"""Rows of Arrow tables by key: the one row of a key, or the one that held at a moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas import columns as col

Ints = npt.NDArray[np.int64]


HISTORY_ROW = "history_row"
"""Column of examples whose histories lie apart: the row of each one's there."""


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one contiguous array; a dictionary-encoded one is decoded."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.dictionary_decode() if isinstance(whole, pa.DictionaryArray) else whole


def look_up(keys: pa.Array | pa.ChunkedArray, table: pa.Table, key: str, columns: Sequence[str]) -> pa.Table:
    """The rows of ``table`` for ``keys``, in the order of ``keys``.

    Args:
        keys: values of the key (n,).
        table: unique in ``key``.
        key: name of the key column.
        columns: which further columns to bring.

    Returns:
        n rows: ``key`` as given, then ``columns``; a key that the table does not hold has nulls.
    """
    whole = one_chunk(keys)
    rows = pc.index_in(whole, value_set=one_chunk(table.column(key)))
    found = {name: one_chunk(table.column(name)).take(rows) for name in columns}
    return pa.table({key: whole, **found})


def rows_as_of(keys: Ints, moments: Ints, versions: pa.Table, key: str) -> Ints:
    """Which row of a table of versions held for each key at a moment.

    The newest version at or before the moment; before the first one, the first: what a first snapshot says of a video or a user
    was so from the start, as far as anyone knows.

    Args:
        keys: int64 ``(n,)``.
        moments: int64 ``(n,)`` microseconds since 1970.
        versions: with ``key`` and ``valid_from``, ascending by both.
        key: name of the key column.

    Returns:
        int64 ``(n,)`` rows of ``versions``; -1 for a key that it does not hold.
    """
    ids = one_chunk(versions.column(key)).to_numpy()
    if not len(ids):
        return np.full(len(keys), -1, dtype=np.int64)
    starts = one_chunk(versions.column(col.VALID_FROM)).cast(pa.int64()).to_numpy()
    first = np.searchsorted(ids, keys, side="left")
    last = np.searchsorted(ids, keys, side="right") - 1
    row = first.astype(np.int64)
    # Few ids have more than one version: only those are looked at again, one version further at a time.
    open_rows = np.flatnonzero(last > first)
    while len(open_rows):
        following = row[open_rows] + 1
        onwards = (following <= last[open_rows]) & (starts[np.minimum(following, len(starts) - 1)] <= moments[open_rows])
        open_rows = open_rows[onwards]
        row[open_rows] += 1
    return np.where(last >= first, row, -1)
