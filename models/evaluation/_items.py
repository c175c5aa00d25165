"""A fixed representation of videos that none of the judged models made: what the diversity of a list is measured by (V3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from models import metrics
from models.evaluation._world import Holdout
from models.ids import IdMap
from models.rows import one_chunk
from schemas import columns as col

_TEXTS = ((col.TITLE_VECTOR, "titles"), (col.TAGS_VECTOR, "tags"))


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """Unit vectors of videos.

    Attributes:
        name: what they were made from.
        rows: ``(n_videos, d)``, dense or CSR, in ascending order of the id; zeros for a video without one.
    """

    name: str
    rows: Any


def item_vectors(world: Holdout, examples: pa.Table) -> ItemVectors | None:
    """Titles where at least half of the videos have one, else tags by the same rule, else who found the video relevant before.

    Args:
        world: gives the videos and the moment.
        examples: EXAMPLES of the look-back; those at or after the moment are not used.

    Returns:
        The vectors; None where there is neither text nor anything relevant.
    """
    for column, name in _TEXTS:
        vectors = one_chunk(world.videos[column]) if column in world.videos.column_names else None
        if vectors is not None and len(vectors) and vectors.null_count * 2 <= len(vectors):
            known = np.flatnonzero(pc.is_valid(vectors).to_numpy(zero_copy_only=False))
            values = pc.list_flatten(vectors.take(pa.array(known))).to_numpy().reshape(len(known), -1)
            dense = np.zeros((len(vectors), values.shape[1]))
            dense[known] = values
            return ItemVectors(name, metrics.unit_rows(dense))
    before = pc.less(examples[col.OCCURRED_AT], pa.scalar(world.at, pa.timestamp("us", tz="UTC")))
    found = examples.filter(pc.and_(before, pc.equal(examples[col.LABEL], 1)))
    users = found[col.USER_ID].to_numpy()
    places = IdMap(world.videos[col.VIDEO_ID].to_numpy()).lookup(found[col.VIDEO_ID].to_numpy())
    ids, row = np.unique(users, return_inverse=True)
    kept = places >= 0
    shape = (world.videos.num_rows, len(ids))
    seen = sp.csr_matrix((np.ones(int(kept.sum())), (places[kept], row[kept])), shape=shape)
    seen.data[:] = 1.0
    return ItemVectors("who found a video relevant", metrics.unit_rows(seen)) if seen.nnz else None
