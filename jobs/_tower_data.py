"""What the towers take of a training set. Apart, because it loads torch."""

from __future__ import annotations

from jobs._training import TrainingSet
from models.towers import TowerData


def tower_data(data: TrainingSet) -> TowerData:
    """The examples with everything that towers encode of them."""
    return TowerData(
        examples=data.examples,
        users=data.user_versions,
        videos=data.video_versions,
        queries=data.queries,
        watches=data.watches,
        train=data.train,
        validation=data.validation,
        histories=data.histories,
    )
