"""What was live for a user at a time: which videos at which rank, by which models, and from when to when.

``python -m jobs.recommended --user ID --at ISO [--k 20]`` reads the history in the lake (docs/history.md), not the store, so it
also tells what that no longer keeps. Writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from conf import ConfigError
from conf.paths import paths
from jobs._served_at import Timeline, shown
from jobs._tables import Lake
from jobs._window import iso, micros, parse_time
from schemas import columns as col
from schemas.errors import ReelflowError


def run(lake: Lake, user_id: int, at: datetime, k: int) -> str:
    """Say it, in lines for a person.

    Raises:
        ReelflowError: the history of that time is archived, or ``k`` is below 1.
    """
    if k < 1:
        raise ReelflowError(f"--k {k}: expected 1 or more")
    return "\n".join(_lines(lake, user_id, at, k))


def _lines(lake: Lake, user_id: int, at: datetime, k: int) -> Iterator[str]:
    timeline, moments = Timeline.read(lake), np.array([micros(at)])
    found = shown(lake, np.array([user_id]), moments, k)
    about = f"user {user_id} at {iso(at)}"
    if len(found.nothing_live):
        yield f"{about}: nothing was live then, as far as the lake knows"
        return
    span = timeline.spans[int(timeline.at(moments)[0])]
    until = f" until {iso(span.end)}" if span.end else ", and still is"
    yield f"{about}: version {span.version} was live, from {iso(span.start)}{until}"
    if len(found.not_kept):
        yield "  the history does not hold its lists: older than history.keep_days, or lost before they were kept"
        return
    if len(found.without_list):
        yield "  no list of their own then: the user saw the fallback list of their segment"
        return
    if len(found.expired):
        yield "  their own list had expired by then: the user saw the fallback list of their segment"
        return
    rows = found.rows.to_pylist()
    yield f"  list of {rows[0][col.MODEL_VERSION]} ({rows[0][col.LANE]}), as of {iso(rows[0][col.AS_OF])}"
    yield "  rank        video      score  propensity  generators"
    for row in rows:
        figures = f"{row[col.RANK]:>4}  {row[col.VIDEO_ID]:>11}  {row[col.SCORE]:>9.4f}  {row[col.PROPENSITY]:>10.4f}"
        yield f"  {figures}  {row[col.GENERATORS]}"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 0, or with 2 and one line for what its user can mend."""
    parser = argparse.ArgumentParser(prog="python -m jobs.recommended", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--user", metavar="ID", type=int, required=True, help="the platform's user")
    parser.add_argument("--at", metavar="ISO", required=True, help="when; a time without a zone is UTC")
    parser.add_argument("--k", metavar="N", type=int, default=20, help="so many videos, 20 by default")
    given = parser.parse_args(argv)
    try:
        print(run(Lake(paths().lake), given.user, parse_time(given.at), given.k))
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | recommended | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
