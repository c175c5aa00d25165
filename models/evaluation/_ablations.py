"""What the final list owes to each weight, rule and place of exploration: the same lists without it (S3, S6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation._items import ItemVectors
from models.evaluation._lists import FINAL
from models.evaluation._rows import Row, Sample
from models.evaluation._world import Holdout
from models.recommend import COMPONENTS, Catalogue, Indexes, RecommendConfig, UserBatch, recommend_variants

Floats = NDArray[np.float64]

WITHOUT = "without"
"""Kind of the slices that hold the final list's figures without something."""
ABLATED = ("ndcg@10", "ndcg@20", "recall@100")
"""What is said of each, beside diversity and coverage."""
_KS = (10, 20, 100)


def without(config: RecommendConfig) -> dict[str, RecommendConfig]:
    """The configuration without each thing that it has, by name: a component's weight, a rule, all rules, exploration, both."""
    found = {}
    for name in COMPONENTS:
        if any(segment.weights.get(name, 0.0) > 0 for segment in config.segments):
            others = {who: {**weights, name: 0.0} for who, weights in config.weights.items()}
            if all(any(weights.values()) for weights in others.values()):
                found[f"weight {name}"] = config.weighed(others)
    for place, rule in enumerate(config.rules):
        rest = (*config.rules[:place], *config.rules[place + 1 :])
        found[f"rule {rule.rule}"] = config.model_copy(update={"rules": rest})
    if config.rules:
        found["all rules"] = config.model_copy(update={"rules": ()})
    if config.exploration.slots:
        found["exploration"] = config.unexplored()
    if config.rules and config.exploration.slots:
        found["rules and exploration"] = config.bare()
    return found


def judge_ablations(
    config: RecommendConfig,
    catalogue: Catalogue,
    users: UserBatch,
    indexes: Indexes,
    *,
    world: Holdout,
    items: ItemVectors | None,
    sample: Sample,
    whole: Mapping[str, Floats],
) -> list[Row]:
    """Figures of the final list without each thing, and what the list with it has more, user by user.

    Args:
        config: the final list's.
        catalogue: the videos.
        users: the judged users.
        indexes: what generators search.
        world: what was relevant.
        items: what diversity is measured by.
        sample: the same users.
        whole: figures of the final list of each user by metric, float64 ``(n_users,)``.

    Returns:
        Rows of slice kind ``without``: the list without it, and with the baseline ``final`` how much more it is with it.
    """
    rows = []
    for name, lists in recommend_variants(without(config), catalogue, users, indexes, world.at.date()).items():
        found = dict(metrics.ranking_metrics(lists, world.relevant, _KS))
        own = {metric: found[metric] for metric in ABLATED}
        if items is not None:
            own["diversity@10"] = metrics.diversity(lists, items.rows, _KS[0])
        values = {(FINAL, "none", metric): value for metric, value in own.items()}
        values |= {(FINAL, FINAL, metric): whole[metric] - value for metric, value in own.items() if metric in whole}
        like = Row(model=FINAL, metric="", value=0.0, slice_kind=WITHOUT, slice_value=name)
        rows += sample.means(values, like)
        coverage = metrics.coverage(lists, int(catalogue.eligible.sum()), _KS[-1])
        counted = replace(like, metric="coverage@100", value=coverage, users=len(users), examples=int(world.relevant.nnz))
        rows.append(counted)
    return rows
