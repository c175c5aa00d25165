"""What every store reads in the same way: one thing, from a snapshot of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from serving._protocol import PublicationRecord, Recommendation, Snapshot, VanishedVersionError

__all__ = ["SnapshotReads", "read_live"]

_T = TypeVar("_T")


class _Store(Protocol):
    def snapshot(self) -> AbstractContextManager[Snapshot]: ...


def read_live(store: _Store, read: Callable[[Snapshot], _T]) -> _T:
    """Read from a snapshot of what is live; all of it once more, from a new one, where its version went meanwhile.

    Args:
        store: what is read.
        read: reads, from one snapshot, all that must be of one version.

    Raises:
        VanishedVersionError: it went again: reading takes longer than the store keeps what it let go of.
    """
    try:
        with store.snapshot() as snapshot:
            return read(snapshot)
    except VanishedVersionError:
        with store.snapshot() as snapshot:
            return read(snapshot)


class SnapshotReads(ABC):
    """The single reads of :class:`~serving.ServingStore`, for a store that can open a snapshot."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open one consistent view of what is live now."""

    def live(self) -> PublicationRecord | None:
        """Return the live version; None before the first publication."""
        with self.snapshot() as snapshot:
            return snapshot.live

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` live recommendations by rank; empty for a user who has none."""
        return read_live(self, lambda snapshot: snapshot.read(user_id, k))

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` live videos by rank; empty for a segment that has no list."""
        return read_live(self, lambda snapshot: snapshot.read_fallback(segment, k))

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of a video's row in a user's live list; None where it is not in it."""
        return read_live(self, lambda snapshot: snapshot.read_row(user_id, video_id))
