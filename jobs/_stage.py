"""What every stage shares: its command line, its one-line report, its error messages, its memory and time."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from conf import ConfigError, Section, load
from conf.paths import Paths, paths
from jobs import _expectations, _lane, _machine
from jobs._swap import replace_json
from jobs._tables import Lake
from jobs._window import DAY, HOUR, Window, compact, floor_hour, iso, last_day, midnight, parse_time
from schemas.errors import ReelflowError


class WindowConfig(Section):
    """Section ``window``."""

    lookback_days: int
    """Days before ``as_of`` that training reads."""
    history_days: int
    """Days before an example that its features look back: of the log, so much more than the look-back is taken in."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a stage did: counts of what it read and wrote, and anything worth a sentence."""

    read: Mapping[str, int] = field(default_factory=dict)
    wrote: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    up_to_date: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The report as a part of one line."""
        parts = []
        if self.up_to_date:
            parts.append("up to date")
        if self.read:
            parts.append("read " + ", ".join(f"{count:,} {name}" for name, count in self.read.items()))
        if self.wrote:
            parts.append("wrote " + ", ".join(f"{count:,} {name}" for name, count in self.wrote.items()))
        return "; ".join([*parts, *self.notes])


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage is given.

    ``window`` is all that it may read, ``requested`` the part that this run is for: the last day before ``as_of``, or all of
    an explicit window.
    """

    stage: str
    window: Window
    requested: Window
    lake: Lake
    paths: Paths
    force: bool = False
    lane: str = _lane.DAILY
    """``daily``, or ``hourly``: the one that goes on from what the other published."""

    @property
    def lists(self) -> Lake:
        """Where this run's lists lie: in the lake, or, where they are those of some users, in a lake of the hour's own."""
        return self.lake.of_hour(self.as_of) if self.lane == _lane.HOURLY else self.lake

    @property
    def as_of(self) -> datetime:
        """The end of the window: nothing at or after it may be read."""
        return self.window.end

    @property
    def log_window(self) -> Window:
        """What is taken in of the log, so that nothing in ``window`` depends on what ran before.

        The labels of the first hour need the hour before it. Features need ``window.history_days`` before the day of the first
        example, which may be the day before; an explicit window takes that as it is.
        """
        if self.window == self.requested:
            return Window(floor_hour(self.window.start) - HOUR, self.window.end)
        return Window(self.window.start - (load("window", WindowConfig).history_days + 1) * DAY, self.window.end)

    @property
    def last_day(self) -> date:
        """The day whose daily partitions this run writes."""
        return last_day(self.as_of)

    def run_days(self) -> list[date]:
        """The days that this run is for."""
        return list(self.requested.days())

    @property
    def run_folder(self) -> Path:
        """Where the reports of this ``as_of`` lie."""
        return self.paths.runs / compact(self.as_of)

    def say(self, message: str) -> None:
        """Print a progress line."""
        print(f"reelflow | {self.stage} | {message}", flush=True)


def main(stage: str, run: Callable[[Context], Report], doc: str | None, argv: Sequence[str] | None = None) -> None:
    """Run a stage from the command line and exit.

    Exit status 0 on success; 2 for an error that its user can mend, 1 for one of the machine, which may be over by the next try
    (one line on standard error each); 1 with a traceback for a defect.
    """
    given = command_line(stage, doc).parse_args(argv)
    run_context = None
    try:
        run_context = context(stage, given)
        started = time.monotonic()
        with _lane.turn(run_context) as nothing_to_do:
            if nothing_to_do is not None:
                run_context.say(nothing_to_do)
                return
            _expectations.check_reads(run_context)
            report = run(run_context)
            _expectations.check_writes(run_context)
            _record(run_context, report, time.monotonic() - started)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | {stage} | error: {error}", file=sys.stderr, flush=True)
        if run_context is not None:
            run_context.run_folder.mkdir(parents=True, exist_ok=True)
            (run_context.run_folder / f"{stage}.error").write_text(f"{error}\n", encoding="utf-8")
        sys.exit(2)
    except Exception as error:
        if (trouble := _machine.trouble(error)) is None:
            raise
        print(f"reelflow | {stage} | error: {trouble}", file=sys.stderr, flush=True)
        sys.exit(1)


