"""Why a video is, or is not, on a user's homepage: made again from the models, weights and rules of a run.

``python -m jobs.explain USER VIDEO --as-of ISO`` follows the video through the making of the user's list and says what
happened to it: which generators proposed it and where, what each component of the score said, which rule moved it or left it
out, what exploration drew; or what keeps it from everybody or from this user. Reads what the stage ``recommend`` read; writes
nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf import ConfigError
from jobs import _lane, _stage, recommend
from jobs._stage import Context
from jobs._tables import Partition
from jobs._window import iso
from jobs._worker import loaded
from models.ids import IdMap
from models.recommend import explain
from schemas import USER_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError


def run(context: Context, user_id: int, video_id: int) -> str:
    """Explain, in lines for a person.

    Args:
        context: as of the run.
        user_id: the user.
        video_id: the video.

    Raises:
        ReelflowError: the run did not get as far as its lists.
    """
    model = recommend.model_of(context)
    config = recommend.ranking(context)
    ensemble, catalogue, indexes, queries = loaded(model)
    day = Partition(context.last_day)
    rows = context.lake.read(USER_FEATURES, [day])
    rows = rows.filter(pc.equal(rows[col.USER_ID], pa.scalar(user_id, pa.int64())))
    about = f"user {user_id}, video {video_id}, as of {iso(context.as_of)}"
    if not rows.num_rows:
        return f"{about}: the platform did not know the user, who sees the fallback list of their segment"
    position = int(IdMap(catalogue.video_ids).lookup(np.array([video_id]))[0])
    if position < 0:
        return f"{about}: not in the list\n  no snapshot up to then held the video, or it was uploaded later"
    user = ensemble.users(config, rows, queries, catalogue, context.as_of)
    found = explain(config, catalogue, user, indexes, model.day, position=position)
    where = f"rank {found.rank} of the list" if found.rank else "not in the list"
    segment = config.segments[int(user.segment[0])].name
    reasons = [f"  {reason}" for reason in (*_made_otherwise(context), *found.reasons)]
    return "\n".join([f"{about}: {where} (segment {segment})", *reasons])


def _made_otherwise(context: Context) -> list[str]:
    """That a day's lists were made by other code, settings or inputs; of an hour, whose inputs the next replaces, nothing."""
    if context.lane != _lane.DAILY:
        return []
    (unit,) = recommend.plan(context, {})
    otherwise = f"the lists of that run were made otherwise ({unit.status.why}): this is how they would be now"
    return [] if unit.status.current else [otherwise]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 0, or with 2 and one line for what its user can mend."""
    parser = argparse.ArgumentParser(prog="python -m jobs.explain", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("user_id", metavar="USER", type=int)
    parser.add_argument("video_id", metavar="VIDEO", type=int)
    parser.add_argument("--as-of", metavar="ISO", required=True, help="of the run whose list it is")
    parser.add_argument("--lane", choices=_lane.LANES, default=_lane.DAILY, help="of that run (docs/lanes.md)")
    given = parser.parse_args(argv)
    try:
        asked = argparse.Namespace(as_of=given.as_of, start=None, end=None, force=False, lane=given.lane)
        print(run(_stage.context("explain", asked), given.user_id, given.video_id))
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | explain | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
