"""``.venv-airflow/bin/python -m benchmarks.simulated_day [--users N] [--hours N]``: both lanes on one Airflow, for a day.

Starts all of Airflow with the real stages on a simulated platform (``tests.airflow.platform``: small models, one core for
Spark). A daily run is published; ``--alone`` hours go over it with nothing beside them, of which the first catches up with its
day; at midnight the next daily run begins, and the hours of the new day go on beside and after it. The logs of an hour arrive
when the hour before is done: the machine never rests, as it would with hours of sixty minutes.

Prints one line for each run: seconds from the arrival of the logs to the live table (*fresh*), seconds of the run and of its
tasks, lists made, and the machine's load. A reader looks at the store all the while: a version must always show the same rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.airflow.platform import DAILY, DAY, HOUR, HOURLY, PATIENCE, START, arrive, iso, platform, rows, withhold
from tests.airflow.stack import Stack, repeating, wait_for

HISTORY_DAYS = 3
"""Days of logs before the first daily run."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    as_of: str
    lane: str
    beside: bool
    """Whether a daily run was going on when it began."""
    fresh_seconds: float | None
    """From the arrival of its logs to the first look at which its version was live; None: it never was."""
    run_seconds: float
    """As Airflow has it, from the run's start to its end."""
    processor_seconds: float
    """Of all of Airflow and its tasks meanwhile, so of a run beside it as well."""
    stages: dict[str, float]
    """Seconds of each task that did not wait or skip."""
    users: int
    rows: int
    load: float
    """Of the machine in the minute before its end."""

    def line(self) -> str:
        """One line of the table."""
        fresh = "never" if self.fresh_seconds is None else f"{self.fresh_seconds:.0f}"
        seconds = f"{fresh:>6} {self.run_seconds:>5.0f} {self.processor_seconds:>5.0f}"
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.stages.items())
        run = f"{self.as_of:<20} {self.lane:<6} {'daily' if self.beside else '':<6}"
        return f"{run} {seconds} {self.users:>5} {self.rows:>6} {self.load:>4.1f}  {parts}"


HEAD = "as of                lane   beside  fresh run s cpu s users   rows load  seconds by task"


