"""Searching an index of any kind, and what it misses of the exact answer.

An exact index is stored as FAISS stores it, but scanned by ``models._topk``: at 12,000 vectors, k = 364 and one thread that is
2.6 times as fast, at 100,000 as fast, and it gives the last places among equal scores to the lowest positions. That matters,
because all rare videos share one embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from models._topk import pack, top_inner_products, unpack
from models.ann._config import Kind
from models.ids import IdMap
from schemas.errors import ReelflowError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_FAISS: Any = faiss  # its type stubs lack some of what it has


class Searcher(Protocol):
    """What finds the vectors with the largest inner products; each is known by its position in the catalogue."""

    @property
    def kind(self) -> Kind | None:
        """Which of the kinds that are built here this is."""

    @property
    def stored_bytes(self) -> int:
        """Size of the file that :meth:`write` writes."""

    def __len__(self) -> int: ...

    def search(self, queries: Floats, k: int, *, complete: bool = True) -> tuple[Floats, Ints]:
        """Find the ``k`` vectors with the largest inner product for each query.

        Args:
            queries: float32 ``(n, dim)``.
            k: how many per query; more than there are is padded.
            complete: whether a query whose approximate search ends with fewer than ``k`` looks at everything.

        Returns:
            float32 inner products and int64 positions ``(n, k)``, best first, padded with ``-inf`` and ``-1``.
        """

    def write(self, file: Path) -> None:
        """Write the index as one FAISS file."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorIndex:
    """A searchable set of vectors, each known by its position in the catalogue.

    Attributes:
        index: the FAISS index; its ids are catalogue positions.
        threads: threads that one approximate search may use. FAISS's setting is global to the process: it is set for the call
            and restored. An exact scan uses the threads that BLAS has.
        stored: of an index that holds its vectors in one piece, those float32 ``(n, dim)``, a view of FAISS's memory, and their
            positions int64 ``(n,)``.
    """

    index: Any
    threads: int = 1
    stored: tuple[Floats, Ints] | None = None

    @classmethod
    def of(cls, index: Any, threads: int = 1) -> VectorIndex:
        """Wrap a FAISS index whose ids are positions."""
        storage = unwrapped(index)
        if isinstance(storage, faiss.IndexHNSW):
            storage = faiss.downcast_index(storage.storage)
        elif isinstance(storage, faiss.IndexRefine):
            storage = faiss.downcast_index(storage.refine_index)
        if not isinstance(storage, faiss.IndexFlat) or not storage.ntotal:
            return cls(index, threads)
        vectors = faiss.rev_swig_ptr(storage.get_xb(), storage.ntotal * storage.d).reshape(storage.ntotal, storage.d)
        return cls(index, threads, (vectors, faiss.vector_to_array(index.id_map)))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.index.d)

    @property
    def kind(self) -> Kind | None:
        """Which of the kinds that are built here this is."""
        inner = unwrapped(self.index)
        kinds: tuple[tuple[Any, Kind], ...] = (
            (faiss.IndexRefine, "ivf_pq"),
            (faiss.IndexIVFFlat, "ivf_flat"),
            (faiss.IndexIVFScalarQuantizer, "ivf_sq8"),
            (faiss.IndexHNSW, "hnsw"),
            (faiss.IndexFlat, "flat"),
        )
        return next((kind for made_by, kind in kinds if isinstance(inner, made_by)), None)

    @property
    def stored_bytes(self) -> int:
        """Size of the file that :meth:`write` writes."""
        sizes: list[int] = []
        writer = _FAISS.PyCallbackIOWriter(lambda part: sizes.append(len(part)))
        faiss.write_index(self.index, writer)
        return sum(sizes)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(self, queries: Floats, k: int, *, complete: bool = True) -> tuple[Floats, Ints]:
        """Find the ``k`` vectors with the largest inner product for each query.

        Equal scores are listed by position. The last places go to the lowest positions among equals in an exact search, to the
        index's choice in an approximate one. Scores of ``ivf_sq8`` are those of its codes.

        Args:
            queries: float32 ``(n, dim)``.
            k: how many per query; more than the index holds is padded.
            complete: whether a query whose approximate search ends with fewer than ``k`` looks at everything.

        Returns:
            float32 scores and int64 positions ``(n, k)``, best first, padded with ``-inf`` and ``-1``.

        Raises:
            ReelflowError: queries of another length than the index's vectors.
        """
        wanted = checked_queries(queries, self.dim)
        reach = min(k, len(self))
        if not reach or not len(wanted):
            return np.full((len(wanted), k), -np.inf, dtype=np.float32), np.full((len(wanted), k), -1, dtype=np.int64)
        if self.kind == "flat":
            scores, positions = self._everything(wanted, reach)
        else:
            scores, positions = self._approximate(wanted, reach)
            short = np.flatnonzero(positions[:, -1] < 0)
            if complete and len(short) and self.kind is not None:
                scores[short], positions[short] = self._everything(wanted[short], reach)
        if reach < k:
            gap = ((0, 0), (0, k - reach))
            scores, positions = np.pad(scores, gap, constant_values=-np.inf), np.pad(positions, gap, constant_values=-1)
        return scores, positions

    def _approximate(self, queries: Floats, k: int, **options: Any) -> tuple[Floats, Ints]:
        with faiss_threads(self.threads):
            scores, positions = self.index.search(queries, k, **options)
        scores[positions < 0] = -np.inf
        # Equal scores are rare: only rows in which some stand in another order are sorted.
        left, right = scores[:, :-1], scores[:, 1:]
        out_of_order = np.flatnonzero(((left < right) | (left == right) & (positions[:, :-1] > positions[:, 1:])).any(axis=1))
        if len(out_of_order):
            keys = pack(scores[out_of_order], positions[out_of_order])
            keys.sort(axis=1)
            scores[out_of_order], positions[out_of_order] = unpack(keys)
        return scores, positions

    def _everything(self, queries: Floats, k: int) -> tuple[Floats, Ints]:
        if self.stored is not None:
            scores, rows = top_inner_products(queries, self.stored[0], k)
            return scores, self.stored[1][rows]
        everywhere = _FAISS.SearchParametersIVF(nprobe=faiss.extract_index_ivf(self.index).nlist)
        return self._approximate(queries, k, params=everywhere)

    def write(self, file: Path) -> None:
        """Write the index as one FAISS file."""
        faiss.write_index(self.index, str(file))

    @classmethod
    def read(cls, file: Path, *, mmap: bool = True, threads: int = 1) -> VectorIndex:
        """Open an index that :meth:`write` wrote.

        Args:
            file: the FAISS file.
            mmap: map vectors, lists and graph instead of reading them, so that the workers of one machine share them. Read all
                the same are the positions (8 bytes a vector; not those of ``ivf_flat`` and ``ivf_sq8``) and ``ivf_pq``'s codes.
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


def recall_against_exact(index: Searcher, vectors: Floats, queries: Floats, k: int, positions: Ints | None = None) -> float:
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
    return recall_against(exact, index, vectors, queries, positions)


def recall_against(exact: Floats, index: Searcher, vectors: Floats, queries: Floats, positions: Ints | None = None) -> float:
    """The same where the ``k`` best scores, float32 ``(n_queries, k)``, best first, are known.

    Approximate searches are not completed: an effort that finds too few must not look good because everything is searched then.
    """
    _, found = index.search(queries, exact.shape[1], complete=False)
    where = IdMap(np.arange(len(vectors)) if positions is None else positions)
    rows = where.lookup(found.reshape(-1)).reshape(found.shape)
    scores = np.matmul(vectors[rows], queries[:, :, None])[:, :, 0]
    # Two ways of summing the same products differ in the last bits, by so much of the two lengths.
    tolerance = 1e-5 * np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)[rows]
    return float(((scores >= exact[:, -1:] - tolerance) & (rows >= 0)).mean())


def checked_queries(queries: Floats, dim: int) -> Floats:
    """Queries as FAISS wants them.

    Raises:
        ReelflowError: they are of another length than the index's vectors.
    """
    wanted = np.ascontiguousarray(queries, dtype=np.float32)
    if wanted.ndim != 2 or wanted.shape[1] != dim:
        raise ReelflowError(
            f"index search: found queries of shape {wanted.shape}, expected (n, {dim}); "
            "index and query encoder are of different models: build the index again from this model"
        )
    return wanted


def unwrapped(index: Any) -> Any:
    """What searches, without the map of its ids."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index


@contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Inside, FAISS uses so many threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
