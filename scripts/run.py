"""``make run``: from raw logs to published recommendations, by Airflow, then a summary. Runs in the stages' environment.

By default it simulates a platform and runs two consecutive days. With ``--raw`` it runs one day on logs that are there already.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml
from airflow_environment import REPOSITORY, airflow_environment
from airflow_run import RunFailedError, Timing, migrate, only_one, run_day
from workspace import (
    DAY,
    SIMULATOR,
    UsageError,
    check_as_of,
    choose,
    iso,
    lookback_days,
    midnight,
    parse_as_of,
    parse_days,
    read_logs,
)

sys.path.insert(0, str(REPOSITORY))

import conf
from conf.paths import paths
from jobs import _stage, plan, summary
from schemas.errors import ReelflowError


def say(message: str) -> None:
    """Print a line about the run as a whole."""
    print(f"reelflow | run | {message}", flush=True)


def run_on_logs(chosen: argparse.Namespace) -> list[datetime]:
    """Prepare a run on logs that are there: workspace and configuration; returns the ends of the days to run."""
    logs = read_logs(Path(chosen.raw).expanduser().resolve())
    as_of = parse_as_of(chosen.as_of) if chosen.as_of else midnight(logs.last) + DAY
    check_as_of(logs, as_of)
    needed = lookback_days(logs, as_of)
    days = parse_days(chosen.lookback_days) if chosen.lookback_days else max(needed, conf.resolved()["window"]["lookback_days"])
    home, why = choose(REPOSITORY, str(logs.folder), logs.folder.name, explicit_workspace(chosen))
    overlay(home, {"paths": {"raw": str(logs.folder)}, "window": {"lookback_days": days}})
    say(f"workspace {home} ({why})")
    say(
        f"logs of {logs.folder} from {logs.first} to before {iso(as_of)}; "
        f"training reads {days} days, {needed} reach the earliest logs"
    )
    if chosen.as_of is None:
        say(f"AS_OF was not given: running the last day that the logs hold, AS_OF={iso(as_of)}")
    return [as_of]


def run_on_simulator(chosen: argparse.Namespace) -> list[datetime]:
    """Prepare a run on simulated logs, and make them; returns the ends of the days to run."""
    days = parse_days(chosen.lookback_days) if chosen.lookback_days else None
    settings = conf.resolved()["simulate"]
    first = settings["start"] if isinstance(settings["start"], date) else date.fromisoformat(str(settings["start"]))
    end = midnight(first) + settings["days"] * DAY
    ends = [moment for moment in (end - DAY, end) if moment > midnight(first)]
    if chosen.as_of:
        ends = [parse_as_of(chosen.as_of)]
        if not midnight(first) < ends[0] <= end:
            raise UsageError(
                f"AS_OF={iso(ends[0])}: the simulated logs cover {iso(midnight(first))} to {iso(end)}; expected a time between"
            )
    home, why = choose(REPOSITORY, SIMULATOR, "simulated", explicit_workspace(chosen))
    overlay(home, {"window": {"lookback_days": days}} if days else {})
    say(f"workspace {home} ({why})")
    say(f"simulated logs, {settings['days']} days from {first}; running the days that end at {' and '.join(map(iso, ends))}")
    done = subprocess.run([sys.executable, "-m", "jobs.simulate"], cwd=REPOSITORY, check=False)
    if done.returncode:
        raise RunFailedError("the simulator failed (above)")
    return ends


def explicit_workspace(chosen: argparse.Namespace) -> Path | None:
    """The workspace that the user asked for, by option or by REELFLOW_HOME."""
    asked = chosen.workspace or os.environ.get("REELFLOW_HOME")
    return Path(asked).expanduser().resolve() if asked else None


def overlay(home: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Point this process and all it starts at the workspace, with ``settings`` laid over the user's own configuration file."""
    os.environ["REELFLOW_HOME"] = str(home)
    own, target = os.environ.get("REELFLOW_CONF"), home / "run.yaml"
    if not settings:
        if own is None:
            target.unlink(missing_ok=True)
        return
    merged: dict[str, Any] = (yaml.safe_load(Path(own).read_text(encoding="utf-8")) or {}) if own else {}
    for section, values in settings.items():
        merged[section] = {**(merged.get(section) or {}), **values}
    target.write_text("# Written by make run.\n" + yaml.safe_dump(merged, sort_keys=True), encoding="utf-8")
    os.environ["REELFLOW_CONF"] = str(target)