@dataclass
class Looks:
    """What a reader saw of the live table."""

    first_seen: dict[str, float] = field(default_factory=dict)
    """By the ``as_of`` of the live version, when it was seen first (monotonic clock)."""
    versions: list[int] = field(default_factory=list)
    """Live versions in the order in which they were seen."""
    contents: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Digests of all rows that a version showed; one each if readers always see whole versions."""
    went_back: set[int] = field(default_factory=set)
    """Users who were shown a list of an earlier ``as_of`` than before."""
    newest: dict[int, str] = field(default_factory=dict)
    looks: int = 0

    def look(self, store: Path) -> None:
        """Look once, at the version alone, or at all rows if it is new or has not been looked at for a while."""
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            live = connection.execute("SELECT version, as_of FROM publications WHERE status = 'live'").fetchone()
            if live is None:
                return
            version, as_of = live
            self.looks += 1
            if not self.versions or self.versions[-1] != version:
                self.first_seen.setdefault(as_of, time.monotonic())
                self.versions.append(version)
            elif self.looks % 10:
                return
            digest = hashlib.sha256()
            query = "SELECT user_id, as_of, rank, video_id, score, model_version FROM recommendations ORDER BY user_id, rank"
            for row in connection.execute(query):
                digest.update(repr(row).encode())
                if row[1] < self.newest.get(row[0], ""):
                    self.went_back.add(row[0])
                self.newest[row[0]] = row[1]
            self.contents[version].add(digest.hexdigest())


@contextmanager
def looking(store: Path) -> Iterator[Looks]:
    """Look again and again while inside, five times a second."""
    seen = Looks()
    with repeating(lambda: seen.look(store) if store.exists() else None, 0.2):
        yield seen


class Day:
    """Runs both lanes on a platform, and measures them."""

    def __init__(self, stack: Stack, seen: Looks) -> None:
        self._stack, self._seen = stack, seen
        self.runs: list[Run] = []
        self._daily: str | None = None
        self._used: dict[str, float] = {}
        self._arrived: dict[str, float] = {}

    def start_daily(self, end: datetime) -> None:
        """Begin the daily run of the day that ends now."""
        self._arrive(end)
        self._used[DAILY] = self._stack.processor_seconds()
        self._daily = self._stack.trigger(DAILY, iso(end - DAY))

    def finish_daily(self) -> Run:
        """Wait for the daily run."""
        run, self._daily = self._daily, None
        assert run is not None
        logical = datetime.fromisoformat(self._stack.get(f"/dags/{DAILY}/dagRuns/{run}")["logical_date"])
        return self._finish(DAILY, run, logical + DAY)

    def daily_goes_on(self) -> bool:
        """Whether a daily run that was begun has not ended."""
        return self._daily is not None and self._stack.state(DAILY, self._daily) not in {"success", "failed"}

    def daily_ended(self) -> bool:
        """Whether a daily run was begun and has ended, and ``finish_daily`` was not called yet."""
        return self._daily is not None and not self.daily_goes_on()

    def hour(self, end: datetime) -> Run:
        """Run the hour that ends now, to its end."""
        self._arrive(end)
        self._used[HOURLY], beside = self._stack.processor_seconds(), self.daily_goes_on()
        return self._finish(HOURLY, self._stack.trigger(HOURLY, iso(end - HOUR)), end, beside=beside)

    def _arrive(self, end: datetime) -> None:
        arrive(self._stack.home, end)
        self._arrived[iso(end)] = time.monotonic()

    def _finish(self, dag: str, run: str, end: datetime, *, beside: bool = False) -> Run:
        self._stack.finish(dag, run, seconds=PATIENCE)
        used = self._stack.processor_seconds() - self._used[dag]
        as_of, about = iso(end), self._stack.get(f"/dags/{dag}/dagRuns/{run}")
        published = rows(self._stack.home, f"SELECT status FROM publications WHERE as_of = '{as_of}'")
        if published and published[-1][0] == "live":
            wait_for(lambda: as_of in self._seen.first_seen, f"a look at the version as of {as_of}", 30)
        seen = self._seen.first_seen.get(as_of)
        tasks = sorted(self._stack.tasks(dag, run).values(), key=lambda task: task["start_date"] or "")
        report = self._stack.home / "runs" / end.strftime("%Y%m%dT%H%M%SZ") / "publish.json"
        wrote = json.loads(report.read_text(encoding="utf-8"))["wrote"] if report.exists() else {}
        began, ended = (datetime.fromisoformat(about[name]) for name in ("start_date", "end_date"))
        found = Run(
            as_of=as_of,
            lane=dag.removeprefix("reelflow_"),
            beside=beside,
            fresh_seconds=seen - self._arrived[as_of] if seen is not None else None,
            run_seconds=(ended - began).total_seconds(),
            processor_seconds=used,
            stages={task["task_id"]: task["duration"] for task in tasks if task["state"] == "success"},
            users=wrote.get("users", 0),
            rows=wrote.get("rows", 0),
            load=os.getloadavg()[0],
        )
        self.runs.append(found)
        print(found.line(), flush=True)
        return found


def main() -> int:
    """Run the day; the exit status is 1 if a reader saw what it should not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated_day", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=600, metavar="N", help="of the simulated platform (default: %(default)s)")
    parser.add_argument("--hours", type=int, default=23, metavar="N", help="of the day, at most 23 (default: %(default)s)")
    parser.add_argument("--alone", type=int, default=3, metavar="N", help="hours before midnight (default: %(default)s)")
    given = parser.parse_args()
    first = START + HISTORY_DAYS * DAY
    midnight = first + DAY
    with tempfile.TemporaryDirectory(prefix="reelflow-day-") as folder:
        home = Path(folder)
        with platform(home, given.users, HISTORY_DAYS + 2) as stack, looking(home / "store/recommendations.sqlite") as seen:
            withhold(home, first)
            print(HEAD, flush=True)
            day = Day(stack, seen)
            day.start_daily(first)
            day.finish_daily()
            for end in (midnight - hours * HOUR for hours in range(given.alone, 0, -1)):
                day.hour(end)
            day.start_daily(midnight)
            for end in (midnight + hours * HOUR for hours in range(1, given.hours + 1)):
                if day.daily_ended():
                    day.finish_daily()
                day.hour(end)
            if not any(run.as_of == iso(midnight) for run in day.runs):
                day.finish_daily()
            print("\nversion  as of                 status          users     rows  base")
            for version, as_of, status, users, count, base in rows(
                home, "SELECT version, as_of, status, users, rows, base FROM publications ORDER BY version"
            ):
                print(f"{version:>7}  {as_of}  {status:<12} {users:>8,} {count:>8,}  {base or ''}")
    torn = {version for version, contents in seen.contents.items() if len(contents) > 1}
    order = "in order" if seen.versions == sorted(seen.versions) else f"out of order: {seen.versions}"
    print(f"\n{seen.looks:,} looks at {len(seen.versions)} versions, {order}; versions that changed: {sorted(torn) or 'none'};")
    print(f"users whose list went back in time: {sorted(seen.went_back) or 'none'}")
    return int(bool(torn or seen.went_back or seen.versions != sorted(seen.versions)))


if __name__ == "__main__":
    sys.exit(main())
