import numpy as np
import pytest

from models.evaluation import Lookup, Row, table
from models.evaluation._rows import Sample
from schemas import EVALUATION
from tests.models.evaluation.planted import AT, CONFIG

VALUES = {("a", "none", "m"): np.array([1.0, 2.0, np.nan, 4.0]), ("b", "none", "m"): np.array([np.nan, np.nan, 1.0, 1.0])}
LIKE = Row(model="", metric="", value=0.0, slice_kind="country", slice_value="DE")


def test_means_leave_out_users_without_a_figure_and_count_the_others():
    sample = Sample.of(CONFIG, np.array([5, 6, 7, 8]))
    first, second = sample.means(VALUES, LIKE)
    assert (first.model, first.metric, first.value, first.users, first.examples) == ("a", "m", pytest.approx(7 / 3), 3, 19)
    assert 1.0 <= first.low <= first.value <= first.high <= 4.0
    assert (second.value, second.users, second.low, second.high) == (1.0, 2, 1.0, 1.0)
    assert (first.slice_kind, first.slice_value) == ("country", "DE")


def test_few_users_have_a_figure_and_no_interval():
    found = Sample.of(CONFIG, np.array([5, 6, 7, 8])).means(VALUES, LIKE, members=np.array([0, 2]))
    assert [(row.value, row.users, row.low, row.high) for row in found] == [(1.0, 1, None, None), (1.0, 1, None, None)]
    assert Sample.of(CONFIG, np.array([1])).means({}, LIKE) == []


def test_nobody_with_a_figure_is_no_row():
    values = {("a", "none", "m"): np.full(3, np.nan)}
    assert Sample.of(CONFIG, np.array([1, 1, 1])).means(values, LIKE) == []


def test_the_table_is_in_order_and_without_what_is_no_number():
    rows = [
        Row(model="b", metric="m", value=1.0, users=2),
        Row(model="a", metric="m", value=2.0, low=1.5, high=2.5),
        Row(model="a", metric="n", value=float("nan")),
    ]
    found = table(rows, AT)
    assert found.schema.equals(EVALUATION.arrow)
    assert found["model"].to_pylist() == ["a", "b"]
    assert found["low"].to_pylist() == [1.5, None]
    assert set(found["as_of"].to_pylist()) == {AT}
    assert table([], AT).num_rows == 0


def test_rows_are_found_by_what_they_say():
    rows = [Row(model="a", metric="m", value=1.0), Row(model="a", metric="m", value=2.0, slice_kind="k", slice_value="v")]
    found = Lookup.of(rows)
    assert found.get("a", "m").value == 1.0
    assert found.get("a", "m", slice_kind="k", slice_value="v").value == 2.0
    assert found.get("b", "m") is None
    assert (found.slices("k", "m"), found.slices("k", "n"), found.models("m")) == (["v"], [], ["a"])
