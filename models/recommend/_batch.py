"""Recommend: candidates, ensemble score and top k of a batch of users. Pure arrays in, arrays out.

Every generator (retrieval index, WALS, popularity) proposes its best videos that the user may be shown: eligible, not blocked
in the user's country, not watched. The union is scored by every component, each standardised over the user's candidates so that
weights compare like with like, and the weighted sum ranks them. Equal scores go to the lower catalogue position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator

from conf import Section
from models.recommend._candidates import Filter, drop_needless_fill, propose, union
from models.recommend._catalogue import Catalogue, UserBatch, check
from models._topk import pack, smallest, top_inner_products, unpack
from models.ann import VectorIndex
from schemas import RECOMMENDATIONS
from schemas import columns as col

__all__ = [
    "COMPONENTS",
    "FILL",
    "GENERATORS",
    "REASONS",
    "Catalogue",
    "Component",
    "RecommendConfig",
    "Recommendations",
    "UserBatch",
    "candidate_scores",
    "reason_text",
    "recommend_batch",
    "score_matrix",
    "sources_text",
]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Component = Literal["ranker", "retrieval", "wals", "popular"]
COMPONENTS: tuple[Component, ...] = get_args(Component)
"""What the ensemble adds up, in the order of every component axis."""
GENERATORS = ("retrieval", "wals", "popular")
"""What proposes candidates, in the order of every generator axis."""
FILL = "fill"
"""Source of a video that no generator proposed within its limit."""
REASONS = ("picked for you", "close to your taste", "watched by people like you", "popular now")
"""What a person reads when a component contributed most, in the order of ``COMPONENTS``."""

_USERS_PER_BLOCK = 64
_USERS_PER_GATHER = 4


class RecommendConfig(Section):
    """How lists are made: section ``recommend``."""

    k: int = Field(ge=1)
    """Videos in a user's list."""

    retrieval_candidates: int = Field(ge=0)
    """Nearest videos by the two-tower retrieval model that become candidates."""

    wals_candidates: int = Field(ge=0)
    """Best videos by WALS that become candidates."""

    popular_candidates: int = Field(ge=0)
    """Most popular videos that become candidates."""

    users_per_batch: int = Field(ge=1)
    """Users that one call handles; memory is about 60 bytes a user and candidate."""

    user_partitions: int = Field(ge=1)
    """Parts of the users that Spark works on side by side; each becomes one file."""

    weights: dict[Component, float]
    """S3: weight of each component's standardised score; a component that is not named weighs 0."""

    new_user_weights: dict[Component, float]
    """The same for users whom WALS does not know: nothing of theirs was relevant in the look-back."""

    learn_weights: bool
    """Whether the validation split may set other weights than these, for known and for new users; see ``models.blend``."""

    @field_validator("weights", "new_user_weights")
    @classmethod
    def _some_weight(cls, weights: dict[Component, float]) -> dict[Component, float]:
        if not all(np.isfinite(weight) and weight >= 0 for weight in weights.values()) or not any(weights.values()):
            raise ValueError("expected finite weights of at least 0, and one above 0")
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Recommendations:
    """The lists of a batch, best first.

    Attributes:
        positions: int32 ``(n_users, k)`` catalogue positions, padded with -1 where a user has fewer videos left.
        scores: float32 ``(n_users, k)``, comparable within one row only; ``-inf`` in the padding.
        generator_ranks: int32 ``(n_users, k, 3)``: rank, from 1, among each generator's proposals to this user, in the order of
            ``GENERATORS``; 0 where it did not propose the video.
        best_component: int8 ``(n_users, k)``: index into ``COMPONENTS`` of what contributed most; -1 in the padding.
    """

    positions: NDArray[np.int32]
    scores: Floats
    generator_ranks: NDArray[np.int32]
    best_component: NDArray[np.int8]

    def table(self, catalogue: Catalogue, users: UserBatch) -> pa.Table:
        """Give the rows of the ``recommendations`` table, in order of the users and their ranks."""
        row, place = np.nonzero(self.positions >= 0)
        columns = {
            col.USER_ID: pa.array(users.user_ids[row]),
            col.RANK: pa.array((place + 1).astype(np.int32)),
            col.VIDEO_ID: pa.array(catalogue.video_ids[self.positions[row, place]]),
            col.SCORE: pa.array(self.scores[row, place].astype(np.float64)),
            col.SOURCES: sources_text(self.generator_ranks[row, place]),
            col.REASON: reason_text(self.best_component[row, place]),
        }
        return pa.table(columns).select(RECOMMENDATIONS.columns).cast(RECOMMENDATIONS.arrow)


