"""The two sides of a recommendation as arrays: the catalogue in one dense order, and a batch of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models._topk import pack, smallest, unpack
from models.segments import EVERYBODY
from schemas.errors import ReelflowError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

KEPT_OF_SEGMENT = 1024
"""How deep the kept list of a local segment goes. Proposals begin 64 below the generator's limit and go twice as deep for who
lost too many of them: with 100 local candidates three times, before a row of the catalogue is looked through."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFacts:
    """What is known of each video beside the models, in the catalogue's order.

    Attributes:
        creator: int64 ``(n_videos,)`` dense code, -1 where not known.
        language: int64 ``(n_videos,)`` place in ``Catalogue.languages``, -1 where not known.
        age_days: float32 ``(n_videos,)`` since upload, as of when the lists will be shown.
        impressions: float32 ``(n_videos,)`` times shown within the look-back.
        trend: float32 ``(n_videos,)`` by how many standard deviations the views of late exceed the week's rate.
        misinformation: float32 ``(n_videos,)`` 0 to 1; 0 where not known.
        clickbait: float32 ``(n_videos,)`` 0 to 1; 0 where not known.
        sponsored: float32 ``(n_videos,)`` boost; 0 for none.
        same_as: int64 ``(n_videos,)`` position of the video that stands for all near-duplicates of this one; its own where it
            has none.
        content: float32 ``(n_videos, c)`` title and tags, L2-normalised; a zero row where there are none.
    """

    creator: Ints
    language: Ints
    age_days: Floats
    impressions: Floats
    trend: Floats
    misinformation: Floats
    clickbait: Floats
    sponsored: Floats
    same_as: Ints
    content: Floats

    @classmethod
    def unknown(cls, n_videos: int) -> VideoFacts:
        """Nothing is known: no creators, no languages, no content, all uploaded just now, no near-duplicates."""
        nobody, nothing = np.full(n_videos, -1, dtype=np.int64), np.zeros(n_videos, dtype=np.float32)
        same_as, content = np.arange(n_videos), np.zeros((n_videos, 1), dtype=np.float32)
        return cls(nobody, nobody, nothing, nothing, nothing, nothing, nothing, nothing, same_as, content)


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
        languages: what ``facts.language`` and ``UserBatch.language`` count.
        local_segments: names of the rows of ``local``; the first is everybody.
        local: float32 ``(n_segments, n_videos)``, popularity with the people of a segment, on the scale of everybody's. The one
            array that grows with segments times videos: workers map it, and nothing else may have its size.
        facts: what else is known of each video.
    """

    video_ids: Ints
    popularity: NDArray[np.float64]
    retrieval_vectors: Floats
    wals_vectors: Floats
    ranker_vectors: Floats
    eligible: NDArray[np.bool_]
    countries: tuple[str, ...]
    blocked: NDArray[np.bool_]
    languages: tuple[str, ...]
    local_segments: tuple[str, ...]
    local: Floats
    facts: VideoFacts

    def __post_init__(self) -> None:
        n_videos = len(self.video_ids)
        arrays = {name: getattr(self, name) for name in _PER_VIDEO}
        arrays |= {field.name: getattr(self.facts, field.name) for field in fields(self.facts)}
        for name, array in arrays.items():
            if len(array) != n_videos or not bool(np.isfinite(array).all()):
                raise ReelflowError(
                    f"catalogue: {name} has {len(array)} rows or is not finite, expected {n_videos} finite rows"
                )
        for name, names in (("blocked", self.countries), ("local", self.local_segments)):
            shape, expected = getattr(self, name).shape, (len(names), n_videos)
            if shape != expected:
                raise ReelflowError(f"catalogue: found {name} of shape {shape}, expected {expected}")
        if not self.local_segments:
            raise ReelflowError("catalogue: found no local segment, expected at least everybody's")

    @cached_property
    def popular_order(self) -> Ints:
        """Eligible positions, most popular first, ties by position: int64 ``(n_eligible,)``."""
        positions = np.flatnonzero(self.eligible)
        return positions[np.argsort(-self.popularity[positions], kind="stable")]

    @cached_property
    def trending_order(self) -> Ints:
        """Eligible positions of rising videos, fastest first, ties by position: int64 ``(n_rising,)``."""
        positions = np.flatnonzero(self.eligible & (self.facts.trend > 0))
        return positions[np.argsort(-self.facts.trend[positions], kind="stable")]

    def local_best(self, segments: Ints, k: int) -> Ints:
        """Eligible positions most popular in some local segments, best first, ties by position.

        The first ``KEPT_OF_SEGMENT`` of a segment are found when it is first asked for and kept, 4 bytes each, so that memory
        does not grow with segments times videos. For more of them its whole row is looked through every time.

        Args:
            segments: int64 ``(n,)`` rows of ``local``.
            k: how many, at most as many as are eligible.

        Returns:
            int64 ``(n, k)``.
        """
        distinct, of_row = np.unique(segments, return_inverse=True)
        lists = np.empty((len(distinct), k), dtype=np.int32)
        for row, segment in enumerate(distinct.tolist()):
            if k > KEPT_OF_SEGMENT:
                lists[row] = self._best_of_segment(segment, k)
                continue
            if segment not in self._kept_of_segment:
                self._kept_of_segment[segment] = self._best_of_segment(segment, KEPT_OF_SEGMENT)
            lists[row] = self._kept_of_segment[segment][:k]
        return lists[of_row.reshape(-1)].astype(np.int64)

    def _best_of_segment(self, segment: int, k: int) -> NDArray[np.int32]:
        """The ``k`` best eligible positions of one segment, or all of them: int32."""
        positions = np.flatnonzero(self.eligible)
        keys = pack(self.local[segment, positions], positions)
        _, best = unpack(smallest(keys[None], min(k, len(keys))))
        return np.asarray(best[0], dtype=np.int32)

    @cached_property
    def wals_positions(self) -> Ints:
        """Eligible positions that WALS knows, ascending: int64 ``(n_known,)``."""
        return np.flatnonzero(self.eligible & self.wals_vectors.any(axis=1))

    @cached_property
    def described_positions(self) -> Ints:
        """Eligible positions of videos with a title or tags, ascending: int64 ``(n_described,)``."""
        return np.flatnonzero(self.eligible & self.facts.content.any(axis=1))

    def fresh(self, days: float) -> tuple[Ints, Floats]:
        """Eligible positions of videos uploaded at most so long ago, ascending, and their ranker vectors."""
        if days not in self._fresh:
            positions = np.flatnonzero(self.eligible & (self.facts.age_days <= days))
            self._fresh[days] = positions, self.ranker_vectors[positions]
        return self._fresh[days]

    def without(self, barred: NDArray[np.bool_]) -> Catalogue:
        """The same with fewer eligible videos: without those of a mask ``(n_videos,)``.

        The answer is kept, because the orders that it computes when it is first asked are too.
        """
        if not bool((barred & self.eligible).any()):
            return self
        key = barred.tobytes()
        if key not in self._without:
            self._without[key] = replace(self, eligible=self.eligible & ~barred)
        return self._without[key]

    @cached_property
    def _fresh(self) -> dict[float, tuple[Ints, Floats]]:
        return {}

    @cached_property
    def _kept_of_segment(self) -> dict[int, NDArray[np.int32]]:
        return {}

    @cached_property
    def _without(self) -> dict[bytes, Catalogue]:
        return {}

    @cached_property
    def log_popularity(self) -> Floats:
        """``log(1 + popularity)``: float32 ``(n_videos,)``."""
        return np.log1p(self.popularity).astype(np.float32)

    def country_index(self, countries: Sequence[str | None]) -> Ints:
        """Row of ``blocked`` for each country, -1 for one that blocks nothing: int64 ``(n,)``."""
        return _places(self.countries, countries)

    def language_index(self, languages: Sequence[str | None]) -> Ints:
        """Place in ``languages`` of each, -1 for one that no video has: int64 ``(n,)``."""
        return _places(self.languages, languages)


_PER_VIDEO = ("popularity", "retrieval_vectors", "wals_vectors", "ranker_vectors", "eligible")


@dataclass(frozen=True, slots=True, eq=False)
class UserBatch:
    """The users of one call.

    Attributes:
        user_ids: int64 ``(n_users,)``.
        retrieval: float32 ``(n_users, d)``, L2-normalised; a zero row gets no proposals from the index.
        wals: float32 ``(n_users, f)``; a zero row for a user whom WALS does not know.
        ranker: float32 ``(n_users, r)``.
        content: float32 ``(n_users, c)`` mean content of what the user liked; a zero row where nothing is known.
        country: int64 ``(n_users,)`` row of ``Catalogue.blocked``, or -1.
        language: int64 ``(n_users,)`` place in ``Catalogue.languages``, or -1.
        local: int64 ``(n_users,)`` row of ``Catalogue.local``.
        segment: int64 ``(n_users,)`` place in ``RecommendConfig.segments``: whose weights count.
        watched_indptr: int64 ``(n_users + 1,)``.
        watched: int64 ``(n_watched,)`` catalogue positions; user ``i`` has those from ``watched_indptr[i]`` to the next bound.
    """

    user_ids: Ints
    retrieval: Floats
    wals: Floats
    ranker: Floats
    content: Floats
    country: Ints
    language: Ints
    local: Ints
    segment: Ints
    watched_indptr: Ints
    watched: Ints

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, rows: Ints) -> UserBatch:
        """Take the users of some rows, int64 ``(n,)``, in that order."""
        if np.array_equal(rows, np.arange(len(self))):
            return self
        starts, counts = self.watched_indptr[rows], np.diff(self.watched_indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts) + np.repeat(starts, counts)
        plain = {name: getattr(self, name)[rows] for name in _PER_USER}
        return UserBatch(**plain, watched_indptr=indptr, watched=self.watched[places])

    def rows(self, start: int, stop: int) -> UserBatch:
        """Take the users from ``start`` up to ``stop``."""
        indptr = self.watched_indptr[start : stop + 1]
        plain = {name: getattr(self, name)[start:stop] for name in _PER_USER}
        return UserBatch(**plain, watched_indptr=indptr - indptr[0], watched=self.watched[indptr[0] : indptr[-1]])


_PER_USER = ("user_ids", "retrieval", "wals", "ranker", "content", "country", "language", "local", "segment")


def check(catalogue: Catalogue, users: UserBatch) -> None:
    """Refuse users that do not fit the catalogue.

    Raises:
        ReelflowError: vectors of other lengths, values that are not finite, or positions outside the catalogue.
    """
    n_videos = len(catalogue.video_ids)
    if not n_videos:
        raise ReelflowError("recommend: found a catalogue without videos, expected at least one; run the ingest stage again")
    of_videos = {name: getattr(catalogue, f"{name}_vectors") for name in ("retrieval", "wals", "ranker")}
    for name, vectors in {**of_videos, "content": catalogue.facts.content}.items():
        of_users, expected = getattr(users, name), (len(users), vectors.shape[1])
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
    limits = {
        "country": (-1, len(catalogue.countries), "Catalogue.country_index"),
        "language": (-1, len(catalogue.languages), "Catalogue.language_index"),
        "local": (EVERYBODY, len(catalogue.local_segments), "the segments of the catalogue"),
    }
    for name, (least, size, made_by) in limits.items():
        rows = getattr(users, name)
        if len(rows) != len(users) or not least <= int(rows.min(initial=least)) <= int(rows.max(initial=least)) < max(size, 0):
            raise ReelflowError(
                f"recommend: found {len(rows)} {name} rows up to {rows.max(initial=least)} for {len(users)} users; "
                f"expected one a user, from {least} to below {size}: use {made_by}"
            )


def _places(names: Sequence[str], values: Sequence[str | None]) -> Ints:
    rows = {name: row for row, name in enumerate(names)}
    return np.array([rows.get(value, -1) if value is not None else -1 for value in values], dtype=np.int64)