def lookback(as_of: datetime) -> Window:
    """The window that training as of ``as_of`` reads."""
    return Window(as_of - load("window", WindowConfig).lookback_days * DAY, as_of)


def command_line(stage: str, doc: str | None) -> argparse.ArgumentParser:
    """The options that every stage has."""
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{stage}", description=(doc or "").split("\n\n")[0])
    parser.add_argument("--as-of", metavar="ISO", help="end of the window; it starts window.lookback_days earlier")
    parser.add_argument("--start", metavar="ISO", help="start of the window, with --end")
    parser.add_argument("--end", metavar="ISO", help="end of the window, exclusive")
    parser.add_argument("--force", action="store_true", help="redo what is up to date")
    parser.add_argument("--lane", choices=_lane.LANES, default=_lane.DAILY, help="hourly: what an hour changes (docs/lanes.md)")
    return parser


def context(stage: str, given: argparse.Namespace) -> Context:
    """What a stage is given for the options of ``command_line``.

    Raises:
        ReelflowError: they name no window.
    """
    if given.as_of and not (given.start or given.end):
        as_of = parse_time(given.as_of)
        window, requested = lookback(as_of), Window(midnight(last_day(as_of)), as_of)
    elif given.start and given.end and not given.as_of:
        window = requested = Window(parse_time(given.start), parse_time(given.end))
    else:
        raise ReelflowError("window: expected --as-of ISO, or --start ISO with --end ISO")
    where = paths()
    lane = getattr(given, "lane", _lane.DAILY)
    if lane == _lane.HOURLY and not given.as_of:
        raise ReelflowError("lane hourly: found --start and --end, expected --as-of ISO, the end of an hour")
    return Context(
        stage=stage, window=window, requested=requested, lake=Lake(where.lake), paths=where, force=given.force, lane=lane
    )


def _record(context: Context, report: Report, seconds: float) -> None:
    """Print the stage's line and keep it for the summary."""
    peak = peak_memory_mb()
    print(f"reelflow | {context.stage} | {report.line()}; {seconds:.1f} s, peak {peak:,.0f} MB", flush=True)
    context.run_folder.mkdir(parents=True, exist_ok=True)
    (context.run_folder / f"{context.stage}.error").unlink(missing_ok=True)
    entry = {
        "stage": context.stage,
        "lane": context.lane,
        "start": iso(context.window.start),
        "as_of": iso(context.as_of),
        "seconds": round(seconds, 2),
        "process_seconds": round(_process_age_seconds(), 2),
        "peak_memory_mb": round(peak),
        **asdict(report),
    }
    target = context.run_folder / f"{context.stage}.json"
    if report.up_to_date and target.exists():  # keep what the stage said when it worked
        previous = json.loads(target.read_text(encoding="utf-8"))
        entry = {**previous, "seconds": entry["seconds"], "process_seconds": entry["process_seconds"], "up_to_date": True}
    replace_json(target, entry)


def peak_memory_mb() -> float:
    """Peak resident memory of this process, of its largest child or Spark worker, and of the JVM it talks to, in MB."""
    own = peak_kb("self")  # not ru_maxrss, which begins with that of the process that started this one
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    fanned = sys.modules.get("jobs._fan_out")
    workers = fanned.worker_peak_kb() if fanned else 0
    return (own + max(children, workers) + _jvm_peak_kb()) / 1024


def _jvm_peak_kb() -> int:
    """Peak resident memory of the running Spark JVM in kB, 0 when there is none."""
    session = sys.modules.get("jobs._session")
    pid = session.jvm_pid() if session else None
    return peak_kb(pid) if pid else 0


def peak_kb(process: int | str) -> int:
    """Peak resident memory of a process in kB since it began its program, 0 when there is no such process."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _process_age_seconds() -> float:
    """Seconds since this process started, interpreter and imports included."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
    except (OSError, IndexError, ValueError):
        return time.process_time()
    return uptime - ticks / os.sysconf("SC_CLK_TCK")
