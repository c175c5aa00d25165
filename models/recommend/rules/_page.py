"""What re-ranking rules work on: the best candidates of a batch of users in their present order, and what a rule decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.recommend._catalogue import Catalogue, UserBatch

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The candidates of some users, best first.

    Attributes:
        positions: int64 ``(n_users, m)`` catalogue positions, padded at the end with -1.
        scores: float32 ``(n_users, m)``, larger is better; a rule that moves videos without changing their scores leaves them
            as they are, so they need not fall along a row.
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

    @property
    def standing(self) -> Floats:
        """The least score of a video and all before it, float32 ``(n_users, m)``; anything in the padding.

        It never rises along a row, so whoever sorts by it, and not by the score, undoes nothing that an earlier rule did.
        """
        return np.minimum.accumulate(self.scores, axis=1)

    def of_video(self, fact: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """A fact ``(n_videos,)`` of each video of the page, ``(n_users, m)``; anything in the padding."""
        return np.take(fact, self.positions, mode="wrap")  # -1, the padding, is the last one


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a rule makes of a page.

    Attributes:
        order: int64 ``(n_users, m)`` columns of the page in their new order; dropped ones are missing, -1 fills the end.
        touched: bool ``(n_users, m)`` by column of the page: what the rule dropped or put behind others, not what rose.
        scores: float32 ``(n_users, m)`` by column of the page, after penalties.
    """

    order: Ints
    touched: Bools
    scores: Floats


class Rule(Protocol):
    """A re-ranking rule: a pure function of a page, with its parameters as fields."""

    @property
    def rule(self) -> str:
        """What the rule is called, in the configuration and in the ``rules`` of a list."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide on a page of which the first ``k`` will be shown."""


def unchanged(page: Page) -> Ints:
    """The order that a page has: int64 ``(n_users, m)``."""
    return np.where(page.present, np.arange(page.positions.shape[1]), -1)


def decided(page: Page, order: Ints, scores: Floats | None = None) -> Decision:
    """Make a decision of a new order, and of new scores if there are any.

    Args:
        page: what was decided on.
        order: int64 ``(n_users, m)`` as in :class:`Decision`.
        scores: float32 ``(n_users, m)`` by column of the page; those of the page without.
    """
    present, found, flat = page.present, order >= 0, order + _starts(order)
    before = np.broadcast_to(np.arange(order.shape[1]), order.shape)
    touched = np.zeros(order.shape, dtype=bool)
    if found.sum() < present.sum():
        touched.ravel()[flat[found]] = True
        # Places are compared among those that stay: beside a dropped one a video may go down and keep its rank.
        before = np.cumsum(touched, axis=1) - 1
        touched = present & ~touched
    down = found & (np.arange(order.shape[1]) > np.take(before, flat, mode="wrap"))
    touched.ravel()[flat[down]] = True
    return Decision(order, touched, page.scores if scores is None else scores)


def drop(page: Page, unwanted: Bools) -> Decision:
    """Leave videos out, bool ``(n_users, m)``; the others keep their order."""
    gone = unwanted & page.present
    order, rows = unchanged(page), gone.any(axis=1)
    if rows.any():
        kept = page.present[rows] & ~gone[rows]
        order[rows] = _columns(~kept, kept)
    return Decision(order, gone, page.scores)


def defer(page: Page, later: Bools) -> Decision:
    """Put videos behind all others, bool ``(n_users, m)``, in the order that they had: shown only where the others run out."""
    present = page.present
    return decided(page, _columns(np.where(present, later, 2), present))


def penalise(page: Page, penalty: Floats, unwanted: Bools | None = None) -> Decision:
    """Take something from scores, sort again, and leave out what is not wanted; equals keep their order.

    On a page that an earlier rule left in another order than its scores', a video goes by its *standing*: a penalised one goes
    down past each whose standing is now higher than its own, and the others keep their order.

    Args:
        page: what to decide on.
        penalty: float32 ``(n_users, m)`` of at least 0, in units of the score; anything in the padding.
        unwanted: bool ``(n_users, m)``, videos to drop; none without.
    """
    kept = page.present if unwanted is None else page.present & ~unwanted
    cost = np.where(kept, penalty, 0).astype(np.float32, copy=False)
    order = np.argsort(np.where(kept, cost - page.standing, np.float32(np.inf)), axis=1, kind="stable")
    return decided(page, _cut(order, kept), page.scores - cost)


def _starts(order: Ints) -> Ints:
    """Where each row begins in the flat array: int64 ``(n_users, 1)``."""
    starts: Ints = np.arange(len(order))[:, None] * order.shape[1]
    return starts


def _columns(group: NDArray[np.generic], kept: Bools) -> Ints:
    """Columns by their group, a small number, those of one group in their order, and -1 behind what is kept."""
    return _cut(np.argsort(group.astype(np.int8), axis=1, kind="stable"), kept)


def _cut(order: Ints, kept: Bools) -> Ints:
    """Turn all columns but the first, as many as are kept, into -1, in place."""
    order[np.arange(kept.shape[1]) >= kept.sum(axis=1, keepdims=True)] = -1
    return order
