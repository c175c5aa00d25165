"""Rules about whose videos are shown: not one creator's in a row, and not always those of the same few."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from conf import Section
from models.recommend.rules._page import Bools, Decision, Ints, Page, decided, penalise, unchanged

Codes = NDArray[np.int32]

_LOOK_AHEAD = 16


class Creators(Section):
    """Lets at most ``max_in_window`` videos of one creator into any ``window`` consecutive places of the first ``k``.

    Place by place, the first video that fits takes it; those that do not fit wait for the next place at which they do. Where
    nothing fits, the first that waits takes the place, so the list stays full. Videos of unknown creators always fit. Behind
    the first ``k`` places the order stays.
    """

    rule: Literal["creators"] = "creators"

    max_in_window: int = Field(ge=1)
    """Videos of one creator."""

    window: int = Field(ge=2)
    """Consecutive places; one that holds no more than ``max_in_window`` forbids nothing."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.creator``."""
        present = page.present
        order = unchanged(page)
        creators = np.where(present, page.of_video(page.catalogue.facts.creator.astype(np.int32)), -1)
        for place in range(self.max_in_window, min(k, order.shape[1])):
            before = creators[:, max(0, place - self.window + 1) : place]
            rows = np.flatnonzero(~self._fits(before, creators[:, place : place + 1])[:, 0])
            if len(rows):
                found = self._next(before[rows], creators, present, rows, place)
                some = found > place
                _pull(order, rows[some], place, found[some])
                _pull(creators, rows[some], place, found[some])
        return decided(page, order)

    def too_many(self, listed: Ints, place: int, offered: Ints) -> Bools:
        """Which videos would break the rule if they were put into lists at a place, what stands there and below moving down.

        The others keep their order, so every window is then one that was, or holds the new video and ``window - 1`` that
        followed each other: no creator but that of the new video can have become too many.

        Args:
            listed: ``(n, k)`` creators of the lists, -1 where not known or nobody; the last one falls out.
            place: from 0 to ``k - 1``.
            offered: ``(n, c)`` creators of the videos.

        Returns:
            bool ``(n, c)``.
        """
        first = max(0, place - self.window + 1)
        near = listed[:, first : min(place + self.window, listed.shape[1]) - 1]
        alike = np.cumsum(near[:, :, None] == near[:, None, :], axis=2)
        alike = np.pad(alike, ((0, 0), (0, 0), (1, 0)))  # of those before each column and of all
        starts = np.arange(place - first + 1)
        ends = np.minimum(starts + self.window - 1, near.shape[1])
        full = ((alike[:, :, ends] - alike[:, :, starts]) >= self.max_in_window).any(axis=2) & (near >= 0)
        found = np.zeros(offered.shape, dtype=bool)
        for column in np.flatnonzero(full.any(axis=0)):
            found |= (offered == near[:, column, None]) & full[:, column, None]
        return found

    def _fits(self, before: Codes, creators: Codes) -> Bools:
        """Whether each of some videos may follow those places: ``(n, w)`` and ``(n, c)`` creators, bool ``(n, c)``."""
        fits: Bools = (before[:, None, :] == creators[:, :, None]).sum(axis=2) < self.max_in_window
        return fits | (creators < 0)

    def _next(self, before: Codes, creators: Codes, present: Bools, rows: Ints, place: int) -> Ints:
        """Column of the first video from ``place`` on that fits, or ``place`` if none does: int64 ``(len(rows),)``."""
        found = np.full(len(rows), place)
        todo = np.arange(len(rows))
        for left in range(place + 1, creators.shape[1], _LOOK_AHEAD):
            ahead = rows[todo], slice(left, left + _LOOK_AHEAD)
            fits = self._fits(before[todo], creators[ahead]) & present[ahead]
            some = fits.any(axis=1)
            found[todo[some]] = left + fits[some].argmax(axis=1)
            todo = todo[~some]
            if not len(todo):
                break
        return found


class Fairness(Section):
    """Puts creators down that hold more than ``max_share`` of all impressions, so that others are seen as well.

    A creator's share is that of the impressions of the whole catalogue in the look-back. The penalty is ``penalty * (1 -
    max_share / share)`` above ``max_share`` and nothing below: it begins at 0 and stays under ``penalty``. Exposure is a budget
    as in Singh and Joachims, "Fairness of Exposure in Rankings" (KDD 2018), evened out over many lists as in Biega et al.,
    "Equity of Attention" (SIGIR 2018); unlike theirs, this budget is the same for every creator, whatever the merit of its
    videos, and is urged by a penalty, not guaranteed. Unknown creators are never put down.
    """

    rule: Literal["fairness"] = "fairness"

    max_share: float = Field(gt=0, le=1)
    """Of all impressions, that a creator may hold at no cost."""

    penalty: float = Field(ge=0)
    """What comes off the score at most."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.impressions`` and ``VideoFacts.creator``."""
        facts = page.catalogue.facts
        shown = np.bincount(facts.creator + 1, weights=facts.impressions)  # the first is that of nobody known
        share = shown / max(float(shown.sum()), 1.0)
        share[0] = 0.0
        cost = self.penalty * (1 - self.max_share / np.maximum(share, self.max_share))
        return penalise(page, page.of_video(cost[facts.creator + 1].astype(np.float32)))


def _pull(values: Ints | Codes, rows: Ints, place: int, found: Ints) -> None:
    """In each row, move what stands in its column of ``found`` to ``place``, and all between one column on, in place."""
    if not len(rows):
        return
    right = int(found.max()) + 1
    columns = np.arange(place, right)
    source = np.where(columns <= found[:, None], columns - 1, columns)
    source[:, 0] = found
    values[rows[:, None], columns] = values[rows[:, None], source]
