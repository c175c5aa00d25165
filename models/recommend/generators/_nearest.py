"""Generators that find the largest inner products of a user's vector by an index over videos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.ann import Searcher
from models.recommend._catalogue import UserBatch
from models.recommend.generators._source import Floats, Ints, World


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """See :class:`~models.recommend.generators._source.Proposals`."""

    vectors: Floats
    index: Searcher

    @property
    def size(self) -> int:
        """Videos in the index."""
        return len(self.index)

    @property
    def rows(self) -> Ints:
        """Users who have a vector."""
        return np.flatnonzero(self.vectors.any(axis=1))

    def best(self, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The largest ``k``."""
        return self.index.search(self.vectors[rows], k)


def retrieval(world: World, users: UserBatch) -> Nearest:
    """Propose the nearest videos of the two-tower model."""
    return Nearest(users.retrieval, world.indexes.retrieval)


def wals(world: World, users: UserBatch) -> Nearest:
    """Propose what people with the same likes watched."""
    return Nearest(users.wals, world.indexes.wals)


def similar(world: World, users: UserBatch) -> Nearest:
    """Propose videos whose titles and tags are like those of what the user liked."""
    return Nearest(users.content, world.indexes.similar)