def recommend_batch(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex) -> Recommendations:
    """Give every user exactly ``k`` videos, or all that may be shown to that user if they are fewer.

    Args:
        config: candidates and weights.
        catalogue: the videos.
        users: the users, and what each has watched.
        index: over the retrieval vectors of the eligible videos; its positions are the catalogue's.

    Raises:
        ReelflowError: vectors of users and videos that do not fit together, or positions outside the catalogue.
    """
    check(catalogue, users)
    blocks = [
        _recommend_block(config, catalogue, users.rows(start, start + _USERS_PER_BLOCK), index)
        for start in range(0, max(len(users), 1), _USERS_PER_BLOCK)
    ]
    return Recommendations(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def score_matrix(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, positions: Ints) -> Floats:
    """Score the same videos for every user with the ensemble, each component standardised over them per user.

    Args:
        config: the weights.
        catalogue: the videos.
        users: the users; what they watched does not matter here.
        positions: int64 ``(n,)`` catalogue positions.

    Returns:
        float32 ``(n_users, n)``.
    """
    check(catalogue, users)
    components = np.stack(
        [
            users.ranker @ catalogue.ranker_vectors[positions].T,
            users.retrieval @ catalogue.retrieval_vectors[positions].T,
            users.wals @ catalogue.wals_vectors[positions].T,
            np.broadcast_to(catalogue.log_popularity[positions], (len(users), len(positions))),
        ]
    )
    scores: Floats = (
        _contributions(config, users, components, np.ones(components.shape[1:], dtype=bool)).sum(axis=0).astype(np.float32)
    )
    return scores


def candidate_scores(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex
) -> tuple[Ints, NDArray[np.float32]]:
    """Give every user's candidates, and what each component says of them before it is weighed.

    Returns:
        positions int64 ``(n_users, c)``, ascending and padded with -1, and standardised scores float32 ``(4, n_users, c)``.
    """
    check(catalogue, users)
    found = []
    for start in range(0, max(len(users), 1), _USERS_PER_BLOCK):
        some = users.rows(start, start + _USERS_PER_BLOCK)
        positions, _ = _candidates(config, catalogue, some, index)
        found.append((positions, _standardised(_components(catalogue, some, positions), positions >= 0)))
    width = max(positions.shape[1] for positions, _ in found)
    padded = [((0, 0), (0, width - positions.shape[1])) for positions, _ in found]
    return (
        np.concatenate([np.pad(positions, pad, constant_values=-1) for (positions, _), pad in zip(found, padded, strict=True)]),
        np.concatenate(
            [np.pad(parts, ((0, 0), *pad)).astype(np.float32) for (_, parts), pad in zip(found, padded, strict=True)], axis=1
        ),
    )


def sources_text(generator_ranks: NDArray[np.int32]) -> pa.StringArray:
    """Say which generators proposed a video and at which rank: ``retrieval:3|popular:2``, or ``fill``.

    Args:
        generator_ranks: int32 ``(..., 3)``.

    Returns:
        One string a video, in row-major order.
    """
    ranks = generator_ranks.reshape(-1, len(GENERATORS))
    parts = [
        pc.if_else(
            pa.array(ranks[:, place] > 0),
            pc.binary_join_element_wise(name, pc.cast(pa.array(ranks[:, place]), pa.string()), ":"),
            "",
        )
        for place, name in enumerate(GENERATORS)
    ]
    # Arrow's own null_handling="skip" loses rows in which everything is null (25.0), so empty parts are trimmed away instead.
    joined = pc.replace_substring_regex(pc.binary_join_element_wise(*parts, "|"), r"^\|+|\|+$", "")
    joined = pc.replace_substring(joined, "||", "|")
    return pc.if_else(pc.equal(joined, ""), FILL, joined)


def reason_text(best_component: NDArray[np.int8]) -> pa.StringArray:
    """Say for a person why a video is in the list, from what contributed most to its score; null in the padding.

    Args:
        best_component: int8 of any shape, indices into ``COMPONENTS``.

    Returns:
        One string a video, in row-major order.
    """
    flat = best_component.reshape(-1)
    return pc.take(pa.array(REASONS), pa.array(flat, mask=flat < 0))


def _recommend_block(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex
) -> tuple[NDArray[np.int32], Floats, NDArray[np.int32], NDArray[np.int8]]:
    positions, ranks = _candidates(config, catalogue, users, index)
    present = positions >= 0
    parts = _contributions(config, users, _components(catalogue, users, positions), present)
    scores = parts.sum(axis=0).astype(np.float32)
    columns = np.where(present, np.arange(positions.shape[1]), -1)  # candidates are in order of position, so ties are too
    top_scores, top = unpack(smallest(pack(scores, columns), config.k))
    row = np.arange(len(users))[:, None]
    found = top >= 0
    best = parts[:, row, top].argmax(axis=0)
    return (
        np.where(found, positions[row, top], -1).astype(np.int32),
        top_scores,
        np.where(found[:, :, None], ranks[row, top], 0).astype(np.int32),
        np.where(found, best, -1).astype(np.int8),
    )


def _candidates(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, index: VectorIndex) -> tuple[Ints, Ints]:
    """Union of all proposals, ascending by position and padded with -1, ``(n_users, c)``, and ranks ``(n_users, c, 3)``."""
    may = Filter(catalogue.eligible, catalogue.blocked, users.country, users.watched_indptr, users.watched)
    order, known = catalogue.popular_order, catalogue.wals_positions

    def nearest(rows: Ints, k: int) -> Ints:
        return index.search(users.retrieval[rows], k)[1]

    def by_wals(rows: Ints, k: int) -> Ints:
        best = top_inner_products(users.wals[rows], catalogue.wals_known, k)[1]
        return np.where(best >= 0, known[best], -1)

    def by_popularity(rows: Ints, k: int) -> Ints:
        best: Ints = np.broadcast_to(order[:k], (len(rows), k))
        return best

    # The list must be full even if every limit is below k: popularity goes on to k, and what lies beyond its limit is fill.
    popular = max(config.popular_candidates, config.k)
    proposals = (
        propose(nearest, config.retrieval_candidates, len(index), may, np.flatnonzero(users.retrieval.any(axis=1))),
        propose(by_wals, config.wals_candidates, len(known), may, np.flatnonzero(users.wals.any(axis=1))),
        propose(by_popularity, popular, len(order), may, np.arange(len(users))),
    )
    positions, ranks = union(proposals, len(users))
    if popular > config.popular_candidates:
        drop_needless_fill(positions, ranks, k=config.k, limit=config.popular_candidates)
    return positions, ranks


def _components(catalogue: Catalogue, users: UserBatch, positions: Ints) -> Floats:
    """Raw score of each component for each candidate, float32 ``(4, n_users, c)``; anything in the padding."""
    scores = np.empty((len(COMPONENTS), *positions.shape), dtype=np.float32)
    pairs = (
        (users.ranker, catalogue.ranker_vectors),
        (users.retrieval, catalogue.retrieval_vectors),
        (users.wals, catalogue.wals_vectors),
    )
    for component, (of_users, of_videos) in enumerate(pairs):
        # A few users at a time through one buffer: the gathered vectors stay in the cache, twice as fast as all at once.
        gathered = np.empty((_USERS_PER_GATHER, positions.shape[1], of_videos.shape[1]), dtype=np.float32)
        for start in range(0, len(users), _USERS_PER_GATHER):
            few = slice(start, min(start + _USERS_PER_GATHER, len(users)))
            vectors = gathered[: few.stop - start]
            np.take(of_videos, positions[few], axis=0, out=vectors, mode="wrap")  # -1, the padding, is the last one
            # Not matmul: BLAS sums the last rows in another order, so that equal videos would not tie.
            np.einsum("bcd,bd->bc", vectors, of_users[few], out=scores[component, few])
    scores[COMPONENTS.index("popular")] = catalogue.log_popularity[positions]
    return scores


def _contributions(
    config: RecommendConfig, users: UserBatch, components: Floats, present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Weight times standardised score of each component, float64 ``(4, n_users, c)``; ``-inf`` where nothing is present."""
    known = users.wals.any(axis=1, keepdims=True)
    parts = _standardised(components, present)
    for place, name in enumerate(COMPONENTS):
        parts[place] *= np.where(known, config.weights.get(name, 0.0), config.new_user_weights.get(name, 0.0))
    parts[:, ~present] = -np.inf
    return parts


def _standardised(components: Floats, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores of each component with mean 0 and deviation 1 over a user's candidates, float64 ``(4, n_users, c)``.

    A component that does not vary over them (a user whom WALS does not know) says nothing, and is 0, as is the padding.
    """
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    parts = np.empty(components.shape)
    for place in range(len(COMPONENTS)):
        raw = np.where(present, components[place], 0).astype(np.float64)
        centred = np.where(present, raw - raw.sum(axis=1, keepdims=True) / count, 0.0)
        spread = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / count)
        # Rounding makes float32 inner products of equal vectors differ by about 1e-7 of their size: that is no variation.
        varies = spread > 1e-6 * np.abs(raw).max(axis=1, keepdims=True, initial=0.0)
        parts[place] = np.divide(centred, spread, out=np.zeros_like(centred), where=varies)
    return parts
