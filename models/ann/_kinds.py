"""How each kind of index is built. One thread, and seeds of our own: the same vectors give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from models.ann._config import Approximate, IndexConfig, Kind
from models.ann._search import VectorIndex, faiss_threads, unwrapped
from schemas.errors import ReelflowError

FEWEST = 1_000
"""With fewer vectors every kind is ``flat``: there is nothing to gain, and too little to train centroids and codes on."""

_TRAINED_PER_CENTROID = 39
_CODE_BITS = 4
_CODES_PER_BLOCK = 32


def build(
    config: IndexConfig, vectors: NDArray[np.float32], positions: NDArray[np.int64] | None = None, *, threads: int = 1
) -> VectorIndex:
    """Build the kind of index that the configuration names for so many vectors, at the least of its efforts.

    Args:
        config: section ``index``.
        vectors: float32 ``(n, d)``.
        positions: int64 ``(n,)`` catalogue position of each vector, ascending; ``None`` for 0 to n - 1.
        threads: threads that one search may use.

    Raises:
        ReelflowError: vectors that are not finite, or positions that are not one ascending number a vector.
    """
    wanted, where = checked(vectors, positions)
    kind = kind_built(config, len(wanted))
    if kind == "flat":
        return _flat(wanted, where, threads)
    with faiss_threads(1):
        index = VectorIndex.of(_BUILDERS[kind](config, wanted, where), threads)
    set_effort(index, config.efforts[kind][0])
    return index


def kind_built(config: IndexConfig, n_vectors: int) -> Kind:
    """The kind that :func:`build` builds of so many vectors."""
    return "flat" if n_vectors < FEWEST else config.kind_for(n_vectors)


def build_flat(vectors: NDArray[np.float32], positions: NDArray[np.int64] | None = None, *, threads: int = 1) -> VectorIndex:
    """Build an index that searches exactly.

    Args:
        vectors: float32 ``(n, d)``.
        positions: int64 ``(n,)`` catalogue position of each vector, ascending; ``None`` for 0 to n - 1.
        threads: threads that one search may use.

    Raises:
        ReelflowError: vectors that are not finite, or positions that are not one ascending number a vector.
    """
    return _flat(*checked(vectors, positions), threads)


def set_effort(index: VectorIndex, effort: int) -> None:
    """Set how much of an approximate index a search looks at; it is stored with the index."""
    inner = unwrapped(index.index)
    if isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efSearch = effort
    else:
        lists = faiss.extract_index_ivf(inner)
        lists.nprobe = min(effort, lists.nlist)


def checked(vectors: NDArray[np.float32], positions: NDArray[np.int64] | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors and positions as FAISS wants them.

    Raises:
        ReelflowError: vectors that are not finite, or positions that are not one ascending number a vector.
    """
    wanted = np.ascontiguousarray(vectors, dtype=np.float32)
    if wanted.ndim != 2 or not bool(np.isfinite(wanted).all()):
        raise ReelflowError(
            f"index: found vectors of shape {np.shape(vectors)}, not (n, d) or not finite; expected finite (n, d); "
            "the model that made them is damaged: train it again"
        )
    where = np.arange(len(wanted), dtype=np.int64) if positions is None else np.ascontiguousarray(positions, dtype=np.int64)
    if where.shape != (len(wanted),) or bool((where < 0).any() or (where[1:] <= where[:-1]).any()):
        raise ReelflowError(
            f"index: found positions of shape {where.shape} for {len(wanted)} vectors, expected as many, ascending; "
            "sort the vectors by position"
        )
    return wanted, where


def _flat(vectors: NDArray[np.float32], positions: NDArray[np.int64], threads: int) -> VectorIndex:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(vectors, positions)
    return VectorIndex.of(index, threads)


def _hnsw(config: IndexConfig, vectors: NDArray[np.float32], positions: NDArray[np.int64]) -> Any:
    graph = faiss.IndexHNSWFlat(vectors.shape[1], config.hnsw.links, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = config.hnsw.build_effort
    index = faiss.IndexIDMap(graph)
    index.add_with_ids(vectors, positions)
    return index


def _ivf_flat(config: IndexConfig, vectors: NDArray[np.float32], positions: NDArray[np.int64]) -> Any:
    dim, lists = vectors.shape[1], _lists(config, len(vectors))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    _train(config, index, vectors)
    index.add_with_ids(vectors, positions)
    return index


def _ivf_sq8(config: IndexConfig, vectors: NDArray[np.float32], positions: NDArray[np.int64]) -> Any:
    dim, lists = vectors.shape[1], _lists(config, len(vectors))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    _train(config, index, vectors)
    index.add_with_ids(vectors, positions)
    return index


def _ivf_pq(config: IndexConfig, vectors: NDArray[np.float32], positions: NDArray[np.int64]) -> Any:
    dim, lists = vectors.shape[1], _lists(config, len(vectors))
    # A code for each number. Two numbers a code are half the size, but find 0.87 of the best at 100,000 vectors, not 0.96.
    codes = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(dim), dim, lists, dim, _CODE_BITS, faiss.METRIC_INNER_PRODUCT, _CODES_PER_BLOCK
    )
    codes.pq.cp.seed = config.ivf.seed
    _train(config, codes, vectors)
    refined = faiss.IndexRefineFlat(codes)
    refined.k_factor = config.ivf.refine_factor
    index = faiss.IndexIDMap(refined)
    index.add_with_ids(vectors, positions)
    return index


def _lists(config: IndexConfig, n_vectors: int) -> int:
    wanted = round(config.ivf.lists_per_root * math.sqrt(n_vectors))
    return max(1, min(wanted, n_vectors // _TRAINED_PER_CENTROID))


def _train(config: IndexConfig, index: Any, vectors: NDArray[np.float32]) -> None:
    index.cp.seed = config.ivf.seed
    index.cp.max_points_per_centroid = config.ivf.training_vectors_per_list
    index.train(vectors)


_BUILDERS: Mapping[Approximate, Callable[[IndexConfig, NDArray[np.float32], NDArray[np.int64]], Any]] = {
    "hnsw": _hnsw,
    "ivf_flat": _ivf_flat,
    "ivf_sq8": _ivf_sq8,
    "ivf_pq": _ivf_pq,
}
