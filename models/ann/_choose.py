"""Which index a catalogue gets: its kind by the number of vectors, its effort by the recall that was measured (G6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from models._topk import top_inner_products
from models.ann._augmented import AugmentedIndex, build_augmented
from models.ann._config import IndexConfig, Kind
from models.ann._kinds import build, build_flat, set_effort
from models.ann._search import Searcher, VectorIndex, recall_against, unwrapped
from schemas.errors import ReelflowError

_COUNTED: Any = faiss.cvar


@dataclass(frozen=True, slots=True)
class Choice:
    """An index and what is known of it."""

    index: Searcher
    kind: Kind
    effort: int | None
    """efSearch or nprobe; None of an exact index."""
    recall: float
    distances_per_query: float
    """Inner products that one query took, with codes and with vectors alike."""
    note: str
    """All of it in words."""

    def facts(self) -> dict[str, Any]:
        """What a bundle says of its index."""
        return {
            "kind": self.kind,
            "effort": self.effort,
            "recall": round(self.recall, 4),
            "distances_per_query": round(self.distances_per_query, 1),
            "bytes": self.index.stored_bytes,
        }


def choose(
    config: IndexConfig,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    positions: NDArray[np.int64] | None = None,
    *,
    lengths_vary: bool = False,
    name: str = "index",
    threads: int = 1,
) -> Choice:
    """Build the index of the configured kind with the least effort whose recall on ``queries`` is enough.

    Args:
        config: section ``index``.
        vectors: float32 ``(n, d)``.
        queries: float32 ``(n_queries, d)``, vectors of users; without any, the first ``sample_users`` vectors ask for
            themselves. An exact index needs none.
        positions: int64 ``(n,)`` catalogue position of each vector, ascending; ``None`` for 0 to n - 1.
        lengths_vary: whether the vectors are not all of one length, so that an approximate index augments them.
        name: of the index, for errors.
        threads: threads that one search may use.

    Raises:
        ReelflowError: no effort of a kind that was set by hand reaches ``min_recall``; vectors that are not finite; positions
            that are not one ascending number a vector.
    """
    index = (build_augmented if lengths_vary else build)(config, vectors, positions, threads=threads)
    inner = index.index if isinstance(index, AugmentedIndex) else index
    kind = index.kind
    if kind is None or kind == "flat":
        return _exact(index, "flat index")
    asked = queries if len(queries) else vectors[: config.sample_users]
    depth = min(config.recall_at, len(vectors))
    exact, _ = top_inner_products(asked, vectors, depth)
    recall, effort = 0.0, 0
    for effort in config.efforts[kind]:
        set_effort(inner, effort)
        _forget_distances()
        recall = recall_against(exact, index, vectors, asked, positions)
        if recall >= config.min_recall:
            distances = _distances_per_query(inner, len(asked), depth)
            note = f"{kind} index, effort {effort}, recall@{depth} {recall:.4f}"
            return Choice(index, kind, effort, recall, distances, note)
    reached = f"recall@{depth} {recall:.4f} with effort {effort}"
    if config.kind == "auto":
        instead = build_flat(vectors, positions, threads=threads)
        return _exact(instead, f"flat index, because {kind} reached only {reached}, not {config.min_recall}")
    raise ReelflowError(
        f"{name}: {kind} reached {reached}, its largest, on {len(asked):,} queries, expected at least {config.min_recall}; "
        f"add larger efforts to index.efforts.{kind}, or set index.kind to auto"
    )


def _exact(index: Searcher, note: str) -> Choice:
    return Choice(index, "flat", None, 1.0, float(len(index)), note)


def _forget_distances() -> None:
    _COUNTED.hnsw_stats.reset()
    _COUNTED.indexIVF_stats.reset()


def _distances_per_query(index: VectorIndex, n_queries: int, depth: int) -> float:
    """Inner products since they were forgotten, and those with centroids and refined vectors, which FAISS does not count."""
    inner = unwrapped(index.index)
    if index.kind == "hnsw":
        return float(_COUNTED.hnsw_stats.ndis / n_queries)
    refined = inner.k_factor * depth if index.kind == "ivf_pq" else 0.0
    return float(_COUNTED.indexIVF_stats.ndis / n_queries + faiss.extract_index_ivf(inner).nlist + refined)
