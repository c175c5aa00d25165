"""Ingest, labels and down-sampling against DuckDB doing the same work with SQL on the same files and cores.

``REELFLOW_BENCH_EVENTS``, or ``python -m benchmarks etl --events N``, says how many raw events; 417 thousand make an hour. Each
side runs in a process of its own, on the same two cores, after a tiny window that takes what a process pays once: imports, the
start of an engine, compilation. Ours runs as from the command line and does more than the reference: digests of every file,
manifests, atomic swaps, and the count of rows in against rows out. Memory is that of all of a side's processes at once. Where
others share the machine, the time of the processor is the figure that they disturb least.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks import _etl_reference
from benchmarks._etl_reference import Rules
from benchmarks._events import START, write_events
from benchmarks._figure import Figure
from benchmarks._measure import processor_seconds, resident_mb
from conf import repository, resolved

CORES, EVENTS_PER_HOUR, DEFAULT_EVENTS = 2, 417_000, 2_000_000
_TINY_HOURS = 2
_STAGES = ("ingest", "examples")


def measure() -> list[Figure]:
    events = int(os.environ.get("REELFLOW_BENCH_EVENTS", DEFAULT_EVENTS))
    hours = max(3, round(events / EVENTS_PER_HOUR))
    # Twice where it is cheap: other work on the machine disturbs the shorter time less.
    repeats = 2 if events <= DEFAULT_EVENTS else 1
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="reelflow-bench-") as name:
        folder = Path(name)
        rows = int(_in_a_process("generate", folder, hours, events // hours)["rows"])
        for _ in range(repeats):
            for side in ("reference", "ours"):
                found = _in_a_process(side, folder, hours)
                best[side] = {key: min(value, best.get(side, found)[key]) for key, value in found.items()}
            _compare(folder)
    ours, reference = best["ours"], best["reference"]
    size = f"{rows / 1e6:.1f} M events"

    def rate(what: str, parts: Sequence[str], unit: str = "events/s") -> Figure:
        seconds = [sum(side[part] for part in parts) for side in (ours, reference)]
        return Figure(f"{what}, {size}", unit, rows / seconds[0], rows / seconds[1], f"DuckDB SQL, {CORES} threads")

    return [
        rate("ingest", ["ingest"]),
        rate("labels + sampling", ["examples"]),
        rate("both", _STAGES),
        rate("both", ["processor"], "events/s of one processor"),
        Figure(f"peak memory, {size}", "MB (less is better)", ours["peak_mb"], reference["peak_mb"], "DuckDB SQL"),
    ]


def _in_a_process(part: str, folder: Path, *numbers: int) -> dict[str, float]:
    """Run one part of the benchmark on the first cores; what it reports, and its peak memory."""
    said = folder / "said"
    command = [sys.executable, "-m", "benchmarks.etl", part, str(folder), *map(str, numbers)]
    peak = 0.0
    with said.open("w") as stream, subprocess.Popen(command, cwd=repository(), stdout=stream) as process:
        while process.poll() is None:
            peak = max(peak, resident_mb(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"benchmark etl, part {part}: exit status {process.returncode}, expected 0; see what it said above")
    report: dict[str, float] = json.loads(said.read_text(encoding="utf-8").splitlines()[-1])
    return {**report, "peak_mb": peak}


def _compare(folder: Path) -> None:
    """Remove what both sides wrote, having seen that they agree.

    Raises:
        RuntimeError: they do not.
    """
    counts = [[_rows(folder / side / table) for table in ("interactions", "rejected", "examples")]
              for side in ("ours/lake", "reference")]  # fmt: skip
    # The negatives are drawn by another hash: their number may differ a little.
    if counts[0][:2] != counts[1][:2] or abs(counts[0][2] / counts[1][2] - 1) > 0.02:
        raise RuntimeError(f"benchmark etl: found {counts[0]} interactions, rejected and examples; the reference {counts[1]}")
    for side in ("ours", "reference"):
        shutil.rmtree(folder / side)


def _rows(table: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in table.glob("dt=*/hr=*/*.parquet"))


def _generate(folder: Path, hours: int, events_per_hour: int) -> dict[str, float]:
    """The logs to measure with, and tiny ones to warm up with."""
    write_events(folder / "tiny", _TINY_HOURS, 2_000, seed=2, users=2_000, videos=500)
    return {"rows": write_events(folder / "raw", hours, events_per_hour, seed=1)}


def _reference(folder: Path, hours: int) -> dict[str, float]:
    """Seconds of DuckDB for all hours."""
    settings = {**resolved()["ingest"], **resolved()["examples"]}
    rules = Rules(**{field.name: settings[field.name] for field in fields(Rules)})
    _etl_reference.run_reference(folder / "tiny", folder / "reference", rules, CORES)
    shutil.rmtree(folder / "reference")
    taken, moments = processor_seconds(), [time.perf_counter()]
    with _etl_reference.connect(CORES) as connection:
        _etl_reference.ingest(connection, folder / "raw", folder / "reference", rules)
        moments.append(time.perf_counter())
        _etl_reference.label(connection, folder / "reference", rules)
        moments.append(time.perf_counter())
    taken = processor_seconds() - taken
    return {"ingest": moments[1] - moments[0], "examples": moments[2] - moments[1], "processor": taken}


def _ours(folder: Path, hours: int) -> dict[str, float]:
    """Seconds of each stage for all hours."""
    above = resolved()["fan_out"]["session_above_mb"]
    large = sum(file.stat().st_size for file in (folder / "raw" / "interactions").rglob("*.parquet")) / 1e6 >= above
    # Where the logs are large enough for a Spark session, the tiny window starts it.
    _run_stages(folder / "warm", folder / "tiny", _TINY_HOURS, {"fan_out": {"session_above_mb": 0.0 if large else above}})
    shutil.rmtree(folder / "warm")
    return _run_stages(folder / "ours", folder / "raw", hours, {})


def _run_stages(home: Path, raw: Path, hours: int, settings: dict[str, Any]) -> dict[str, float]:
    """Seconds of each stage, run as from the command line in a new workspace, and those of the processor for all."""
    from jobs import _stage

    home.mkdir()
    overlay = home / "settings.yaml"
    overlay.write_text(yaml.safe_dump({"paths": {"raw": str(raw)}, **settings}), encoding="utf-8")
    os.environ.update(REELFLOW_HOME=str(home), REELFLOW_CONF=str(overlay))
    window = ("--start", START.isoformat(), "--end", (START + hours * timedelta(hours=1)).isoformat())
    seconds, taken = {}, processor_seconds()
    for name in _STAGES:
        stage = import_module(f"jobs.{name}")
        started = time.perf_counter()
        _stage.main(name, stage.run, stage.__doc__, window)
        seconds[name] = time.perf_counter() - started
    return {**seconds, "processor": processor_seconds() - taken}


def _part(name: str, folder: str, *numbers: str) -> None:
    """Do one part of the benchmark in this process and report in the last line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    parts: dict[str, Any] = {"generate": _generate, "reference": _reference, "ours": _ours}
    print(json.dumps(parts[name](Path(folder), *map(int, numbers))), flush=True)


if __name__ == "__main__":
    _part(*sys.argv[1:])
