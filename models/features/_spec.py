"""What training learned about the features, and the one transform that training and inference share (F5).

Policy for values:

- A categorical value becomes a code: 0 = missing, 1 = unknown or rare, 2 and up = known values in ascending order. A value is
  known when at least ``min_count`` training examples carry it, so every known code has something to learn from.
- A number is log-scaled where it spans decades, z-scored with the mean and deviation of the training examples, and clipped.
  A missing number becomes the mean, that is 0; a missing duration is also flagged. A rate is drawn to that of all training
  examples as if ``_PRIOR_COUNT`` more had been counted at it.
- A missing vector is zeros, and so is the mean of no texts; a text without a vector does not count.
- A sequence is cut to its length and padded with code 0.
- Counters of a training example are those of the midnight before it; trends, histories, a video's age and the attributes of
  users and videos are those of its second.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models._vocabulary import RESERVED, Codes, Vocabulary
from models.features._declared import FEATURES
from models.features._kinds import (
    Bucket,
    Clock,
    Embedding,
    Feature,
    Number,
    OneHot,
    Sequence,
    Side,
    TextMean,
    Vector,
    from_plain,
    to_plain,
)
from models.rows import look_up, one_chunk, rows_as_of
from models.text._normalise import normalised
from schemas import columns as col
from schemas.errors import ReelflowError

FORMAT_VERSION = 2

_CLIP = 8.0  # deviations; a counter that grew far beyond training must not saturate a tower
_PRIOR_COUNT = 50.0  # impressions that the mean rate counts for: at a rate of 2 % that is one relevant view
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_PER_HOUR = 3_600_000_000
_MICROS_PER_DAY = 24 * _MICROS_PER_HOUR
_HOURS_PER_DAY, _DAYS_PER_WEEK = 24, 7

Column: TypeAlias = "pa.Array | pa.ChunkedArray"
Moment: TypeAlias = "datetime | Column"
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
K = TypeVar("K")


class History(NamedTuple):
    """A sequence of each row: codes of videos int32 ``(n, length)``, buckets of their ages int8 likewise; 0 in the padding."""

    codes: Ints
    ages: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Declarations, vocabularies and scales. Immutable; JSON is its exact form."""

    features: tuple[Feature, ...]
    vocabularies: Mapping[str, Vocabulary]
    """Of each embedding and one-hot feature, by its name."""
    scales: Mapping[str, tuple[float, float]]
    """Mean and deviation of each number over the training examples; the deviation is 1 where it was constant."""
    priors: Mapping[str, float]
    """Of each rate: that of all training examples together."""
    dims: Mapping[str, int]
    """Of each vector and each mean of texts; 0 where training saw none, and then none is read."""
    min_count: int

    @staticmethod
    def fit(
        examples: pa.Table,
        users: pa.Table,
        videos: pa.Table,
        queries: pa.Table,
        *,
        min_count: int,
        leave_out: Collection[str] = (),
    ) -> FeatureSpec:
        """Learn vocabularies and scales from training examples.

        Args:
            examples: EXAMPLES with EXAMPLE_FEATURES, and counters as of the midnight before each.
            users: USER_VERSIONS; users who are in no example teach nothing.
            videos: VIDEO_VERSIONS with VIDEO_TEXT, likewise.
            queries: QUERY_TEXT.
            min_count: examples that a value needs to get a code of its own.
            leave_out: names of features to do without.

        Raises:
            ReelflowError: there are no examples, or no feature of a name to leave out.
        """
        if examples.num_rows == 0:
            raise ReelflowError("features: found no training examples; expected at least one; widen the look-back")
        if unknown := sorted(set(leave_out) - {feature.name for feature in FEATURES}):
            names = ", ".join(feature.name for feature in FEATURES)
            raise ReelflowError(f"features: found {', '.join(unknown)} in towers.leave_out, expected names among {names}")
        features = tuple(feature for feature in FEATURES if feature.name not in leave_out)
        needed = {feature.vocabulary for feature in features if isinstance(feature, Sequence)}
        if missing := sorted(needed & set(leave_out)):
            raise ReelflowError(
                f"features: towers.leave_out names {missing[0]}, whose codes sequences need; leave those out too"
            )
        shown = example_users(examples, users)
        watched = example_videos(examples, videos)
        tables = {"user": shown, "context": examples, "video": watched}
        vocabularies = {
            feature.name: Vocabulary.fit(tables[feature.side].column(feature.column), min_count=min_count)
            for feature in features
            if isinstance(feature, Embedding | OneHot)
        }
        at = _micros(examples.column(col.OCCURRED_AT), examples.num_rows)
        priors, scales = {}, {}
        for feature in features:
            if isinstance(feature, Number):
                if feature.form == "rate":
                    above, below = (np.nansum(_floats(watched.column(name))) for name in feature.columns)
                    priors[feature.name] = float(above / max(below, 1.0))
                scales[feature.name] = _scale(feature, _raw(feature, watched, at, priors))
        dims = {f.name: _dim(videos.column(f.column)) for f in features if isinstance(f, Vector)}
        dims |= {f.name: _dim(queries.column(col.VECTOR)) for f in features if isinstance(f, TextMean)}
        return FeatureSpec(features, vocabularies, scales, priors, dims, min_count)

    def extended(self, other: FeatureSpec) -> FeatureSpec:
        """This specification with the values that another knows beside its own; its scales stay.

        Raises:
            ReelflowError: the other declares other features.
        """
        if other.features != self.features:
            raise ReelflowError("features: found other declarations than those of the model to begin with; train in full")
        vocabularies = {name: own.union(other.vocabularies[name]) for name, own in self.vocabularies.items()}
        return replace(self, vocabularies=vocabularies)

    def without(self, name: str, value: int | str) -> tuple[FeatureSpec, int | None]:
        """This specification without a value of one feature, and the code that it had; None where it is not known."""
        if name not in self.vocabularies:
            return self, None
        vocabulary, code = self.vocabularies[name].without(value)
        return replace(self, vocabularies={**self.vocabularies, name: vocabulary}), code

    def of(self, kind: type[K]) -> list[K]:
        """The features of a kind, in order."""
        return [feature for feature in self.features if isinstance(feature, kind)]

    def coded(self, *sides: Side) -> dict[str, int]:
        """Name and number of codes of each feature of some sides that is a code, in the order of their columns."""
        return {
            feature.name: self._size(feature)
            for side in sides
            for feature in self.features
            if feature.side == side and isinstance(feature, Embedding | OneHot | Bucket | Clock)
        }

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the embeddings."""
        return tuple(feature.name for feature in self.of(Embedding))

    def width(self, feature: Vector | TextMean) -> int:
        """Numbers of a feature's vectors as a tower sees them: one zero where training saw none."""
        return max(self.dims[feature.name], 1)

    def codes(self, side: Side, rows: pa.Table, at: Moment | None = None) -> Codes:
        """Codes of one side's features.

        Args:
            side: user, context or video.
            rows: with the columns of these features (n rows).
            at: for the context: one moment for all, or one each (n,).

        Returns:
            int64 ``(n, len(coded(side)))``.
        """
        columns = []
        for feature in self.features:
            if feature.side != side:
                continue
            if isinstance(feature, Embedding | OneHot):
                columns.append(self.vocabularies[feature.name].encode(rows.column(feature.column)))
            elif isinstance(feature, Bucket):
                columns.append(_buckets(feature, rows.column(feature.column)))
            elif isinstance(feature, Clock):
                assert at is not None
                columns.append(_clock(feature, _micros(at, rows.num_rows)))
        return np.ascontiguousarray(np.stack(columns, axis=1)) if columns else np.empty((rows.num_rows, 0), dtype=np.int64)

    def numbers(self, videos: pa.Table, at: Moment) -> Floats:
        """Scaled numbers ``(n_videos, n_numbers)`` of videos as they were at a moment.

        Args:
            videos: facts, counters as of the midnight before ``at``, and trends; see ``example_videos``.
            at: one moment for all, or one each (n_videos,).
        """
        micros, columns = _micros(at, videos.num_rows), []
        for feature in self.of(Number):
            mean, deviation = self.scales[feature.name]
            scaled = (_raw(feature, videos, micros, self.priors) - mean) / deviation
            columns.append(np.clip(np.nan_to_num(scaled, nan=0.0), -_CLIP, _CLIP).astype(np.float32))
        return np.stack(columns, axis=1) if columns else np.empty((videos.num_rows, 0), dtype=np.float32)

    def vectors(self, videos: pa.Table) -> dict[str, Floats]:
        """Vectors ``(n_videos, dim)`` of each such feature."""
        return {f.name: _vectors(videos.column(f.column), self.dims[f.name]) for f in self.of(Vector)}

    def histories(self, rows: pa.Table) -> dict[str, History]:
        """Sequences of users or examples (n rows), by name."""
        return {feature.name: self._history(rows, feature, feature.length) for feature in self.of(Sequence)}

    def history(self, rows: pa.Table, name: str, length: int) -> History:
        """One sequence of users or examples (n rows), of another length than its feature has."""
        return next(self._history(rows, feature, length) for feature in self.of(Sequence) if feature.name == name)

    def _history(self, rows: pa.Table, feature: Sequence, length: int) -> History:
        values, ages = (one_chunk(rows.column(name)) for name in (feature.column, feature.ages))
        row, place, flat = _cells(values, length)
        codes = self.vocabularies[feature.vocabulary].encode(values.flatten().take(pa.array(flat)))
        buckets = 1 + np.searchsorted(feature.age_edges_seconds, ages.flatten().to_numpy()[flat], side="right")
        shape = (rows.num_rows, length)
        history = History(np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int8))
        history.codes[row, place], history.ages[row, place] = codes, buckets
        return history

    def texts(self, rows: pa.Table, queries: pa.Table) -> dict[str, Ints]:
        """Which texts the means of users or examples (n rows) are over.

        Args:
            rows: with lists of texts.
            queries: QUERY_TEXT, whose vectors ``text_vectors`` gives.

        Returns:
            int32 ``(n, length)`` rows of ``text_vectors`` by name; 0, a row of zeros, in the padding.
        """
        found = {}
        known = queries.filter(pc.is_valid(queries.column(col.VECTOR))).column(col.QUERY)
        for feature in self.of(TextMean):
            values = one_chunk(rows.column(feature.column))
            row, place, flat = _cells(values, feature.length)
            texts = values.flatten().take(pa.array(flat)).dictionary_encode()
            said = pa.array([normalised(text) for text in texts.dictionary.to_pylist()], pa.string())
            places = pc.index_in(said, value_set=one_chunk(known)).fill_null(-1).to_numpy(zero_copy_only=False)
            cells = np.zeros((rows.num_rows, feature.length), dtype=np.int32)
            cells[row, place] = places[texts.indices.to_numpy()] + 1
            found[feature.name] = cells
        return found

    def text_vectors(self, queries: pa.Table) -> dict[str, Floats]:
        """Vectors ``(1 + n_known, dim)`` of the texts, zeros first, by name."""
        known = queries.column(col.VECTOR).drop_null()
        found = {feature.name: _vectors(known, self.dims[feature.name]) for feature in self.of(TextMean)}
        return {name: np.pad(vectors, ((1, 0), (0, 0))) for name, vectors in found.items()}

    def to_json(self) -> str:
        """The specification as JSON; ``from_json`` gives back an equal one."""
        content: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "features": [to_plain(feature) for feature in self.features],
            "vocabularies": {name: vocabulary.to_plain() for name, vocabulary in self.vocabularies.items()},
            "scales": {name: list(scale) for name, scale in self.scales.items()},
            "priors": dict(self.priors),
            "dims": dict(self.dims),
            "min_count": self.min_count,
        }
        return json.dumps(content, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> FeatureSpec:
        """The specification that ``to_json`` wrote, whatever features this code declares by now.

        Raises:
            ReelflowError: it has another format, or kinds of features that this code does not know.
        """
        content = json.loads(text)
        if content.get("format_version") != FORMAT_VERSION:
            found = content.get("format_version")
            raise ReelflowError(f"features: found format {found}, expected {FORMAT_VERSION}; train the model again")
        return FeatureSpec(
            features=tuple(from_plain(plain) for plain in content["features"]),
            vocabularies={name: Vocabulary.from_plain(plain) for name, plain in content["vocabularies"].items()},
            scales={name: (scale[0], scale[1]) for name, scale in content["scales"].items()},
            priors=content["priors"],
            dims=content["dims"],
            min_count=content["min_count"],
        )

    def _size(self, feature: Embedding | OneHot | Bucket | Clock) -> int:
        if isinstance(feature, Bucket):
            return RESERVED + len(feature.edges) + 1
        if isinstance(feature, Clock):
            return RESERVED + (_HOURS_PER_DAY // feature.width if feature.unit == "hour" else _DAYS_PER_WEEK)
        return self.vocabularies[feature.name].size


def example_users(examples: pa.Table, users: pa.Table) -> pa.Table:
    """Each example's user as they were then: rows of ``users`` (USER_VERSIONS), null where there is none but for the id."""
    return _as_of(examples, users, col.USER_ID)


def example_videos(examples: pa.Table, videos: pa.Table) -> pa.Table:
    """Each example's video as it was then: its facts from the versions, its counters and trends from the example.

    Returns:
        One row an example, in order, with what ``FeatureSpec`` reads of videos but vectors; a video that has no version has
        null facts.
    """
    facts = [name for name in videos.column_names if name not in (col.TITLE_VECTOR, col.TAGS_VECTOR)]
    joined = _as_of(examples, videos.select(facts), col.VIDEO_ID)
    for name in sorted({column for f in FEATURES if isinstance(f, Number) for column in f.columns} - set(facts)):
        joined = joined.append_column(name, examples.column(name))
    return joined


def with_text(videos: pa.Table, text: pa.Table) -> pa.Table:
    """Videos with the vectors of their newest title and tags: what inference encodes.

    Args:
        videos: VIDEO_FEATURES.
        text: VIDEO_TEXT, ascending by video and time.
    """
    ids = text.column(col.VIDEO_ID).to_numpy()
    newest = text.filter(pa.array(np.append(ids[1:] != ids[:-1], True)[: len(ids)]))
    names = (col.TITLE_VECTOR, col.TAGS_VECTOR)
    found = look_up(videos.column(col.VIDEO_ID), newest, col.VIDEO_ID, names)
    for name in names:
        videos = videos.append_column(name, found.column(name))
    return videos


def _as_of(examples: pa.Table, versions: pa.Table, key: str) -> pa.Table:
    keys = one_chunk(examples.column(key))
    rows = rows_as_of(keys.to_numpy(), _micros(examples.column(col.OCCURRED_AT), examples.num_rows), versions, key)
    found = versions.take(pa.array(rows, mask=rows < 0))
    return found.set_column(found.column_names.index(key), key, keys)


def _cells(lists: pa.ListArray, length: int) -> tuple[Codes, Codes, Codes]:
    """Row, place and position in the flattened values of every element below ``length``."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    row = np.repeat(np.arange(len(lengths)), lengths)
    flat = np.flatnonzero(place < length)
    return row[flat], place[flat], flat


def _buckets(feature: Bucket, column: Column) -> Codes:
    values = _floats(column)
    return np.where(np.isnan(values), 0, RESERVED + np.searchsorted(feature.edges, values, side="right")).astype(np.int64)


def _clock(feature: Clock, micros: Codes) -> Codes:
    if feature.unit == "hour":
        return RESERVED + micros // _MICROS_PER_HOUR % _HOURS_PER_DAY // feature.width
    return RESERVED + (micros // _MICROS_PER_DAY + 3) % _DAYS_PER_WEEK  # 1970-01-01 was a Thursday; Monday is 0


def _raw(feature: Number, videos: pa.Table, at: Codes, priors: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """A number ``(n_videos,)`` before scaling; NaN = missing."""
    first = videos.column(feature.columns[0])
    if feature.form == "log_age_days":
        uploaded = _floats(one_chunk(first).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()))
        return np.log1p(np.maximum(at - uploaded, 0.0) / _MICROS_PER_DAY)
    values = _floats(first)
    if feature.form == "rate":
        return (values + _PRIOR_COUNT * priors[feature.name]) / (_floats(videos.column(feature.columns[1])) + _PRIOR_COUNT)
    if feature.columns[0] == col.DURATION_SECONDS:
        values = np.where(values > 0.0, values, np.nan)  # 0 stands for an unknown duration
    return np.isnan(values).astype(float) if feature.form == "missing" else np.log1p(values)


def _scale(feature: Number, raw: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and deviation of what is not missing; a flag stays 0 or 1."""
    present = raw[~np.isnan(raw)]
    if feature.form == "missing" or not len(present):
        return 0.0, 1.0
    mean, deviation = float(present.mean()), float(present.std())
    return mean, deviation if deviation > 1e-9 * (1.0 + abs(mean)) else 1.0


def _dim(column: Column) -> int:
    """Length of the vectors of a column; 0 where there are none."""
    lengths = pc.list_value_length(column).drop_null()
    return int(lengths[0].as_py()) if len(lengths) else 0


def _vectors(column: Column, dim: int) -> Floats:
    """Vectors ``(n, dim)``; zeros for null. Where ``dim`` is 0 training saw none: one zero each, whatever there is now."""
    lists = one_chunk(column)
    vectors = np.zeros((len(lists), max(dim, 1)), dtype=np.float32)
    present = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    if dim and len(present):
        flat = lists.drop_null().flatten().to_numpy(zero_copy_only=False)
        if len(flat) != len(present) * dim:
            raise ReelflowError(
                f"features: found vectors of {len(flat) / len(present):.0f} numbers, expected {dim} as in training; the text "
                "encoder or text.tags.dim changed: train the model again"
            )
        vectors[present] = flat.reshape(-1, dim)
    return vectors


def _floats(column: Column) -> npt.NDArray[np.float64]:
    """A numeric column (n,) as float64; null becomes NaN."""
    return np.asarray(one_chunk(column).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _micros(at: Moment, n: int) -> Codes:
    """Microseconds since 1970 in UTC (n,)."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"moment {at}: found no time zone; expected an aware datetime")
        return np.full(n, (at - _EPOCH) // timedelta(microseconds=1), dtype=np.int64)
    return np.asarray(one_chunk(at).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False))
