"""Section ``gate`` for platforms of a few hundred users at most: every check that they have something to check by.

They have no languages and tags that differ, or too few of them, so the checks that need those are left out. What models of so
few days reach, and how many users there are to judge by, is up to each platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def small_gate(
    *,
    min_correlation: float,
    pairs: tuple[int, int],
    drawn: int,
    drawn_videos: int,
    differential: Mapping[str, Any],
    floors: Mapping[str, Any],
) -> dict[str, Any]:
    """The section, as a file of settings has it.

    Args:
        min_correlation: of new and incumbent predictions.
        pairs: users and videos that are correlated.
        drawn: users that each check of lists or scores draws.
        drawn_videos: videos that they are scored for.
        differential: laid over what is common: no thresholds by segment.
        floors: laid over what is common: a fifth of popularity, for the lower end of an interval over so few users.
    """
    return {
        "min_correlation": min_correlation,
        "min_ratio_to_popularity": 0.2,
        "correlation_users": pairs[0],
        "correlation_videos": pairs[1],
        "differential": {"segments": [], **differential},
        "floors": {"baselines": {"popularity_by_segment": 0.2}, **floors},
        "functional": [
            {"check": "never_shown", "users": drawn, "top": 2},
            {"check": "knows_recent", "min_share": 0.99, "hours": 24.0, "min_examples": 3},
        ],
        "invariance": [
            {"check": "row_order", "epsilon": 0.001, "users": drawn, "videos": drawn_videos},
            {"check": "draws", "max_moved": 0.0, "users": drawn},
        ],
    }
