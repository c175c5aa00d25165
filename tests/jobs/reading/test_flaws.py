import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from jobs.reading import Flaws
from jobs.reading._flaws import shown
from schemas import RejectReason


def mask(*rows: int) -> np.ndarray:
    marked = np.zeros(6, np.bool_)
    marked[list(rows)] = True
    return marked


def test_a_row_keeps_its_first_flaw_and_rows_stay_in_order():
    asked = []

    def detail(row: int) -> str:
        asked.append(row)
        return f"row {row}"

    one = Flaws().add(mask(4, 1), RejectReason.WRONG_TYPE, detail)
    two = one.add(mask(1, 0, 5), RejectReason.OUT_OF_RANGE, lambda row: f"late {row}")
    assert asked == [1, 4]
    assert (one.rows.tolist(), one.details) == ([1, 4], ["row 1", "row 4"])
    assert two.rows.tolist() == [0, 1, 4, 5]
    assert two.reasons == ["out_of_range", "wrong_type", "wrong_type", "out_of_range"]
    assert two.details == ["late 0", "row 1", "row 4", "late 5"]


def test_nothing_new_changes_nothing():
    one = Flaws().add(mask(2), RejectReason.WRONG_TYPE, str)
    assert one.add(mask(), RejectReason.OUT_OF_RANGE, str) is one
    assert one.add(mask(2), RejectReason.OUT_OF_RANGE, str) is one
    assert Flaws().rows.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([99]), "99"),
        (pa.array([1.5]), "1.5"),
        (pa.array([float("inf")]), "Infinity"),
        (pa.array([True]), "true"),
        (pa.array([None], pa.int64()), "null"),
        (pa.array(["x" * 200]), "x" * 100),
        (pa.array([b"\xff"]), "\ufffd"),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([["a", None]]), '["a",null]'),
        (pa.array([dt.datetime(2026, 1, 7, 12)], pa.timestamp("us", "UTC")), "2026-01-07 12:00:00"),
        (pa.array([dt.datetime(2026, 1, 7, 12, 0, 0, 500_000)], pa.timestamp("us", "UTC")), "2026-01-07 12:00:00.5"),
        (pa.array([dt.datetime(2026, 1, 7, 12)], pa.timestamp("ms", "Asia/Kolkata")), "2026-01-07 12:00:00"),
        (pa.array([dt.date(2026, 1, 7)]), "2026-01-07"),
        (pa.array([None], pa.timestamp("us")), "null"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_value_is_shown_as_a_person_would_write_it(values, text):
    assert shown("x", values, 0) == f"x = {text}"


def test_a_moment_that_python_cannot_hold_is_shown_all_the_same():
    assert shown("x", pa.array([2**62], pa.timestamp("us")), 0).startswith("x = ")
