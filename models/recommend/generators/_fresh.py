"""New videos, by the ranker's taste: few enough to be compared one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models._topk import top_inner_products
from models.recommend._catalogue import UserBatch
from models.recommend.generators._source import Floats, Ints, World


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
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


def fresh(world: World, users: UserBatch) -> Fresh:
    """Propose new videos, of which only the ranker can tell whom they suit."""
    positions, vectors = world.catalogue.fresh(world.config.fresh_days)
    return Fresh(users.ranker, vectors, positions)