def run_days(ends: list[datetime], force: bool) -> None:
    """Run the DAG for each end of a window, and print the last one's summary."""
    home, started, timings = conf.home(), time.monotonic(), list[Timing]()
    environment = airflow_environment(home, conf.resolved()["spark"]["master"])
    with only_one(home):
        migrate(home, environment)
        for as_of in ends:
            # A day within the logs is named by its logical date; any other end, or one to come, needs the parameter.
            plain = as_of == midnight(as_of.date()) and as_of <= datetime.now(UTC)
            day = as_of - DAY if plain else midnight(as_of.date())
            options: dict[str, object] = {} if plain else {"as_of": iso(as_of)}
            folder = paths().runs / as_of.strftime("%Y%m%dT%H%M%SZ")
            if not force and is_done(as_of):
                say(f"{iso(as_of - DAY)} to {iso(as_of)}: up to date, nothing to run; FORCE=1 redoes it")
                continue
            say(f"{iso(as_of - DAY)} to {iso(as_of)}: Airflow is starting; its log is {folder / 'airflow.log'}")
            timings.append(
                run_day(iso(day), {**options, **({"force": True} if force else {})}, environment, folder / "airflow.log")
            )
    if (folder / summary.FILE).exists():
        print(f"\n{(folder / summary.FILE).read_text(encoding='utf-8').rstrip()}\n", flush=True)
    if not timings:
        say(f"done in {time.monotonic() - started:.0f} s")
        return
    airflow, stages = sum(timing.airflow_seconds for timing in timings), sum(timing.stage_seconds for timing in timings)
    say(
        f"done in {time.monotonic() - started:.0f} s: stages {stages:.0f} s; "
        f"Airflow start-up and scheduling: {airflow:.0f} s ({airflow / len(timings):.0f} s a day)"
    )


def is_done(as_of: datetime) -> bool:
    """Whether the run of the day that ends at ``as_of`` has been summed up, and would change nothing."""
    context = _stage.context("run", _stage.command_line("run", None).parse_args(["--as-of", iso(as_of)]))
    if not (context.run_folder / summary.FILE).exists():
        return False
    try:
        return plan.nothing_to_do(context)
    except ReelflowError:  # the stage that meets it says it best
        return False


def options() -> argparse.Namespace:
    """The command line; an option left empty, as make does, counts as not given."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--raw", help="folder of raw logs (RAW=)")
    parser.add_argument("--as-of", help="end of the day to run, ISO 8601 (AS_OF=)")
    parser.add_argument("--workspace", help="folder to work in (WORKSPACE=)")
    parser.add_argument("--lookback-days", help="days that training reads (LOOKBACK_DAYS=)")
    parser.add_argument("--force", help="anything: redo what is up to date (FORCE=)")
    chosen = parser.parse_args()
    return argparse.Namespace(**{name: value or None for name, value in vars(chosen).items()})


def main() -> None:
    """Run, and turn what can go wrong into a message and an exit status."""
    for interrupt in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us in the background
        signal.signal(interrupt, signal.default_int_handler)
    chosen = options()
    try:
        ends = run_on_logs(chosen) if chosen.raw else run_on_simulator(chosen)
        run_days(ends, bool(chosen.force))
    except (UsageError, RunFailedError, conf.ConfigError) as error:
        print(f"reelflow | run | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, UsageError | conf.ConfigError) else 1)
    except KeyboardInterrupt:
        print("reelflow | run | stopped; type the same command again to go on", file=sys.stderr, flush=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
