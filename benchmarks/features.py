"""Features as of each example's second against DuckDB making the same tables with SQL from the same files, cores and memory.

``REELFLOW_BENCH_EVENTS``, or ``python -m benchmarks features --events N``, says how many raw events; they are spread over
``--hours`` (192), so that the hour, the day and the week of a trend all end within the log. ``video_hours``, ``user_history``
and ``example_features`` are timed, and nothing else of ``jobs.features``. Each side runs in a process of its own, on the same
two cores, after a tiny log; both must have made equal rows in equal order. Ours does more than the reference: digests,
manifests, atomic swaps, profiles. Then the log is made twice as long, at the same events an hour and with the same users, to
see what memory does: it holds the state of the users, which grows until their lists are full, and half a million
interactions a thread, which short logs do not have. A table says where the time of our threads goes, waiting included.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks import _features_reference
from benchmarks._events import START, write_events
from benchmarks._features_reference import Limits
from benchmarks._figure import Figure
from benchmarks._measure import processor_seconds, resident_mb
from benchmarks.etl import CORES
from conf import repository, resolved

DEFAULT_EVENTS, DEFAULT_HOURS = 1_000_000, 192
_MEMORY_GB = 4
_EVENTS_PER_USER = 100
_TINY_HOURS = 2
_TABLES = ("video_hours", "user_history", "example_features")


def measure() -> list[Figure]:
    events = int(os.environ.get("REELFLOW_BENCH_EVENTS", DEFAULT_EVENTS))
    hours = int(os.environ.get("REELFLOW_BENCH_HOURS", DEFAULT_HOURS))
    numbers = (events // hours, max(1_000, events // _EVENTS_PER_USER))
    with tempfile.TemporaryDirectory(prefix="reelflow-bench-") as name:
        folder = Path(name)
        rows = _in_a_process("generate", folder, hours, *numbers)["rows"]
        reference = _in_a_process("reference", folder, hours)
        ours = _in_a_process("ours", folder, hours)
        _compare(folder)
        _say_where(ours)
        twice = Path(name) / "twice"
        twice.mkdir()
        _in_a_process("generate", twice, 2 * hours, *numbers)
        longer = _in_a_process("ours", twice, 2 * hours)
    rates = [found["rows"] / found["seconds"] for found in (ours, longer)]
    size, sql = f"{rows / 1e6:.1f} M events", f"DuckDB SQL, {CORES} threads, {_MEMORY_GB} GB"
    return [
        Figure(f"features, {size}", "events/s", rows / ours["seconds"], rows / reference["seconds"], sql),
        Figure("features", "events/s of one processor", rows / ours["processor"], rows / reference["processor"], sql),
        Figure("features", "examples/s", ours["rows"] / ours["seconds"], ours["rows"] / reference["seconds"], sql),
        Figure("peak memory", "MB (less is better)", ours["peak_mb"], reference["peak_mb"], sql),
        Figure("peak memory, twice the hours", "MB (less is better)", longer["peak_mb"], ours["peak_mb"], f"{hours} hours"),
        Figure("twice the hours", "examples/s", rates[1], rates[0], f"{hours} hours"),
    ]


def _in_a_process(part: str, folder: Path, *numbers: int) -> dict[str, float]:
    """Run one part of the benchmark on the first cores; what it reports, and its peak memory."""
    said = folder / "said"
    command = [sys.executable, "-m", "benchmarks.features", part, str(folder), *map(str, numbers)]
    peak = 0.0
    with said.open("w") as stream, subprocess.Popen(command, cwd=repository(), stdout=stream) as process:
        while process.poll() is None:
            peak = max(peak, resident_mb(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(
            f"benchmark features, part {part}: exit status {process.returncode}, expected 0; see what it said above"
        )
    report: dict[str, float] = json.loads(said.read_text(encoding="utf-8").splitlines()[-1])
    return {**report, "peak_mb": peak}


def _compare(folder: Path) -> None:
    """See that both sides made the same rows in the same order.

    Raises:
        RuntimeError: they did not.
    """
    for table in _TABLES:
        files = sorted((folder / "reference" / table).rglob("*.parquet"))
        for file in files:
            where = file.parent.relative_to(folder / "reference")
            mine = [pq.read_table(found, partitioning=None) for found in (folder / "ours" / "lake" / where).glob("*.parquet")]
            expected = pq.read_table(file, partitioning=None)
            if len(mine) != 1 or mine[0] != expected.cast(mine[0].schema):
                raise RuntimeError(f"benchmark features: {where} differs from the reference; expected equal rows")


def _say_where(report: dict[str, float]) -> None:
    """Print which part of the time of all threads each part of the work takes."""
    parts = {key.removeprefix("in "): value for key, value in report.items() if key.startswith("in ")}
    total = sum(parts.values())
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"  {name:<44}{seconds:>9.1f} s{seconds / total:>7.0%}", flush=True)


class _Clock:
    """Time that threads spend in some functions, without what they spend in others of them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._mine = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Charge a part for the time until the end, less that of parts within."""
        stack: list[float] = self._mine.__dict__.setdefault("within", [])
        stack.append(0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            taken, within = time.perf_counter() - started, stack.pop()
            if stack:
                stack[-1] += taken
            with self._lock:
                self.seconds[part] += taken - within

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Charge calls of a function or method to a part."""
        inner: Callable[..., Any] = getattr(owner, name)

        def watched(*args: Any, **named: Any) -> Any:
            with self.running(part):
                return inner(*args, **named)

        setattr(owner, name, watched)


