from datetime import UTC, datetime, timedelta, timezone

import pytest
from _window import HOUR, WindowError, window_of


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("logical_date", "start", "end"),
    [
        pytest.param(utc(2026, 1, 7), utc(2026, 1, 7), utc(2026, 1, 8), id="scheduled"),
        pytest.param(utc(2026, 1, 7, 15, 30, 1), utc(2026, 1, 7), utc(2026, 1, 8), id="manual, within the day"),
        pytest.param(utc(2024, 2, 28), utc(2024, 2, 28), utc(2024, 2, 29), id="before the leap day"),
        pytest.param(utc(2024, 2, 29), utc(2024, 2, 29), utc(2024, 3, 1), id="leap day"),
        pytest.param(utc(2025, 12, 31), utc(2025, 12, 31), utc(2026, 1, 1), id="end of the year"),
        pytest.param(
            datetime(2026, 1, 8, 1, tzinfo=timezone(timedelta(hours=3))), utc(2026, 1, 7), utc(2026, 1, 8), id="another zone"
        ),
    ],
)
def test_window_is_the_utc_day_of_the_logical_date(logical_date, start, end):
    window = window_of(logical_date)
    assert (window.start, window.end) == (start, end)


@pytest.mark.parametrize(
    "as_of", ["2026-01-08T06:00:00Z", "2026-01-08T06:00:00+00:00", "2026-01-08T06:00:00", "2026-01-08T07:00:00+01:00"]
)
def test_as_of_wins_over_the_logical_date(as_of):
    window = window_of(utc(2025, 5, 5), as_of)
    assert (window.start, window.end) == (utc(2026, 1, 7, 6), utc(2026, 1, 8, 6))


def test_as_of_needs_no_logical_date():
    assert window_of(None, "2024-03-01").start == utc(2024, 2, 29)


@pytest.mark.parametrize("as_of", [None, ""])
def test_neither_is_an_error(as_of):
    with pytest.raises(WindowError, match="neither a logical date nor the parameter as_of"):
        window_of(None, as_of)


def test_as_of_must_be_a_time():
    with pytest.raises(WindowError, match="'yesterday': not an ISO 8601 time"):
        window_of(utc(2026, 1, 7), "yesterday")


def test_a_day_that_is_not_over_is_refused():
    with pytest.raises(WindowError, match="not over at 2026-01-07 10:00"):
        window_of(utc(2026, 1, 7, 9), run_after=utc(2026, 1, 7, 10))
    assert window_of(utc(2026, 1, 7), run_after=utc(2026, 1, 8)).as_of == "2026-01-08T00:00:00Z"


def test_texts_of_a_window():
    window = window_of(utc(2026, 1, 7))
    assert (window.as_of, window.folder) == ("2026-01-08T00:00:00Z", "20260108T000000Z")


@pytest.mark.parametrize("logical_date", [utc(2026, 1, 7, 23), utc(2026, 1, 7, 23, 5), utc(2026, 1, 7, 23, 59, 59)])
def test_hours(logical_date):
    window = window_of(logical_date, run_after=utc(2026, 1, 8, 0, 5), grain=HOUR)
    assert (window.start, window.end) == (utc(2026, 1, 7, 23), utc(2026, 1, 8))


def test_hours_by_hand():
    assert window_of(None, "2026-01-08T05:00:00Z", grain=HOUR).start == utc(2026, 1, 8, 4)
    with pytest.raises(WindowError, match="not the end of an hour"):
        window_of(None, "2026-01-08T05:30:00Z", grain=HOUR)
    with pytest.raises(WindowError, match="the hour of the logical date"):
        window_of(utc(2026, 1, 8, 5, 5), run_after=utc(2026, 1, 8, 5, 30), grain=HOUR)
