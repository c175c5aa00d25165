"""What a Spark worker runs to recommend.

A module of its own, because a function of the stage's main module would travel by value and lose its cache on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.ensemble import Ensemble, load_catalogue
from models.recommend import Catalogue, Indexes, RecommendConfig, recommend_batch, rows


@dataclass(frozen=True, slots=True)
class Model:
    """What a worker needs, as paths and plain values: small to ship, loaded once a process."""

    wals: Path
    towers: Path
    catalogue: Path
    indexes: Path
    queries: tuple[Path, ...]
    """The files of ``query_text``."""
    as_of: datetime
    config_json: str

    @property
    def day(self) -> date:
        """What exploration draws by: the day on which the lists are shown."""
        return self.as_of.date()


def recommend_batches(model: Model, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Recommend for each batch of users; runs in a Spark worker."""
    config = RecommendConfig.model_validate_json(model.config_json)
    for batch in batches:
        ensemble, catalogue, indexes, queries = loaded(model)
        for start in range(0, batch.num_rows, config.users_per_batch):
            users = pa.Table.from_batches([batch.slice(start, config.users_per_batch)])
            encoded = ensemble.users(config, users, queries, catalogue, model.as_of)
            lists = recommend_batch(config, catalogue, encoded, indexes, model.day)
            yield from rows(lists, config, catalogue, encoded).to_batches()


@cache
def loaded(model: Model) -> tuple[Ensemble, Catalogue, Indexes, pa.Table]:
    """The models in this worker process, whose one core they use with one thread."""
    torch.set_num_threads(1)
    return (
        Ensemble.load(model.wals, model.towers),
        load_catalogue(model.catalogue),
        Indexes.read(model.indexes),
        pa.concat_tables([pq.read_table(file, partitioning=None) for file in model.queries]),
    )
