"""The last scan of lists: every row of every list, beside what is known of its video and its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from jobs._scan_videos import BLOCKED, OVER_LIMIT, STANDS_FOR
from schemas import SCORE_PARTS
from schemas import columns as col

Totals = Mapping[str, int]

OF_USERS, OF_SEGMENTS = "", "fallback_"
"""What the names of the checks begin with, for users' lists and for those of segments."""
LENGTH, ACTIVE, WANTING = "length", "active", "wanting"

EXPECTED: Mapping[str, str] = {
    "strangers": "lists of users in user_features only",
    "ranks": "ranks 1, 2, ... without gap or repeat",
    "repeats": "each video once in a list",
    "near_duplicates": "one of several videos that are nearly the same",
    "unknown": "videos of video_features only",
    "removed": "no removed video",
    "over_limit": "no video over a hard limit of recommend.rules",
    "blocked": "no video that is blocked in the list's country",
    "watched": "no video that the user has watched",
    "scores": "finite scores and parts",
    "propensity": "propensities above 0, at most 1",
    "sources": "at least one source",
}
"""The checks that name rows, and what each expects."""
_OF_SEGMENTS = frozenset(EXPECTED) - {"strangers", "near_duplicates", "watched", "propensity"}
CHECKS = (*EXPECTED, *(f"{OF_SEGMENTS}{name}" for name in EXPECTED if name in _OF_SEGMENTS))

_FAULTS = ("unknown", "removed", "over_limit", "scores", "propensity", "sources")
_FAULT_BITS = {name: 1 << place for place, name in enumerate(_FAULTS)}
_BLOCKED_SOMEWHERE = 1 << len(_FAULTS)
_BITS, _ROWS, _KNOWN, _OFFENDERS, _CHECK = "bits", "rows", "known", "offenders", "check"
_INFINITY = float("inf")


def judged(
    users: DataFrame, recommendations: DataFrame, fallback: DataFrame, videos: DataFrame, k: int, *, alike: bool
) -> DataFrame:
    """Judge every list of both tables, with one shuffle of their rows.

    Args:
        users: USER_FEATURES; ``user_id`` is unique.
        recommendations: RECOMMENDATIONS.
        fallback: FALLBACK_RECOMMENDATIONS.
        videos: as of ``_scan_videos.video_facts``; ``video_id`` is unique.
        k: rows that a user's list should have.
        alike: whether near-duplicates are looked for.

    Returns:
        A row for each list and for each user without one: ``user_id`` or ``segment``, ``length``, ``active``; ``wanting``
        where a user's list is not of length k and the user is not just inactive without any, then with ``country`` and
        ``watched``; ``offenders``, with a field for each check: the ``(rank, video_id)`` in order, null where there is none.
    """
    values = (col.RANK, col.VIDEO_ID, col.SCORE, *SCORE_PARTS, col.PROPENSITY, col.SOURCES)
    of_users = recommendations.select(col.USER_ID, f.lit(None).cast("string").alias(col.SEGMENT), *values)
    # Nothing is drawn for a fallback list, and its score has no parts.
    certain = [f.lit(0.0).cast("float").alias(name) for name in SCORE_PARTS] + [f.lit(1.0).alias(col.PROPENSITY)]
    nobody = f.lit(None).cast("long").alias(col.USER_ID)
    of_segments = fallback.select(nobody, col.SEGMENT, *values[:3], *certain, col.SOURCES)
    shown = of_users.unionByName(of_segments).join(videos.withColumn(_KNOWN, f.lit(True)), on=col.VIDEO_ID, how="left")
    rows = shown.select(
        col.USER_ID,
        col.SEGMENT,
        f.struct(
            col.RANK,
            col.VIDEO_ID,
            f.coalesce(f.col(STANDS_FOR), f.col(col.VIDEO_ID)).alias(STANDS_FOR),
            BLOCKED,
            _bits().alias(_BITS),
        ).alias(_ROWS),
    )
    lists = rows.groupBy(col.USER_ID, col.SEGMENT).agg(
        f.count("*").alias(LENGTH),
        f.bit_or(f.col(_ROWS)[_BITS]).alias(_BITS),
        f.sort_array(f.collect_list(_ROWS)).alias(_ROWS),
    )
    owners = users.select(
        col.USER_ID,
        col.COUNTRY,
        col.WATCHED,
        (f.col(col.INTERACTION_COUNT) > 0).alias(ACTIVE),
        f.lit(True).alias(_KNOWN),
    )
    # A segment's user_id is null, which equals nothing: it stays alone.
    everything = lists.join(owners, on=col.USER_ID, how="full").select(
        col.USER_ID,
        col.SEGMENT,
        _KNOWN,
        _ROWS,
        f.coalesce(f.col(_BITS), f.lit(0)).alias(_BITS),
        f.coalesce(f.col(LENGTH), f.lit(0)).alias(LENGTH),
        f.coalesce(f.col(ACTIVE), f.lit(False)).alias(ACTIVE),
        f.coalesce(f.regexp_extract(col.SEGMENT, r"(?:^|\|)country=([^|]*)", 1), f.col(col.COUNTRY)).alias(col.COUNTRY),
        col.WATCHED,
    )
    wanting = f.col(_KNOWN).isNotNull() & (f.col(LENGTH) != k) & ((f.col(LENGTH) > 0) | f.col(ACTIVE))
    offenders = [f.when(wrong, _named(rows)).alias(name) for name, (wrong, rows) in _checks(alike=alike).items()]
    # A select of its own: inside a lambda a name means a later alias of the same select before it means a column.
    return everything.withColumn(_OFFENDERS, f.struct(*offenders)).select(
        col.USER_ID,
        col.SEGMENT,
        LENGTH,
        ACTIVE,
        wanting.alias(WANTING),
        f.when(wanting, f.col(col.COUNTRY)).alias(col.COUNTRY),
        f.when(wanting, f.col(col.WATCHED)).alias(col.WATCHED),
        _OFFENDERS,
    )


