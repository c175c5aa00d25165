"""The tables between stages, in the order in which data flows through them."""

from __future__ import annotations

from schemas import columns as col
from schemas._table import Field, Table
from schemas.evaluation import EVALUATION
from schemas.point_in_time import EXAMPLE_FEATURES, HISTORY_FIELDS, TREND_FIELDS, USER_HISTORY, VIDEO_HOURS
from schemas.raw import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, RejectReason
from schemas.served import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY
from schemas.text import QUERY_TEXT, VIDEO_TEXT

_HOURLY = (col.DT, col.HR)
EXPOSURES = ("impression", "organic")

INTERACTIONS = Table(
    name="interactions",
    doc="Clean events, one row an `event_id`, in order of time. Comments and coordinates stay behind in the raw logs.",
    partitioned_by=_HOURLY,
    key=(col.EVENT_ID,),
    fields=(
        *(field for field in RAW_INTERACTIONS.fields if field.name not in (col.COMMENT, col.LATITUDE, col.LONGITUDE)),
        Field(
            name=col.DURATION_SECONDS,
            type="float64",
            nullable=True,
            minimum=0.0,
            doc="Length of the video in its first snapshot, so that a label never changes; 0 when not known, null for a search.",
        ),
    ),
)

REJECTED = Table(
    name="rejected",
    doc="Every raw row that was refused, with its reason: interactions by the hour of their directory.",
    partitioned_by=_HOURLY,
    fields=(
        Field(name=col.SOURCE, type="string", doc="Raw source the row came from."),
        Field(name=col.FILE, type="string", doc="File below the raw folder."),
        Field(name=col.REASON, type="string", allowed=tuple(reason.value for reason in RejectReason), doc="Why."),
        Field(name=col.DETAIL, type="string", doc="Which column or value."),
        Field(name=col.RECORD, type="string", nullable=True, doc="The row as it was read."),
    ),
)

REJECTED_SNAPSHOTS = Table(
    name="rejected_snapshots",
    doc="Refused rows of the video and user snapshots that a day's tables were made from.",
    fields=REJECTED.fields,
)

_SNAPSHOT_DATE = Field(name=col.SNAPSHOT_DATE, type="string", doc="Date of the snapshot that the row comes from.")

VIDEOS = Table(
    name="videos",
    doc="The catalogue as known at the end of the partition's day: per video the newest snapshot.",
    key=(col.VIDEO_ID,),
    fields=(*RAW_VIDEOS.fields, _SNAPSHOT_DATE),
)

USERS = Table(
    name="users",
    doc="The accounts as known at the end of the partition's day: per user the newest snapshot. What no feature needs stays behind.",
    key=(col.USER_ID,),
    version=2,
    fields=(
        *(field for field in RAW_USERS.fields if field.name not in (col.USERNAME, col.TIME_ZONE, col.REGISTERED_AT)),
        _SNAPSHOT_DATE,
    ),
)

_VALID_FROM = Field(
    name=col.VALID_FROM,
    type="timestamp",
    doc="Midnight of the snapshot that said so first. The first row of an id also holds for the time before it.",
)
_VIDEO_FACTS = (
    col.CREATOR_ID, col.TITLE, col.TAGS, col.LANGUAGE, col.DURATION_SECONDS, col.UPLOADED_AT,
    col.MISINFORMATION_SCORE, col.CLICKBAIT_SCORE, col.SPONSORED_BOOST,
)  # fmt: skip
_USER_FACTS = (col.AGE, col.GENDER, col.CITY, col.COUNTRY, col.LANGUAGE)

VIDEO_VERSIONS = Table(
    name="video_versions",
    version=2,
    doc=(
        "What the snapshots up to the end of the partition's day said of each video, a row for each time that it changed: "
        "an example's video is as it was then (L4), and the evaluation judges it by the scores that it had then."
    ),
    key=(col.VIDEO_ID, col.VALID_FROM),
    fields=(RAW_VIDEOS.field(col.VIDEO_ID), _VALID_FROM, *(RAW_VIDEOS.field(name) for name in _VIDEO_FACTS)),
)

USER_VERSIONS = Table(
    name="user_versions",
    doc=(
        "What the snapshots up to the end of the partition's day said of each user, a row for each time that it changed: "
        "an example's user is as they were then (L4)."
    ),
    key=(col.USER_ID, col.VALID_FROM),
    fields=(RAW_USERS.field(col.USER_ID), _VALID_FROM, *(RAW_USERS.field(name) for name in _USER_FACTS)),
)

