"""Names and ranks as the texts of a table's columns, by whole arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ranks = NDArray[np.int32]
Places = NDArray[np.integer]


def ranked(names: Sequence[str], which: Places, ranks: Ranks) -> pa.StringArray:
    """Name and rank, such as ``retrieval:3``, of each of ``which`` ``(n,)``, places in ``names``, and ``ranks`` ``(n,)``."""
    size = int(ranks.max(initial=0)) + 1
    # Few different ones: each is written once.
    name, rank = np.divmod(np.arange(len(names) * size), size)
    texts = pc.binary_join_element_wise(pc.take(pa.array(names, pa.string()), pa.array(name)), numbers(rank), ":")
    return pc.take(texts, pa.array(which * size + ranks))


def numbers(values: Places) -> pa.StringArray:
    """Numbers as texts."""
    return pc.cast(pa.array(values), pa.string())


def joined(cell: Places, texts: pa.StringArray, n_cells: int) -> pa.StringArray:
    """The texts of each cell with ``|`` between them; null for a cell without any.

    Args:
        cell: int64 ``(n,)``, ascending, whose text each is.
        texts: ``(n,)``.
        n_cells: how many cells there are.
    """
    counts = np.bincount(cell, minlength=n_cells)
    bounds = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(bounds, texts, mask=pa.array(counts == 0)), "|")
