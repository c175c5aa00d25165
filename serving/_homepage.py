"""The reader for apps written in Python: homepages of users, from one version, with their freshness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from schemas.segments import ALL, segment_name
from serving._open import open_store
from serving._protocol import PublicationRecord, Recommendation, ServingStore, Snapshot, StoreError, UserList
from serving._reads import read_live

__all__ = ["Homepage", "RecommendationReader", "Why", "segments_of"]

Why = Literal["own", "missing", "expired"]
"""Why a list is shown: it is the user's own, they have none, or theirs has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Homepage:
    """What a homepage shows a user, and how fresh it is: ``version`` is live, the rest is of the shown list's own publication.

    ``fallback`` says that the list is not the user's own, ``why`` why not, and ``segment`` which list it is instead: None where
    none of those asked for exists. ``stale`` says that the list is past ``expires_at``: show it, but something has not been
    published for too long.
    """

    user_id: int
    rows: tuple[Recommendation, ...]
    fallback: bool
    why: Why
    segment: str | None
    version: int
    model_version: str
    as_of: datetime
    expires_at: datetime
    stale: bool


class RecommendationReader:
    """Reads homepages; every call sees what is live at that moment, and one version only. Threads may share one.

    Which list is shown:

    1. The user's own, if it has not expired.
    2. Else the first of the fallback lists asked for that exists, if that has not expired.
    3. Else the user's own all the same, as ``stale``: what was made for them is still the best there is.
    4. Else, for a user without a list, the fallback list, as ``stale``.
    """

    def __init__(self, store: ServingStore | None = None) -> None:
        """Read from ``store``, or from the configured one."""
        self._store = open_store() if store is None else store

    def get(self, user_id: int, k: int = 100, segments: Sequence[str] | str = ALL, *, now: datetime | None = None) -> Homepage:
        """Return the first ``k`` videos of a user's list, or of a fallback list.

        Args:
            user_id: the user.
            k: how many videos at most.
            segments: fallback lists by preference, as :func:`segments_of` gives them, or one.
            now: the time to judge freshness at; the present by default.

        Raises:
            StoreError: nothing has been published yet, or the store cannot be read.
        """
        return self.get_many([user_id], k, segments, now=now)[user_id]

    def get_many(
        self, user_ids: Sequence[int], k: int = 100, segments: Sequence[str] | str = ALL, *, now: datetime | None = None
    ) -> dict[int, Homepage]:
        """Return the homepage of each of these users, all from one version; see :meth:`get`."""
        moment = now or datetime.now(UTC)
        names = (segments,) if isinstance(segments, str) else tuple(segments)

        def pages(snapshot: Snapshot) -> dict[int, Homepage]:
            live = snapshot.live
            if live is None:
                raise StoreError(
                    "recommendations: nothing has been published yet; expected a live version; run the publish stage"
                )
            own = snapshot.read_lists(user_ids, k)
            others = _Fallback(snapshot, live, names, k)
            return {user: _page(user, own.get(user), others, live, moment) for user in user_ids}

        return read_live(self._store, pages)


class _Fallback:
    """The fallback list of one call: read once, and only if somebody needs it."""

    def __init__(self, snapshot: Snapshot, live: PublicationRecord, names: Sequence[str], k: int) -> None:
        self._snapshot, self._live, self._names, self._k = snapshot, live, names, k
        self._found: tuple[str | None, UserList] | None = None

    def list(self) -> tuple[str | None, UserList]:
        """The first list that exists, and its segment; no rows and None where there is none. All are of the live version."""
        if self._found is None:
            read = ((name, tuple(self._snapshot.read_fallback(name, self._k))) for name in self._names)
            segment, rows = next(((name, rows) for name, rows in read if rows), (None, ()))
            self._found = segment, UserList(rows, self._live)
        return self._found


def _page(user_id: int, own: UserList | None, others: _Fallback, live: PublicationRecord, now: datetime) -> Homepage:
    """Choose between a user's own list and the fallback list."""
    shown: UserList | None = own
    segment: str | None = None
    why: Why = "own"
    if own is None or now >= own.publication.expires_at:
        segment, other = others.list()
        if own is None:
            shown, why = other, "missing"
        elif other.rows and now < other.publication.expires_at:
            shown, why = other, "expired"
        else:
            segment = None
    assert shown is not None
    by = shown.publication
    return Homepage(
        user_id=user_id,
        rows=shown.rows,
        fallback=why != "own",
        why=why,
        segment=segment,
        version=live.version,
        model_version=by.model_version,
        as_of=by.as_of,
        expires_at=by.expires_at,
        stale=now >= by.expires_at,
    )


def segments_of(country: str | None = None, language: str | None = None, device: str | None = None) -> tuple[str, ...]:
    """Which fallback lists fit a visitor, the most specific first and everybody's last; the first that exists is to be shown.

    From country, language and device down to the country alone, then from language and device to the language: those lists hold
    nothing that any country blocks. What follows an unknown value in its chain is left out.
    """
    values = {"country": country, "language": language, "device": device}
    chain = [(kind, value or None) for kind, value in values.items()]
    names = [segment_name(kinds[:depth]) for kinds in (chain, chain[1:]) for depth in range(len(kinds), 0, -1)]
    return (*(name for name in names if name is not None), ALL)
