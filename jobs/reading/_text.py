"""Columns of text cast to the contract's types: strict, by the column, and value by value only where one does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs._arrow import mask
from jobs.reading._json import as_text, parse
from schemas import Field

BLANKS = "".join(map(chr, range(0x21)))
"""A value or a line of nothing but these is blank."""
MIN_SECONDS, MAX_SECONDS = -62_135_596_800, 253_402_300_799  # the years 1 to 9999

_NUMBERS = ("int32", "int64", "float32", "float64")
_PIECES = 16
_SMALL = 256
_INT = re.compile(r"([+-]?)0*(\d+)(?:\.0)?", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(?:Z|([+-])(\d\d)(?::?(\d\d))?)?)?", re.ASCII
)
_FINE = re.compile(r"\.\d{7}")
_ZONE = re.compile(r"Z|[+-]\d\d(:?\d\d)?$")
_FLAGS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)
_MICROSECONDS = pa.timestamp("us", tz="UTC")


def convert(
    found: pa.Array, target: pa.DataType, whole: Callable[[pa.Array], pa.Array], single: Callable[[Any], Any]
) -> pa.Array:
    """A column cast by ``whole``; the pieces of it that ``whole`` refuses are cast value by value.

    Args:
        found: (n,) of any type.
        target: the type of the result.
        whole: casts a column, or raises ``ArrowInvalid``. What it takes, ``single`` must take to the same value.
        single: casts one Python value that is not null; None when that cannot be done.

    Returns:
        (n,) of ``target``.
    """
    try:
        return whole(found)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    if len(found) <= _SMALL:
        return pa.array([None if value is None else single(value) for value in found.to_pylist()], target)
    step = -(-len(found) // _PIECES)
    return pa.concat_arrays([convert(found.slice(i, step), target, whole, single) for i in range(0, len(found), step)])


def cast_text(found: pa.Array, field: Field) -> tuple[pa.Array, pa.Array]:
    """What a column of strings holds (null where blank, and where a number is NaN), and that cast to the field's type."""
    if field.type == "string":
        source = without(found, _blank(found))
        return source, source
    source = trimmed(found)
    source = without(source, np.diff(_spans(source)[0]) == 0)
    target = field.arrow.type
    whole, single = _CASTS[field.type](target)
    values = convert(source, target, whole, single)
    if field.type in _NUMBERS and values.null_count > source.null_count:
        source = without(source, mask(pc.equal(pc.ascii_lower(source), "nan")))
    return source, values


def without(values: pa.Array, mask: NDArray[np.bool_]) -> pa.Array:
    """The column with null where ``mask``, bool (n,), is true."""
    return pc.if_else(pa.array(mask), pa.scalar(None, values.type), values) if mask.any() else values


def trimmed(values: pa.Array) -> pa.Array:
    """A column of strings without blanks at either end of a value."""
    offsets, data = _spans(values)
    if not _has_blanks(offsets, data):
        return values
    filled = offsets[1:] > offsets[:-1]
    if not ((data[offsets[:-1][filled]] <= 0x20) | (data[offsets[1:][filled] - 1] <= 0x20)).any():
        return values
    return pc.ascii_trim(values, characters=BLANKS)


def _blank(values: pa.Array) -> NDArray[np.bool_]:
    offsets, data = _spans(values)
    blank: NDArray[np.bool_] = offsets[1:] == offsets[:-1]
    if _has_blanks(offsets, data) and (data[offsets[:-1][~blank]] <= 0x20).any():
        blank = np.diff(_spans(pc.ascii_trim(values, characters=BLANKS))[0]) == 0
    return blank


def _has_blanks(offsets: NDArray[np.int32], data: NDArray[np.uint8]) -> bool:
    return bool((data[offsets[0] : offsets[-1]] <= 0x20).any())


