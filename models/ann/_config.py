"""Settings of the indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from conf import Section

Kind = Literal["flat", "hnsw", "ivf_flat", "ivf_sq8", "ivf_pq"]
Approximate = Literal["hnsw", "ivf_flat", "ivf_sq8", "ivf_pq"]
Efforts = tuple[Annotated[int, Field(ge=1)], ...]


class HnswConfig(Section):
    """The graph: section ``index.hnsw``."""

    links: int = Field(ge=2)
    """Neighbours of a vector on each level, twice as many on the lowest (M)."""

    build_effort: int = Field(ge=1)
    """Vectors that are kept in view while one is linked (efConstruction)."""


class IvfConfig(Section):
    """The lists: section ``index.ivf``."""

    lists_per_root: float = Field(gt=0)
    """Lists, as a multiple of the square root of the number of vectors."""

    augmented_lists_per_root: float = Field(gt=0)
    """The same where lengths vary: what is short lies in few lists that nobody looks at, so the others have to be finer."""

    training_vectors_per_list: int = Field(ge=39)
    """k-means looks at so many vectors a list; fewer than 39 find poor centroids, says FAISS."""

    refine_factor: int = Field(ge=1)
    """``ivf_pq`` compares so many times ``k`` codes' vectors again."""

    seed: int = Field(ge=0)
    """Of k-means."""


class IndexConfig(Section):
    """How each index is built: section ``index``."""

    kind: Literal["auto", Kind]
    """A kind, or ``auto``: the kind of ``from_videos`` that fits, and exact search where that one's recall is not enough."""

    from_videos: Mapping[Kind, Annotated[int, Field(ge=0)] | None]
    """From how many vectors on ``auto`` takes a kind; null for never. Measured: ``python -m benchmarks index``."""

    min_recall: float = Field(gt=0, le=1)
    """Share of the true best that the index must find (G6)."""

    recall_at: int = Field(ge=1)
    """How many best recall is measured on."""

    sample_users: int = Field(ge=1)
    """Users whose vectors are the queries of the measurement, taken by the hash of their id."""

    efforts: Mapping[Approximate, Annotated[Efforts, Field(min_length=1)]]
    """Search efforts to try, ascending: vectors in view for ``hnsw`` (efSearch), lists to scan for the others (nprobe)."""

    hnsw: HnswConfig
    ivf: IvfConfig

    @field_validator("from_videos")
    @classmethod
    def _every_size_has_a_kind(cls, given: Mapping[Kind, int | None]) -> Mapping[Kind, int | None]:
        starts = [start for start in given.values() if start is not None]
        if min(starts, default=1) != 0 or len(set(starts)) < len(starts):
            raise ValueError("expected one kind from 0 vectors on, and every kind from another number on")
        return given

    @field_validator("efforts")
    @classmethod
    def _ascending(cls, given: Mapping[Approximate, Efforts]) -> Mapping[Approximate, Efforts]:
        for kind in get_args(Approximate):
            ladder = given.get(kind, ())
            if not ladder or list(ladder) != sorted(set(ladder)):
                raise ValueError(f"{kind}: found {ladder}, expected ascending numbers")
        return given

    def kind_for(self, n_vectors: int) -> Kind:
        """The kind for so many vectors."""
        if self.kind != "auto":
            return self.kind
        fits = {start: kind for kind, start in self.from_videos.items() if start is not None and start <= n_vectors}
        return fits[max(fits)]
