"""What is known of users and videos at the second of each example, and the tables from which it is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schemas import columns as col
from schemas._table import Field, Table
from schemas.raw import InteractionType


class History(NamedTuple):
    """One kind of history: the events that it lists, and the columns that hold what they were about and their age."""

    kind: InteractionType
    values: str
    ages: str


class Trend(NamedTuple):
    """One counter of a video over the time before a moment."""

    counter: str
    hours: int
    column: str


HISTORIES: Mapping[str, History] = {
    "watched": History(InteractionType.WATCH, col.WATCHED_HISTORY, col.WATCHED_AGES),
    "liked": History(InteractionType.LIKE, col.LIKED_HISTORY, col.LIKED_AGES),
    "seen": History(InteractionType.IMPRESSION, col.SEEN_HISTORY, col.SEEN_AGES),
    "searched": History(InteractionType.SEARCH, col.SEARCHED_HISTORY, col.SEARCHED_AGES),
}
"""By name, which is that of its length in the configuration."""

TREND_COUNTERS: Mapping[str, InteractionType] = {
    col.IMPRESSIONS: InteractionType.IMPRESSION,
    col.VIEWS: InteractionType.WATCH,
    col.LIKES: InteractionType.LIKE,
}
"""What is counted, and the events that count."""

TRENDS = (
    Trend(col.IMPRESSIONS, 1, col.IMPRESSIONS_HOUR),
    Trend(col.IMPRESSIONS, 24, col.IMPRESSIONS_DAY),
    Trend(col.IMPRESSIONS, 168, col.IMPRESSIONS_WEEK),
    Trend(col.VIEWS, 1, col.VIEWS_HOUR),
    Trend(col.VIEWS, 24, col.VIEWS_DAY),
    Trend(col.VIEWS, 168, col.VIEWS_WEEK),
    Trend(col.LIKES, 1, col.LIKES_HOUR),
    Trend(col.LIKES, 24, col.LIKES_DAY),
    Trend(col.LIKES, 168, col.LIKES_WEEK),
)

_ABOUT = {
    "watched": "Videos that the user began to watch",
    "liked": "Videos that the user liked",
    "seen": "Videos that the user was shown",
    "searched": "Queries that the user searched for",
}
_SPANS = {1: "hour", 24: "day", 168: "7 days"}
_COUNTED = {col.IMPRESSIONS: "was shown", col.VIEWS: "began to be watched", col.LIKES: "was liked"}

HISTORY_FIELDS = tuple(
    field
    for name, history in HISTORIES.items()
    for field in (
        Field(
            name=history.values,
            type="list<string>" if history.kind is InteractionType.SEARCH else "list<int64>",
            doc=f"{_ABOUT[name]} before this moment, newest first, at most `features.history.{name}` of the last `window.history_days`.",
        ),
        Field(name=history.ages, type="list<int32>", doc=f"Whole seconds since each of `{history.values}`."),
    )
)

TREND_FIELDS = tuple(
    Field(
        name=trend.column,
        type="int32",
        minimum=0,
        doc=f"Times the video {_COUNTED[trend.counter]} in the {_SPANS[trend.hours]} before this moment.",
    )
    for trend in TRENDS
)

USER_HISTORY = Table(
    name="user_history",
    doc=(
        "The last events of each user and kind at the end of the partition's day, in order of time: all that the histories of "
        "later moments need of the days before. A function of the last `window.history_days` of `interactions` alone."
    ),
    fields=(
        Field(name=col.USER_ID, type="int64", doc="Who acted."),
        Field(
            name=col.INTERACTION_TYPE,
            type="string",
            allowed=tuple(history.kind.value for history in HISTORIES.values()),
            doc="What was done.",
        ),
        Field(name=col.OCCURRED_AT, type="timestamp", doc="When; a watch: when it began."),
        Field(name=col.VIDEO_ID, type="int64", nullable=True, doc="With which video; null for a search."),
        Field(name=col.QUERY, type="string", nullable=True, doc="What was searched for."),
    ),
)

VIDEO_HOURS = Table(
    name="video_hours",
    doc="What happened to each video in the partition's hour; hours between the edges of a trend's window are summed from it.",
    partitioned_by=(col.DT, col.HR),
    key=(col.VIDEO_ID,),
    fields=(
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(name=col.IMPRESSIONS, type="int64", minimum=0, doc="Times shown."),
        Field(name=col.VIEWS, type="int64", minimum=0, doc="Watches begun."),
        Field(name=col.LIKES, type="int64", minimum=0, doc="Times liked."),
    ),
)

EXAMPLE_FEATURES = Table(
    name="example_features",
    doc=(
        "What was known at each example's own second: one row for each row of the same partition of `examples`, in the same "
        "order. Only events strictly before `occurred_at` count (L4)."
    ),
    partitioned_by=(col.DT, col.HR),
    key=(col.EVENT_ID,),
    fields=(
        Field(name=col.EVENT_ID, type="string", doc="The example."),
        *HISTORY_FIELDS,
        *TREND_FIELDS,
    ),
)
