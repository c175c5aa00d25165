"""Which window a run covers: one function, used by every task, so that all of them agree.

Airflow's own ``data_interval`` is not used: a scheduled run and a manual run of the same logical date have different ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


class WindowError(ValueError):
    """A run whose window cannot be told; the message says what to give."""


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval ``[start, end)`` in UTC that a run is for."""

    start: datetime
    end: datetime

    @property
    def as_of(self) -> str:
        """The end of the window as stages take it: ``2026-01-08T00:00:00Z``."""
        return self.end.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def folder(self) -> str:
        """The name of this run's folder below ``paths.runs``: ``20260108T000000Z``."""
        return self.end.strftime("%Y%m%dT%H%M%SZ")


def window_of(
    logical_date: datetime | None, as_of: str | None = None, run_after: datetime | None = None, grain: timedelta = DAY
) -> Window:
    """The window of a run.

    Args:
        logical_date: a run of day D has a logical date within D, whoever started it; its window is all of D. So with hours.
        as_of: the end of the window, given by hand; it wins, and the window is the day, or hour, before it.
        run_after: the moment from which the run may start; a window derived from ``logical_date`` must be over by then.
        grain: a day or an hour.

    Raises:
        WindowError: neither is given, ``as_of`` is no time or no full hour of an hourly run, or the window is not over yet.
    """
    name = "day" if grain == DAY else "hour"
    if as_of:
        end = _parse(as_of)
        if grain == HOUR and end != _floor(end, HOUR):
            raise WindowError(f"as_of {as_of!r}: not the end of an hour; expected for example 2026-01-08T05:00:00Z")
        return Window(end - grain, end)
    if logical_date is None:
        raise WindowError(
            "window: the run has neither a logical date nor the parameter as_of; "
            f"give as_of, the end of the {name} to run, for example 2026-01-08T00:00:00Z"
        )
    start = _floor(logical_date.astimezone(UTC), grain)
    window = Window(start, start + grain)
    if run_after is not None and window.end > run_after:
        raise WindowError(
            f"window: the {name} of the logical date {logical_date:%Y-%m-%d %H:%M} ends at {window.as_of}, which is not over "
            f"at {run_after:%Y-%m-%d %H:%M}; choose an earlier logical date, or give the parameter as_of"
        )
    return window


def _floor(moment: datetime, grain: timedelta) -> datetime:
    """The beginning of the day or hour that holds a moment."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour if grain == HOUR else hour.replace(hour=0)


def _parse(text: str) -> datetime:
    """Read an ISO 8601 time as UTC; a time without zone is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise WindowError(f"as_of {text!r}: not an ISO 8601 time; expected for example 2026-01-08T00:00:00Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
