"""Re-ranking rules (S6): what a list may not hold, should hold less of, or should not hold in a row.

Each rule is a section of the configuration that can be called: a pure function of a page, with its own parameters. They apply
in the order in which ``recommend.rules`` lists them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.recommend.rules._allowed import Blocked, Removed, Watched
from models.recommend.rules._barred import excluded_by, never_shown
from models.recommend.rules._creators import Creators, Fairness
from models.recommend.rules._diversity import Diversity
from models.recommend.rules._language import Language
from models.recommend.rules._near_duplicates import NearDuplicates
from models.recommend.rules._page import Decision, Page, Rule, decided, defer, drop, penalise
from models.recommend.rules._quality import Age, Clickbait, Misinformation
from models.recommend.rules._rerank import Reranked, rerank, rule_text

__all__ = [
    "Age",
    "Blocked",
    "Clickbait",
    "Creators",
    "Decision",
    "Diversity",
    "Fairness",
    "Language",
    "Misinformation",
    "NearDuplicates",
    "Page",
    "Removed",
    "Reranked",
    "Rule",
    "RuleConfig",
    "Watched",
    "decided",
    "defer",
    "drop",
    "excluded_by",
    "never_shown",
    "penalise",
    "rerank",
    "rule_text",
]

RuleConfig = Annotated[
    Removed
    | Blocked
    | Watched
    | Misinformation
    | Clickbait
    | Age
    | NearDuplicates
    | Creators
    | Fairness
    | Diversity
    | Language,
    Field(discriminator="rule"),
]
"""One entry of ``recommend.rules``: the key ``rule`` names it, the others are its parameters."""
