"""Columns of any type cast to the contract's types; what cannot be cast becomes null, and nothing raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs._arrow import mask
from jobs.reading._json import float_text
from jobs.reading._text import MAX_SECONDS, MIN_SECONDS, cast_text, convert, without
from schemas import Field, Type

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def cast(found: pa.Array, field: Field) -> tuple[pa.Array, pa.Array]:
    """A raw column and what it says in the field's type.

    Text is read strictly: whole numbers are digits, or end in ``.0`` as pandas writes them; times are ISO 8601 with the
    date, UTC where no zone is given, cut to microseconds; lists are JSON or ``a|b``. Numbers must fit exactly into whole
    ones. Flags are no numbers; 0 and 1 are flags. -0.0 becomes 0.0.

    Args:
        found: (n,) as the file holds it.
        field: what the contract expects; of any type but ``list<int64>``, which no raw table has.

    Returns:
        The source, null where the value is missing (null, blank text, NaN in a number), and the values, null where missing
        or where the cast failed. Both (n,); the second has the field's type.
    """
    source, target = plain(found), field.arrow.type
    if pa.types.is_string(source.type):
        source, values = cast_text(source, field)
    elif pa.types.is_null(source.type):
        values = pa.nulls(len(source), target)
    else:
        source = without(source, mask(pc.is_nan(source))) if pa.types.is_floating(source.type) else source
        found = _CASTS[field.type](source, target)
        values = pa.nulls(len(source), target) if found is None else found
    if pa.types.is_floating(values.type):
        values = pc.add(values, pa.scalar(0.0, values.type))
    return source, values


def plain(found: pa.Array) -> pa.Array:
    """A column without extension types, dictionaries or half floats; strings of 32-bit offsets and valid UTF-8."""
    if isinstance(found, pa.ExtensionArray):
        found = found.storage
    if pa.types.is_dictionary(found.type):
        found = found.dictionary_decode()
    if pa.types.is_float16(found.type):
        return pc.cast(found, pa.float32())
    if pa.types.is_large_string(found.type) or pa.types.is_string_view(found.type):
        found = pc.cast(found, pa.string())
    if pa.types.is_string(found.type) and not _is_valid(found):
        return pa.array([_decoded(value) for value in found.cast(pa.binary()).to_pylist()], pa.string())
    return found


def _is_valid(found: pa.Array) -> bool:
    """Whether all strings are UTF-8, which nobody has checked in a Parquet file."""
    try:
        found.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="replace")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _to_int(found: pa.Array, target: pa.DataType) -> pa.Array | None:
    if not _is_number(found.type):
        return None
    top = 2 ** (target.bit_width - 1)
    inexact = pa.types.is_floating(found.type)

    def whole(values: pa.Array) -> pa.Array:
        bounds: Mapping[str, Any] = pc.min_max(values).as_py() if inexact else {"min": None}
        if bounds["min"] is not None and not -float(top) <= bounds["min"] <= bounds["max"] < float(top):
            raise pa.ArrowInvalid("range")
        return pc.cast(values, target)

    def single(value: Any) -> int | None:
        try:
            number = int(value)
        except (OverflowError, ValueError):
            return None
        return number if number == value and -top <= number < top else None

    return convert(found, target, whole, single)


def _to_float(found: pa.Array, target: pa.DataType) -> pa.Array | None:
    return pc.cast(found, target, safe=False) if _is_number(found.type) else None


def _to_bool(found: pa.Array, target: pa.DataType) -> pa.Array | None:
    if pa.types.is_boolean(found.type):
        return found
    if not _is_number(found.type):
        return None
    zero, one = (mask(pc.equal(pc.cast(found, pa.float64(), safe=False), value)) for value in (0.0, 1.0))
    return pa.array(one, target, mask=~(zero | one))


def _to_string(found: pa.Array, target: pa.DataType) -> pa.Array | None:
    kind, types = found.type, pa.types
    if types.is_floating(kind):
        return pa.array([None if value is None else float_text(value) for value in found.to_pylist()], target)
    if types.is_timestamp(kind):
        return pc.cast(found.cast(pa.timestamp(kind.unit)), target)
    return pc.cast(found, target) if _is_number(kind) or types.is_boolean(kind) or types.is_date(kind) else None


def _to_list(found: pa.Array, target: pa.DataType) -> pa.Array | None:
    kind, types = found.type, pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return None
    item = kind.value_type.value_type if types.is_dictionary(kind.value_type) else kind.value_type
    text = types.is_string(item) or types.is_large_string(item) or types.is_string_view(item)
    if not (text or types.is_null(item) or types.is_boolean(item) or _is_number(item)):
        return None
    lists = pc.cast(found, target)
    if _is_valid(lists):
        return lists
    raw = lists.cast(pa.list_(pa.binary())).to_pylist()
    return pa.array([None if items is None else [_decoded(item) for item in items] for items in raw], target)


def _to_time(found: pa.Array, target: pa.DataType) -> pa.Array | None:
    if not (pa.types.is_timestamp(found.type) or pa.types.is_date(found.type)):
        return None
    if pa.types.is_date32(found.type):
        numbers, scale = pc.multiply(found.view(pa.int32()).cast(pa.int64()), 86_400), 1
    else:
        numbers, scale = found.view(pa.int64()), _PER_SECOND[getattr(found.type, "unit", "ms")]
    bounds = pc.min_max(numbers).as_py()
    low, high = MIN_SECONDS * scale, (MAX_SECONDS + 1) * scale
    if bounds["min"] is not None and not low <= bounds["min"] <= bounds["max"] < high:
        numbers = without(numbers, mask(pc.or_(pc.less(numbers, low), pc.greater_equal(numbers, high))))
    if scale > 10**6:
        nanos = numbers.fill_null(0).to_numpy()
        numbers = pa.array(np.floor_divide(nanos, scale // 10**6), mask=numbers.is_null().to_numpy(zero_copy_only=False))
    elif scale < 10**6:
        numbers = pc.multiply(numbers, 10**6 // scale)
    return numbers.view(target)


_CASTS: Mapping[Type, Callable[[pa.Array, pa.DataType], pa.Array | None]] = {
    "int32": _to_int,
    "int64": _to_int,
    "float32": _to_float,
    "float64": _to_float,
    "bool": _to_bool,
    "string": _to_string,
    "timestamp": _to_time,
    "list<string>": _to_list,
}