EXAMPLES = Table(
    name="examples",
    doc=(
        "Labelled impressions, negatives down-sampled. An impression belongs to the hour in which its label became known: "
        "the end of its label window. So a partition never waits for a later one, and never changes."
    ),
    partitioned_by=_HOURLY,
    key=(col.EVENT_ID,),
    fields=(
        Field(name=col.EVENT_ID, type="string", doc="The impression, or the first organic action."),
        Field(name=col.USER_ID, type="int64", doc="Who saw it."),
        Field(name=col.VIDEO_ID, type="int64", doc="What was shown."),
        Field(name=col.EXPOSURE, type="string", allowed=EXPOSURES, doc="`impression`, or `organic`: acted on without having been shown."),
        Field(name=col.OCCURRED_AT, type="timestamp", doc="When it was shown; features may use nothing at or after it (L4)."),
        Field(name=col.KNOWN_AT, type="timestamp", doc="When the label was complete: `occurred_at` plus the label window."),
        Field(name=col.DEVICE, type="string", nullable=True, doc="Device class."),
        Field(name=col.POSITION, type="int32", nullable=True, doc="Position on the page."),
        Field(name=col.CLICKED, type="bool", doc="A click or a watch followed within the label window."),
        Field(name=col.WATCH_SECONDS, type="float64", minimum=0.0, doc="Longest watch that began within the window; 0 for none."),
        Field(
            name=col.WATCH_FRACTION, type="float64", nullable=True, minimum=0.0,
            doc="`watch_seconds` over the video's duration, at most 1; null where the duration is not known.",
        ),
        Field(name=col.COMPLETED, type="bool", doc="Watched to at least 95 %."),
        Field(name=col.LIKED, type="bool", doc="Liked within the window."),
        Field(name=col.SHARED, type="bool", doc="Shared or saved within the window."),
        Field(name=col.DISLIKED, type="bool", doc="Disliked within the window."),
        Field(name=col.MISSED, type="bool", doc="Nothing followed: a missed recommendation (L2)."),
        Field(name=col.LABEL, type="int32", minimum=0, maximum=1, doc="1 = relevant (L1): liked or watched at least half, and not disliked."),
        Field(name=col.SAMPLE_RATE, type="float64", minimum=0, maximum=1, doc="Probability with which a row of its label was kept."),
        Field(name=col.WEIGHT, type="float64", minimum=1, doc="1 / `sample_rate`: restores calibration."),
    ),
)  # fmt: skip

_COUNTS = (
    Field(name=col.IMPRESSIONS, type="float64", minimum=0, doc="Times shown."),
    Field(name=col.VIEWS, type="float64", minimum=0, doc="Times clicked or watched."),
    Field(name=col.LIKES, type="float64", minimum=0, doc="Times liked."),
    Field(name=col.RELEVANT, type="float64", minimum=0, doc="Examples with label 1."),
)

VIDEO_COUNTS = Table(
    name="video_counts",
    doc=(
        "What happened to each video on the partition's day, by the time at which it became known. "
        "Counters as of any midnight are sums over earlier partitions, for training and for inference alike."
    ),
    key=(col.VIDEO_ID,),
    fields=(Field(name=col.VIDEO_ID, type="int64", doc="The video."), *_COUNTS),
)

VIDEO_COUNTERS = (
    *_COUNTS,
    Field(name=col.POPULARITY, type="float64", minimum=0, doc="`relevant`, each day halved every `popularity_half_life_days`."),
)

USER_FEATURES = Table(
    name="user_features",
    doc="Every known user at the end of the partition's day (`as_of`): attributes, histories, and what they already watched.",
    version=2,
    key=(col.USER_ID,),
    fields=(
        Field(name=col.USER_ID, type="int64", doc="The user."),
        RAW_USERS.field(col.AGE),
        Field(name=col.GENDER, type="string", nullable=True, doc="As given."),
        Field(name=col.LANGUAGE, type="string", nullable=True, doc="ISO 639-1."),
        Field(name=col.COUNTRY, type="string", nullable=True, doc="ISO 3166-1 alpha-2."),
        Field(name=col.CITY, type="string", nullable=True, doc="As given."),
        Field(name=col.DEVICE, type="string", nullable=True, doc="Device of the newest event."),
        Field(name=col.INTERACTION_COUNT, type="int64", minimum=0, doc="Events other than impressions within the look-back."),
        Field(name=col.WATCHED, type="list<int64>", doc="Videos clicked, watched, liked or disliked within the look-back, ascending."),
        *HISTORY_FIELDS,
    ),
)  # fmt: skip

