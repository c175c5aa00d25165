"""``python -m benchmarks.lane FROM TO``: what an hour takes where a day is live.

Runs every stage of every hour after FROM up to TO, as the DAG would, in the workspace of ``REELFLOW_HOME`` (use a copy).
Prints seconds by stage, processor seconds included, users and rows of the delta, and the freshness that an event then has:
live at the earliest when the run ends, at the latest an hour after that.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from conf.paths import paths
from jobs._window import HOUR, compact, iso, parse_time
from serving import SqliteStore

STAGES = ("ingest", "examples", "text", "features", "refresh", "gate", "index", "recommend", "scan", "publish")


def main(arguments: Sequence[str]) -> int:
    """Print one line for each hour."""
    at, last = (parse_time(text) for text in arguments[:2])
    print(f"{'as of':<20} {'users':>6} {'rows':>7} {'s':>6} {'cpu s':>6}  seconds by stage", flush=True)
    while (at := at + HOUR) <= last:
        spent, cpu = {}, _cpu()
        for stage in STAGES:
            began = time.monotonic()
            command = [sys.executable, "-m", f"jobs.{stage}", "--lane", "hourly", "--as-of", iso(at)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
                return done.returncode
            spent[stage] = time.monotonic() - began
        wrote = json.loads((paths().runs / compact(at) / "publish.json").read_text(encoding="utf-8"))["wrote"]
        figures = f"{wrote.get('users', 0):>6,} {wrote.get('rows', 0):>7,} {sum(spent.values()):>6.1f} {_cpu() - cpu:>6.1f}"
        print(f"{iso(at):<20} {figures}  {', '.join(f'{name} {seconds:.1f}' for name, seconds in spent.items())}", flush=True)
    live = SqliteStore(paths().store).live()
    print(f"live: {live}")
    return 0


def _cpu() -> float:
    """Processor seconds of all stages so far, their JVM's included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
