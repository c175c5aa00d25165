"""Vocabularies: external values in, dense codes out, with one written policy for what is missing, unknown or rare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.rows import one_chunk

MISSING = 0
"""Code of a null."""
UNKNOWN = 1
"""Code of a value that training did not see, or saw too rarely to learn from."""
RESERVED = 2
"""Number of codes before the first known value."""

Codes = npt.NDArray[np.int64]

_TYPES: Mapping[str, pa.DataType] = {"int64": pa.int64(), "string": pa.string()}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known values of one categorical feature, ascending; the value at place i has code ``RESERVED + i``."""

    values: pa.Array

    @staticmethod
    def fit(column: pa.Array | pa.ChunkedArray, *, min_count: int) -> Vocabulary:
        """The values that occur at least ``min_count`` times in ``column``; nulls are not values."""
        counted = pc.value_counts(one_chunk(column).drop_null())
        values = counted.field("values").filter(pc.greater_equal(counted.field("counts"), min_count))
        return Vocabulary(values.take(pc.array_sort_indices(values)))

    def union(self, other: Vocabulary) -> Vocabulary:
        """The values that either knows; both of one type."""
        values = pc.unique(pa.concat_arrays([self.values, other.values]))
        return Vocabulary(values.take(pc.array_sort_indices(values)))

    def without(self, value: int | str) -> tuple[Vocabulary, int | None]:
        """The other values, and the code that this one had; None, and all of them, where it is not known."""
        place = pc.index(self.values, pa.scalar(value, self.values.type)).as_py()
        if place < 0:
            return self, None
        return Vocabulary(pa.concat_arrays([self.values[:place], self.values[place + 1 :]])), RESERVED + place

    @property
    def size(self) -> int:
        """Number of codes, the reserved ones included."""
        return len(self.values) + RESERVED

    def encode(self, column: pa.Array | pa.ChunkedArray) -> Codes:
        """Codes (n,) of a column: 0 for null, 1 for an unknown or rare value, 2 and up for known ones."""
        whole = one_chunk(column)
        if whole.type != self.values.type:
            whole = whole.cast(self.values.type)
        places = pc.add(pc.cast(pc.index_in(whole, value_set=self.values), pa.int64()), RESERVED)
        codes = pc.if_else(pc.is_null(whole), MISSING, pc.fill_null(places, UNKNOWN))
        return np.array(codes.to_numpy(zero_copy_only=False), dtype=np.int64)  # a copy: torch wants to own its memory

    def to_plain(self) -> dict[str, Any]:
        """The vocabulary as JSON-able data."""
        return {"type": str(self.values.type), "values": self.values.to_pylist()}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary that ``to_plain`` described."""
        return Vocabulary(pa.array(plain["values"], type=_TYPES[plain["type"]]))