VIDEO_FEATURES = Table(
    name="video_features",
    doc="Every video of the catalogue at the end of the partition's day (`as_of`): facts, counters, trends.",
    version=3,
    key=(col.VIDEO_ID,),
    fields=(
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(name=col.CREATOR_ID, type="int64", nullable=True, doc="Who uploaded it."),
        Field(name=col.LANGUAGE, type="string", nullable=True, doc="ISO 639-1."),
        Field(name=col.DURATION_SECONDS, type="float64", minimum=0, doc="Length; 0 when it is not known."),
        Field(name=col.UPLOADED_AT, type="timestamp", doc="Upload time; age is computed against an example's own time."),
        *VIDEO_COUNTERS,
        *TREND_FIELDS,
        Field(name=col.BLOCKED_COUNTRIES, type="list<string>", doc="Countries where it must not be shown."),
        Field(name=col.REMOVED, type="bool", doc="True when it must not be shown at all."),
        *(RAW_VIDEOS.field(name) for name in (col.MISINFORMATION_SCORE, col.CLICKBAIT_SCORE, col.SPONSORED_BOOST)),
    ),
)  # fmt: skip

SCORE_PARTS = (
    col.SCORE_RANKER,
    col.SCORE_RETRIEVAL,
    col.SCORE_WALS,
    col.SCORE_POPULAR,
    col.SCORE_LOCAL,
    col.SCORE_TREND,
    col.SCORE_FRESH,
    col.SCORE_SPONSORED,
)
"""What each component of the ensemble adds to a score, in the order of the components."""

RECOMMENDATIONS = Table(
    name="recommendations",
    doc="The top k videos of every user, as the models, weights and rules of that day rank them.",
    version=2,
    key=(col.USER_ID, col.RANK),
    fields=(
        Field(name=col.USER_ID, type="int64", doc="The user."),
        Field(name=col.RANK, type="int32", minimum=1, doc="From 1."),
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(
            name=col.SCORE,
            type="float64",
            doc="Ensemble score after the rules' penalties; comparable within one user's list only. Rules and exploration move videos.",
        ),
        Field(name=col.SOURCES, type="string", doc="Generators that proposed it with their rank: `retrieval:3|wals:17`."),
        Field(name=col.REASON, type="string", doc="Why it is here, for a person."),
        Field(
            name=col.RULES,
            type="string",
            doc="Rules that moved it, with the rank before and after: `creators:3>7`; `exploration>12` was drawn for rank 12; else empty.",
        ),
        Field(
            name=col.PROPENSITY,
            type="float64",
            minimum=0,
            maximum=1,
            doc="Probability with which exploration drew it for this rank, given the ranks before; 1 where nothing was drawn.",
        ),
        *(
            Field(name=name, type="float32", doc=f"What the component `{name.removeprefix('score_')}` adds to `score`.")
            for name in SCORE_PARTS
        ),
    ),
)

FALLBACK_RECOMMENDATIONS = Table(
    name="fallback_recommendations",
    doc="Lists for users who have no row, per segment; segment `all` always exists.",
    version=2,
    key=(col.SEGMENT, col.RANK),
    fields=(
        Field(name=col.SEGMENT, type="string", doc="`all`, or a segment of users such as `country=DE|language=de|device=tv`."),
        Field(name=col.PARENT, type="string", nullable=True, doc="The segment to ask when this one is not there; null for `all`."),
        Field(name=col.RANK, type="int32", minimum=1, doc="From 1."),
        Field(name=col.VIDEO_ID, type="int64", doc="The video."),
        Field(name=col.SCORE, type="float64", doc="Popularity in the segment, on the scale of everybody's."),
        Field(name=col.SOURCES, type="string", doc="`local:3`, or `popular:3` where it is everybody's popularity, with the rank."),
        Field(name=col.REASON, type="string", doc="Why it is here, for a person: `popular in DE`."),
    ),
)  # fmt: skip

TABLES: tuple[Table, ...] = (
    INTERACTIONS,
    REJECTED,
    REJECTED_SNAPSHOTS,
    VIDEOS,
    USERS,
    VIDEO_VERSIONS,
    USER_VERSIONS,
    EXAMPLES,
    VIDEO_HOURS,
    USER_HISTORY,
    EXAMPLE_FEATURES,
    VIDEO_COUNTS,
    USER_FEATURES,
    VIDEO_FEATURES,
    VIDEO_TEXT,
    QUERY_TEXT,
    EVALUATION,
    RECOMMENDATIONS,
    FALLBACK_RECOMMENDATIONS,
    RECOMMENDATION_HISTORY,
    PUBLICATION_SWITCHES,
)
