"""Where recommendations are published to and read from: store backends behind one protocol, and the reader."""

from serving._homepage import Homepage, RecommendationReader, segments_of
from serving._protocol import (
    Action,
    Publication,
    PublicationRecord,
    PublishResult,
    Recommendation,
    ServingStore,
    Snapshot,
    Status,
    StoreError,
    Switch,
)
from serving._sqlite import SqliteStore
from serving._titles import titles

__all__ = [
    "Action",
    "Homepage",
    "Publication",
    "PublicationRecord",
    "PublishResult",
    "Recommendation",
    "RecommendationReader",
    "ServingStore",
    "Snapshot",
    "SqliteStore",
    "Status",
    "StoreError",
    "Switch",
    "segments_of",
    "titles",
]
