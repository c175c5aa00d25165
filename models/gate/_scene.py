"""Models and the rows that they read at one moment, and what the gate asks of them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.ensemble import Ensemble
from models.evaluation import exact_indexes
from models.recommend import Catalogue, Recommendations, RecommendConfig, UserBatch, recommend_batch, score_matrix
from models.rows import one_chunk
from schemas import columns as col

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """Models and the rows that they read at one moment.

    Attributes:
        models: the final models.
        ranking: candidates, weights and rules, with the weights that were chosen for these models.
        users: USER_FEATURES, ascending.
        videos: VIDEO_FEATURES with VIDEO_TEXT, ascending; TITLE and TAGS where they are known.
        queries: QUERY_TEXT.
        examples: EXAMPLES of the look-back.
        at: when the lists would be shown.
        seed: of every draw.
        incumbent: the models that are live; ``None`` where there are none, or they cannot be read.
    """

    models: Ensemble
    ranking: RecommendConfig
    users: pa.Table
    videos: pa.Table
    queries: pa.Table
    examples: pa.Table
    at: datetime
    seed: int = 0
    incumbent: Ensemble | None = None

    @cached_property
    def catalogue(self) -> Catalogue:
        """All videos by these models."""
        return self.models.catalogue(self.ranking.catalogue, self.videos, self.at)

    @cached_property
    def active(self) -> pa.Table:
        """The users who did anything within the look-back, ascending."""
        return self.users.filter(pc.greater(self.users[col.INTERACTION_COUNT], 0)).sort_by(col.USER_ID)

    @cached_property
    def tags(self) -> list[list[str]]:
        """The tags of each video in the order of ``videos``; empty where none are known."""
        if col.TAGS not in self.videos.column_names:
            return [[]] * self.videos.num_rows
        return [[tag for tag in tags or () if tag] for tags in self.videos[col.TAGS].to_pylist()]

    def rng(self, purpose: str) -> np.random.Generator:
        """Draws of one purpose: those of others do not change them."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def with_models(self, models: Ensemble, ranking: RecommendConfig | None = None) -> Scene:
        """The same rows by other models."""
        return replace(self, models=models, ranking=ranking or self.ranking)

    def with_videos(self, **columns: Any) -> Scene:
        """The same with other values in some columns of the videos."""
        return replace(self, videos=with_columns(self.videos, columns))

    def batch(self, users: pa.Table) -> UserBatch:
        """Some users by these models."""
        return self.models.users(self.ranking, users, self.queries, self.catalogue, self.at)

    def scores(self, users: pa.Table, positions: Ints) -> Floats:
        """Ensemble scores of some users for some videos, each component standardised over them: ``(n_users, n)``."""
        return score_matrix(self.ranking, self.catalogue, self.batch(users), positions)

    def lists(self, users: pa.Table | UserBatch, depth: int, *, rules: bool = False) -> Recommendations:
        """Lists of some users without exploration; without rules they are in the order of the scores."""
        config = self.ranking.model_copy(update={"k": depth, "rerank_pool": max(self.ranking.rerank_pool, depth + 1)})
        return self.listed(config.unexplored() if rules else config.bare(), users)

    def listed(self, config: RecommendConfig, users: pa.Table | UserBatch) -> Recommendations:
        """Lists of some users by a configuration, with exact search."""
        batch = users if isinstance(users, UserBatch) else self.batch(users)
        return recommend_batch(config, self.catalogue, batch, exact_indexes(self.models, self.catalogue), self.at.date())


def with_columns(rows: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """Rows with other values in some of their columns, of the same type."""
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        field = rows.schema.field(place)
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, type=field.type)
        rows = rows.set_column(place, field, array.cast(field.type))
    return rows


def eligible(scene: Scene) -> npt.NDArray[np.bool_]:
    """Which videos may be shown at all, in the order of ``videos``, bool ``(n_videos,)``; asks no model."""
    shown: npt.NDArray[np.bool_] = ~one_chunk(scene.videos[col.REMOVED]).to_numpy(zero_copy_only=False)
    return shown
