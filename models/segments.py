"""Popularity by segment: what a country or a language watches, as far as it is known, and else what everybody does (M1).

A relevant example weighs ``0.5 ** (age_days / half_life_days)``. A segment's share of a video is that of its own examples
mixed with everybody's, as if ``segment_prior_events`` more had been counted at everybody's shares: the posterior mean under a
Dirichlet prior, so a segment with few events is nearly the global list, and one with many stands on its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from conf import Section
from models.ids import IdMap
from models.rows import one_chunk, rows_as_of
from schemas import columns as col
from schemas.errors import ReelflowError

FORMAT_VERSION = 1
KINDS = (col.COUNTRY, col.LANGUAGE)
"""What divides users into segments; the segment of a value is called ``country=DE``."""

Floats = NDArray[np.float64]

_MICROS_PER_DAY = 86_400_000_000
_JSON = "popularity.json"
_ARRAYS = ("everybody", "data", "indices", "indptr")


class PopularityConfig(Section):
    """Section ``popularity``."""

    segment_prior_events: float = Field(gt=0)
    """Decayed relevant examples that everybody's shares count for in a segment: a segment with as many of its own is half its
    own and half everybody's."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedPopularity:
    """Decayed relevant examples of each video, of everybody and of each segment.

    Attributes:
        config: what it was fitted with.
        half_life_days: age at which an example weighs half.
        videos: the videos with a relevant example.
        segments: names, ascending.
        everybody: float64 ``(n_videos,)``.
        counts: float64 CSR ``(n_segments, n_videos)``.
    """

    config: PopularityConfig
    half_life_days: float
    videos: IdMap
    segments: tuple[str, ...]
    everybody: Floats
    counts: sp.csr_matrix

    def scores(self, video_ids: NDArray[np.int64], segment: str | None = None) -> Floats:
        """How popular videos are in a segment, float64 ``(n,)`` in the order asked; 0 for a video without a relevant example.

        On the scale of everybody's decayed counts, whatever the segment's size.

        Args:
            video_ids: int64 ``(n,)``.
            segment: a name; None, or a segment that is not known, for everybody.
        """
        dense = self.videos.lookup(video_ids)
        found = np.append(self._posterior(segment), 0.0)  # place -1 is for unknown videos
        return np.asarray(found[dense])

    def scores_of_user(self, video_ids: NDArray[np.int64], country: str | None, language: str | None) -> Floats:
        """How popular videos are with people like a user: the mean over the segments that they belong to.

        Args:
            video_ids: int64 ``(n,)``.
            country: of the user; None for unknown.
            language: likewise.
        """
        values = {col.COUNTRY: country, col.LANGUAGE: language}
        known = [name for kind in KINDS if (name := segment_name(kind, values[kind])) in self.segments]
        lists = [self.scores(video_ids, name) for name in known] or [self.scores(video_ids)]
        return np.asarray(np.mean(lists, axis=0))

    def save(self, directory: Path) -> None:
        """Write ``popularity.json`` and five ``.npy`` files into an existing directory."""
        facts = {
            "format_version": FORMAT_VERSION,
            "config": self.config.model_dump(mode="json"),
            "half_life_days": self.half_life_days,
            "segments": list(self.segments),
        }
        (directory / _JSON).write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        self.videos.save(directory / "videos.npy")
        arrays = (self.everybody, self.counts.data, self.counts.indices, self.counts.indptr)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            with (directory / f"{name}.npy").open("wb") as stream:
                np.save(stream, array, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> FittedPopularity:
        """Read what :meth:`save` wrote.

        Raises:
            ReelflowError: a file is missing, of another format version, or does not match the others.
        """
        try:
            facts = json.loads((directory / _JSON).read_text(encoding="utf-8"))
            everybody, *cells = [np.load(directory / f"{name}.npy", allow_pickle=False) for name in _ARRAYS]
        except (OSError, ValueError) as error:
            raise ReelflowError(f"popularity {directory}: cannot be read ({error}); train it again") from error
        if facts.get("format_version") != FORMAT_VERSION:
            found = facts.get("format_version")
            raise ReelflowError(f"popularity {directory}: found format {found}, expected {FORMAT_VERSION}; train it again")
        videos, segments = IdMap.load(directory / "videos.npy"), tuple(facts["segments"])
        if everybody.shape != (len(videos),) or cells[2].shape != (len(segments) + 1,):
            raise ReelflowError(
                f"popularity {directory}: found counts of {len(everybody)} videos and {len(cells[2]) - 1} segments, expected "
                f"{len(videos)} and {len(segments)}; train it again"
            )
        counts = sp.csr_matrix(tuple(cells), shape=(len(segments), len(videos)))
        return cls(
            PopularityConfig.model_validate(facts["config"]), facts["half_life_days"], videos, segments, everybody, counts
        )

    def _posterior(self, segment: str | None) -> Floats:
        """Score of every video (n_videos,)."""
        if segment is None or segment not in self.segments:
            return self.everybody
        own = self.counts[self.segments.index(segment)].toarray()[0]
        total, prior = float(self.everybody.sum()), self.config.segment_prior_events
        return np.asarray((own * total + prior * self.everybody) / (own.sum() + prior))


def fit_popularity(
    config: PopularityConfig, examples: pa.Table, users: pa.Table, *, at: datetime, half_life_days: float
) -> FittedPopularity:
    """Count the relevant examples whose label was known at a moment, each in the segments that its user belonged to then.

    Args:
        config: section ``popularity``.
        examples: EXAMPLES of the look-back.
        users: USER_VERSIONS.
        at: the moment, with a time zone.
        half_life_days: age at which an example weighs half.
    """
    known = pc.less_equal(examples[col.KNOWN_AT], pa.scalar(at, pa.timestamp("us", tz="UTC")))
    relevant = examples.filter(pc.and_(known, pc.equal(examples[col.LABEL], 1)))
    age_days = (at.timestamp() * 1e6 - _micros(relevant[col.KNOWN_AT])) / _MICROS_PER_DAY
    weight = relevant[col.WEIGHT].to_numpy() * 0.5 ** (age_days / half_life_days)
    videos = IdMap.of(relevant[col.VIDEO_ID].to_numpy())
    video = videos.lookup(relevant[col.VIDEO_ID].to_numpy())
    rows = rows_as_of(relevant[col.USER_ID].to_numpy(), _micros(relevant[col.OCCURRED_AT]), users, col.USER_ID)
    then = users.select(KINDS).take(pa.array(rows, mask=rows < 0))
    names, segment, example = _segments(then)
    counts = sp.csr_matrix((weight[example], (segment, video[example])), shape=(len(names), len(videos)))
    everybody = np.bincount(video, weight, len(videos)).astype(np.float64)
    return FittedPopularity(config, half_life_days, videos, names, everybody, counts)


def segment_name(kind: str, value: str | None) -> str | None:
    """What a segment is called; None for the users whose value is not known."""
    return None if value is None else f"{kind}={value}"


def _segments(users: pa.Table) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Names of the segments of some users (n rows), and pairs of a segment and a row that belongs to it."""
    names: list[str] = []
    segments, rows = [], []
    for kind in sorted(KINDS):
        column = one_chunk(users[kind])
        values = sorted(pc.unique(column).drop_null().to_pylist())
        code = pc.index_in(column, value_set=pa.array(values, column.type)).fill_null(-1).to_numpy(zero_copy_only=False)
        inside = np.flatnonzero(code >= 0)
        rows.append(inside)
        segments.append(code[inside].astype(np.int64) + len(names))
        names += [f"{kind}={value}" for value in values]
    return tuple(names), np.concatenate(segments), np.concatenate(rows)


def _micros(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()))
