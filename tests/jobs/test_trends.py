"""Trends against plain loops over plain rows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as some

from jobs._trends import EVENT_COLUMNS, HourOfEvents, Trends
from jobs._window import HOUR, Window, floor_hour
from schemas import INTERACTIONS
from tests.builders import moment
from tests.jobs.point_in_time import trends_of

START = moment("2026-01-07T00:00")
HOURS = 9 * 24
_SCHEMA = pa.schema([INTERACTIONS.field(name).arrow for name in EVENT_COLUMNS])

# Moments cluster around one minute, an hour, a day and a week apart, where windows begin and end.
instants = some.builds(
    lambda days, hours, micros: START + timedelta(days=days, hours=hours, microseconds=micros),
    days=some.sampled_from([0, 1, 6, 7, 8]),
    hours=some.sampled_from([0, 1, 2]),
    micros=some.sampled_from([0, 1, 2, 1_799_999_999, 1_800_000_000, 3_599_999_999]),
)
logs = some.lists(
    some.builds(
        lambda video, kind, at: {"video_id": video, "interaction_type": kind, "occurred_at": at},
        video=some.sampled_from([7, 8, None]),
        kind=some.sampled_from(["watch", "like", "impression", "search", "click"]),
        at=instants,
    ),
    max_size=60,
)
queries = some.lists(some.tuples(some.sampled_from([7, 8, 9]), instants), min_size=1, max_size=8)


def trends(rows):
    empty = HourOfEvents(_SCHEMA.empty_table(), START)
    by_hour = {}
    for row in rows:
        by_hour.setdefault(floor_hour(row["occurred_at"]), []).append(row)
    known = {hour: HourOfEvents(pa.Table.from_pylist(mine, schema=_SCHEMA), hour) for hour, mine in by_hour.items()}

    def events(hour):
        assert START - 200 * HOUR <= hour < START + HOURS * HOUR
        return known.get(hour, empty)

    return Trends(events, lambda hour: events(hour).counts(), Window(START, START + HOURS * HOUR).hours())


def micros(at):
    return int((at - moment("1970-01-01T00:00")) / timedelta(microseconds=1))


@settings(max_examples=60, deadline=None)
@given(logs, queries)
def test_trends_are_those_of_plain_loops(rows, asked):
    at = np.array([micros(moment) for _, moment in asked], dtype=np.int64)
    found = trends(rows).at(np.array([video for video, _ in asked], dtype=np.int64), at)
    expected = [trends_of(rows, video, moment) for video, moment in asked]
    assert [{name: int(column[place]) for name, column in found.items()} for place in range(len(asked))] == expected


def test_hours_asked_for_one_after_the_other_give_the_same_as_at_once():
    rows = [
        {
            "video_id": n % 3,
            "interaction_type": ("impression", "watch", "like")[n % 7 % 3],
            "occurred_at": START + n * timedelta(minutes=7),
        }
        for n in range(1700)
    ]
    asked = [START + timedelta(minutes=13 * n, seconds=n) for n in range(0, 900, 11)]
    at, videos = np.array([micros(moment) for moment in asked]), np.arange(len(asked)) % 4
    once, stepwise = trends(rows).at(videos, at), trends(rows)
    parts = [stepwise.at(videos[[n]], at[[n]]) for n in range(len(asked))]
    assert {name: column.tolist() for name, column in once.items()} == {
        name: [int(part[name][0]) for part in parts] for name in once
    }
    assert sum(once["impressions_last_week"].tolist()) > 1000


def test_an_hour_at_whose_start_one_asks_is_not_read():
    asked = []
    counted = Trends(
        lambda hour: asked.append(hour) or HourOfEvents(_SCHEMA.empty_table(), hour),
        lambda hour: HourOfEvents(_SCHEMA.empty_table(), hour).counts(),
        [],
    )
    counted.at(np.array([1]), np.array([micros(START)]))
    assert asked == [START - HOUR, START - 24 * HOUR, START - 168 * HOUR]
