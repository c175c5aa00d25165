"""Largest inner products of vectors whose lengths vary, by an index made for vectors of one length.

Lists and graphs group vectors by their directions, and what is short lies among what is long. One more number makes all as long
as the longest, and a query has 0 there: products stay what they were, their order is that of the angles, and short vectors come
to lie together, where nobody looks (Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean Transformation
for Inner-Product Spaces, RecSys 2014; Neyshabur and Srebro, On Symmetric and Asymmetric LSHs for Inner Product Search, ICML
2015). Both papers also divide by the longest length, which changes no order; without that, products need no scaling back and
nothing but the vectors has to be kept.

``ivf_flat`` at recall@100 of 0.95 on 10,477 WALS vectors of the simulator: 2,400 products a query; over the plain ones 4,300.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.ann._config import IndexConfig, Kind
from models.ann._kinds import build, build_flat, checked, kind_built
from models.ann._search import Floats, Ints, Searcher, VectorIndex, checked_queries


def augmented(vectors: Floats) -> Floats:
    """Append to each vector what it lacks of the length of the longest.

    Args:
        vectors: float32 ``(n, d)``.

    Returns:
        float32 ``(n, d + 1)``; the first ``d`` columns are those given.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    rest = np.sqrt(squares.max(initial=0.0) - squares).astype(np.float32)
    return np.hstack([vectors, rest[:, None]])


@dataclass(frozen=True, slots=True, eq=False)
class AugmentedIndex:
    """An index over augmented vectors, that is asked and answers as one over the plain vectors.

    Attributes:
        index: over what :func:`augmented` makes of the vectors.
    """

    index: VectorIndex

    @property
    def kind(self) -> Kind | None:
        """See :class:`Searcher`."""
        return self.index.kind

    @property
    def stored_bytes(self) -> int:
        """See :class:`Searcher`."""
        return self.index.stored_bytes

    def __len__(self) -> int:
        return len(self.index)

    def search(self, queries: Floats, k: int, *, complete: bool = True) -> tuple[Floats, Ints]:
        """See :class:`Searcher`."""
        wanted = checked_queries(queries, self.index.dim - 1)
        return self.index.search(np.pad(wanted, ((0, 0), (0, 1))), k, complete=complete)

    def write(self, file: Path) -> None:
        """See :class:`Searcher`."""
        self.index.write(file)


def build_augmented(
    config: IndexConfig, vectors: Floats, positions: Ints | None = None, *, threads: int = 1
) -> VectorIndex | AugmentedIndex:
    """As :func:`build`, for vectors whose lengths vary; an exact index needs no augmentation and gets none."""
    wanted, where = checked(vectors, positions)
    if kind_built(config, len(wanted)) == "flat":
        return build_flat(wanted, where, threads=threads)
    ivf = config.ivf.model_copy(update={"lists_per_root": config.ivf.augmented_lists_per_root})
    return AugmentedIndex(build(config.model_copy(update={"ivf": ivf}), augmented(wanted), where, threads=threads))


def read_augmented(file: Path, *, mmap: bool = True, threads: int = 1) -> Searcher:
    """Open what :func:`build_augmented` built: as :meth:`VectorIndex.read`; only an exact index is over the plain vectors."""
    index = VectorIndex.read(file, mmap=mmap, threads=threads)
    return index if index.kind == "flat" else AugmentedIndex(index)
