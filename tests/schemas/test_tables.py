import re

import pyarrow as pa
import pytest

import schemas
from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, TABLES, Field, Table, columns

ALL = [RAW_INTERACTIONS, RAW_VIDEOS, RAW_USERS, *TABLES]
NAMES = {value for name, value in vars(columns).items() if name.isupper()}
each = pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
WHOLE_AND_WEIGHTED = {"impressions", "views", "likes"}
"""Counted whole for each hour, and summed with the examples' weights for each day."""
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def test_tables_of_the_lake_have_distinct_names():
    names = [table.name for table in TABLES]
    assert len(set(names)) == len(names) == 21


def test_every_table_of_the_package_is_listed():
    found = {id(value) for value in vars(schemas).values() if isinstance(value, Table)}
    assert found == {id(table) for table in ALL}


def test_column_constants_are_named_like_their_columns():
    constants = {name: value for name, value in vars(columns).items() if name.isupper()}
    short = {value: value.replace("_ages_seconds", "_ages").replace("_last_", "_") for value in constants.values()}
    assert {name.lower(): value for name, value in constants.items()} == {name: value for value, name in short.items()}
    assert len(set(constants.values())) == len(constants)


@each
def test_columns_are_distinct_snake_case_constants(table):
    assert SNAKE.fullmatch(table.name)
    assert len(set(table.columns)) == len(table.columns) > 0
    assert all(SNAKE.fullmatch(name) for name in table.columns)
    assert set(table.columns) <= NAMES


@each
def test_docs_are_sentences(table):
    for doc in (table.doc, *(field.doc for field in table.fields)):
        assert doc.strip() == doc
        assert doc
        assert doc.endswith(".")


@each
def test_key_and_partitions_are_columns_that_are_never_null(table):
    assert set(table.key) <= set(table.columns)
    assert not any(table.field(name).nullable for name in table.key)
    assert not set(table.partitioned_by) & set(table.columns)  # they are in the directory's name
    assert table.partitioned_by in (("dt",), ("dt", "hr"))


@each
def test_value_rules_fit_their_types(table):
    for field in table.fields:
        if field.minimum is not None or field.maximum is not None:
            assert field.type in ("int32", "int64", "float32", "float64")
        if field.minimum is not None and field.maximum is not None:
            assert field.minimum < field.maximum
        if field.allowed is not None:
            assert field.type == "string"
            assert len(set(field.allowed)) == len(field.allowed) > 0


@each
def test_the_arrow_schema_agrees_with_the_table(table):
    assert table.arrow.names == list(table.columns)
    assert [field.nullable for field in table.arrow] == [field.nullable for field in table.fields]
    assert table.compare(table.arrow) == []


@pytest.mark.parametrize("name", sorted({name for table in ALL for name in table.columns}))
def test_a_column_has_one_type_everywhere(name):
    found = {table.field(name).type for table in ALL if name in table.columns}
    assert found == {"int64", "float64"} if name in WHOLE_AND_WEIGHTED else len(found) == 1


class TestCompare:
    TABLE = Table(
        name="t",
        doc="T.",
        fields=(
            Field(name="a", type="int64", doc="A."),
            Field(name="b", type="list<string>", doc="B."),
            Field(name="c", type="timestamp", doc="C."),
        ),
    )

    def test_every_difference_is_named(self):
        found = pa.schema([("c", pa.timestamp("ns", tz="UTC")), ("a", pa.int32()), ("z", pa.string())])
        assert self.TABLE.compare(found) == [
            "missing column b (list<item: string>)",
            "unexpected column z (string)",
            "column a: found int32, expected int64",
            "column c: found timestamp[ns, tz=UTC], expected timestamp[us, tz=UTC]",
        ]

    def test_order_nullability_and_item_names_do_not_count(self):
        items = pa.list_(pa.field("element", pa.string(), nullable=False))
        found = pa.schema([pa.field("b", items), pa.field("c", pa.timestamp("us", tz="UTC")), pa.field("a", pa.int64(), False)])
        assert self.TABLE.compare(found) == []

    def test_items_of_another_type_do(self):
        found = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.int64())), ("c", pa.timestamp("us", tz="UTC"))])
        assert self.TABLE.compare(found) == ["column b: found list<item: int64>, expected list<item: string>"]

    def test_an_unknown_column_is_an_error_that_lists_the_known_ones(self):
        with pytest.raises(KeyError, match="table t: no column 'd'; expected one of a, b, c"):
            self.TABLE.field("d")
