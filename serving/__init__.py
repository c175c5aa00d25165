"""Where recommendations are published to and read from: store backends behind one protocol, and the reader."""

from serving._homepage import Homepage, RecommendationReader, Why, segments_of
from serving._open import open_store, store_at
from serving._protocol import (
    Action,
    Erased,
    ParallelStore,
    Publication,
    PublicationRecord,
    PublishResult,
    Recommendation,
    ServingStore,
    Snapshot,
    Status,
    StoreError,
    Switch,
    UnfinishedErasureError,
    UserList,
    VanishedVersionError,
)
from serving._videos import titles
from serving.sqlite import SqliteStore

__all__ = [
    "Action",
    "Erased",
    "Homepage",
    "ParallelStore",
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
    "UnfinishedErasureError",
    "UserList",
    "VanishedVersionError",
    "Why",
    "open_store",
    "segments_of",
    "store_at",
    "titles",
]