def _spans(values: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Offsets (n + 1,) of a column of strings, and the bytes that they point into."""
    if not len(values):
        return np.zeros(1, np.int32), np.empty(0, np.uint8)
    _, offsets, data = values.buffers()
    return np.frombuffer(offsets, np.int32)[values.offset :][: len(values) + 1], np.frombuffer(data or b"", np.uint8)


_Casts = tuple[Callable[[pa.Array], pa.Array], Callable[[str], Any]]


def _ints(target: pa.DataType) -> _Casts:
    top = 2 ** (target.bit_width - 1)

    def whole(texts: pa.Array) -> pa.Array:
        if _first(texts).endswith(".0"):  # pandas writes 10 as 10.0 when another row has none
            texts = pc.if_else(pc.ends_with(texts, ".0"), pc.utf8_slice_codeunits(texts, 0, -2), texts)
        values = pc.cast(texts, target)
        offsets, data = _spans(texts)
        if (data[offsets[0] : offsets[-1]] > ord("9")).any():
            raise pa.ArrowInvalid("hexadecimal")
        return values

    def single(text: str) -> int | None:
        match = _INT.fullmatch(text)
        if match is None or len(match[2]) > len(str(top)):
            return None
        value = int(match[1] + match[2])
        return value if -top <= value < top else None

    return whole, single


def _floats(target: pa.DataType) -> _Casts:
    def whole(texts: pa.Array) -> pa.Array:
        values = pc.cast(texts, target)
        if pc.any(pc.is_nan(values)).as_py():
            raise pa.ArrowInvalid("NaN")
        return values

    return whole, lambda text: float(text) if _FLOAT.fullmatch(text) else None


def _bools(target: pa.DataType) -> _Casts:
    return lambda texts: pc.cast(texts, target), lambda text: _FLAGS.get(text.lower())


def _times(_: pa.DataType) -> _Casts:
    return _whole_times, _time


def _whole_times(texts: pa.Array) -> pa.Array:
    first = _first(texts)
    if _FINE.search(first):
        texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
    if _ZONE.search(first, len("YYYY-MM-DD")):
        moments = pc.cast(texts, _MICROSECONDS)
    else:
        moments = pc.cast(texts, pa.timestamp("us")).view(_MICROSECONDS)
    bounds = pc.min_max(moments.view(pa.int64())).as_py()
    if bounds["min"] is not None and not MIN_SECONDS * 10**6 <= bounds["min"] <= bounds["max"] < (MAX_SECONDS + 1) * 10**6:
        raise pa.ArrowInvalid("year")
    return moments


def _first(texts: pa.Array) -> str:
    """The first value that is not null: as a rule all are written alike, and a cast that fails is slow."""
    return pc.first(texts).as_py() or ""


def _time(text: str) -> datetime | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    fraction, sign, hours, minutes = match.groups(default="0")[6:]
    if int(hours) > 23 or int(minutes) > 59:
        return None
    ahead = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    year, month, day, hour, minute, second = map(int, match.groups(default="0")[:6])
    try:
        return datetime(year, month, day, hour, minute, second, int(fraction[:6].ljust(6, "0")), UTC) - ahead
    except (ValueError, OverflowError):
        return None


def _lists(_: pa.DataType) -> _Casts:
    def whole(texts: pa.Array) -> pa.Array:
        if pc.any(pc.starts_with(texts, "[")).as_py():
            raise pa.ArrowInvalid("JSON")
        return pc.split_pattern(texts, "|")

    return whole, _list


def _list(text: str) -> list[str | None]:
    if text.startswith("["):
        try:
            return [None if item is None else as_text(item) for item in parse(text)]
        except ValueError:
            pass
    return list(text.split("|"))


_CASTS: Mapping[str, Callable[[pa.DataType], _Casts]] = {
    "int32": _ints,
    "int64": _ints,
    "float32": _floats,
    "float64": _floats,
    "bool": _bools,
    "timestamp": _times,
    "list<string>": _lists,
}
