"""Recommend: candidates, ensemble score, rules and top k of a batch of users. Pure arrays in, arrays out.

Every generator proposes its best videos that the user may be shown: eligible, not blocked in the user's country, not acted on
before. The union is scored by every component, each standardised over the user's candidates so that weights compare like with
like, and the weighted sum ranks them; equal scores go to the lower catalogue position. Rules re-rank the best of them, and
exploration takes the places that it has.
"""

from models.recommend._batch import (
    Ranking,
    Recommendations,
    candidate_scores,
    proposals,
    rank_one,
    recommend_batch,
    recommend_variants,
    score_matrix,
    shown,
)
from models.recommend._catalogue import Catalogue, UserBatch, VideoFacts
from models.recommend._config import (
    COMPONENTS,
    GENERATORS,
    CatalogueConfig,
    Component,
    ExplorationConfig,
    Generator,
    RecommendConfig,
    SegmentConfig,
)
from models.recommend._explain import Explanation, explain
from models.recommend._fallback import FallbackConfig, fallback_lists
from models.recommend._indexes import Indexes
from models.recommend._rows import FILL, REASONS, rows, sources_text

__all__ = [
    "COMPONENTS",
    "FILL",
    "GENERATORS",
    "REASONS",
    "Catalogue",
    "CatalogueConfig",
    "Component",
    "Explanation",
    "ExplorationConfig",
    "FallbackConfig",
    "Generator",
    "Indexes",
    "Ranking",
    "RecommendConfig",
    "Recommendations",
    "SegmentConfig",
    "UserBatch",
    "VideoFacts",
    "candidate_scores",
    "explain",
    "fallback_lists",
    "proposals",
    "rank_one",
    "recommend_batch",
    "recommend_variants",
    "rows",
    "score_matrix",
    "shown",
    "sources_text",
]
