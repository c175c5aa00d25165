import datetime as dt

import pytest

from jobs._window import Window, compact, floor_hour, iso, last_day, midnight, parse_time
from schemas.errors import ReelflowError


def utc(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


def test_a_window_touches_hours_and_days():
    window = Window(utc(2026, 1, 6, 22, 30), utc(2026, 1, 7, 1))
    assert list(window.hours()) == [utc(2026, 1, 6, 22), utc(2026, 1, 6, 23), utc(2026, 1, 7, 0)]
    assert list(window.days()) == [dt.date(2026, 1, 6), dt.date(2026, 1, 7)]


def test_the_end_is_not_part_of_a_window():
    window = Window(utc(2026, 2, 28), utc(2026, 3, 1))
    assert len(list(window.hours())) == 24
    assert list(window.days()) == [dt.date(2026, 2, 28)]


@pytest.mark.parametrize("end", [utc(2026, 1, 7), utc(2026, 1, 6)])
def test_a_window_that_is_empty_is_refused(end):
    with pytest.raises(ReelflowError, match=r"start 2026-01-07T00:00:00Z is not before end 2026-01-0[67]T00:00:00Z"):
        Window(utc(2026, 1, 7), end)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-08T00:00:00Z", utc(2026, 1, 8)),
        ("2026-01-08", utc(2026, 1, 8)),
        (" 2026-01-08T05:30:00+05:30 ", utc(2026, 1, 8)),
        ("2026-01-07T23:00:00", utc(2026, 1, 7, 23)),
    ],
)
def test_times_are_read_as_utc(text, expected):
    assert parse_time(text) == expected
    assert parse_time(text).tzinfo is dt.UTC


@pytest.mark.parametrize("text", ["", "today", "2026-13-01", "08.01.2026", "0001-01-01T00:00:00+10:00"])
def test_what_is_no_time_is_refused_by_name(text):
    with pytest.raises(ReelflowError, match="not ISO 8601; expected for example 2026-01-08T00:00:00Z") as error:
        parse_time(text)
    assert repr(text) in str(error.value)


def test_times_are_written_in_utc():
    moment = dt.datetime(2026, 1, 8, 5, 30, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
    assert iso(moment) == "2026-01-08T00:00:00Z"
    assert compact(moment) == "20260108T000000Z"


def test_the_last_day_is_that_of_the_last_instant_before():
    assert last_day(utc(2026, 1, 8)) == dt.date(2026, 1, 7)
    assert last_day(utc(2026, 1, 8, 0, 0, 0, 1)) == dt.date(2026, 1, 8)
    assert midnight(dt.date(2026, 1, 8)) == utc(2026, 1, 8)
    assert floor_hour(utc(2026, 1, 8, 3, 59, 59, 999999)) == utc(2026, 1, 8, 3)
