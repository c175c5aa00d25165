import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs._profile import distinct_keys, profile
from schemas import EXAMPLES, RECOMMENDATIONS, Field, Table

TABLE = Table(
    name="things",
    doc="For tests.",
    key=("id",),
    fields=(
        Field(name="id", type="int64", doc=""),
        Field(name="name", type="string", doc="", nullable=True),
        Field(name="kind", type="string", doc="", nullable=True, allowed=("ant", "bee")),
        Field(name="at", type="timestamp", doc="", nullable=True),
        Field(name="vector", type="list<float32>", doc="", nullable=True),
    ),
)


@pytest.fixture
def stored(tmp_path):
    """A function that writes one Parquet file for each table given, in row groups of two rows."""

    def write(*tables):
        files = [tmp_path / f"part-{number}.parquet" for number in range(len(tables))]
        for file, content in zip(files, tables, strict=True):
            pq.write_table(content, file, row_group_size=2)
        return files

    return write


def parts(*tables):
    """Rows that come in these parts, as often as they are asked for."""
    return lambda columns: [table.select(columns) for table in tables]


def ids(*values):
    return pa.table({"id": pa.array(values, pa.int64())})


def test_columns_over_files_and_row_groups(stored):
    rows = [
        {"id": 5, "name": "x", "kind": "bee", "at": 3_600_000_000, "vector": [1.0]},
        {"id": 2, "name": None, "kind": "bee", "at": None, "vector": []},
        {"id": 9, "name": None, "kind": None, "at": 7_200_000_000, "vector": None},
        {"id": 4, "name": "y", "kind": "cat", "at": 0, "vector": [2.0, 3.0]},
    ]
    content = pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in TABLE.arrow]))
    assert profile(TABLE, stored(content[:1], content[1:])) == {
        "columns": {
            "id": {"nulls": 0, "min": 2, "max": 9},
            "name": {"nulls": 2},  # no extremes: a name may be personal
            "kind": {"nulls": 1, "values": ["bee", "cat"]},
            "at": {"nulls": 1, "min": "1970-01-01T00:00:00Z", "max": "1970-01-01T02:00:00Z"},
            "vector": {"nulls": 1},  # the empty one is none
        },
        "keys": 4,
    }


def test_rows_in_memory_say_the_same_as_their_files(stored):
    content = pa.Table.from_pylist(
        [{"id": n, "kind": "ant", "vector": [1.0] if n else None} for n in (2, 0, 1, 1)], TABLE.arrow
    )
    assert profile(TABLE, stored(content), content) == profile(TABLE, stored(content))


def test_no_file_is_no_rows():
    columns = {name: {"nulls": 0} for name in TABLE.columns}
    assert profile(TABLE, []) == {"columns": columns | {"kind": {"nulls": 0, "values": []}}, "keys": 0}


def test_an_empty_file_is_no_rows(stored):
    assert profile(TABLE, stored(TABLE.arrow.empty_table()))["keys"] == 0


@pytest.mark.parametrize(
    ("values", "distinct"),
    [([1, 2, 3, 4, 5], 5), ([1, 2, 2, 3], 3), ([3, 1, 2], 3), ([2, 1, 2, 1], 2), ([1, None, None], 2), ([7], 1)],
)
def test_distinct_keys_whatever_their_order(values, distinct):
    assert distinct_keys(parts(ids(*values)), ["id"]) == distinct
    for cut in range(1, len(values)):
        assert distinct_keys(parts(ids(*values[:cut]), ids(*values[cut:])), ["id"]) == distinct


def test_distinct_pairs_agree_with_a_set():
    pairs = list(itertools.product([1, 2], [1, 2]))
    for rows in itertools.product(pairs, repeat=3):
        users, ranks = zip(*rows, strict=True)
        content = pa.table({"user": pa.array(users), "rank": pa.array(ranks)})
        assert distinct_keys(parts(content), ["user", "rank"]) == len(set(rows))


def test_weighted_mean_of_labels(stored):
    rows = [{"label": 1, "weight": 1.0}, {"label": 0, "weight": 5.0}, {"label": 1, "weight": 1.0}]
    schema = pa.schema([field.with_nullable(True) for field in EXAMPLES.arrow])
    content = pa.Table.from_pylist([{name: row.get(name) for name in EXAMPLES.columns} for row in rows], schema=schema)
    assert profile(EXAMPLES, stored(content))["weighted"] == [2.0, 7.0]


def test_lists_and_how_many_are_full(stored):
    rows = [{"user_id": user, "rank": rank} for user, length in ((1, 3), (2, 3), (3, 1)) for rank in range(1, length + 1)]
    schema = pa.schema([field.with_nullable(True) for field in RECOMMENDATIONS.arrow])
    content = pa.Table.from_pylist([{name: row.get(name) for name in RECOMMENDATIONS.columns} for row in rows], schema=schema)
    assert profile(RECOMMENDATIONS, stored(content))["lists"] == {"lists": 3, "longest": 3, "full": 2}
    assert profile(RECOMMENDATIONS, [])["lists"] == {"lists": 0, "longest": 0, "full": 0}
