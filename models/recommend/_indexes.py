"""The indexes that generators search: one for each kind of vector that proposes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ann import Searcher, VectorIndex, build_flat, read_augmented
from models.recommend._catalogue import Catalogue, UserBatch

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """What one index is over.

    Attributes:
        positions: int64 ``(n,)`` of eligible videos that have a vector, ascending.
        vectors: float32 ``(n, d)``, theirs.
        lengths_vary: whether the vectors are not all of one length.
    """

    positions: Ints
    vectors: Floats
    lengths_vary: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Indexes:
    """An index for each generator that searches one; ids are positions of the catalogue that they were built from.

    They may hold videos that are eligible no more: what generators propose is filtered.

    Attributes:
        retrieval: over vectors of the two-tower model, all of length 1.
        wals: over WALS vectors, whose lengths vary.
        similar: over the content of titles and tags, all of length 1.
    """

    retrieval: Searcher
    wals: Searcher
    similar: Searcher

    @staticmethod
    def searched(catalogue: Catalogue, retrieval: Ints) -> Mapping[str, Searched]:
        """What each index is over, by the names of the attributes.

        Args:
            catalogue: the videos.
            retrieval: int64 ``(n,)`` positions of the videos that retrieval may propose, ascending.
        """
        wals, content = catalogue.wals_positions, catalogue.described_positions
        return {
            "retrieval": Searched(retrieval, catalogue.retrieval_vectors[retrieval]),
            "wals": Searched(wals, catalogue.wals_vectors[wals], lengths_vary=True),
            "similar": Searched(content, catalogue.facts.content[content]),
        }

    @staticmethod
    def queries(users: UserBatch) -> Mapping[str, Floats]:
        """The vectors by which users ask each index, float32 ``(n, d)``: of those who have one, in their order."""
        asked = {"retrieval": users.retrieval, "wals": users.wals, "similar": users.content}
        return {name: vectors[vectors.any(axis=1)] for name, vectors in asked.items()}

    @classmethod
    def exact(cls, catalogue: Catalogue, retrieval: Ints) -> Indexes:
        """Indexes that find the best exactly; arguments as of :meth:`searched`."""
        parts = cls.searched(catalogue, retrieval)
        return cls(**{name: build_flat(part.vectors, part.positions) for name, part in parts.items()})

    def write(self, folder: Path) -> None:
        """Write one FAISS file for each into a new folder."""
        folder.mkdir(parents=True)
        for name in _NAMES:
            getattr(self, name).write(_file(folder, name))

    @classmethod
    def read(cls, folder: Path) -> Indexes:
        """Map what :meth:`write` wrote.

        Raises:
            ReelflowError: a file is missing or is no FAISS index.
        """
        return cls(
            retrieval=VectorIndex.read(_file(folder, "retrieval")),
            wals=read_augmented(_file(folder, "wals")),
            similar=VectorIndex.read(_file(folder, "similar")),
        )


_NAMES = tuple(field.name for field in fields(Indexes))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.faiss"
