"""Kinds of features: what a feature is made from, and what becomes of it. Plain data; ``models.features._spec`` applies it.

A tower looks up a vector for every code, takes numbers and vectors as they are, and pools sequences.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias

from schemas.errors import ReelflowError

Side = Literal["user", "context", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """An id with many values: a code, and a table of its own in each tower."""

    name: str
    side: Side
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OneHot:
    """A category of few values: a code. A one-hot vector times a matrix is a row of the matrix, so a tower looks it up."""

    name: str
    side: Side
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A number cut at ``edges``: code 0 = missing, 2 = below the first edge, and so on."""

    name: str
    side: Side
    column: str
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The hour of the day in UTC, in buckets of ``width`` hours, or the day of the week, Monday first."""

    name: str
    unit: Literal["hour", "weekday"]
    width: int = 1
    side: Side = "context"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of a video, z-scored.

    ``log`` of one column (1 is added), ``missing`` (1 or 0), ``log_age_days`` since a time, or the smoothed ``rate`` of the
    first column over the second.
    """

    name: str
    form: Literal["log", "missing", "log_age_days", "rate"]
    columns: tuple[str, ...]
    side: Side = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A vector that another model made; zeros where it is missing."""

    name: str
    column: str
    side: Side = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Videos in order, newest first, with the age of each in buckets; codes are those of ``vocabulary``."""

    name: str
    column: str
    ages: str
    length: int
    age_edges_seconds: tuple[int, ...]
    vocabulary: str
    side: Side = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMean:
    """The mean of the vectors of some texts."""

    name: str
    column: str
    length: int
    side: Side = "user"


Feature: TypeAlias = Embedding | OneHot | Bucket | Clock | Number | Vector | Sequence | TextMean

_KINDS: dict[str, type[Any]] = {
    "embedding": Embedding, "one_hot": OneHot, "bucket": Bucket, "clock": Clock, "number": Number, "vector": Vector,
    "sequence": Sequence, "text_mean": TextMean,
}  # fmt: skip
_NAMES = {kind: name for name, kind in _KINDS.items()}


def to_plain(feature: Feature) -> dict[str, Any]:
    """A declaration as JSON-able data."""
    return {"kind": _NAMES[type(feature)], **asdict(feature)}


def from_plain(plain: dict[str, Any]) -> Feature:
    """The declaration that ``to_plain`` described.

    Raises:
        ReelflowError: a kind, or a setting of one, that this code does not know.
    """
    kind = _KINDS.get(plain.get("kind", ""))
    if kind is None or {field.name for field in fields(kind)} != plain.keys() - {"kind"}:
        raise ReelflowError(f"features: found {plain}, expected one of {', '.join(_KINDS)} as this code has them; train again")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items() if name != "kind"}
    made: Feature = kind(**given)
    return made
