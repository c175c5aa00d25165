"""Make raw logs: a simulated platform with hidden true preferences, so that anyone can run the pipeline.

``python -m jobs.simulate [--out DIR] [--truth DIR] [--force]`` writes ``interactions/``, ``videos/`` and ``users/`` of the raw
contract. The size and the nature of the platform are the section ``simulate`` of ``conf/base.yaml``; see docs/simulator.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import conf
from conf.paths import paths
from jobs.simulation import SimulateConfig, simulate
from schemas.errors import ReelflowError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder of the raw logs (default: raw in the workspace)")
    parser.add_argument("--truth", type=Path, help="folder of the hidden truth (default: truth in the workspace)")
    parser.add_argument("--force", action="store_true", help="simulate again, replacing whatever is in the folders")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        places = paths()
        out, truth = (chosen.out or places.raw).resolve(), (chosen.truth or places.truth).resolve()
        report = simulate(conf.load("simulate", into=SimulateConfig), out=out, truth=truth, force=chosen.force)
    except (ReelflowError, conf.ConfigError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    counts = (
        f"{report.events:,} events ({report.impressions:,} impressions, {report.relevant:,} of them relevant, "
        f"{report.duplicates:,} repeats and {report.malformed:,} broken rows planted) of {report.active_users:,} active users, "
        f"{report.videos:,} videos in {out}, truth in {truth}"
    )
    if report.up_to_date:
        print(f"simulate: up to date: {counts}")
    else:
        print(f"simulate: wrote {counts}; {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