def totals(lists: DataFrame) -> Totals:
    """Count everything in one pass: rows and lists of both tables, active users, wanting lists, and offenders.

    Returns:
        By name; of a check ``<check>`` its rows and ``<check>.lists`` its lists.
    """
    of_user = f"{col.SEGMENT} IS NULL"
    counts = {
        "rows": f"sum(if({of_user}, {LENGTH}, 0))",
        "fallback rows": f"sum(if({of_user}, 0, {LENGTH}))",
        "lists": f"count_if({of_user} AND {LENGTH} > 0)",
        "segments": f"count_if(NOT {of_user})",
        "active users": f"count_if({ACTIVE})",
        "wanting": f"count_if({WANTING})",
    }
    for name in CHECKS:
        there = _there(name)
        counts[name] = f"sum(if({there}, size({_offenders(name)}), 0))"
        counts[f"{name}.lists"] = f"count_if({there})"
    # Text, not columns: each of them would take some ten calls into the JVM, each part of it one.
    found = lists.agg(*(f.expr(f"coalesce({count}, 0) AS `{name}`") for name, count in counts.items())).collect()[0]
    return {name: int(found[name]) for name in counts}


def to_be_named(lists: DataFrame) -> DataFrame:
    """The lists of :func:`judged` that hold offenders or are wanting: few, so they may be kept and looked at again."""
    return lists.filter(f"{WANTING} OR coalesce({', '.join(_offenders(name) for name in EXPECTED)}) IS NOT NULL")


