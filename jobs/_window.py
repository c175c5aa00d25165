"""Time as stages see it: half-open UTC windows, and the hours and days inside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from schemas.errors import ReelflowError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval ``[start, end)`` in UTC. ``end`` is the ``as_of`` of what is computed from it."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ReelflowError(f"window: start {iso(self.start)} is not before end {iso(self.end)}; expected start < end")

    def hours(self) -> Iterator[datetime]:
        """The start of every hour that the window touches, in order."""
        hour = floor_hour(self.start)
        while hour < self.end:
            yield hour
            hour += HOUR

    def days(self) -> Iterator[date]:
        """Every date that the window touches, in order."""
        day = self.start.date()
        while midnight(day) < self.end:
            yield day
            day += DAY


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time as UTC; a date alone means its midnight, a time without zone is taken as UTC.

    Raises:
        ReelflowError: the text is no ISO 8601 time, or in UTC one of another year than 1 to 9999.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ReelflowError(f"time {text!r}: not ISO 8601; expected for example 2026-01-08T00:00:00Z") from error


def iso(moment: datetime) -> str:
    """A time as ``2026-01-08T00:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def compact(moment: datetime) -> str:
    """A time for file names and versions: ``20260108T000000Z``."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def from_compact(name: str) -> datetime | None:
    """The time that ``compact`` wrote; None for any other name."""
    try:
        found = datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if compact(found) == name else None


def micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly: a product with ``timestamp()``, a float, can be one off."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def midnight(day: date) -> datetime:
    """00:00 UTC of a date."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def floor_hour(moment: datetime) -> datetime:
    """The start of the hour that holds ``moment``."""
    return moment.replace(minute=0, second=0, microsecond=0)


def floor_day(moment: datetime) -> datetime:
    """The midnight that began the day of ``moment``."""
    return midnight(moment.date())


def last_day(as_of: datetime) -> date:
    """The date of the last instant before ``as_of``: the day whose partition a run as of then writes."""
    return (as_of - timedelta(microseconds=1)).date()
