"""Every table that crosses a stage: columns, types, nullability and value rules. Imports nothing of ours."""

from schemas._table import Field, Table, Type
from schemas.lake import (
    EXAMPLES,
    EXPOSURES,
    FALLBACK_RECOMMENDATIONS,
    INTERACTIONS,
    RECOMMENDATIONS,
    REJECTED,
    REJECTED_SNAPSHOTS,
    TABLES,
    USER_FEATURES,
    USERS,
    VIDEO_COUNTERS,
    VIDEO_COUNTS,
    VIDEO_FEATURES,
    VIDEOS,
)
from schemas.raw import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, InteractionType, RejectReason
from schemas.text import QUERY_TEXT, VIDEO_TEXT

__all__ = [
    "EXAMPLES",
    "EXPOSURES",
    "FALLBACK_RECOMMENDATIONS",
    "INTERACTIONS",
    "QUERY_TEXT",
    "RAW_INTERACTIONS",
    "RAW_USERS",
    "RAW_VIDEOS",
    "RECOMMENDATIONS",
    "REJECTED",
    "REJECTED_SNAPSHOTS",
    "TABLES",
    "USERS",
    "USER_FEATURES",
    "VIDEOS",
    "VIDEO_COUNTERS",
    "VIDEO_COUNTS",
    "VIDEO_FEATURES",
    "VIDEO_TEXT",
    "Field",
    "InteractionType",
    "RejectReason",
    "Table",
    "Type",
]
