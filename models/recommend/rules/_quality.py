"""Rules about what a video is, whoever the user: misinformation, clickbait, age."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from conf import Section
from models.recommend.rules._page import Decision, Floats, Page, penalise


class _Suspicious(Section):
    """What a rule about a score between 0 and 1 is told: how much is too much, and what less than that costs."""

    max_score: float = Field(ge=0, le=1)
    """A higher one is dropped; a video without a score has 0."""

    min_score: float = Field(ge=0, le=1)
    """Up to this one nothing happens."""

    penalty: float = Field(ge=0)
    """What comes off a video's score for each unit above ``min_score``."""


class Misinformation(_Suspicious):
    """Drops videos whose misinformation score is too high, and puts the suspicious ones down, the more the higher it is."""

    rule: Literal["misinformation"] = "misinformation"

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.misinformation``."""
        return _by_score(page, page.catalogue.facts.misinformation, self)


class Clickbait(_Suspicious):
    """Drops videos whose clickbait score is too high, and puts the suspicious ones down, the more the higher it is."""

    rule: Literal["clickbait"] = "clickbait"

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.clickbait``."""
        return _by_score(page, page.catalogue.facts.clickbait, self)


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


def _by_score(page: Page, facts: Floats, limits: _Suspicious) -> Decision:
    scores = page.of_video(facts)
    above = np.maximum(scores - np.float32(limits.min_score), 0)
    return penalise(page, np.float32(limits.penalty) * above, scores > limits.max_score)
