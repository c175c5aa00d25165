"""What re-ranking rules work on: the best candidates of a batch of users in their present order, and what a rule decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.recommend._catalogue import Catalogue, UserBatch

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The candidates of some users, best first.

    Attributes:
        positions: int64 ``(n_users, m)`` catalogue positions, padded at the end with -1.
        scores: float32 ``(n_users, m)``, larger is better; a rule that moves videos without changing their scores leaves them as
            they are, so they need not fall along a row.
        catalogue: the videos.
        users: whose candidates these are, row by row.
    """

    positions: Ints
    scores: Floats
    catalogue: Catalogue
    users: UserBatch

    @property
    def present(self) -> Bools:
        """Where there is a video, bool ``(n_users, m)``."""
        return self.positions >= 0

    def of_video(self, fact: NDArray[np.generic]) -> NDArray[np.generic]:
        """A fact ``(n_videos,)`` of each video of the page, ``(n_users, m)``; anything in the padding."""
        return fact[self.positions]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a rule makes of a page.

    Attributes:
        order: int64 ``(n_users, m)`` columns of the page in their new order; dropped ones are missing, -1 fills the end.
        touched: bool ``(n_users, m)`` by column of the page: what the rule itself moved or dropped, not what made room.
        scores: float32 ``(n_users, m)`` by column of the page, after penalties.
    """

    order: Ints
    touched: Bools
    scores: Floats


class Rule(Protocol):
    """A re-ranking rule: a pure function of a page, with its parameters as fields."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide on a page of which the first ``k`` will be shown."""


def drop(page: Page, unwanted: Bools) -> Decision:
    """Leave videos out, bool ``(n_users, m)``; the others keep their order."""
    gone = unwanted & page.present
    return Decision(_columns(np.where(page.present & ~gone, 0, 1), page.present & ~gone), gone, page.scores)


def defer(page: Page, later: Bools) -> Decision:
    """Put videos behind all others, bool ``(n_users, m)``, in the order that they had: shown only where the others run out."""
    touched = later & page.present
    return Decision(_columns(np.where(page.present, touched, 2), page.present), touched, page.scores)


def penalise(page: Page, penalty: Floats) -> Decision:
    """Take something from scores, float32 ``(n_users, m)`` of at least 0, and sort again; equals keep their order.

    A page that an earlier rule left in another order than its scores' is not sorted as a whole: a penalised video goes down past
    each video whose score is now higher than its own, and the others keep their order.
    """
    present = page.present
    cost = np.where(present, penalty, 0).astype(np.float32)
    scores = page.scores - cost
    # Scores that never rise along the row give the order in which the page already is; the penalty is then taken from those.
    standing = np.minimum.accumulate(np.where(present, page.scores, np.inf), axis=1) - cost
    order = np.argsort(np.where(present, -standing, np.inf), axis=1, kind="stable")
    return Decision(np.where(np.take_along_axis(present, order, axis=1), order, -1), cost > 0, scores)


def _columns(group: NDArray[np.generic], kept: Bools) -> Ints:
    """Columns by their group, those of one group in their order, and -1 behind what is kept."""
    order = np.argsort(group, axis=1, kind="stable")
    size = kept.sum(axis=1, keepdims=True)
    return np.where(np.arange(kept.shape[1]) < size, order, -1)
