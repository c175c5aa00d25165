"""The rule that shows one of several videos that are nearly the same."""

from __future__ import annotations

from typing import Literal

import numpy as np

from conf import Section
from models.recommend.rules._page import Decision, Page, drop


class NearDuplicates(Section):
    """Keeps the first of the videos that one video stands for (``models.near_duplicates``), and drops the others."""

    rule: Literal["near_duplicates"] = "near_duplicates"

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.same_as``."""
        same_as = page.catalogue.facts.same_as
        shared = np.bincount(same_as, minlength=len(same_as)) > 1
        # Few videos have a near-duplicate at all, so few cells must be sorted.
        row, column = np.nonzero(page.present & page.of_video(shared[same_as]))
        repeated = np.ones(len(row), dtype=bool)
        repeated[np.unique(row * len(same_as) + same_as[page.positions[row, column]], return_index=True)[1]] = False
        unwanted = np.zeros(page.positions.shape, dtype=bool)
        unwanted[row, column] = repeated
        return drop(page, unwanted)
