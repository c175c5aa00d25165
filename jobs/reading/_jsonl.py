"""JSON Lines: one object a line, of which only the contract's columns are kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
from numpy.typing import NDArray

from jobs.reading._json import as_text, may_be_deep, parse
from jobs.reading._lines import Lines
from schemas import Table, Type

_SAMPLE = 64
# Below these a double holds each whole number, and no other number is rounded to one; the first is also int32's own bound.
_EXACT = {"int32": 2**31 - 1, "int64": 2**53 - 1}
_STOPPED = re.compile(r"in row (\d+)$")
_BEFORE = np.frombuffer(b":,[ \t-", np.uint8)
_LISTED = pa.list_(pa.string())
_USUAL: Mapping[Type, pa.DataType] = {
    "int32": pa.int64(),
    "int64": pa.int64(),
    "float32": pa.float64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list<string>": _LISTED,
}
# What else a column may hold throughout, so that Arrow reads the same from it as `slow` does.
_UNUSUAL: Mapping[Type, tuple[pa.DataType, ...]] = {
    "int32": (pa.float64(), pa.string(), pa.bool_()),
    "int64": (pa.float64(), pa.string(), pa.bool_()),
    "float32": (pa.string(), pa.bool_()),
    "float64": (pa.string(), pa.bool_()),
    "bool": (pa.string(), pa.int64()),
    "string": (pa.int64(), pa.bool_()),
    "timestamp": (pa.int64(), pa.bool_()),
    "list<string>": (pa.string(),),
}


@dataclass(frozen=True, slots=True)
class JsonLines:
    """How lines become the columns of ``table``; ``schema`` is what Arrow shall expect of them."""

    piece: ClassVar[int] = 1024
    table: Table
    schema: pa.Schema

    @classmethod
    def of(cls, table: Table, lines: Lines) -> JsonLines:
        """For a block of lines: a column may hold, say, nothing but numbers in quotes, as a few dozen lines of it tell."""
        step = max(1, len(lines) // _SAMPLE)
        sample = [record for line in range(0, len(lines), step) if (record := _object(lines.text(line))) is not None]
        expected = []
        for field in table.fields:
            kinds = Counter(_kind(record[field.name]) for record in sample if record.get(field.name) is not None)
            most = kinds.most_common(1)[0][0] if kinds else None
            expected.append((field.name, most if most in _UNUSUAL[field.type] else _USUAL.get(field.type, pa.string())))
        return cls(table, pa.schema(expected))

    def odd(self, lines: Lines) -> NDArray[np.bool_]:
        """Lines that do not begin and end as an object, and those that RapidJSON could take for what they are not."""
        array = np.frombuffer(lines.data, np.uint8)
        odd: NDArray[np.bool_] = (array[lines.starts] != ord("{")) | (array[lines.ends - 1] != ord("}"))
        for line in np.flatnonzero(lines.ends - lines.starts > 1000):
            odd[line] |= may_be_deep(lines.data[lines.starts[line] : lines.ends[line]])
        odd[lines.at(_no_numbers(array))] = True
        return odd

    def fast(self, lines: Lines) -> tuple[pa.Table, NDArray[np.bool_]] | int:
        """All lines, or where Arrow stopped when any of them does not fit the schema or is not one object.

        Each line begins with ``{`` and ends with ``}``. No object goes on after a line end, because nothing in JSON allows
        ``}`` and ``{`` with only blanks in between; so, when there are as many objects as lines, each line is one.
        """
        data = lines.joined()
        try:
            table = pa_json.read_json(
                pa.BufferReader(data),
                read_options=pa_json.ReadOptions(use_threads=False, block_size=data.size + 1),
                parse_options=pa_json.ParseOptions(explicit_schema=self.schema, unexpected_field_behavior="ignore"),
            )
        except pa.ArrowException as error:
            stopped = _STOPPED.search(str(error))
            return int(stopped[1]) if stopped and int(stopped[1]) < len(lines) else -1
        if table.num_rows != len(lines) or not all(
            self._is_exact(table, field.name, field.type) for field in self.table.fields
        ):
            return -1
        return table, np.ones(len(lines), np.bool_)

    def slow(self, texts: Sequence[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
        """Each value as text, null where there is none; the last counts of a name that comes twice."""
        records = [_object(text) for text in texts]
        sound = [record for record in records if record is not None]
        columns = [
            pa.array([None if (value := record.get(name)) is None else as_text(value) for record in sound], pa.string())
            for name in self.table.columns
        ]
        return pa.table(columns, list(self.table.columns)), np.array([record is not None for record in records], np.bool_)

    def _is_exact(self, table: pa.Table, name: str, kind: Type) -> bool:
        if kind not in _EXACT or not pa.types.is_float64(self.schema.field(name).type):
            return True
        largest = pc.max(pc.abs(table[name])).as_py()
        return largest is None or largest <= _EXACT[kind]


def _no_numbers(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where ``Inf`` and ``-NaN`` may stand, which RapidJSON takes for numbers and Python does not."""
    inf, nan = _places(data, b"Inf"), _places(data, b"NaN")
    return np.concatenate([inf[np.isin(data[inf - 1], _BEFORE)], nan[data[nan - 1] == ord("-")]])


def _places(data: NDArray[np.uint8], word: bytes) -> NDArray[np.int64]:
    found = np.flatnonzero(data[: max(0, len(data) - len(word) + 1)] == word[0])
    for place, byte in enumerate(word[1:], 1):
        found = found[data[found + place] == byte]
    return found


def keys(line: str) -> set[str]:
    """The names in a line; none when it is not one object."""
    return {as_text(name) for name in _object(line) or ()}


def _object(text: str) -> dict[str, Any] | None:
    try:
        record = parse(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _kind(value: Any) -> pa.DataType | None:
    if isinstance(value, list):
        return _LISTED
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return kinds.get(type(value))
