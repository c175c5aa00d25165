import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.reading import RawFile, RawReader, _parquet
from schemas import RAW_INTERACTIONS

AT = dt.datetime(2026, 1, 7, 10, tzinfo=dt.UTC)
EVENTS = [
    {"event_id": str(n), "user_id": n, "interaction_type": "click", "occurred_at": AT, "position": n - 3, "extra": f"x{n}"}
    for n in range(30)
]


@pytest.fixture
def read(tmp_path):
    """A reader of a table written to a file, and its batches."""

    def made(table, max_rows=100, **options):
        pq.write_table(table, tmp_path / "a.parquet", **options)
        reader = RawReader(RawFile(tmp_path / "a.parquet", "parquet"), RAW_INTERACTIONS, max_rows)
        return reader, list(reader.batches())

    return made


def everything(batch) -> list[str | None]:
    return batch.records(np.arange(len(batch.table)))


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_a_file_too_large_to_be_held_gives_the_same(read, monkeypatch, held):
    monkeypatch.setattr(_parquet, "_HELD_BYTES", held)
    _, batches = read(pa.Table.from_pylist(EVENTS), 7, row_group_size=20)
    assert [len(batch.table) for batch in batches] == [7, 7, 6, 7, 3]
    assert [value for batch in batches for value in batch.table["user_id"].to_pylist()] == list(range(30))
    assert batches[0].flaws.details == ["position = -3", "position = -2", "position = -1"]
    assert [batch.flaws.details for batch in batches[1:]] == [[]] * 4


def test_the_record_of_any_row_holds_the_columns_that_nobody_asked_for(read):
    _, batches = read(pa.Table.from_pylist(EVENTS), 7, row_group_size=20)
    records = [json.loads(record) for batch in batches for record in everything(batch)]
    assert records == [{**event, "occurred_at": "2026-01-07 10:00:00.000000Z"} for event in EVENTS]
    assert list(records[0]) == list(EVENTS[0])
    assert batches[1].records(np.array([6, 0])) == [everything(batches[1])[row] for row in (6, 0)]
    assert batches[1].records(np.empty(0, np.int64)) == []


def test_of_two_columns_of_one_name_the_first_counts(read):
    columns = {"event_id": ["a"], "event_id ": ["b"], "x": [1], "x ": [2]}
    table = pa.table(columns).rename_columns([name.strip() for name in columns])
    reader, (batch,) = read(table)
    assert batch.table["event_id"].to_pylist() == ["a"]
    assert reader.unknown_columns == {"x"}
    assert everything(batch) == ['{"event_id":"a","x":1}']


def test_a_file_with_none_of_the_columns_has_rows_all_the_same(read):
    reader, (batch,) = read(pa.table({"x": [1, 2]}))
    assert batch.flaws.details == ["event_id: no such column in the file"] * 2
    assert everything(batch) == ['{"x":1}', '{"x":2}']
    assert (reader.rows, reader.unknown_columns) == (2, {"x"})


def test_a_nested_column_is_not_taken_for_another_one(read):
    table = pa.table({"event_id": [{"user_id": 1}], "user_id": [2], "event_id.user_id": ["x"]})
    _, (batch,) = read(table)
    assert batch.flaws.details == ['event_id = {"user_id":1}; expected string']
    assert batch.table["user_id"].to_pylist() == [2]


def test_text_that_is_no_utf8_becomes_the_replacement_character(read):
    def broken(*values: bytes) -> pa.Array:
        return pa.array(values, pa.binary()).cast(pa.string(), safe=False)

    _, (batch,) = read(pa.table({"event_id": broken(b"a\xff", b"b"), "x": broken(b"\xc3", b"y")}))
    assert batch.table["event_id"].to_pylist() == ["a\ufffd", "b"]
    assert everything(batch) == ['{"event_id":"a\ufffd","x":"\ufffd"}', '{"event_id":"b","x":"y"}']


@pytest.mark.parametrize("table", [pa.table({}), pa.table({"event_id": pa.array([], pa.string())})])
def test_a_file_without_rows_has_no_batches(read, table):
    reader, batches = read(table)
    assert (reader.rows, batches, reader.problem) == (0, [], None)
