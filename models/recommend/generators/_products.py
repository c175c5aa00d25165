"""Generators that find the largest inner products of a user's vector among some of the videos, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models._topk import top_inner_products
from models.recommend._catalogue import UserBatch
from models.recommend.generators._source import Floats, Ints, World


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """See :class:`~models.recommend.generators._source.Proposals`.

    Attributes:
        users: float32 ``(n_users, d)``.
        videos: float32 ``(size, d)``.
        positions: int64 ``(size,)`` of the videos, ascending, so that equal products go to the lower one.
    """

    users: Floats
    videos: Floats
    positions: Ints

    @property
    def size(self) -> int:
        """Videos that are compared."""
        return len(self.positions)

    @property
    def rows(self) -> Ints:
        """Users who have a vector."""
        return np.flatnonzero(self.users.any(axis=1))

    def best(self, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The largest ``k``."""
        scores, found = top_inner_products(self.users[rows], self.videos, k)
        return scores, np.where(found >= 0, self.positions[found], -1)


def wals(world: World, users: UserBatch) -> Products:
    """Propose what people with the same likes watched."""
    return Products(users.wals, world.catalogue.wals_known, world.catalogue.wals_positions)


def similar(world: World, users: UserBatch) -> Products:
    """Propose videos whose titles and tags are like those of what the user liked."""
    positions, vectors = world.catalogue.described
    return Products(users.content, vectors, positions)


def fresh(world: World, users: UserBatch) -> Products:
    """Propose new videos, of which only the ranker can tell whom they suit."""
    positions, vectors = world.catalogue.fresh(world.config.fresh_days)
    return Products(users.ranker, vectors, positions)