def first_offenders(lists: DataFrame, names: Sequence[str], shown: int) -> dict[str, list[dict[str, Any]]]:
    """The first rows that some checks found, in order of the list and the rank, by check; in one job."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    if not names:
        return found
    each = [
        lists.filter(_there(name))
        .selectExpr(f"'{name}' AS {_CHECK}", col.USER_ID, col.SEGMENT, f"slice({_offenders(name)}, 1, {shown}) AS {_ROWS}")
        .orderBy(col.USER_ID, col.SEGMENT)
        .limit(shown)
        for name in names
    ]
    rows = reduce(DataFrame.unionByName, each).collect()
    for row in sorted(rows, key=lambda row: (row[col.USER_ID] or 0, row[col.SEGMENT] or "")):
        owner = col.USER_ID if row[col.SEGMENT] is None else col.SEGMENT
        found[row[_CHECK]] += [{owner: row[owner], **offender.asDict()} for offender in row[_ROWS]]
    return {name: offenders[:shown] for name, offenders in found.items()}


def _there(name: str) -> str:
    """Whether a list holds offenders of a check, in SQL."""
    mine = "IS NOT NULL" if name.startswith(OF_SEGMENTS) else "IS NULL"
    return f"({col.SEGMENT} {mine} AND {_offenders(name)} IS NOT NULL)"


def _offenders(name: str) -> str:
    return f"{_OFFENDERS}.{name.removeprefix(OF_SEGMENTS)}"


def _bits() -> Column:
    """What is wrong with a row whoever its list is for, a bit for each fault, and whether its video is blocked anywhere."""
    # Spark orders NaN above infinity, so one comparison finds both; null is neither.
    finite = [f.coalesce(f.abs(f.col(name)) < _INFINITY, f.lit(False)) for name in (col.SCORE, *SCORE_PARTS)]
    propensity = f.col(col.PROPENSITY)
    wrong = {
        "unknown": f.col(_KNOWN).isNull(),
        "removed": f.coalesce(f.col(col.REMOVED), f.lit(False)),
        "over_limit": f.coalesce(f.col(OVER_LIMIT), f.lit(False)),
        "scores": reduce(or_, (~one for one in finite)),
        "propensity": ~f.coalesce((propensity > 0) & (propensity <= 1), f.lit(False)),
        "sources": f.coalesce(f.length(f.trim(col.SOURCES)), f.lit(0)) == 0,
    }
    bits = [f.when(wrong[name], f.lit(bit)).otherwise(0) for name, bit in _FAULT_BITS.items()]
    return reduce(lambda one, other: one + other, bits) + f.when(f.col(BLOCKED).isNull(), 0).otherwise(_BLOCKED_SOMEWHERE)


def _checks(*, alike: bool) -> dict[str, tuple[Column, Column]]:
    """By check: a cheap condition that holds for a list with offenders, and the offenders."""
    rows, of_user = f.col(_ROWS), f.col(col.SEGMENT).isNull()
    videos, groups = rows[col.VIDEO_ID], rows[STANDS_FOR]
    distinct, apart = f.size(f.array_distinct(videos)), f.size(f.array_distinct(groups))
    country = f.col(col.COUNTRY)

    def seen(values: Column, value: Column, place: Column) -> Column:
        return f.array_position(values, value) <= place

    found = {
        "strangers": (of_user & f.col(_KNOWN).isNull(), rows),
        "ranks": (
            ~rows[col.RANK].eqNullSafe(f.sequence(f.lit(1), f.col(LENGTH).cast("int"))),
            f.filter(rows, lambda row, place: ~row[col.RANK].eqNullSafe(place + 1)),
        ),
        "repeats": (
            distinct < f.col(LENGTH),
            f.filter(rows, lambda row, place: seen(videos, row[col.VIDEO_ID], place)),
        ),
        "near_duplicates": (
            of_user & f.lit(alike) & (apart < distinct),
            f.filter(
                rows,
                lambda row, place: seen(groups, row[STANDS_FOR], place) & ~seen(videos, row[col.VIDEO_ID], place),
            ),
        ),
        "blocked": (
            f.col(_BITS).bitwiseAND(_BLOCKED_SOMEWHERE) != 0,
            f.filter(rows, lambda row: f.array_contains(row[BLOCKED], country)),
        ),
        "watched": (
            f.arrays_overlap(f.col(col.WATCHED), videos),
            f.filter(rows, lambda row: f.array_contains(f.col(col.WATCHED), row[col.VIDEO_ID])),
        ),
    }
    for name, bit in _FAULT_BITS.items():
        found[name] = (f.col(_BITS).bitwiseAND(bit) != 0, _with_bit(rows, bit))
    there = f.col(LENGTH) > 0
    return {name: (there & condition, offenders) for name, (condition, offenders) in found.items()}


def _with_bit(rows: Column, bit: int) -> Column:
    # A lambda of two arguments would get the place as the second.
    return f.filter(rows, lambda row: row[_BITS].bitwiseAND(bit) != 0)


def _named(rows: Column) -> Column:
    """Offenders as ``(rank, video_id)``; null instead of none."""
    return f.when(f.size(rows) > 0, f.transform(rows, lambda row: f.struct(row[col.RANK], row[col.VIDEO_ID])))
