"""Rules about what a video is, whoever the user: misinformation, clickbait, age."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from conf import Section
from models.recommend.rules._page import Decision, Floats, Page, penalise


class Misinformation(Section):
    """Drops videos whose misinformation score is too high, and puts the others down in proportion to it."""

    rule: Literal["misinformation"] = "misinformation"

    max_score: float = Field(ge=0, le=1)
    """A higher one is dropped; a video without a score has 0."""

    penalty: float = Field(ge=0)
    """Taken from the score of a list for a misinformation score of 1, and as much less as that is less."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.misinformation``."""
        return _by_score(page, page.catalogue.facts.misinformation, self.max_score, self.penalty)


class Clickbait(Section):
    """Drops videos whose clickbait score is too high, and puts the others down in proportion to it."""

    rule: Literal["clickbait"] = "clickbait"

    max_score: float = Field(ge=0, le=1)
    """A higher one is dropped; a video without a score has 0."""

    penalty: float = Field(ge=0)
    """Taken from the score of a list for a clickbait score of 1, and as much less as that is less."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.clickbait``."""
        return _by_score(page, page.catalogue.facts.clickbait, self.max_score, self.penalty)


class Age(Section):
    """Drops videos that are too old, and puts the others down the more the older they are.

    The penalty of a video is ``penalty * (1 - 0.5 ** (age_days / half_life_days))``: nothing for one just uploaded, half of it
    after a half-life, nearly all of it after several.
    """

    rule: Literal["age"] = "age"

    max_days: float | None = Field(gt=0)
    """An older video is dropped; null for never."""

    half_life_days: float | None = Field(gt=0)
    """Age at which half of the penalty falls due; null for no penalty."""

    penalty: float = Field(ge=0)
    """Taken from the score of a video of any great age."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.age_days``."""
        ages = page.of_video(page.catalogue.facts.age_days)
        half_lives = np.maximum(ages, 0) / np.float32(self.half_life_days or np.inf)
        too_old = ages > (self.max_days or np.inf)
        return penalise(page, np.float32(self.penalty) * (1 - np.exp2(-half_lives)), too_old)


def _by_score(page: Page, facts: Floats, max_score: float, penalty: float) -> Decision:
    scores: Floats = page.of_video(facts)
    return penalise(page, np.float32(penalty) * scores, scores > max_score)
