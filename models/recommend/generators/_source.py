"""The protocol of candidate generators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.recommend._catalogue import Catalogue, UserBatch
from models.recommend._config import RecommendConfig
from models.recommend._indexes import Indexes

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class World:
    """What generators propose from.

    Attributes:
        config: section ``recommend``.
        catalogue: the videos.
        indexes: over vectors of the eligible videos; their positions are the catalogue's.
    """

    config: RecommendConfig
    catalogue: Catalogue
    indexes: Indexes


class Proposals(Protocol):
    """One generator's proposals to a batch of users."""

    @property
    def size(self) -> int:
        """How many videos there are to propose at all."""

    @property
    def rows(self) -> Ints:
        """int64 ``(n,)``, the users of the batch to whom it has something to propose."""

    def best(self, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The best ``k`` of some users.

        Args:
            rows: int64 ``(n,)``, some of ``rows``.
            k: how many, at most ``size``.

        Returns:
            float32 scores, comparable within a row only, and int64 positions ``(n, k)``; best first, padded with ``-inf``, -1.
        """


class Generator(Protocol):
    """Makes proposals: one module each."""

    def __call__(self, world: World, users: UserBatch) -> Proposals:
        """Look at a batch of users."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Proposals that are the same for many users: rows of one table of positions, best first.

    Attributes:
        order: int64 ``(n_lists, size)`` positions.
        scores: float32 ``(n_lists, n_videos)`` by position.
        list_of: int64 ``(n_users,)``, whose list each user gets.
    """

    order: Ints
    scores: Floats
    list_of: Ints

    @property
    def size(self) -> int:
        """Length of the lists."""
        return int(self.order.shape[1])

    @property
    def rows(self) -> Ints:
        """Everybody."""
        return np.arange(len(self.list_of))

    def best(self, rows: Ints, k: int) -> tuple[Floats, Ints]:
        """The first ``k`` of each user's list."""
        lists = self.list_of[rows]
        positions = self.order[lists, :k]
        return self.scores[lists[:, None], positions], positions
