"""Fallback lists: the most popular videos of every segment that a visitor without a list of their own may belong to (P7)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from conf import Section
from models._topk import pack, smallest, unpack
from models.recommend._catalogue import Catalogue
from models.segments import EVERYBODY, Chain, FittedPopularity
from schemas import FALLBACK_RECOMMENDATIONS
from schemas import columns as col
from schemas.errors import ReelflowError
from schemas.segments import ALL, parent_of, segment_name, values_of

__all__ = ["FallbackConfig", "fallback_lists"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_SEGMENTS_PER_BLOCK = 64
# Near-duplicates and creators with many videos rarely take more; only then is everything sorted. 1,500 lists over 100,000
# videos take 7 s so, and 114 s where each sorts all.
_VIDEOS_PER_PLACE = 20
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
    anywhere = _allowed_anywhere(catalogue)
    lists = []
    for names, rows in _blocks(_segments(config, popularity, catalogue)):
        scores = popularity.scores(catalogue.video_ids[catalogue.popular_order], rows)
        for name, row, own in zip(names, rows, scores, strict=True):
            may = np.flatnonzero(_allowed(catalogue, name, anywhere)[catalogue.popular_order])
            chosen = _choose(config, catalogue, own, may, k)
            lists.append(_rows(catalogue, name, own, chosen, local=row != EVERYBODY))
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


def _choose(config: FallbackConfig, catalogue: Catalogue, scores: Floats, may: Ints, k: int) -> Ints:
    """The places in ``catalogue.popular_order`` of one list, best first.

    Args:
        config: section ``fallback``.
        catalogue: the videos.
        scores: float32 ``(n_eligible,)`` of ``catalogue.popular_order``.
        may: int64 places that may be shown.
        k: length of the list.
    """
    order, keys = catalogue.popular_order, pack(scores[may], may)
    for depth in (_VIDEOS_PER_PLACE * k, len(keys)):
        _, best = unpack(smallest(keys[None], min(depth, len(keys))))
        _, first = np.unique(catalogue.facts.same_as[order[best[0]]], return_index=True)
        places = best[0][np.sort(first)].astype(np.int64)
        good = _nth(catalogue.facts.creator[order[places]]) < config.max_per_creator
        if good.sum() >= k:
            return np.asarray(places[good][:k])
    spare = np.flatnonzero(~good)[: k - good.sum()]
    return np.asarray(places[np.sort(np.append(np.flatnonzero(good), spare))])


def _nth(creators: Ints) -> Ints:
    """How many of the same creator stand before each place: int64 ``(n,)``; 0 for an unknown one."""
    by_creator = np.argsort(creators, kind="stable")
    ordered = creators[by_creator]
    nth = np.empty(len(creators), dtype=np.int64)
    nth[by_creator] = np.arange(len(creators)) - np.searchsorted(ordered, ordered)
    return np.where(creators < 0, 0, nth)


def _rows(catalogue: Catalogue, segment: str, scores: Floats, chosen: Ints, *, local: bool) -> pa.Table:
    """Rows of one segment's list; ``local`` says whether the scores are its own or everybody's."""
    source = "local" if local else "popular"
    return pa.table(
        {
            col.SEGMENT: pa.repeat(segment, len(chosen)),
            col.PARENT: pa.array([parent_of(segment)] * len(chosen), pa.string()),
            col.RANK: pa.array(np.arange(1, len(chosen) + 1, dtype=np.int32)),
            col.VIDEO_ID: pa.array(catalogue.video_ids[catalogue.popular_order[chosen]]),
            col.SCORE: pa.array(scores[chosen].astype(np.float64)),
            col.SOURCES: pa.array([f"{source}:{rank}" for rank in range(1, len(chosen) + 1)], pa.string()),
            col.REASON: pa.repeat(_reason(segment) if local else "popular now", len(chosen)),
        }
    )


def _allowed(catalogue: Catalogue, segment: str, anywhere: Mask) -> Mask:
    """What may be shown in a segment, bool ``(n_videos,)``."""
    country = dict(values_of(segment)).get(col.COUNTRY)
    if country is None:
        return anywhere
    if country not in catalogue.countries:
        return catalogue.eligible
    return np.asarray(catalogue.eligible & ~catalogue.blocked[catalogue.countries.index(country)])


def _allowed_anywhere(catalogue: Catalogue) -> Mask:
    """What no country blocks, or everything where nothing else is left, bool ``(n_videos,)``."""
    allowed = catalogue.eligible & ~np.any(catalogue.blocked, axis=0)
    return np.asarray(allowed if allowed.any() else catalogue.eligible)


def _reason(segment: str) -> str:
    return "popular " + ", ".join(_WORDS[kind].format(value) for kind, value in values_of(segment))
