"""What the recommend core knows of videos beside the models: content in few numbers, near-duplicates, trends, codes."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from models.near_duplicates import same_as, text_vectors
from models.recommend import CatalogueConfig, VideoFacts
from models.rows import one_chunk
from schemas import columns as col

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_MICROS_PER_DAY = 86_400_000_000
_DAY, _WEEK = 24.0, 168.0


def video_facts(config: CatalogueConfig, videos: pa.Table, languages: tuple[str, ...], at: datetime) -> VideoFacts:
    """Look at every video as of a moment.

    Args:
        config: section ``recommend.catalogue``.
        videos: VIDEO_FEATURES with VIDEO_TEXT, in the catalogue's order.
        languages: what language codes count.
        at: when the recommendations will be shown.
    """
    micros = int(at.timestamp() * 1_000_000)
    age_days = (micros - videos[col.UPLOADED_AT].cast(pa.int64()).to_numpy()) / _MICROS_PER_DAY
    titles, tags = (_units(videos, name) for name in (col.TITLE_VECTOR, col.TAGS_VECTOR))
    order = np.argsort(-videos[col.POPULARITY].to_numpy(), kind="stable")
    creators = one_chunk(videos[col.CREATOR_ID])
    return VideoFacts(
        creator=_codes(creators, pc.unique(creators).drop_null()),
        language=_codes(one_chunk(videos[col.LANGUAGE]), pa.array(languages, pa.string())),
        age_days=np.maximum(age_days, 0).astype(np.float32),
        impressions=videos[col.IMPRESSIONS].to_numpy().astype(np.float32),
        trend=trend_scores(videos, age_days * 24, config.trend_half_life_hours),
        misinformation=_or_zero(videos[col.MISINFORMATION_SCORE]),
        clickbait=_or_zero(videos[col.CLICKBAIT_SCORE]),
        sponsored=_or_zero(videos[col.SPONSORED_BOOST]),
        same_as=same_as(text_vectors(titles, tags), order, config.near_duplicate_similarity),
        content=pressed(_normalised(np.concatenate([titles, tags], axis=1)), config.content_dim),
    )


def trend_scores(videos: pa.Table, age_hours: NDArray[np.float64], half_life_hours: float) -> Floats:
    """By how many standard deviations the views of late exceed what the week's rate lets expect.

    Each view counts ``0.5 ** (age / half_life_hours)``. Were the views of a Poisson process whose rate is the week's, the
    decayed count would have the mean ``rate * E`` and the variance ``rate * E2``, where ``E`` and ``E2`` are the integrals of
    the decay and of its square since the upload, a week ago at most. One view is added to the variance, so that few views are
    no trend.

    Args:
        videos: VIDEO_FEATURES.
        age_hours: float64 ``(n,)``.
        half_life_hours: age at which a view counts half.

    Returns:
        float32 ``(n,)``; 0 for a video that nobody watched in the week.
    """
    hour, day, week = (videos[name].to_numpy().astype(np.float64) for name in (col.VIEWS_HOUR, col.VIEWS_DAY, col.VIEWS_WEEK))
    lived = np.clip(age_hours, 1.0, _WEEK)
    decay = np.log(2) / half_life_hours

    def integral(start: NDArray[np.float64] | float, end: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
        return np.asarray((np.exp(-rate * np.minimum(start, end)) - np.exp(-rate * end)) / rate)

    counted = np.zeros(len(week))
    for count, start, stop in ((hour, 0.0, 1.0), (day - hour, 1.0, _DAY), (week - day, _DAY, _WEEK)):
        end = np.minimum(lived, stop)
        span = np.maximum(end - start, 1e-9)
        counted += count * np.minimum(integral(start, end, decay) / span, 1.0)
    rate = week / lived
    expected, variance = rate * integral(0.0, lived, decay), rate * integral(0.0, lived, 2 * decay) + 1.0
    return np.where(week > 0, (counted - expected) / np.sqrt(variance), 0.0).astype(np.float32)


def pressed(vectors: Floats, dim: int) -> Floats:
    """Vectors in fewer dimensions that keep their inner products best: projections on the first singular vectors, normalised.

    Args:
        vectors: float32 ``(n, width)``.
        dim: numbers to keep.

    Returns:
        float32 ``(n, dim)``; zero rows stay zero.
    """
    if vectors.shape[1] <= dim:
        return vectors
    _, axes = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors.astype(np.float64))
    return _normalised(vectors @ axes[:, ::-1][:, :dim].astype(np.float32))


def mean_content(lists: pa.ChunkedArray, positions: Ints, content: Floats, length: int) -> Floats:
    """Mean content of each user's newest videos, L2-normalised: float32 ``(n_users, c)``; a zero row where there is none.

    Args:
        lists: list<int64> ``(n_users,)`` of videos, newest first.
        positions: int64 ``(n_listed,)`` catalogue position of each video of the flattened lists, -1 for one that left.
        content: float32 ``(n_videos, c)``.
        length: newest videos that count.
    """
    array = one_chunk(lists)
    lengths = pc.list_value_length(array).fill_null(0).to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(array)), lengths)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = (place < length) & (positions >= 0)
    shape = (len(array), len(content))
    chosen = sp.csr_matrix((np.ones(int(kept.sum()), dtype=np.float32), (rows[kept], positions[kept])), shape=shape)
    return _normalised(np.asarray(chosen @ content, dtype=np.float32))


def _units(videos: pa.Table, name: str) -> Floats:
    """Vectors of a column, each of length 1, or 0 where it is null; one zero each where there is no such column."""
    if name not in videos.column_names:
        return np.zeros((videos.num_rows, 1), dtype=np.float32)
    array = one_chunk(videos[name])
    known = np.asarray(array.is_valid())
    flat = np.asarray(pc.list_flatten(array)).astype(np.float32)
    found = np.zeros((len(array), max(len(flat) // max(int(known.sum()), 1), 1)), dtype=np.float32)
    if len(flat):
        found[known] = flat.reshape(int(known.sum()), -1)
    return _normalised(found)


def _normalised(vectors: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    found: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-12)
    return found


def _codes(values: pa.Array, known: pa.Array) -> Ints:
    return np.asarray(pc.index_in(values, known).fill_null(-1)).astype(np.int64)


def _or_zero(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.fill_null(0.0)).astype(np.float32)
