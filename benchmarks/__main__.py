"""``python -m benchmarks [NAME ...]``: measure, print a table, and JSON on the last line; ``--help`` lists sizes."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from dataclasses import asdict
from importlib import import_module

NAMES = (
    "wals",
    "towers",
    "recommend",
    "index",
    "store",
    "store_postgres",
    "store_redis",
    "serving_http",
    "etl",
    "features",
    "gate",
)


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print a table and JSON.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all but gate by default")
    parser.add_argument("--events", type=int, metavar="N", help="raw events for etl and features")
    parser.add_argument("--examples", metavar="N,N", help="examples of which towers measures memory")
    parser.add_argument("--hours", type=int, metavar="N", help="hours that those of features are spread over")
    parser.add_argument("--videos", metavar="N,N", help="sizes of the catalogue for index")
    parser.add_argument("--users", type=int, metavar="N", help="users of the store for serving_http")
    parser.add_argument("--gate", metavar="DIR", help="where the study of gate goes on; without it, a small one from the start")
    given = parser.parse_args()
    names = given.names or [name for name in NAMES if name != "gate"]  # hours
    if given.events:
        os.environ["REELFLOW_BENCH_EVENTS"] = str(given.events)
    if given.examples:
        os.environ["REELFLOW_BENCH_EXAMPLES"] = given.examples
    if given.hours:
        os.environ["REELFLOW_BENCH_HOURS"] = str(given.hours)
    if given.videos:
        os.environ["REELFLOW_BENCH_VIDEOS"] = given.videos
    if given.users:
        os.environ["REELFLOW_BENCH_USERS"] = str(given.users)
    if given.gate:
        os.environ["REELFLOW_BENCH_GATE"] = given.gate
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"benchmarks: found {', '.join(unknown)}; expected some of {', '.join(NAMES)}")
    figures = []
    print(f"{'figure':<34}{'value':>14}{'reference':>14}{'ratio':>8}  unit, reference")
    for name in names:
        for figure in import_module(f"benchmarks.{name}").measure():
            figures.append({**asdict(figure), "ratio": figure.ratio})
            said = f"{figure.value:>14,.0f}{figure.reference:>14,.0f}{figure.ratio:>8.2f}"
            print(f"{figure.name:<34}{said}  {figure.unit}, {figure.reference_name}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"figures": figures, "peak_memory_mb": round(peak)}))


if __name__ == "__main__":
    main()
