"""The two sides of a recommendation as arrays: the catalogue in one dense order, and a batch of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ReelflowError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Everything that is known of the videos, in one dense order.

    Attributes:
        video_ids: int64 ``(n_videos,)``.
        popularity: float64 ``(n_videos,)``, at least 0.
        retrieval_vectors: float32 ``(n_videos, d)``, L2-normalised.
        wals_vectors: float32 ``(n_videos, f)``; a zero row for a video that WALS does not know.
        ranker_vectors: float32 ``(n_videos, r)``; the logit is the inner product with the user's.
        eligible: bool ``(n_videos,)``, true for what may be shown at all.
        countries: names of the rows of ``blocked``.
        blocked: bool ``(n_countries, n_videos)``.
    """

    video_ids: Ints
    popularity: NDArray[np.float64]
    retrieval_vectors: Floats
    wals_vectors: Floats
    ranker_vectors: Floats
    eligible: NDArray[np.bool_]
    countries: tuple[str, ...]
    blocked: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n_videos = len(self.video_ids)
        for name in ("popularity", "retrieval_vectors", "wals_vectors", "ranker_vectors", "eligible"):
            array = getattr(self, name)
            if len(array) != n_videos or not bool(np.isfinite(array).all()):
                raise ReelflowError(
                    f"catalogue: {name} has {len(array)} rows or is not finite, expected {n_videos} finite rows"
                )
        if self.blocked.shape != (len(self.countries), n_videos):
            expected = (len(self.countries), n_videos)
            raise ReelflowError(f"catalogue: found blocked of shape {self.blocked.shape}, expected {expected}")

    @cached_property
    def popular_order(self) -> Ints:
        """Eligible positions, most popular first, ties by position: int64 ``(n_eligible,)``."""
        positions = np.flatnonzero(self.eligible)
        return positions[np.argsort(-self.popularity[positions], kind="stable")]

    @cached_property
    def wals_positions(self) -> Ints:
        """Eligible positions that WALS knows, ascending: int64 ``(n_known,)``."""
        return np.flatnonzero(self.eligible & self.wals_vectors.any(axis=1))

    @cached_property
    def wals_known(self) -> Floats:
        """Vectors of ``wals_positions``: float32 ``(n_known, f)``."""
        return self.wals_vectors[self.wals_positions]

    @cached_property
    def log_popularity(self) -> Floats:
        """``log(1 + popularity)``: float32 ``(n_videos,)``."""
        return np.log1p(self.popularity).astype(np.float32)

    def country_index(self, countries: Sequence[str | None]) -> Ints:
        """Row of ``blocked`` for each country, -1 for one that blocks nothing: int64 ``(n,)``."""
        rows = {name: row for row, name in enumerate(self.countries)}
        return np.array([rows.get(name, -1) if name is not None else -1 for name in countries], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class UserBatch:
    """The users of one call.

    Attributes:
        user_ids: int64 ``(n_users,)``.
        retrieval: float32 ``(n_users, d)``, L2-normalised; a zero row gets no proposals from the index.
        wals: float32 ``(n_users, f)``; a zero row for a user whom WALS does not know.
        ranker: float32 ``(n_users, r)``.
        country: int64 ``(n_users,)`` row of ``Catalogue.blocked``, or -1.
        watched_indptr: int64 ``(n_users + 1,)``.
        watched: int64 ``(n_watched,)`` catalogue positions; user ``i`` has those from ``watched_indptr[i]`` to the next bound.
    """

    user_ids: Ints
    retrieval: Floats
    wals: Floats
    ranker: Floats
    country: Ints
    watched_indptr: Ints
    watched: Ints

    def __len__(self) -> int:
        return len(self.user_ids)

    def rows(self, start: int, stop: int) -> UserBatch:
        """Take the users from ``start`` up to ``stop``."""
        indptr = self.watched_indptr[start : stop + 1]
        return UserBatch(
            user_ids=self.user_ids[start:stop],
            retrieval=self.retrieval[start:stop],
            wals=self.wals[start:stop],
            ranker=self.ranker[start:stop],
            country=self.country[start:stop],
            watched_indptr=indptr - indptr[0],
            watched=self.watched[indptr[0] : indptr[-1]],
        )


def check(catalogue: Catalogue, users: UserBatch) -> None:
    """Refuse users that do not fit the catalogue.

    Raises:
        ReelflowError: vectors of other lengths, values that are not finite, or positions outside the catalogue.
    """
    n_videos = len(catalogue.video_ids)
    if not n_videos:
        raise ReelflowError("recommend: found a catalogue without videos, expected at least one; run the ingest stage again")
    for name in ("retrieval", "wals", "ranker"):
        of_users, of_videos = getattr(users, name), getattr(catalogue, f"{name}_vectors")
        expected = (len(users), of_videos.shape[1])
        if of_users.shape != expected or not bool(np.isfinite(of_users).all()):
            raise ReelflowError(
                f"recommend: found {name} vectors of users of shape {of_users.shape} or not finite, expected {expected}; "
                "users and videos must come from the same model"
            )
    if len(users.watched_indptr) != len(users) + 1 or int(users.watched_indptr[-1]) != len(users.watched):
        raise ReelflowError(
            f"recommend: found {len(users.watched_indptr)} bounds and {len(users.watched)} watched for {len(users)} users; "
            "expected one bound more than users, and the last one to be the number of videos"
        )
    if len(users.watched) and not 0 <= int(users.watched.min()) <= int(users.watched.max()) < n_videos:
        raise ReelflowError(
            f"recommend: found watched positions outside 0 to {n_videos - 1}; drop videos that left the catalogue"
        )
    if len(users.country) != len(users) or int(users.country.max(initial=-1)) >= len(catalogue.countries):
        raise ReelflowError(
            f"recommend: found {len(users.country)} country rows up to {users.country.max(initial=-1)} for {len(users)} users; "
            f"expected one a user, below {len(catalogue.countries)}: use Catalogue.country_index"
        )
