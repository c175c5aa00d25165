"""What every serving store promises, and the values that pass through it.

A store holds complete *versions* of all recommendations. One of them is live; readers see that one and nothing else. A
version is loaded beside the live one and becomes live in one step, only if it is newer by ``(as_of, generation)``. A *delta*
brings the lists of some users only, and all fallback lists: the version that it makes is the one it lies over, its ``base``,
with these replaced. A full publication and the deltas over it have the full one as their ``root``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from schemas.errors import ReelflowError

__all__ = [
    "Action",
    "Erased",
    "ParallelStore",
    "Publication",
    "PublicationRecord",
    "PublishResult",
    "Recommendation",
    "ServingStore",
    "Snapshot",
    "Status",
    "StoreError",
    "Switch",
    "UnfinishedErasureError",
    "UserList",
    "VanishedVersionError",
    "from_text",
    "moment_of",
    "to_text",
]

_TEXT = "%Y-%m-%dT%H:%M:%SZ"


class StoreError(ReelflowError):
    """The store cannot be read or written, or refuses what it was asked to publish."""


class Status(StrEnum):
    """Where a version stands."""

    LOADING = "loading"
    """A publisher writes its rows; no reader sees them."""
    LIVE = "live"
    """What readers see; at most one version at a time."""
    RETIRED = "retired"
    """Was live until a newer one came; its rows are kept for a rollback."""
    ROLLED_BACK = "rolled_back"
    """Was live until someone rolled back behind it; its rows are kept until the next publication."""
    SUPERSEDED = "superseded"
    """Never live: something newer was live already."""
    FAILED = "failed"
    """Never live: its rows broke a rule, or its publisher died."""
    REMOVED = "removed"
    """Was live once; its rows are gone."""


class Action(StrEnum):
    """Why another version became live."""

    PUBLISH = "publish"
    ROLLBACK = "rollback"


def to_text(moment: datetime) -> str:
    """Write a moment as ISO 8601 UTC text with whole seconds, which sorts by time.

    Raises:
        StoreError: the moment has no time zone, or a fraction of a second.
    """
    if moment.tzinfo is None or moment.microsecond:
        raise StoreError(
            f"time {moment.isoformat()}: found {'no time zone' if moment.tzinfo is None else 'a fraction of a second'}; "
            "expected whole seconds with a time zone, for example 2026-01-08T00:00:00Z"
        )
    return moment.astimezone(UTC).strftime(_TEXT)


def from_text(text: str) -> datetime:
    """Read what :func:`to_text` wrote."""
    return datetime.fromisoformat(text)


def moment_of(at: str | None) -> datetime | None:
    """Read what a person gave as ``--at``, as UTC; it is UTC where it names no time zone.

    Raises:
        StoreError: it is not ISO 8601, or in UTC of another year than 1 to 9999.
    """
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise StoreError(f"--at {at!r}: expected ISO 8601, for example 2026-01-08T06:00:00Z") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a publisher says about the version that it brings.

    ``generation`` comes from :meth:`ServingStore.next_generation`: of two publications of the same ``as_of`` the one with
    the higher generation wins. ``base`` is the live version in which a delta replaces lists, None for a full publication.
    """

    as_of: datetime
    generation: int
    model_version: str
    expires_at: datetime
    base: int | None = None

    def __post_init__(self) -> None:
        to_text(self.as_of)
        if to_text(self.expires_at) <= to_text(self.as_of):
            raise StoreError(
                f"publication as of {to_text(self.as_of)}: found expires_at {to_text(self.expires_at)}; "
                "expected a later time than as_of; mend publish.valid_hours"
            )
        if self.generation < 1:
            raise StoreError(f"publication: found generation {self.generation}; expected one from next_generation(), 1 or more")
        if not self.model_version:
            raise StoreError("publication: found an empty model_version; expected the model bundle's version")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishResult:
    """How a publication ended. ``users`` and ``rows`` are what was loaded: 0 where it was superseded before loading."""

    version: int
    status: Literal[Status.LIVE, Status.SUPERSEDED]
    users: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationRecord:
    """One version as the store knows it.

    ``users`` and ``rows`` are what its readers see. ``published_at`` is when it first became live, None if it never did.
    ``base`` is None for a full publication, ``root`` then itself. ``layers`` counts the publications whose lists it shows.
    """

    version: int
    as_of: datetime
    generation: int
    model_version: str
    expires_at: datetime
    status: Status
    users: int
    rows: int
    published_at: datetime | None
    base: int | None
    root: int
    root_as_of: datetime
    root_generation: int
    layers: int

    @property
    def order(self) -> tuple[datetime, int, datetime, int]:
        """What versions are older and newer by: a full publication is newer than every delta over an older one."""
        return (self.root_as_of, self.root_generation, self.as_of, self.generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One change of the live version, by a publication or a rollback."""

    at: datetime
    action: Action
    from_version: int | None
    to_version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One video at its place in a list."""

    rank: int
    video_id: int
    score: float
    sources: str
    reason: str


@dataclass(frozen=True, slots=True)
class UserList:
    """A user's list, and the publication that it is of."""

    rows: tuple[Recommendation, ...]
    publication: PublicationRecord


@dataclass(frozen=True, slots=True)
class Erased:
    """What the erasure of a user removed of one version."""

    version: int
    rows: int


class VanishedVersionError(StoreError):
    """A snapshot's version was removed while the snapshot was open; one that is opened now reads what is live now.

    Only of stores that hold nothing for readers: in SQLite and PostgreSQL a snapshot is a transaction, and keeps its version.
    """


class UnfinishedErasureError(StoreError):
    """No reader sees the user any more, but what the store keeps below still has the user's bytes; ``erased`` is what went."""

    def __init__(self, message: str, erased: Sequence[Erased]) -> None:
        super().__init__(message)
        self.erased = erased


class Snapshot(Protocol):
    """One version, read consistently however often the live one changes meanwhile."""

    @property
    def live(self) -> PublicationRecord | None:
        """The version that this snapshot reads; None before the first publication."""

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` recommendations by rank; empty for a user who has none."""

    def read_lists(self, user_ids: Sequence[int], k: int) -> dict[int, UserList]:
        """Return the first ``k`` recommendations of each of these users who has any, in as few round trips as there can be."""

    def published_by(self, user_id: int) -> PublicationRecord | None:
        """Return the publication that a user's list is of: ``live``, or an earlier one; None before the first publication."""

    def publications(self) -> list[PublicationRecord]:
        """Return the publications whose lists it shows: the full one, and the deltas over it; none before the first."""

    def users_of(self, delta: int) -> list[int]:
        """Return the users whose list is of this delta, ascending."""

    def showing(self, video_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return user and video of every row that shows one of these videos. Reads everything."""

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` videos by rank; empty for a segment that has no list."""

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of ``schemas.RECOMMENDATIONS`` of a user's row of a video; None where it is not in the list."""


class ServingStore(Protocol):
    """Where recommendations are published to, and read from."""

    def next_generation(self) -> int:
        """Return a number higher than every one returned before, to whichever process."""

    def publish(
        self, publication: Publication, batches: Iterable[pa.RecordBatch], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """Load a version beside the live one, verify it, and make it live in one step if it is the newest.

        A full publication is the newest if it is newer than the one that what is live rests on; lists that deltas brought since
        then, as of a later time, stay. A delta is if its base is live and nothing there is as of a later time.

        Args:
            publication: as of when, from which model, valid until when.
            batches: rows of ``schemas.RECOMMENDATIONS``; fastest when sorted by user and rank. Not consumed when
                something newer is live already.
            fallback: rows of ``schemas.FALLBACK_RECOMMENDATIONS``; segment ``all`` must be there.
            keep_versions: how many retired versions stay for a rollback: so many of the live root, with the root itself,
                and the last state of so many roots before it.

        Returns:
            ``live``, or ``superseded`` where something newer is live: then readers see no change.

        Raises:
            StoreError: the rows break a rule, or the store cannot be written. What was live before still is.
        """

    def rollback(self, to_version: int | None = None, *, reason: str = "") -> PublicationRecord:
        """Make a kept version live again and record it.

        Args:
            to_version: the version; None for the one that was live before the present one.
            reason: for the record.

        Raises:
            StoreError: there is no such version, or its rows are not kept.
        """

    def erase(self, user_id: int) -> list[Erased]:
        """Remove a user's rows from every version, kept or loading, in one step; readers then see a user without a list.

        Returns:
            What was removed, oldest version first; versions that held nothing of the user are left out.

        Raises:
            StoreError: the store cannot be written; then nothing was removed.
        """

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open one consistent view of what is live now."""

    def live(self) -> PublicationRecord | None:
        """Return the live version; None before the first publication."""

    def publications(self) -> list[PublicationRecord]:
        """Return every version that was ever begun, newest first."""

    def switches(self) -> list[Switch]:
        """Return every change of the live version, newest first."""

    def read(self, user_id: int, k: int) -> list[Recommendation]:
        """Return a user's first ``k`` live recommendations by rank; empty for a user who has none."""

    def read_fallback(self, segment: str, k: int) -> list[Recommendation]:
        """Return a segment's first ``k`` live videos by rank; empty for a segment that has no list."""

    def read_row(self, user_id: int, video_id: int) -> dict[str, Any] | None:
        """Return every column of a video's row in a user's live list; None where it is not in it."""

    def close(self) -> None:
        """Give up connections; the store opens them again when it is used again."""


@runtime_checkable
class ParallelStore(ServingStore, Protocol):
    """A store that many processes or machines can load at the same time."""

    def publish_parts(
        self, publication: Publication, spread: Callable[[int], int], fallback: pa.Table, keep_versions: int
    ) -> PublishResult:
        """As :meth:`ServingStore.publish`, but the rows are loaded elsewhere.

        Args:
            publication: as of when, from which model, valid until when.
            spread: is given the version, has :meth:`load_part` called for every part of its rows, and returns the sum of what
                that returned. Not called when something newer is live already.
            fallback: rows of ``schemas.FALLBACK_RECOMMENDATIONS``.
            keep_versions: how many retired versions stay.

        Raises:
            StoreError: the rows break a rule, or the store cannot be written. What was live before still is.
        """

    def load_part(self, version: int, part: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Load some rows of a version that is being published, all or none of them; returns how many were handed in.

        It may be tried again, whether it failed or not. A user's rows may lie in several parts; that is slower.

        Args:
            version: what ``spread`` was given.
            part: the name of this part, by which it is known when it comes again; then nothing is loaded, and ``batches`` are
                not consumed.
            batches: rows of ``schemas.RECOMMENDATIONS``.

        Raises:
            StoreError: a row breaks a rule, the version is not being published any more, or the store cannot be written.
        """
