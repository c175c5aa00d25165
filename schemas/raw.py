"""The raw contract: what the platform's logs look like, and the names of every reason for which a row is refused."""

from __future__ import annotations

from enum import StrEnum

from schemas import columns as col
from schemas._table import Field, Table


class InteractionType(StrEnum):
    """What a user did."""

    IMPRESSION = "impression"
    CLICK = "click"
    WATCH = "watch"
    LIKE = "like"
    DISLIKE = "dislike"
    SHARE = "share"
    SAVE = "save"
    COMMENT = "comment"
    SEARCH = "search"


class RejectReason(StrEnum):
    """Why a raw row was quarantined instead of processed."""

    UNREADABLE_FILE = "unreadable_file"
    MALFORMED_RECORD = "malformed_record"
    MISSING_VALUE = "missing_value"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_INTERACTION_TYPE = "unknown_interaction_type"
    OUT_OF_RANGE = "out_of_range"
    OUTSIDE_PARTITION = "outside_partition"
    UNKNOWN_VIDEO = "unknown_video"


RAW_INTERACTIONS = Table(
    name="interactions",
    doc="The platform's interaction log; a directory per hour of `occurred_at`.",
    partitioned_by=(col.DT, col.HR),
    key=(col.EVENT_ID,),
    fields=(
        Field(name=col.EVENT_ID, type="string", doc="Unique per event; a repeat is a duplicate."),
        Field(name=col.USER_ID, type="int64", doc="Who acted."),
        Field(name=col.VIDEO_ID, type="int64", nullable=True, doc="On which video; null for a search only."),
        Field(
            name=col.INTERACTION_TYPE,
            type="string",
            allowed=tuple(kind.value for kind in InteractionType),
            doc="What happened.",
        ),
        Field(name=col.OCCURRED_AT, type="timestamp", doc="When, UTC; for a watch: when it began."),
        Field(name=col.WATCH_SECONDS, type="float64", nullable=True, minimum=0.0, doc="Seconds watched; on a watch."),
        Field(name=col.QUERY, type="string", nullable=True, doc="Search text; on a search."),
        Field(
            name=col.COMMENT, type="string", nullable=True, doc="Comment text; on a comment; personal, not kept beyond ingest."
        ),
        Field(
            name=col.LATITUDE,
            type="float64",
            nullable=True,
            minimum=-90.0,
            maximum=90.0,
            doc="Degrees; personal, not kept beyond ingest.",
        ),
        Field(
            name=col.LONGITUDE,
            type="float64",
            nullable=True,
            minimum=-180.0,
            maximum=180.0,
            doc="Degrees; personal, not kept beyond ingest.",
        ),
        Field(name=col.DEVICE, type="string", nullable=True, doc="Device class, for example `phone`, `tv`."),
        Field(name=col.REQUEST_ID, type="string", nullable=True, doc="The recommendation request that showed the video."),
        Field(name=col.POSITION, type="int32", nullable=True, minimum=0.0, doc="Position on the page that showed it."),
    ),
)

RAW_VIDEOS = Table(
    name="videos",
    doc="Snapshots of the catalogue, taken at 00:00 UTC of their date; the newest at or before `as_of` wins per video.",
    key=(col.VIDEO_ID,),
    fields=(
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(name=col.CREATOR_ID, type="int64", nullable=True, doc="Who uploaded it."),
        Field(name=col.TITLE, type="string", nullable=True, doc="Title as shown."),
        Field(name=col.TAGS, type="list<string>", nullable=True, doc="Tags, in the creator's order."),
        Field(name=col.LANGUAGE, type="string", nullable=True, doc="Spoken language, ISO 639-1."),
        Field(name=col.DURATION_SECONDS, type="float64", minimum=0.0, doc="Length; 0 when it is not known."),
        Field(name=col.LIKE_COUNT, type="int64", nullable=True, minimum=0.0, doc="Likes up to the snapshot."),
        Field(name=col.VIEW_COUNT, type="int64", nullable=True, minimum=0.0, doc="Views up to the snapshot."),
        Field(name=col.UPLOADED_AT, type="timestamp", doc="When it was uploaded, UTC."),
        Field(name=col.BLOCKED_COUNTRIES, type="list<string>", nullable=True, doc="Countries where it must not be shown."),
        Field(name=col.MISINFORMATION_SCORE, type="float64", nullable=True, minimum=0.0, maximum=1.0, doc="0 to 1."),
        Field(name=col.CLICKBAIT_SCORE, type="float64", nullable=True, minimum=0.0, maximum=1.0, doc="0 to 1."),
        Field(name=col.SPONSORED_BOOST, type="float64", nullable=True, minimum=0.0, doc="Paid boost; null or 0 for none."),
        Field(name=col.REMOVED, type="bool", nullable=True, doc="True when it must not be shown any more."),
    ),
)

RAW_USERS = Table(
    name="users",
    doc="Snapshots of the accounts, taken at 00:00 UTC of their date; the newest at or before `as_of` wins per user.",
    key=(col.USER_ID,),
    fields=(
        Field(name=col.USER_ID, type="int64", doc="The user."),
        Field(name=col.USERNAME, type="string", nullable=True, doc="Shown name; personal, not kept beyond ingest."),
        Field(name=col.AGE, type="int32", nullable=True, minimum=0.0, maximum=150.0, doc="Years."),
        Field(name=col.GENDER, type="string", nullable=True, doc="As given."),
        Field(name=col.CITY, type="string", nullable=True, doc="As given."),
        Field(name=col.COUNTRY, type="string", nullable=True, doc="ISO 3166-1 alpha-2."),
        Field(name=col.LANGUAGE, type="string", nullable=True, doc="ISO 639-1."),
        Field(name=col.TIME_ZONE, type="string", nullable=True, doc="IANA name; not kept beyond ingest."),
        Field(
            name=col.REGISTERED_AT,
            type="timestamp",
            nullable=True,
            doc="When the account was made, UTC; not kept beyond ingest.",
        ),
    ),
)
