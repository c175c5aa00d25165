"""reelflow's own lists as of the cut: each generator alone, and the final one. The only module here that knows its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.quality._world import DEPTH, Ints, World
from conf import load
from jobs import _bundles, _verdict
from jobs._stage import Context
from jobs._tables import Partition
from models.ensemble import Ensemble, indexable
from models.features import with_text
from models.recommend import Indexes, RecommendConfig, recommend_batch
from schemas import QUERY_TEXT, USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT
from schemas import columns as col
from schemas.errors import ReelflowError

FINAL = "reelflow"
ALONE: tuple[Literal["retrieval", "wals"], ...] = ("retrieval", "wals")
"""Generators that are judged by themselves; what one leaves empty is filled by popularity."""
BARE = "scores alone"
"""The final list without rules and exploration: the order of the ensemble."""
NAMES = (*ALONE, BARE, FINAL)


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """The lists of one training.

    Attributes:
        lists: int64 ``(n_judged, DEPTH)`` by the names of ``NAMES``.
        verdict: what the gate said: ``passed``, ``reason`` and the ``weights`` that it chose.
        strangers: judged users of whom the platform knew nothing; they get the fallback list.
    """

    lists: Mapping[str, Ints]
    verdict: Mapping[str, Any]
    strangers: int


def our_lists(context: Context, world: World) -> Ours:
    """Make lists with the final bundles and the weights of the verdict, obeyed even if it refused.

    Args:
        context: of the training workspace as of the cut, within its environment.
        world: the question of the holdout.

    Raises:
        ReelflowError: no bundles, no verdict, or a catalogue other than the world's.
    """
    lake, today = context.lake, [Partition(context.last_day)]
    verdict = _verdict.read(context)
    if verdict is None:
        raise ReelflowError(f"verdict in {context.run_folder}: not found, expected what the gate wrote; run the stages first")
    ensemble = Ensemble.load(*_bundles.folders(_bundles.models(context)))
    videos = with_text(lake.read(VIDEO_FEATURES, today), lake.read(VIDEO_TEXT, today))
    config = load("recommend", RecommendConfig).weighed(verdict["weights"]).model_copy(update={"k": DEPTH})
    catalogue = ensemble.catalogue(config.catalogue, videos, context.as_of)
    if not np.array_equal(catalogue.video_ids, world.video_ids):
        raise ReelflowError("catalogue: found other videos than the world's, expected VIDEO_FEATURES of the same day")
    rows = lake.read(USER_FEATURES, today).sort_by(col.USER_ID)
    rows = rows.filter(pc.is_in(rows[col.USER_ID], pa.array(world.user_ids[world.judged])))
    known = np.isin(world.user_ids[world.judged], rows[col.USER_ID].to_numpy())
    seen = _with_seen(rows, world, world.judged[known])
    users = ensemble.users(config, seen, lake.read(QUERY_TEXT, today), catalogue, context.as_of)
    variants = {name: config.alone(name, name, DEPTH) for name in ALONE} | {BARE: config.bare(), FINAL: config}
    indexes = Indexes.exact(catalogue, indexable(catalogue, ensemble.retrieval))
    fallback = catalogue.popular_order[:DEPTH]
    lists = {}
    for name, variant in variants.items():
        lists[name] = np.full((len(world.judged), DEPTH), -1, dtype=np.int64)
        lists[name][:, : len(fallback)] = fallback
        lists[name][known] = recommend_batch(variant, catalogue, users, indexes, context.as_of.date()).positions
    return Ours(lists, {name: verdict[name] for name in ("passed", "reason", "weights")}, int((~known).sum()))


def _with_seen(rows: pa.Table, world: World, users: Ints) -> pa.Table:
    """USER_FEATURES with the world's seen videos as watched: the same are hidden from every model's lists."""
    seen = world.seen[users]
    watched = pa.LargeListArray.from_arrays(seen.indptr.astype(np.int64), world.video_ids[seen.indices])
    return rows.set_column(rows.schema.get_field_index(col.WATCHED), col.WATCHED, watched.cast(pa.list_(pa.int64())))
