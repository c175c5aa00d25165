"""The features of users, contexts and videos: declared once, and encoded by the same code for training and inference.

Policy for values (F5):

- A categorical value becomes a code: 0 = missing, 1 = unknown or rare, 2 and up = known values in ascending order. A value is
  known when at least ``min_count`` training examples carry it, so every known code has something to learn from.
- A number is log-scaled where it spans decades, z-scored with the mean and deviation of the training examples, and clipped.
  A missing number becomes the mean, that is 0; a missing duration is also flagged.
- Counters of a training example are those of the midnight before it, never later ones; its video's age is that of its moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models._vocabulary import RESERVED, Codes, Vocabulary, look_up, one_chunk
from schemas import VIDEO_COUNTERS
from schemas import columns as col
from schemas.errors import ReelflowError

__all__ = ["COUNTERS", "DAY_OF_WEEK", "HOUR_BUCKET", "NUMERIC", "FeatureSpec", "example_videos"]

FORMAT_VERSION = 1

HOUR_BUCKET = "hour_bucket"
DAY_OF_WEEK = "day_of_week"
COUNTERS = tuple(field.name for field in VIDEO_COUNTERS)
"""Counters of a video; examples carry them as of the midnight before they happened."""

_USER = (col.USER_ID, col.AGE_BUCKET, col.GENDER, col.LANGUAGE, col.COUNTRY, col.CITY)
_VIDEO = (col.VIDEO_ID, col.CREATOR_ID, col.LANGUAGE)
_VIDEO_FACTS = (col.CREATOR_ID, col.LANGUAGE, col.DURATION_SECONDS, col.UPLOADED_AT)

_DURATION_UNKNOWN = "duration_unknown"
NUMERIC = ("log_duration", _DURATION_UNKNOWN, "log_age_days", *(f"log_{name}" for name in COUNTERS), "relevance_rate")
"""Numeric features of a video, in the order of their columns."""

_HOURS_PER_BUCKET = 3
_CLIP = 8.0  # deviations; a counter that grew far beyond training must not saturate a tower
_PRIOR_IMPRESSIONS = 50.0  # impressions that the mean rate counts for: at a rate of 2 % that is one relevant view
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_PER_HOUR = 3_600_000_000
_MICROS_PER_DAY = 24 * _MICROS_PER_HOUR

Column: TypeAlias = "pa.Array | pa.ChunkedArray"
Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What training learned about the features: vocabularies and scales. Immutable; JSON is its exact form."""

    user: Mapping[str, Vocabulary]
    context: Mapping[str, Vocabulary]
    video: Mapping[str, Vocabulary]
    mean: tuple[float, ...]
    """Of each numeric feature over the training examples, in the order of ``NUMERIC``."""
    deviation: tuple[float, ...]
    """Likewise; 1 where a feature was constant."""
    relevance_prior: float
    """Relevant views an impression, over the training examples' counters; the rate of a video that was never shown."""
    min_count: int

    @staticmethod
    def fit(examples: pa.Table, users: pa.Table, videos: pa.Table, *, min_count: int) -> FeatureSpec:
        """Learn vocabularies and scales from training examples.

        Args:
            examples: EXAMPLES with the ``COUNTERS`` of each example's video as of the midnight before it.
            users: USER_FEATURES; users who are in no example teach nothing.
            videos: VIDEO_FEATURES, likewise; their counters are not looked at.
            min_count: examples that a value needs to get a code of its own.

        Raises:
            ReelflowError: there are no examples.
        """
        if examples.num_rows == 0:
            raise ReelflowError("features: found no training examples; expected at least one; widen the look-back")
        shown = look_up(examples.column(col.USER_ID), users, col.USER_ID, _USER[1:])
        watched = example_videos(examples, videos)
        impressions, relevant = (_floats(examples.column(name)) for name in (col.IMPRESSIONS, col.RELEVANT))
        prior = float(np.nansum(relevant) / max(np.nansum(impressions), 1.0))
        raw = _raw_numeric(watched, _micros(examples.column(col.OCCURRED_AT), examples.num_rows), prior)
        mean, deviation = _scales(raw)
        return FeatureSpec(
            user={name: Vocabulary.fit(shown.column(name), min_count=min_count) for name in _USER},
            context={col.DEVICE: Vocabulary.fit(examples.column(col.DEVICE), min_count=min_count)},
            video={name: Vocabulary.fit(watched.column(name), min_count=min_count) for name in _VIDEO},
            mean=mean,
            deviation=deviation,
            relevance_prior=prior,
            min_count=min_count,
        )

    @property
    def user_sizes(self) -> dict[str, int]:
        """Number of codes of each user and context feature, in the order of their columns; the id is first."""
        own = {name: vocabulary.size for name, vocabulary in self.user.items()}
        buckets = {HOUR_BUCKET: RESERVED + 24 // _HOURS_PER_BUCKET, DAY_OF_WEEK: RESERVED + 7}
        return own | buckets | {name: vocabulary.size for name, vocabulary in self.context.items()}

    @property
    def video_sizes(self) -> dict[str, int]:
        """Number of codes of each video feature, in the order of their columns; the id is first."""
        return {name: vocabulary.size for name, vocabulary in self.video.items()}

    def encode_users(self, users: pa.Table) -> dict[str, Codes]:
        """Codes (n_users,) of each user feature, in the order of ``users``."""
        return {name: vocabulary.encode(users.column(name)) for name, vocabulary in self.user.items()}

    def encode_context(self, occurred_at: datetime | Column, device: Column) -> dict[str, Codes]:
        """Codes (n,) of hour bucket, day of week and device.

        Args:
            occurred_at: one moment for all, or one each (n,).
            device: device class (n,); null where it is not known.
        """
        micros = _micros(occurred_at, len(device))
        return {
            HOUR_BUCKET: RESERVED + micros // _MICROS_PER_HOUR % 24 // _HOURS_PER_BUCKET,
            DAY_OF_WEEK: RESERVED + (micros // _MICROS_PER_DAY + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
            **{name: vocabulary.encode(device) for name, vocabulary in self.context.items()},
        }

    def encode_videos(self, videos: pa.Table, at: datetime | Column) -> tuple[dict[str, Codes], Numbers]:
        """Codes and numbers of videos as they were at a moment.

        Args:
            videos: columns of VIDEO_FEATURES, counters as of the midnight before ``at``; see ``example_videos``.
            at: one moment for all, or one each (n_videos,).

        Returns:
            Codes (n_videos,) of each categorical feature, and scaled numbers (n_videos, len(NUMERIC)).
        """
        codes = {name: vocabulary.encode(videos.column(name)) for name, vocabulary in self.video.items()}
        return codes, self.scale_videos(videos, at)

    def scale_videos(self, videos: pa.Table, at: datetime | Column) -> Numbers:
        """The numbers of ``encode_videos`` alone (n_videos, len(NUMERIC))."""
        raw = _raw_numeric(videos, _micros(at, videos.num_rows), self.relevance_prior)
        scaled = (raw - np.asarray(self.mean)) / np.asarray(self.deviation)
        return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), -_CLIP, _CLIP), dtype=np.float32)

    def to_json(self) -> str:
        """The specification as JSON; ``from_json`` gives back an equal one."""
        content: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            **{
                side: {name: vocabulary.to_plain() for name, vocabulary in getattr(self, side).items()}
                for side in ("user", "context", "video")
            },
            "numeric": list(NUMERIC),
            "mean": list(self.mean),
            "deviation": list(self.deviation),
            "relevance_prior": self.relevance_prior,
            "min_count": self.min_count,
        }
        return json.dumps(content, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> FeatureSpec:
        """The specification that ``to_json`` wrote.

        Raises:
            ReelflowError: it was written by code with other features.
        """
        content = json.loads(text)
        found = (content.get("format_version"), content.get("numeric"))
        if found != (FORMAT_VERSION, list(NUMERIC)):
            raise ReelflowError(f"features: found {found}, expected {(FORMAT_VERSION, list(NUMERIC))}; train the model again")
        user, context, video = (
            {name: Vocabulary.from_plain(plain) for name, plain in content[side].items()}
            for side in ("user", "context", "video")
        )
        return FeatureSpec(
            user=user,
            context=context,
            video=video,
            mean=tuple(content["mean"]),
            deviation=tuple(content["deviation"]),
            relevance_prior=content["relevance_prior"],
            min_count=content["min_count"],
        )


def example_videos(examples: pa.Table, videos: pa.Table) -> pa.Table:
    """Each example's video as it was then: its facts from the catalogue, its counters from the example.

    Returns:
        One row an example, in order, with the columns that ``FeatureSpec.encode_videos`` reads; a video that the catalogue
        does not hold has null facts.
    """
    joined = look_up(examples.column(col.VIDEO_ID), videos, col.VIDEO_ID, _VIDEO_FACTS)
    for name in COUNTERS:
        joined = joined.append_column(name, examples.column(name))
    return joined


def _raw_numeric(videos: pa.Table, at_micros: Codes, prior: float) -> npt.NDArray[np.float64]:
    """Numbers (n_videos, len(NUMERIC)) before scaling; NaN = missing."""
    duration = _floats(videos.column(col.DURATION_SECONDS))
    duration = np.where(duration > 0.0, duration, np.nan)
    uploaded = _floats(one_chunk(videos.column(col.UPLOADED_AT)).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()))
    age_days = np.maximum(at_micros - uploaded, 0.0) / _MICROS_PER_DAY
    counters = {name: _floats(videos.column(name)) for name in COUNTERS}
    rate = (counters[col.RELEVANT] + _PRIOR_IMPRESSIONS * prior) / (counters[col.IMPRESSIONS] + _PRIOR_IMPRESSIONS)
    logs = [np.log1p(counters[name]) for name in COUNTERS]
    return np.stack([np.log1p(duration), np.isnan(duration).astype(float), np.log1p(age_days), *logs, rate], axis=1)


def _scales(raw: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each column of ``raw`` (n, len(NUMERIC)), missing values left out; the flag stays 0 or 1."""
    present = ~np.isnan(raw)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, raw, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(present, raw - mean, 0.0) ** 2).sum(axis=0) / count)
    deviation = np.where(deviation > 1e-9 * (1.0 + np.abs(mean)), deviation, 1.0)
    flag = NUMERIC.index(_DURATION_UNKNOWN)
    mean[flag], deviation[flag] = 0.0, 1.0
    return tuple(mean.tolist()), tuple(deviation.tolist())


def _floats(column: Column) -> npt.NDArray[np.float64]:
    """A numeric column (n,) as float64; null becomes NaN."""
    return np.asarray(one_chunk(column).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _micros(at: datetime | Column, n: int) -> Codes:
    """Microseconds since 1970 in UTC (n,)."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"moment {at}: found no time zone; expected an aware datetime")
        return np.full(n, (at - _EPOCH) // timedelta(microseconds=1), dtype=np.int64)
    return np.asarray(one_chunk(at).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False))
