"""Rules about what must never be shown. Candidates obey them already (``Filter``); here they are the net below that."""

from __future__ import annotations

from typing import Literal

import numpy as np

from conf import Section
from models.recommend._candidates import Filter
from models.recommend.rules._page import Decision, Page, drop

_LAST_BITS = 2**10 - 1


class Removed(Section):
    """Drops videos that may be shown to nobody: removed by the platform, or otherwise not eligible."""

    rule: Literal["removed"] = "removed"

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``Catalogue.eligible``."""
        return drop(page, ~page.of_video(page.catalogue.eligible))


class Blocked(Section):
    """Drops videos that are blocked in the user's country; a country that is not known blocks nothing."""

    rule: Literal["blocked"] = "blocked"

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``Catalogue.blocked``."""
        country = page.users.country[:, None]
        if not len(page.catalogue.countries):
            return drop(page, np.zeros(page.positions.shape, dtype=bool))
        return drop(page, page.catalogue.blocked[country, page.positions] & (country >= 0))


class Watched(Section):
    """Drops videos that the user has acted on already."""

    rule: Literal["watched"] = "watched"

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``UserBatch.watched``."""
        users, everything = page.users, np.ones_like(page.catalogue.eligible)
        nowhere = np.full(len(users), -1, dtype=np.int64)
        may = Filter(everything, page.catalogue.blocked, nowhere, users.watched_indptr, users.watched)
        # A search takes long, so only what shares its last bits with something watched is searched for.
        marked = np.zeros((len(users), _LAST_BITS + 1), dtype=bool)
        marked[np.repeat(np.arange(len(users)), np.diff(users.watched_indptr)), users.watched & _LAST_BITS] = True
        unwanted = page.present & np.take_along_axis(marked, page.positions & _LAST_BITS, axis=1)
        row, column = np.nonzero(unwanted)
        unwanted[row, column] = ~may(row, page.positions[row, column][:, None])[:, 0]
        return drop(page, unwanted)
