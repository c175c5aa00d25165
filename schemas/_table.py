"""Tables as data: fields with types, nullability and value rules, and the comparison of what is with what should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Type = Literal[
    "int32", "int64", "float32", "float64", "string", "bool", "timestamp", "list<string>", "list<int32>", "list<int64>",
    "list<float32>", "list<timestamp>",
]  # fmt: skip

_ARROW: Mapping[Type, pa.DataType] = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "list<string>": pa.list_(pa.string()),
    "list<int32>": pa.list_(pa.int32()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float32>": pa.list_(pa.float32()),
    "list<timestamp>": pa.list_(pa.timestamp("us", tz="UTC")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of a table.

    ``minimum`` and ``maximum`` are inclusive; ``allowed`` lists the only values of an enumerated string column.
    """

    name: str
    type: Type
    doc: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None

    @property
    def arrow(self) -> pa.Field:
        """The column as an Arrow field."""
        return pa.field(self.name, _ARROW[self.type], self.nullable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table that crosses a stage: its columns, its partitioning and its unique key."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    partitioned_by: tuple[str, ...] = ("dt",)
    key: tuple[str, ...] = ()
    version: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(field.name for field in self.fields)

    @property
    def arrow(self) -> pa.Schema:
        """The table as an Arrow schema, without partition columns."""
        return pa.schema([field.arrow for field in self.fields])

    def field(self, name: str) -> Field:
        """The column called ``name``.

        Raises:
            KeyError: the table has no such column.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"table {self.name}: no column {name!r}; expected one of {', '.join(self.columns)}")

    def compare(self, found: pa.Schema) -> list[str]:
        """Every difference between ``found`` and this table, sorted; an empty list when they agree.

        Extra columns are differences. Nullability is a value rule, checked against data, because Parquet readers lose it.
        """
        expected = {field.name: _ARROW[field.type] for field in self.fields}
        actual = {field.name: field.type for field in found}
        missing = [f"missing column {name} ({expected[name]})" for name in expected.keys() - actual.keys()]
        extra = [f"unexpected column {name} ({actual[name]})" for name in actual.keys() - expected.keys()]
        wrong = [
            f"column {name}: found {actual[name]}, expected {expected[name]}"
            for name in expected.keys() & actual.keys()
            if not _same(expected[name], actual[name])
        ]
        return sorted(missing) + sorted(extra) + sorted(wrong)


def _same(expected: pa.DataType, actual: pa.DataType) -> bool:
    if pa.types.is_list(expected) and pa.types.is_list(actual):
        return bool(expected.value_type == actual.value_type)
    return bool(expected == actual)
