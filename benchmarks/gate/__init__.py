"""Power of the gate: how many broken candidates it detects, and how many good retrainings it refuses."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks._figure import Figure

PLATFORMS = (101, 102, 103, 104, 105, 106, 107, 108)
GOOD = BAD = 200
SMALL = 26
"""Candidates of each sort without a folder to go on in: two of each kind of broken ones, and as many good ones."""


def measure() -> list[Figure]:
    """Take the candidates that have no answer yet through the gate, print the table, and give both shares in percent."""
    from benchmarks.gate import _study, _table  # torch takes seconds

    folder = os.environ.get("REELFLOW_BENCH_GATE")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        platforms = list(PLATFORMS if folder else PLATFORMS[:1])
        plan = _study.plan_of(platforms, GOOD if folder else SMALL, BAD if folder else SMALL)
        for _ in _study.run(place, platforms, plan):
            pass
        answers = _study.read(place)
    print("\n".join(_table.table(answers)), file=sys.stderr)
    (found, bad), (refused, good) = (_table.share(answers, good=one) for one in (False, True))
    return [
        Figure("broken candidates detected", "%", 100 * found / bad, 99, f"wanted, of {bad}"),
        Figure("good retrainings let pass", "%", 100 * (1 - refused / good), 99, f"wanted, of {good}"),
    ]
