"""What each source of candidates finds alone, and what no other source would have found (V4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation._lists import POPULARITY
from models.evaluation._rows import NOTHING, Row, Sample
from models.evaluation._world import Holdout
from models.recommend import GENERATORS, Catalogue, Indexes, RecommendConfig, UserBatch, proposals

UNION = "union"
_USERS_AT_ONCE = 256
Floats = NDArray[np.float64]


def depths(deepest: int) -> tuple[int, ...]:
    """At which depths a source is judged."""
    return tuple(sorted({*(k for k in (10, 20, 100) if k < deepest), deepest}))


def judge_sources(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes, *, world: Holdout, sample: Sample
) -> list[Row]:
    """Recall of each source alone at several depths, of all with their configured limits, and what is lost without each.

    A place that popularity only fills up is no proposal and does not count. Recall of a source is over all judged users, also
    those to whom it proposes nothing.

    Args:
        config: the candidates of each source.
        catalogue: the videos.
        users: the judged users.
        indexes: what generators search.
        world: what was relevant.
        sample: the same users.
    """
    most = limits(config)
    ks = depths(sample.config.source_depth)
    deep = {name: max(ks[-1], limit) for name, limit in zip(GENERATORS, most, strict=True)}
    wide = config.model_copy(update={"generators": deep})
    parts: list[tuple[Floats, Floats, Floats]] = []
    for start in range(0, len(users), _USERS_AT_ONCE):
        stop = min(start + _USERS_AT_ONCE, len(users))
        positions, ranks = proposals(wide, catalogue, users.rows(start, stop), indexes)
        relevant = world.relevant[start:stop]
        parts.append(
            (
                metrics.source_recall(positions, ranks, relevant, ks),
                *metrics.marginal_recall(positions, ranks, relevant, most),
            )
        )
    alone, union, lost = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    values: dict[tuple[str, str, str], Floats] = {}
    for place, name in enumerate(source_names()):
        values |= {(name, NOTHING, f"candidate_recall@{k}"): alone[:, place, depth] for depth, k in enumerate(ks)}
        values[name, NOTHING, "marginal_recall"] = lost[:, place]
    values[UNION, NOTHING, "candidate_recall"] = union
    return sample.means(values, Row(model=UNION, metric="", value=0.0))


def limits(config: RecommendConfig) -> list[int]:
    """How many candidates of each source are scored."""
    return [config.limit(name) for name in GENERATORS]


def source_names() -> Sequence[str]:
    """The sources by the names under which models are judged."""
    return [{"popular": POPULARITY}.get(name, name) for name in GENERATORS]
