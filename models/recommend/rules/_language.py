"""The rule about the language of videos."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from conf import Section
from models.recommend.rules._page import Decision, Page, penalise


class Language(Section):
    """Puts videos down that are in another language than the user's; where either is not known, nothing happens."""

    rule: Literal["language"] = "language"

    penalty: float = Field(ge=0)
    """What comes off the score."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.language`` and ``UserBatch.language``."""
        of_videos, of_user = page.of_video(page.catalogue.facts.language), page.users.language[:, None]
        foreign = (of_videos != of_user) & (of_videos >= 0) & (of_user >= 0)
        return penalise(page, np.float32(self.penalty) * foreign)
