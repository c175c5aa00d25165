"""Lists as rows of the table ``recommendations``, with what led to them in words and numbers that plain SQL can read (S9)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.recommend._batch import Recommendations
from models.recommend._catalogue import Catalogue, UserBatch
from models.recommend._config import COMPONENTS, GENERATORS, RecommendConfig
from models.recommend._words import joined, numbers, ranked
from models.recommend.rules import rule_text
from schemas import RECOMMENDATIONS, SCORE_PARTS
from schemas import columns as col

Ints = NDArray[np.int64]

FILL = "fill"
"""Source of a video that no generator proposed within its limit."""
EXPLORATION = "exploration"
REASONS = (
    "picked for you",
    "close to your taste",
    "watched by people like you",
    "popular now",
    "popular near you",
    "rising now",
    "new",
    "sponsored",
)
"""What a person reads when a component contributed most, in the order of ``COMPONENTS``."""
EXPLORED = "new to you and to us"
"""What a person reads of a video that exploration drew."""

assert len(REASONS) == len(COMPONENTS)


def rows(lists: Recommendations, config: RecommendConfig, catalogue: Catalogue, users: UserBatch) -> pa.Table:
    """The rows of the ``recommendations`` table, in order of the users and their ranks."""
    row, place = np.nonzero(lists.positions >= 0)
    parts, drawn = lists.parts[row, place], lists.explored[row, place]
    columns = {
        col.USER_ID: pa.array(users.user_ids[row]),
        col.RANK: pa.array((place + 1).astype(np.int32)),
        col.VIDEO_ID: pa.array(catalogue.video_ids[lists.positions[row, place]]),
        col.SCORE: pa.array(lists.scores[row, place].astype(np.float64)),
        col.SOURCES: sources_text(lists.generator_ranks[row, place]),
        col.REASON: pc.if_else(pa.array(drawn), EXPLORED, pc.take(pa.array(REASONS), pa.array(parts.argmax(axis=1)))),
        col.RULES: _rules_text(config, lists, row, place, drawn),
        col.PROPENSITY: pa.array(lists.propensity[row, place]),
        **{name: pa.array(parts[:, component]) for component, name in enumerate(SCORE_PARTS)},
    }
    return pa.table(columns).select(RECOMMENDATIONS.columns).cast(RECOMMENDATIONS.arrow)


def _rules_text(
    config: RecommendConfig, lists: Recommendations, row: Ints, place: Ints, drawn: NDArray[np.bool_]
) -> pa.StringArray:
    """Say which rules moved a video, and that exploration drew it: ``creators:3>7``, ``exploration>12``, or nothing."""
    names = [rule.rule for rule in config.rules]
    moved = rule_text(names, lists.before[:, row, place], lists.after[:, row, place]).fill_null("")
    told = pc.binary_join_element_wise(EXPLORATION, numbers(place[drawn] + 1), ">")
    before = moved.filter(pa.array(drawn))
    both = pc.if_else(pc.equal(before, ""), told, pc.binary_join_element_wise(before, told, "|"))
    return pc.replace_with_mask(moved, pa.array(drawn), both)


def sources_text(generator_ranks: NDArray[np.int32]) -> pa.StringArray:
    """Say which generators proposed a video and at which rank: ``retrieval:3|popular:2``, or ``fill``.

    Args:
        generator_ranks: int32 ``(..., n_generators)``.

    Returns:
        One string a video, in row-major order.
    """
    ranks = generator_ranks.reshape(-1, len(GENERATORS))
    cell, generator = np.nonzero(ranks)
    return joined(cell, ranked(GENERATORS, generator, ranks[cell, generator]), len(ranks)).fill_null(FILL)
