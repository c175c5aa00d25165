"""The reader for apps written in Python: one user's homepage, from one version, with its freshness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.segments import ALL, segment_name
from serving._protocol import Recommendation, ServingStore, StoreError

__all__ = ["Homepage", "RecommendationReader", "segments_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Homepage:
    """What a homepage shows a user, and how fresh it is: ``version`` is live, the rest is of the list's own publication.

    ``fallback`` says that the user has no list of their own; ``segment`` is the list shown instead. ``stale`` says that the
    list is past ``expires_at``: show it, but something has not been published for too long.
    """

    user_id: int
    rows: tuple[Recommendation, ...]
    fallback: bool
    segment: str | None
    version: int
    model_version: str
    as_of: datetime
    expires_at: datetime
    stale: bool


class RecommendationReader:
    """Reads homepages; every call sees what is live at that moment, and one version only."""

    def __init__(self, store: ServingStore) -> None:
        self._store = store

    def get(self, user_id: int, k: int = 100, segments: Sequence[str] = (ALL,), *, now: datetime | None = None) -> Homepage:
        """Return a user's first ``k`` videos, or the first of the fallback lists ``segments`` that there is.

        Args:
            user_id: the user.
            k: how many videos at most.
            segments: fallback lists by preference, as :func:`segments_of` gives them.
            now: the time to judge freshness at; the present by default.

        Raises:
            StoreError: nothing has been published yet, or the store cannot be read.
        """
        with self._store.snapshot() as snapshot:
            live = snapshot.live
            if live is None:
                raise StoreError(
                    "recommendations: nothing has been published yet; expected a live version; run the publish stage"
                )
            rows = snapshot.read(user_id, k)
            fallback, segment, by = not rows, None, live
            if rows:
                by = snapshot.published_by(user_id) or live
            if fallback:
                for name in segments:
                    if rows := snapshot.read_fallback(name, k):
                        segment = name
                        break
        return Homepage(
            user_id=user_id,
            rows=tuple(rows),
            fallback=fallback,
            segment=segment,
            version=live.version,
            model_version=by.model_version,
            as_of=by.as_of,
            expires_at=by.expires_at,
            stale=(now or datetime.now(UTC)) >= by.expires_at,
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
