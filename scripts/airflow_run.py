"""Run one day of the DAG by Airflow in the foreground: the stages' lines are shown, all of Airflow's log goes to a file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from airflow_environment import MESSAGE_FORMAT, PROGRAM, REPOSITORY

sys.path.insert(0, str(REPOSITORY))

import conf
from conf.orchestration import AirflowConfig

DAG_ID = "reelflow_daily"
POOLS = {
    "spark": "stages on Spark",
    "train": "the daily lane's trainings, encoder and evaluation",
    "publish": "what changes the live version; one slot, never more",
}
TAIL = 40
_LINE = re.compile(r"^\d{4}-\S+ (?:\S+ )?[A-Z]+ +(reelflow \| .*?)\s*$")
_NOISE = re.compile(r"No tasks to run|::(?:end)?group::|Task instance state updated|\[DAG TEST\]|Marking run|DagRun Finished")
_SECONDS = re.compile(r"reelflow-seconds \| (\S+) \| ([\d.]+)")


class RunFailedError(RuntimeError):
    """A run of the DAG that did not succeed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a run went."""

    total_seconds: float
    stage_seconds: float

    @property
    def airflow_seconds(self) -> float:
        """What Airflow itself took: start-up, parsing, scheduling."""
        return max(0.0, self.total_seconds - self.stage_seconds)


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold a workspace: a scheduler and a foreground run would start the same tasks twice.

    Raises:
        RunFailedError: another process holds it.
    """
    (home / "airflow").mkdir(parents=True, exist_ok=True)
    with (home / "airflow" / "in-use").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise RunFailedError(
                f"workspace {home}: in use by {lock.read().strip() or 'another run'}; "
                "wait for it, stop it, or choose another: WORKSPACE=DIR"
            ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()}")
        lock.flush()
        yield


def migrate(home: Path, environment: dict[str, str]) -> None:
    """Bring Airflow's database up to the installed version, unless the stamp says that it is.

    Raises:
        RunFailedError: Airflow is not installed or could not do it.
    """
    version = (REPOSITORY / "requirements" / "airflow.lock").read_text(encoding="utf-8")
    stamp = home / "airflow" / "migrated-to"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == version and (home / "airflow" / "airflow.db").exists():
        make_pools(home, environment)
        return
    if not PROGRAM.exists():
        raise RunFailedError(f"{PROGRAM}: not found; type: make set-up")
    done = subprocess.run([PROGRAM, "db", "migrate"], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailedError(f"airflow db migrate failed:\n{(done.stdout + done.stderr)[-3000:]}")
    (home / "airflow" / "pools.json").unlink(missing_ok=True)
    make_pools(home, environment)
    stamp.write_text(version, encoding="utf-8")


def make_pools(home: Path, environment: dict[str, str]) -> None:
    """Make Airflow's pools, or give those that are there the slots that the configuration says.

    Raises:
        RunFailedError: Airflow could not.
    """
    slots = conf.load("airflow", AirflowConfig).pools.model_dump()
    wanted = {name: {"slots": count, "description": POOLS[name], "include_deferred": False} for name, count in slots.items()}
    file = home / "airflow" / "pools.json"
    text = json.dumps(wanted, indent=1) + "\n"
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    draft = file.with_name("pools.new.json")
    draft.write_text(text, encoding="utf-8")
    done = subprocess.run([PROGRAM, "pools", "import", draft], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailedError(f"airflow pools import failed:\n{(done.stdout + done.stderr)[-3000:]}")
    draft.replace(file)


def run_day(logical_date: str, conf: dict[str, object], environment: dict[str, str], log: Path) -> Timing:
    """Run the DAG for one logical date.

    Args:
        logical_date: ISO 8601.
        conf: parameters of the DAG run.
        environment: of Airflow; a failed stage is not retried here unless it says so.
        log: gets everything that Airflow and the stages print.

    Raises:
        RunFailedError: a task failed; the message holds the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(PROGRAM), "dags", "test", DAG_ID, logical_date, *(["--conf", json.dumps(conf)] if conf else [])]
    environment = {
        "REELFLOW_RETRIES": "0",
        "REELFLOW_APPROVAL_HOURS": "0",  # a foreground run does not wait for an answer that nobody can give
        **environment,
        "AIRFLOW__LOGGING__LOG_FORMAT": MESSAGE_FORMAT,
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }
    started, seconds, stages, tail = time.monotonic(), 0.0, 0, deque[str](maxlen=TAIL)
    with log.open("w", encoding="utf-8") as sink, _process(command, environment) as process:
        for line in _lines(process):
            sink.write(line)
            sink.flush()
            if not _NOISE.search(line):
                tail.append(line)
            if match := _SECONDS.search(line):
                seconds += float(match.group(2))
                stages += 1
            elif match := _LINE.match(line):
                print(match.group(1), flush=True)
    if process.returncode:
        raise RunFailedError(
            f"the run of {logical_date} failed; the end of its log:\n\n{''.join(tail)}\n"
            f"the whole log: {log}\nwhat failed stands after `error:` above; mend it and type the same command again: "
            "what is done is not done twice"
        )
    if not stages:
        raise RunFailedError(
            f"the run of {logical_date}: Airflow ran no task and called that a success; expected every stage; "
            f"look for the reason in {log}, for example a day before the DAG's start_date"
        )
    return Timing(time.monotonic() - started, seconds)


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A child in a session of its own: if we are interrupted, it ends together with all that it started."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    except BaseException:
        end_tree(process.pid)
        raise
    finally:
        process.wait()


def _lines(process: subprocess.Popen[str]) -> TextIO:
    if process.stdout is None:
        raise RunFailedError("Airflow was started without a pipe")
    return process.stdout


def end_tree(root: int) -> None:
    """End a process and all its descendants: politely, then, five seconds later, not."""
    members = [root, *_descendants(root)]
    for how, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 0.0)):
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, how)
        until = time.monotonic() + patience
        while time.monotonic() < until and any(_runs(pid) for pid in members):
            time.sleep(0.1)


def _descendants(root: int) -> list[int]:
    """Process ids below ``root``, from one listing of all processes."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listing.splitlines())}
    below, found = {root}, []
    while fresh := [pid for pid, parent in parents.items() if parent in below and pid not in below]:
        below.update(fresh)
        found += fresh
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False
