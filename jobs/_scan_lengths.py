"""The last scan of lists that are not k long: what may be shown to their users at all.

For each user ``groups - closed(country) - used up(user)``: groups of near-duplicates, less those whose members are all blocked
in the country, less those whose other members the user has all watched. Work grows with the watched videos of these users, not
with users times videos.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as f

from jobs._scan_lists import ACTIVE, LENGTH, WANTING
from jobs._scan_videos import BLOCKED, STANDS_FOR, may_be_shown
from schemas import columns as col

EXPECTED = "expected"
_SIZE, _BLOCKED, _WATCHED, _CLOSED, _USED_UP, _GROUPS = "size", "n_blocked", "n_watched", "closed", "used_up", "groups"
_KIND, _PLACE = "kind", "place"


def wrong_lengths(lists: DataFrame, videos: DataFrame, k: int, *, alike: bool) -> DataFrame:
    """Lists that are neither k long nor hold all that may be shown to their user.

    Args:
        lists: as of ``_scan_lists.judged``.
        videos: as of ``_scan_videos.video_facts``.
        k: rows that a list should have.
        alike: whether near-duplicates count as one.

    Returns:
        ``user_id``, ``active``, ``length``, ``expected``.
    """
    short = lists.filter(WANTING).select(col.USER_ID, col.COUNTRY, col.WATCHED, LENGTH, ACTIVE)
    one_of = f.col(STANDS_FOR if alike else col.VIDEO_ID)
    shown = videos.filter(may_be_shown()).select(col.VIDEO_ID, BLOCKED, one_of.alias(STANDS_FOR))
    sizes = shown.groupBy(STANDS_FOR).agg(f.count("*").alias(_SIZE))
    blocked = (
        shown.select(STANDS_FOR, f.explode(BLOCKED).alias(col.COUNTRY))
        .groupBy(col.COUNTRY, STANDS_FOR)
        .agg(f.count("*").alias(_BLOCKED))
        .join(sizes, on=STANDS_FOR, how="inner")
    )
    closed = blocked.filter(f.col(_BLOCKED) == f.col(_SIZE)).groupBy(col.COUNTRY).agg(f.count("*").alias(_CLOSED))
    watched = short.select(col.USER_ID, col.COUNTRY, f.explode(f.array_distinct(col.WATCHED)).alias(col.VIDEO_ID)).join(
        shown, on=col.VIDEO_ID, how="inner"
    )
    open_to_user = ~f.coalesce(f.array_contains(BLOCKED, f.col(col.COUNTRY)), f.lit(False))
    used_up = (
        watched.filter(open_to_user)
        .groupBy(col.USER_ID, col.COUNTRY, STANDS_FOR)
        .agg(f.count("*").alias(_WATCHED))
        .join(sizes, on=STANDS_FOR, how="inner")
        .join(blocked.select(col.COUNTRY, STANDS_FOR, _BLOCKED), on=[col.COUNTRY, STANDS_FOR], how="left")
        .filter(f.col(_WATCHED) + f.coalesce(f.col(_BLOCKED), f.lit(0)) == f.col(_SIZE))
        .groupBy(col.USER_ID)
        .agg(f.count("*").alias(_USED_UP))
    )
    # A left join on a null country finds nothing, and such a user is blocked nowhere.
    possible = f.col(_GROUPS) - f.coalesce(f.col(_CLOSED), f.lit(0)) - f.coalesce(f.col(_USED_UP), f.lit(0))
    return (
        short.join(closed, on=col.COUNTRY, how="left")
        .join(used_up, on=col.USER_ID, how="left")
        .crossJoin(sizes.agg(f.count("*").alias(_GROUPS)))
        .select(col.USER_ID, ACTIVE, LENGTH, f.least(f.lit(k), possible).alias(EXPECTED))
        .filter(f.col(LENGTH) != f.col(EXPECTED))
    )


def missing_and_misfits(wrong: DataFrame, shown: int) -> dict[str, tuple[int, list[dict[str, Any]]]]:
    """Count what :func:`wrong_lengths` found and name the first: active users without a list, and lists of another length.

    Returns:
        ``coverage`` and ``length``: how many users, and the first of them.
    """
    kinds = Window.partitionBy(_KIND)
    numbered = wrong.withColumn(_KIND, f.when(f.col(LENGTH) == 0, "coverage").otherwise("length")).select(
        _KIND,
        col.USER_ID,
        LENGTH,
        EXPECTED,
        f.count("*").over(kinds).alias(_SIZE),
        f.row_number().over(kinds.orderBy(col.USER_ID)).alias(_PLACE),
    )
    rows = sorted(numbered.filter(f.col(_PLACE) <= shown).collect(), key=lambda row: row[_PLACE])
    found: dict[str, tuple[int, list[dict[str, Any]]]] = {}
    for kind in ("coverage", "length"):
        own = [row for row in rows if row[_KIND] == kind]
        named = [{name: row[name] for name in (col.USER_ID, LENGTH, EXPECTED)} for row in own]
        found[kind] = (own[0][_SIZE] if own else 0, named)
    return found
