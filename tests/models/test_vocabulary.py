"""Codes: 0 for missing, 1 for unknown or rare, 2 and up for known values in ascending order."""

from __future__ import annotations

import pyarrow as pa

from models._vocabulary import Vocabulary


def test_frequent_values_are_kept_in_order():
    vocabulary = Vocabulary.fit(pa.array(["b", "c", "b", "a", "c", "c", None, None]), min_count=2)

    assert vocabulary.values.to_pylist() == ["b", "c"]
    assert vocabulary.size == 4
    assert vocabulary.encode(pa.array(["c", "a", None, "new", "b"])).tolist() == [3, 1, 0, 1, 2]


def test_of_nothing_it_knows_nothing():
    vocabulary = Vocabulary.fit(pa.array([None, None], pa.string()), min_count=1)

    assert vocabulary.encode(pa.array([None, "x"])).tolist() == [0, 1]


def test_the_plain_form_is_exact():
    vocabulary = Vocabulary.fit(pa.array([2**60, 5], pa.int64()), min_count=1)

    assert vocabulary.to_plain() == {"type": "int64", "values": [5, 2**60]}
    assert Vocabulary.from_plain(vocabulary.to_plain()) == vocabulary


def test_without_a_value_the_others_move_up():
    vocabulary = Vocabulary(pa.array([5, 7, 9]))
    for value, left, code in ((5, [7, 9], 2), (9, [5, 7], 4), (7, [5, 9], 3), (6, [5, 7, 9], None)):
        less, had = vocabulary.without(value)
        assert (less.values.to_pylist(), had) == (left, code)
    assert Vocabulary(pa.array([5])).without(5)[0].encode(pa.array([5, None])).tolist() == [1, 0]
