"""Rows by key, and the version that held at a moment, against a loop over all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rows import look_up, one_chunk, rows_as_of

START = datetime(2026, 1, 5, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


def versions(*pairs):
    """Rows of an id and the number of days after the start from which on they hold."""
    return pa.table({
        "user_id": pa.array([key for key, _ in pairs], pa.int64()),
        "valid_from": pa.array([START + timedelta(days=days) for _, days in pairs], pa.timestamp("us", tz="UTC")),
    })  # fmt: skip


def rows(table, *asked):
    keys = np.array([key for key, _ in asked], dtype=np.int64)
    moments = np.array([(at - datetime(1970, 1, 1, tzinfo=UTC)) // MICRO for _, at in asked], dtype=np.int64)
    found = rows_as_of(keys, moments, table, "user_id")
    assert found.dtype == np.int64
    return found.tolist()


def day(number, more=timedelta(0)):
    return START + timedelta(days=number) + more


KNOWN = versions((1, 0), (3, 1), (3, 4), (3, 9), (7, 2), (7, 3))


@pytest.mark.parametrize(
    ("key", "at", "expected"),
    [
        (3, day(-100), 1),  # before the first version: the first
        (3, day(1), 1),
        (3, day(4, -MICRO), 1),
        (3, day(4), 2),  # exactly at its beginning
        (3, day(4, MICRO), 2),
        (3, day(9, -MICRO), 2),
        (3, day(9), 3),
        (3, day(900), 3),
        (1, day(-1), 0),
        (1, day(50), 0),
        (7, day(2), 4),
        (7, day(50), 5),
        (0, day(2), -1),  # below, between and above the ids that are there
        (2, day(2), -1),
        (9, day(2), -1),
    ],
)
def test_the_version_that_held(key, at, expected):
    assert rows(KNOWN, (key, at)) == [expected]


def test_every_pair_is_looked_up_on_its_own():
    assert rows(KNOWN, (7, day(9)), (3, day(5)), (2, day(5)), (3, day(0)), (7, day(9))) == [5, 2, -1, 1, 5]


def test_without_versions_or_keys_there_is_nothing():
    assert rows(versions(), (1, day(0)), (2, day(0))) == [-1, -1]
    assert rows(KNOWN) == []


@given(
    pairs=st.sets(st.tuples(st.integers(-2, 4), st.integers(0, 6)), max_size=16),
    asked=st.lists(st.tuples(st.integers(-3, 5), st.integers(-1, 7), st.integers(-1, 1)), max_size=20),
    chunks=st.integers(1, 3),
)
def test_any_versions_are_those_of_the_loop(pairs, asked, chunks):
    known = sorted(pairs)
    table = versions(*known)
    table = pa.concat_tables([table.slice(place, chunks) for place in range(0, max(len(known), 1), chunks)])

    def expected(key, at):
        mine = [place for place, (owner, _) in enumerate(known) if owner == key]
        begun = [place for place in mine if day(known[place][1]) <= at]
        return (begun or mine[:1] or [-1])[-1]

    wanted = [(key, day(number, micros * MICRO)) for key, number, micros in asked]
    assert rows(table, *wanted) == [expected(key, at) for key, at in wanted]


def test_look_up_keeps_order_and_fills_nulls():
    videos = pa.table({"video_id": pa.array([10, 20, 30], pa.int64()), "creator_id": pa.array([7, None, 8], pa.int64())})
    found = look_up(pa.array([30, 99, 10, 20, 30], pa.int64()), videos, "video_id", ["creator_id"])

    assert found.to_pydict() == {"video_id": [30, 99, 10, 20, 30], "creator_id": [8, None, 7, None, 8]}


def test_one_chunk_decodes():
    words = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", None]).dictionary_encode()])

    assert one_chunk(words).equals(pa.array(["a", "b", "b", None]))
