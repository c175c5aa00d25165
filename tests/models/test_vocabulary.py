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
