"""Fallback lists: the most popular videos of every segment that a visitor without a list of their own may belong to (P7)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from conf import Section
from models.recommend._catalogue import Catalogue
from models.segments import EVERYBODY, Chain, FittedPopularity
from schemas import FALLBACK_RECOMMENDATIONS
from schemas import columns as col
from schemas.errors import ReelflowError
from schemas.segments import ALL, parent_of, segment_name, values_of

__all__ = ["FallbackConfig", "fallback_lists"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_SEGMENTS_PER_BLOCK = 64
_WORDS = {col.COUNTRY: "in {}", col.LANGUAGE: "in language {}", col.CITY: "in {}", col.DEVICE: "on {}"}


class FallbackConfig(Section):
    """Section ``fallback``."""

    chains: tuple[Chain, ...]
    """Of segments that get a list of their own; each the beginning of one of ``popularity.chains``."""
    max_per_creator: int = Field(ge=1)
    """Videos of one creator in a list, unless the list would be shorter than k."""


def fallback_lists(config: FallbackConfig, popularity: FittedPopularity, catalogue: Catalogue, k: int) -> pa.Table:
    """The k most popular videos that may be shown, of everybody, of each known segment, and of each country that blocks some.

    Only one of near-duplicates stands in a list. A segment of a country obeys what that country blocks; every other one holds
    nothing that any country blocks, unless nothing else is left. Equal scores go to what the catalogue's counters say, then to
    the lower position.

    Args:
        config: section ``fallback``.
        popularity: as of the same moment as the catalogue.
        catalogue: the videos.
        k: length of the lists.

    Returns:
        FALLBACK_RECOMMENDATIONS in order of segment and rank.

    Raises:
        ReelflowError: the catalogue holds nothing that may be shown, or no segments of such chains were counted.
    """
    if not len(catalogue.popular_order):
        raise ReelflowError(
            "catalogue: no video may be shown; expected at least one that is not removed; check the video snapshots"
        )
    lists = []
    for names, rows in _blocks(_segments(config, popularity, catalogue)):
        scores = popularity.scores(catalogue.video_ids[catalogue.popular_order], rows)
        for name, row, own in zip(names, rows, scores, strict=True):
            lists.append(_list(config, catalogue, name, own, local=row != EVERYBODY, k=k))
    return pa.concat_tables(lists).select(FALLBACK_RECOMMENDATIONS.columns).cast(FALLBACK_RECOMMENDATIONS.arrow)


def _segments(config: FallbackConfig, popularity: FittedPopularity, catalogue: Catalogue) -> dict[str, int]:
    """Which lists to make, ascending, and the row of ``popularity`` that each follows."""
    known = {name: row for row, name in enumerate(popularity.segments)}
    of_countries = (segment_name([(col.COUNTRY, name)]) for name in catalogue.countries)
    rows = {ALL: EVERYBODY} | {name: known.get(name, EVERYBODY) for name in of_countries if name is not None}
    for chain in config.chains:
        rows |= {popularity.segments[row]: int(row) for row in popularity.rows_of_chain(chain)}
    return dict(sorted(rows.items()))


def _blocks(rows: dict[str, int]) -> Iterator[tuple[list[str], Ints]]:
    """A few segments at a time: each takes 4 bytes a video."""
    names = list(rows)
    for start in range(0, len(names), _SEGMENTS_PER_BLOCK):
        block = names[start : start + _SEGMENTS_PER_BLOCK]
        yield block, np.array([rows[name] for name in block], dtype=np.int64)


def _list(config: FallbackConfig, catalogue: Catalogue, segment: str, scores: Floats, *, local: bool, k: int) -> pa.Table:
    """Rows of one segment; ``scores`` are those of ``catalogue.popular_order``, ``local`` says whether of it alone."""
    order = catalogue.popular_order
    may = np.flatnonzero(_allowed(catalogue, segment)[order])
    best = may[np.argsort(-scores[may], kind="stable")]
    _, first = np.unique(catalogue.facts.same_as[order[best]], return_index=True)
    best = best[np.sort(first)]
    chosen = best[_spread(catalogue.facts.creator[order[best]], config.max_per_creator, k)]
    source = "local" if local else "popular"
    return pa.table(
        {
            col.SEGMENT: pa.repeat(segment, len(chosen)),
            col.PARENT: pa.array([parent_of(segment)] * len(chosen), pa.string()),
            col.RANK: pa.array(np.arange(1, len(chosen) + 1, dtype=np.int32)),
            col.VIDEO_ID: pa.array(catalogue.video_ids[order[chosen]]),
            col.SCORE: pa.array(scores[chosen].astype(np.float64)),
            col.SOURCES: pa.array([f"{source}:{rank}" for rank in range(1, len(chosen) + 1)], pa.string()),
            col.REASON: pa.repeat(_reason(segment) if local else "popular now", len(chosen)),
        }
    )


def _allowed(catalogue: Catalogue, segment: str) -> NDArray[np.bool_]:
    """What may be shown in a segment, bool ``(n_videos,)``."""
    country = dict(values_of(segment)).get(col.COUNTRY)
    if country in catalogue.countries:
        blocked = catalogue.blocked[catalogue.countries.index(country)]
    elif country is not None:
        blocked = np.zeros(len(catalogue.video_ids), dtype=bool)
    else:
        blocked = np.any(catalogue.blocked, axis=0)
        if blocked[catalogue.popular_order].all():
            return catalogue.eligible
    return np.asarray(catalogue.eligible & ~blocked)


def _spread(creators: Ints, most: int, k: int) -> Ints:
    """The first k places with at most so many of one creator, ascending; what is missing to k is filled from the others.

    Args:
        creators: int64 ``(n,)`` in order of preference; -1 for an unknown one, who is nobody in particular.
        most: of one creator.
        k: how many places.
    """
    by_creator = np.argsort(creators, kind="stable")
    ordered = creators[by_creator]
    nth = np.empty(len(creators), dtype=np.int64)
    nth[by_creator] = np.arange(len(creators)) - np.searchsorted(ordered, ordered)
    good = (nth < most) | (creators < 0)
    places = np.flatnonzero(good)[:k]
    return np.sort(np.append(places, np.flatnonzero(~good)[: k - len(places)]))


def _reason(segment: str) -> str:
    return "popular " + ", ".join(_WORDS[kind].format(value) for kind, value in values_of(segment))
