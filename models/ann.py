"""Vector index: the nearest videos by inner product, bound to the positions of one catalogue.

Exact search (``IndexFlatIP``, https://github.com/facebookresearch/faiss/wiki/Faiss-indexes) reads every vector for every query,
and is the right choice up to some hundred thousand videos: it needs no training, has no recall to lose, and 12,000 vectors of
48 dimensions are 2 MB. Approximate kinds join ``_BUILDERS``; :func:`recall_against_exact` says what they cost.

A flat index is stored as FAISS stores it, but scanned by ``models._topk``: at 12,000 vectors, k = 364 and one thread that is
three times as fast (14,000 against 4,700 queries/s), and it gives the last places among equal scores to the lowest positions.
That matters, because all rare videos share one embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from conf import Section
from models._topk import pack, top_inner_products, unpack
from models.ids import IdMap
from schemas.errors import ReelflowError


class IndexConfig(Section):
    """How the retrieval index is built: section ``index``."""

    kind: Literal["flat"]
    """``flat``: exact search over uncompressed vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorIndex:
    """A searchable set of vectors, each known by its position in the catalogue.

    Attributes:
        index: the FAISS index; its ids are catalogue positions.
        threads: threads that one approximate search may use. FAISS's setting is global to the process: it is set for the call
            and restored. An exact scan uses the threads that BLAS has.
        flat: of a flat index, its vectors float32 ``(n, dim)``, a view of FAISS's memory, and their positions int64 ``(n,)``.
    """

    index: Any
    threads: int = 1
    flat: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None

    @classmethod
    def of(cls, index: Any, threads: int = 1) -> VectorIndex:
        """Wrap an ``IndexIDMap``."""
        inner = faiss.downcast_index(index.index)
        if not isinstance(inner, faiss.IndexFlatIP) or not inner.ntotal:
            return cls(index, threads)
        vectors = faiss.rev_swig_ptr(inner.get_xb(), inner.ntotal * inner.d).reshape(inner.ntotal, inner.d)
        return cls(index, threads, (vectors, faiss.vector_to_array(index.id_map)))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.index.d)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the ``k`` vectors with the largest inner product for each query.

        Equal scores are listed by position. The last places go to the lowest positions among equals in an exact search, to the
        index's choice in an approximate one.

        Args:
            queries: float32 ``(n, dim)``.
            k: how many per query; more than the index holds is padded.

        Returns:
            float32 scores and int64 positions ``(n, k)``, best first, padded with ``-inf`` and ``-1``.

        Raises:
            ReelflowError: queries of another length than the index's vectors.
        """
        wanted = np.ascontiguousarray(queries, dtype=np.float32)
        if wanted.ndim != 2 or wanted.shape[1] != self.dim:
            raise ReelflowError(
                f"index search: found queries of shape {wanted.shape}, expected (n, {self.dim}); "
                "index and query encoder are of different models: build the index again from this model"
            )
        reach = min(k, len(self))
        if not reach or not len(wanted):
            return np.full((len(wanted), k), -np.inf, dtype=np.float32), np.full((len(wanted), k), -1, dtype=np.int64)
        if self.flat is not None:
            scores, rows = top_inner_products(wanted, self.flat[0], reach)
            positions = self.flat[1][rows]
        else:
            with _faiss_threads(self.threads):
                keys = pack(*self.index.search(wanted, reach))
            keys.sort(axis=1)
            scores, positions = unpack(keys)
        if reach < k:
            gap = ((0, 0), (0, k - reach))
            scores, positions = np.pad(scores, gap, constant_values=-np.inf), np.pad(positions, gap, constant_values=-1)
        return scores, positions

    def write(self, file: Path) -> None:
        """Write the index as one FAISS file."""
        faiss.write_index(self.index, str(file))

    @classmethod
    def read(cls, file: Path, *, mmap: bool = True, threads: int = 1) -> VectorIndex:
        """Open an index that :meth:`write` wrote.

        Args:
            file: the FAISS file.
            mmap: map the vectors instead of reading them, so that the workers of one machine share them.
            threads: threads that one search may use.

        Raises:
            ReelflowError: the file is missing or is no FAISS index.
        """
        if not file.is_file():
            raise ReelflowError(f"index {file}: found no file, expected a FAISS index; run the index stage again")
        try:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC if mmap else 0)
        except RuntimeError as error:
            raise ReelflowError(f"index {file}: FAISS cannot read it ({error}); run the index stage again") from error
        return cls.of(index, threads)


def build(
    config: IndexConfig, vectors: NDArray[np.float32], positions: NDArray[np.int64] | None = None, *, threads: int = 1
) -> VectorIndex:
    """Build the kind of index that the configuration names.

    Args:
        config: section ``index``.
        vectors: float32 ``(n, d)``.
        positions: int64 ``(n,)`` catalogue position of each vector, ascending; ``None`` for 0 to n - 1.
        threads: threads that one search may use.

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
    index = faiss.IndexIDMap(_BUILDERS[config.kind](wanted.shape[1]))
    index.add_with_ids(wanted, where)
    return VectorIndex.of(index, threads)


def build_flat(vectors: NDArray[np.float32], positions: NDArray[np.int64] | None = None, *, threads: int = 1) -> VectorIndex:
    """Build an index that searches exactly.

    Args:
        vectors: float32 ``(n, d)``.
        positions: int64 ``(n,)`` catalogue position of each vector; ``None`` for 0 to n - 1.
        threads: threads that one search may use.
    """
    return build(IndexConfig(kind="flat"), vectors, positions, threads=threads)


def recall_against_exact(
    index: VectorIndex,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    positions: NDArray[np.int64] | None = None,
) -> float:
    """Measure the share of the true ``k`` best scores that the index finds, over all queries.

    A found vector counts when its exact score reaches the k-th best one, so that equal vectors may stand in for each other.

    Args:
        index: the index under test.
        vectors: float32 ``(n, d)``, what the index was built from.
        queries: float32 ``(n_queries, d)``.
        k: depth of the comparison.
        positions: int64 ``(n,)`` catalogue position of each vector; ``None`` for 0 to n - 1.

    Returns:
        0 to 1; 1.0 for an exact index.
    """
    reach = min(k, len(vectors))
    if not reach or not len(queries):
        return 1.0
    exact, _ = top_inner_products(queries, vectors, reach)
    _, found = index.search(queries, reach)
    where = IdMap(np.arange(len(vectors)) if positions is None else positions)
    rows = where.lookup(found.reshape(-1)).reshape(found.shape)
    scores = np.matmul(vectors[rows], queries[:, :, None])[:, :, 0]
    # Two ways of summing the same products differ in the last bits.
    tolerance = 1e-5 * np.maximum(1.0, np.abs(exact[:, -1:]))
    return float(((scores >= exact[:, -1:] - tolerance) & (rows >= 0)).mean())


@contextmanager
def _faiss_threads(threads: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


_BUILDERS: Mapping[str, Callable[[int], Any]] = {"flat": faiss.IndexFlatIP}
