"""``python -m benchmarks.gate --folder DIR [--platforms N,N] [--good N] [--bad N]``: a part of the study, and its table."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.gate import _study, _table


def main() -> None:
    """Judge what is still missing of the plan, a line each, and print the table of all that is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where platforms and answers lie; go on with what is there")
    parser.add_argument("--platforms", default="101,102,103,104,105,106,107,108", help="seeds of the simulated platforms")
    parser.add_argument("--only", default="", help="some of them: the others' part is left to other processes")
    parser.add_argument("--good", type=int, default=200, help="good retrainings in all")
    parser.add_argument("--bad", type=int, default=200, help="bad candidates in all")
    given = parser.parse_args()
    platforms = [int(number) for number in given.platforms.split(",")]
    plan = _study.plan_of(platforms, given.good, given.bad)
    some = [int(number) for number in given.only.split(",")] if given.only else platforms
    for found in _study.run(given.folder, some, plan):
        said = "passed" if found["passed"] else f"refused by {', '.join(found['failed'])}"
        print(f"platform {found['platform']}, {found['kind']}, seed {found['seed']}: {said}", flush=True)
    print("\n".join(_table.table(_study.read(given.folder))))


if __name__ == "__main__":
    main()
