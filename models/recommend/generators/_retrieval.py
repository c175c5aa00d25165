"""Two-tower retrieval: the nearest videos of the user's vector in the index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.ann import VectorIndex
from models.recommend._catalogue import UserBatch
from models.recommend.generators._source import Floats, Ints, World


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """See :class:`~models.recommend.generators._source.Proposals`."""

    vectors: Floats
    index: VectorIndex

    @property
    def size(self) -> int:
        """Videos in the index."""
        return len(self.index)

    @property
    def rows(self) -> Ints:
        """Users who have a vector."""
        return np.flatnonzero(self.vectors.any(axis=1))

    def best(self, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The nearest ``k``."""
        return self.index.search(self.vectors[rows], k)


def retrieval(world: World, users: UserBatch) -> Retrieval:
    """Propose the nearest videos."""
    return Retrieval(users.retrieval, world.index)
