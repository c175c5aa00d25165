"""``python -m benchmarks.cold_start [WORKSPACE ...]``: whether new users and new videos get better lists than popularity's.

Reads table ``evaluation`` of workspaces in which ``make run`` has simulated a platform, the newest day of each, and says what
the final lists have above those of popularity, in the same sample. The exit status is 1 where they have not, and 2 where
nothing was judged. The worlds of the tests are too small for it: a dozen new users decide nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from conf import home as configured_home
from jobs._tables import Lake, TableError
from models.evaluation import FINAL, POPULARITY
from schemas import EVALUATION
from schemas import columns as col

METRIC = "ndcg@10"
KINDS, NEW = ("users", "videos"), "new"
"""Kinds of slices of the evaluation, and the value of newcomers in each."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of newcomers: the figure of the final lists, of popularity, and the interval of the difference."""

    kind: str
    users: int
    final: float
    popularity: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether the whole interval of the difference lies above 0."""
        return self.low > 0

    def __str__(self) -> str:
        found = f"new {self.kind:<6} {METRIC} {self.final:.4f}, popularity {self.popularity:.4f}"
        difference = f"{self.final - self.popularity:+.4f} ({self.low:+.4f} to {self.high:+.4f})"
        return f"{found}, difference {difference}, {self.users:,} users"


def compared(lake: Lake) -> list[Compared]:
    """What the newest evaluation says of new users and of new videos.

    Raises:
        TableError: there is no evaluation, or it has no such slice.
    """
    days = lake.every(EVALUATION)
    if not days:
        raise TableError(f"table {EVALUATION.name} below {lake.root}: not found; run evaluate first")
    table = lake.read(EVALUATION, [days[-1]])
    rows = table.filter(pc.equal(table[col.METRIC], METRIC)).to_pylist()
    return [_compared(rows, kind) for kind in KINDS]


def _compared(rows: Sequence[Mapping[str, Any]], kind: str) -> Compared:
    own = {
        (row[col.MODEL], row[col.BASELINE]): row
        for row in rows
        if (row[col.SLICE_KIND], row[col.SLICE_VALUE]) == (kind, NEW) and row[col.MODEL] in (FINAL, POPULARITY)
    }
    try:
        final, other, above = (own[key] for key in ((FINAL, "none"), (POPULARITY, "none"), (FINAL, POPULARITY)))
    except KeyError as error:
        raise TableError(
            f"table {EVALUATION.name}: found no {METRIC} of new {kind} for {error.args[0][0]}; expected a platform of the size "
            "that make run simulates, where at least evaluation.min_slice_users are new"
        ) from error
    return Compared(kind, above[col.USERS], final[col.VALUE], other[col.VALUE], above[col.LOW], above[col.HIGH])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("workspaces", nargs="*", type=Path, metavar="WORKSPACE", help="REELFLOW_HOME without any")
    good = True
    for home in parser.parse_args(arguments).workspaces or [configured_home()]:
        try:
            found = compared(Lake(home / "lake"))
        except TableError as error:
            print(f"cold start: {error}", file=sys.stderr)
            return 2
        print(f"{home}:", *found, sep="\n  ")
        good &= all(one.better for one in found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
