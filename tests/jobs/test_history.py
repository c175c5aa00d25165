"""Histories against plain loops over plain rows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as some

from jobs._history import EVENT_COLUMNS, HistoryConfig, histories, tail
from schemas import USER_HISTORY
from tests.builders import moment
from tests.jobs.point_in_time import history_of

START = moment("2026-01-07T00:00")
CONFIG = HistoryConfig(watched=3, liked=1, seen=2, searched=2)
REACH = timedelta(seconds=40)

events_of_a_minute = some.lists(
    some.builds(
        lambda user, kind, half, thing: {
            "user_id": user,
            "interaction_type": kind,
            "occurred_at": START + timedelta(seconds=half / 2),
            "video_id": None if kind == "search" else thing,
            "query": f"q{thing}" if kind == "search" else None,
        },
        user=some.sampled_from([1, 2, 2**62]),
        kind=some.sampled_from(["watch", "like", "impression", "search", "click"]),
        half=some.integers(0, 120),
        thing=some.integers(0, 5),
    ),
    max_size=40,
)
moments = some.lists(some.tuples(some.sampled_from([1, 2, 3, 2**62]), some.integers(0, 140)), max_size=6)


def in_order(rows):
    """Rows with ids, in order of time and id."""
    named = [{**row, "event_id": f"{place:03}"} for place, row in enumerate(rows)]
    return sorted(named, key=lambda row: (row["occurred_at"], row["event_id"]))


def table(rows):
    return pa.Table.from_pylist([{name: row[name] for name in EVENT_COLUMNS} for row in rows], schema=USER_HISTORY.arrow)


def asked(found, count):
    return [{name: column[place].as_py() for name, column in found.items()} for place in range(count)]


@settings(max_examples=300, deadline=None)
@given(events_of_a_minute, moments)
def test_histories_are_those_of_plain_loops(rows, queries):
    rows = in_order(rows)
    ats = [START + timedelta(seconds=half / 2) for _, half in queries]
    micros = np.array([int(at.timestamp() * 1e6) for at in ats], dtype=np.int64)
    found = histories(table(rows), np.array([user for user, _ in queries], dtype=np.int64), micros, CONFIG, REACH)
    expected = [history_of(rows, user, at, CONFIG.model_dump(), REACH) for (user, _), at in zip(queries, ats, strict=True)]
    assert asked(found, len(queries)) == expected


@settings(max_examples=200, deadline=None)
@given(events_of_a_minute, some.integers(0, 120), moments)
def test_the_tail_is_all_that_later_moments_need(rows, cut, queries):
    rows = in_order(rows)
    split = START + timedelta(seconds=cut / 2)
    before = tail(table([row for row in rows if row["occurred_at"] < split]), CONFIG, split - REACH)
    short = pa.concat_tables([before, table([row for row in rows if row["occurred_at"] >= split])])
    users = np.array([user for user, _ in queries], dtype=np.int64)
    at = np.array([int(split.timestamp() * 1e6) + half * 500_000 for _, half in queries], dtype=np.int64)
    whole, cut_short = (histories(events, users, at, CONFIG, REACH) for events in (table(rows), short))
    assert {name: column.to_pylist() for name, column in whole.items()} == {
        name: column.to_pylist() for name, column in cut_short.items()
    }


def test_a_tail_holds_no_more_than_the_longest():
    rows = in_order(
        {"user_id": 1, "interaction_type": "watch", "occurred_at": START + timedelta(seconds=n), "video_id": n, "query": None}
        for n in range(10)
    )
    assert tail(table(rows), CONFIG, START)["video_id"].to_pylist() == [7, 8, 9]
    assert tail(table(rows), CONFIG, START + timedelta(seconds=9))["video_id"].to_pylist() == [9]