def _watch(clock: _Clock) -> None:
    from jobs import _example_features, _history, _log, _tables, _trends

    seams: Sequence[tuple[Any, str, str]] = (
        (_tables.Lake, "read", "read and decode Parquet"),
        (_tables.Lake, "manifest", "manifests: read"),
        (_tables.Lake, "partitions", "manifests: read"),
        (_tables.Lake, "commit", "commit: check, digest, swap"),
        (_tables, "profile", "commit: profile"),
        (pq, "write_table", "write Parquet"),
        (_trends.HourOfEvents, "__init__", "trends: sort the events of an hour"),
        (_trends.HourOfEvents, "before", "trends: search"),
        (_trends.Trends, "__init__", "trends: running sums"),
        (_trends.Trends, "at", "trends: running sums"),
        (_example_features, "histories", "histories: build lists"),
        (_history, "_last", "histories: sort and search users"),
        (_log.LastEvents, "_forget", "histories: forget the oldest"),
        (_log.LastEvents, "within", "histories: join hours"),
        (_log.LastEvents, "as_of", "histories: join hours"),
    )
    for owner, name, part in seams:
        clock.watch(owner, name, part)


def _generate(folder: Path, hours: int, events_per_hour: int, users: int) -> dict[str, float]:
    """Clean, labelled logs to measure with, and tiny ones to warm up with."""
    for home, length, rate, seed in ((folder / "warm", _TINY_HOURS, 2_000, 2), (folder / "ours", hours, events_per_hour, 1)):
        rows = write_events(home / "raw", length, rate, seed=seed, users=users, videos=max(500, users // 10))
        arguments = _settle(home, length)
        for name in ("ingest", "examples"):
            from jobs import _stage

            stage = import_module(f"jobs.{name}")
            stage.run(_stage.context(name, _stage.command_line(name, None).parse_args(arguments)))
        shutil.rmtree(home / "raw" / "interactions")
    return {"rows": rows}


def _settle(home: Path, hours: int) -> tuple[str, ...]:
    """Make a folder the workspace of this process; returns the arguments of a stage that works on all its hours."""
    overlay = home / "settings.yaml"
    overlay.write_text(yaml.safe_dump({"paths": {"raw": str(home / "raw")}}), encoding="utf-8")
    os.environ.update(REELFLOW_HOME=str(home), REELFLOW_CONF=str(overlay))
    return ("--start", START.isoformat(), "--end", (START + hours * timedelta(hours=1)).isoformat())


def _reference(folder: Path, hours: int) -> dict[str, float]:
    """Seconds of DuckDB."""
    limits = Limits(resolved()["features"]["history"], resolved()["window"]["history_days"])
    for home, out in ((folder / "warm", folder / "warm-reference"), (folder / "ours", folder / "reference")):
        taken, started = processor_seconds(), time.perf_counter()
        _features_reference.run_reference(home / "lake", out, limits, threads=CORES, memory=f"{_MEMORY_GB}GB")
    return {"seconds": time.perf_counter() - started, "processor": processor_seconds() - taken}


def _ours(folder: Path, hours: int) -> dict[str, float]:
    """Seconds of the stage's part that looks back from examples, and where they go."""
    from jobs import _example_features, _stage

    _make(folder / "warm", _TINY_HOURS)
    clock = _Clock()
    _watch(clock)
    for name, part in (("make_hours", "the rest"), ("make_days", "the rest"), ("make_examples", "the rest")):
        clock.watch(_example_features, name, part)
    taken, started = processor_seconds(), time.perf_counter()
    context = _stage.context("features", _stage.command_line("features", None).parse_args(_settle(folder / "ours", hours)))
    with clock.running("plan: recipes"):
        planned = _example_features.plan(context)
    wrote = _example_features.run(context, planned)
    report = {"seconds": time.perf_counter() - started, "processor": processor_seconds() - taken}
    return {**report, "rows": wrote["example features"], **{f"in {part}": found for part, found in clock.seconds.items()}}


def _make(home: Path, hours: int) -> None:
    from jobs import _example_features, _stage

    context = _stage.context("features", _stage.command_line("features", None).parse_args(_settle(home, hours)))
    _example_features.run(context, _example_features.plan(context))


def _part(name: str, folder: str, *numbers: str) -> None:
    """Do one part of the benchmark in this process and report in the last line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    parts: dict[str, Any] = {"generate": _generate, "reference": _reference, "ours": _ours}
    print(json.dumps(parts[name](Path(folder), *map(int, numbers))), flush=True)


if __name__ == "__main__":
    _part(*sys.argv[1:])
