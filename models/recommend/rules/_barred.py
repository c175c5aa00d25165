"""Which videos the rules show to nobody: generators then waste no place on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from models.recommend._catalogue import Catalogue, VideoFacts
from models.recommend.rules._page import Bools, Floats, Rule
from models.recommend.rules._quality import Age, Clickbait, Misinformation


def never_shown(rules: Sequence[Rule], catalogue: Catalogue) -> Bools:
    """Videos that some rule drops whoever the user, bool ``(n_videos,)``."""
    barred = np.zeros(len(catalogue.video_ids), dtype=bool)
    for rule in rules:
        for _, values, most in _limits(rule, catalogue.facts):
            barred |= values > most
    return barred


def excluded_by(rules: Sequence[Rule], catalogue: Catalogue, position: int) -> Iterator[tuple[str, str]]:
    """Names of the rules that drop a video whoever the user, and why."""
    for rule in rules:
        for what, values, most in _limits(rule, catalogue.facts):
            if values[position] > most:
                yield rule.rule, f"its {what} is {values[position]:.4g}, above {most:g}"


def _limits(rule: Rule, facts: VideoFacts) -> list[tuple[str, Floats, float]]:
    """What a rule limits, the values of all videos, and the most that it lets pass."""
    if isinstance(rule, Misinformation):
        return [("misinformation score", facts.misinformation, rule.max_score)]
    if isinstance(rule, Clickbait):
        return [("clickbait score", facts.clickbait, rule.max_score)]
    if isinstance(rule, Age) and rule.max_days is not None:
        return [("age in days", facts.age_days, rule.max_days)]
    return []
