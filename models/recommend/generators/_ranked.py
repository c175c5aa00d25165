"""Generators that propose the same videos to everybody, or to everybody of a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.recommend._catalogue import Catalogue, UserBatch
from models.recommend.generators._source import Floats, Ints, Ranked, World


def popular(world: World, users: UserBatch) -> Ranked:
    """Propose what most people watch."""
    catalogue = world.catalogue
    return Ranked(catalogue.popular_order[None], catalogue.log_popularity[None], np.zeros(len(users), dtype=np.int64))


def trending(world: World, users: UserBatch) -> Ranked:
    """Propose what is watched more than it was in the week before."""
    catalogue = world.catalogue
    return Ranked(catalogue.trending_order[None], catalogue.facts.trend[None], np.zeros(len(users), dtype=np.int64))


def local(world: World, users: UserBatch) -> Local:
    """Propose what people of the same country, language and city watch."""
    return Local(world.catalogue, users.local)


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """See :class:`~models.recommend.generators._source.Proposals`.

    Attributes:
        catalogue: the videos.
        segments: int64 ``(n_users,)`` row of ``catalogue.local`` of each user.
    """

    catalogue: Catalogue
    segments: Ints

    @property
    def size(self) -> int:
        """Videos that may be shown at all."""
        return len(self.catalogue.popular_order)

    @property
    def rows(self) -> Ints:
        """Everybody."""
        return np.arange(len(self.segments))

    def best(self, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The first ``k`` of each user's segment."""
        segments = self.segments[rows]
        positions = self.catalogue.local_best(segments, k)
        return self.catalogue.local[segments[:, None], positions], positions
