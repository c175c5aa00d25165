import numpy as np
import pyarrow as pa
import pytest

from jobs.reading import RawFile, RawReader
from jobs.reading._rows import conform
from jobs.reading._sift import Part
from schemas import Field, RejectReason, Table

TABLE = Table(
    name="t",
    doc="",
    fields=(
        Field(name="id", type="int64", doc=""),
        Field(name="kind", type="string", nullable=True, allowed=("a", "b"), doc=""),
        Field(name="size", type="float64", nullable=True, minimum=0.0, maximum=9.0, doc=""),
    ),
)


def part(rows, **columns) -> Part:
    return Part(np.array(rows, np.int64), pa.table(columns))


def said(rows) -> list[tuple]:
    return list(zip(rows.flaws.rows.tolist(), rows.flaws.reasons, rows.flaws.details, strict=True))


def test_rows_of_several_parts_come_in_their_order_and_rows_of_none_are_malformed():
    parts = [
        part([4, 0], id=[4, 0], kind=["a", "b"], size=[4.0, 0.0]),
        part([2, 1], id=["2", "x"], kind=["c", "a"], size=["2", "-1"]),
    ]
    rows = conform(parts, 6, TABLE, lambda rows: [])
    assert rows.table.schema == TABLE.arrow
    assert rows.table.to_pydict() == {
        "id": [0, None, 2, None, 4, None],
        "kind": ["b", "a", "c", None, "a", None],
        "size": [0.0, -1.0, 2.0, None, 4.0, None],
    }
    assert said(rows) == [
        (1, "wrong_type", "id = x; expected int64"),
        (2, "unknown_interaction_type", "kind = c"),
        (3, "malformed_record", "the record cannot be parsed"),
        (5, "malformed_record", "the record cannot be parsed"),
    ]


@pytest.mark.parametrize("stride", [2, 100])
def test_many_and_few_rows_of_another_part_are_put_in_their_places(stride):
    other = np.arange(0, 1000, stride)
    rest = np.setdiff1d(np.arange(1000), other)
    parts = [part(rest, id=rest), part(other, id=other.astype(str))]
    rows = conform(parts, 1000, TABLE, lambda rows: [])
    assert rows.table["id"].to_pylist() == list(range(1000))
    assert rows.table["kind"].null_count == 1000
    assert said(rows) == []


def test_no_parts_are_nothing_but_malformed_rows():
    rows = conform([], 2, TABLE, lambda rows: [])
    assert rows.table.to_pylist() == [{"id": None, "kind": None, "size": None}] * 2
    assert rows.flaws.reasons == ["malformed_record"] * 2


def test_bounds_are_inclusive_and_infinities_outside_even_without_bounds():
    sizes = [0.0, 9.0, -0.5, 9.5, float("inf"), float("-inf"), None, float("nan")]
    rows = conform([part(range(8), id=[1] * 8, size=sizes)], 8, TABLE, lambda rows: [])
    assert [(row, detail) for row, _, detail in said(rows)] == [
        (2, "size = -0.5"), (3, "size = 9.5"), (4, "size = Infinity"), (5, "size = -Infinity"),
    ]  # fmt: skip
    unbounded = Table(name="t", doc="", fields=(Field(name="size", type="float64", nullable=True, doc=""),))
    rows = conform([part(range(8), size=sizes)], 8, unbounded, lambda rows: [])
    assert rows.flaws.rows.tolist() == [4, 5]


def test_a_caller_adds_rules_of_its_own(tmp_path):
    (tmp_path / "a.csv").write_text('id,size\n1,2\n"x",3\n3,4\n')
    (batch,) = RawReader(RawFile(tmp_path / "a.csv", "csv"), TABLE).batches()
    large = np.array([False, True, True])
    flaws = batch.flaws.add(large, RejectReason.OUT_OF_RANGE, lambda row: batch.shown("size", row))
    assert flaws.rows.tolist() == [1, 2]
    assert flaws.details == ["id = x; expected int64", "size = 4.0"]
    assert batch.records(flaws.rows) == ['"x",3', "3,4"]
