"""Identifiers: external ids at the edges, dense positions inside, and one frozen map between the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ReelflowError

UNKNOWN = -1
"""The dense id of whatever a map does not hold."""


@dataclass(frozen=True, slots=True, eq=False)
class IdMap:
    """Sorted, unique external ids; the position of an id in ``ids`` is its dense id.

    The order depends on nothing but the ids themselves, so two runs over the same ids number them alike.

    Attributes:
        ids: int64 ``(n,)``, strictly ascending, read-only. ``ids[dense]`` are the external ids.
    """

    ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        ids = np.asarray(self.ids)
        if ids.ndim != 1 or ids.dtype != np.int64 or not bool((ids[1:] > ids[:-1]).all()):
            raise ReelflowError(
                f"id map: found {ids.dtype} of shape {ids.shape}, expected one strictly ascending int64 column; "
                "build it with IdMap.of"
            )
        frozen = ids.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "ids", frozen)

    @classmethod
    def of(cls, ids: NDArray[Any]) -> IdMap:
        """Build the map of all distinct ids in an array.

        Args:
            ids: integers of any shape, in any order, with repetitions.

        Raises:
            ReelflowError: the array holds something other than integers.
        """
        found = np.asarray(ids)
        if found.size and not np.issubdtype(found.dtype, np.integer):
            raise ReelflowError(
                f"id map: found ids of type {found.dtype}, expected integers; drop nulls and cast the column to int64"
            )
        return cls(np.unique(found).astype(np.int64))

    @classmethod
    def load(cls, file: Path) -> IdMap:
        """Read a map that :meth:`save` wrote.

        Raises:
            ReelflowError: the file is missing or holds no ascending int64 column.
        """
        try:
            ids = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ReelflowError(
                f"id map {file}: cannot be read ({error}); expected a .npy file of int64 ids; train again"
            ) from error
        return cls(ids)

    def save(self, file: Path) -> None:
        """Write the ids as one ``.npy`` file."""
        with file.open("wb") as stream:
            np.save(stream, self.ids, allow_pickle=False)

    def lookup(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Give the dense id of each external id, ``-1`` where the map does not hold it.

        Args:
            ids: integers ``(n,)``.

        Returns:
            int64 ``(n,)``, in the order of ``ids``.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        if not len(self.ids):
            return np.full(wanted.shape, UNKNOWN, dtype=np.int64)
        dense = np.searchsorted(self.ids, wanted).astype(np.int64, copy=False)
        dense[dense == len(self.ids)] = 0
        dense[self.ids[dense] != wanted] = UNKNOWN
        return dense

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash(self.ids.tobytes())
