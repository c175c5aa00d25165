"""Top k of a batch of users: candidates, scores, rules, exploration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date

import numpy as np
from numpy.typing import NDArray

from models._topk import pack, smallest, unpack
from models.recommend import _components, generators
from models.recommend._candidates import Filter, drop_needless_fill, propose, union
from models.recommend._catalogue import Catalogue, UserBatch, check
from models.recommend._config import GENERATORS, RecommendConfig
from models.recommend._explore import explore
from models.recommend._indexes import Indexes
from models.recommend.rules import Page, Reranked, never_shown, rerank

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

Proposed = tuple[Ints, Ints]
"""Rows of users, ascending, and the positions ``(n, limit)`` that a generator proposes to each, best first, padded with -1."""

_USERS_PER_BLOCK = 64


@dataclass(frozen=True, slots=True, eq=False)
class Recommendations:
    """The lists of a batch, best first.

    Attributes:
        positions: int64 ``(n_users, k)`` catalogue positions, padded with -1 where a user has fewer videos left.
        scores: float32 ``(n_users, k)``, after the rules' penalties; comparable within one row only, 0 in the padding. Rules
            and exploration move videos, so scores need not fall along a row.
        parts: float32 ``(n_users, k, n_components)``: what each component adds to the score, in the order of ``COMPONENTS``.
        generator_ranks: int32 ``(n_users, k, n_generators)``: rank, from 1, among each generator's proposals to this user, in
            the order of ``GENERATORS``; 0 where it did not propose the video.
        before: int32 ``(n_rules, n_users, k)``: rank, from 1, from which each rule moved the video down; 0 where it did not.
        after: int32 ``(n_rules, n_users, k)``: rank to which it did.
        explored: bool ``(n_users, k)``: what exploration drew.
        propensity: float64 ``(n_users, k)``: the probability with which it was drawn; 1 where nothing was.
    """

    positions: Ints
    scores: Floats
    parts: Floats
    generator_ranks: NDArray[np.int32]
    before: NDArray[np.int32]
    after: NDArray[np.int32]
    explored: NDArray[np.bool_]
    propensity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: NDArray[np.bool_] | Ints) -> Recommendations:
        """Those of some of the users."""
        return Recommendations(
            **{name: getattr(self, name)[:, rows] if name in _BY_RULE else getattr(self, name)[rows] for name in _FIELDS}
        )


_FIELDS = tuple(field.name for field in fields(Recommendations))
_BY_RULE = ("before", "after")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The candidates of some users, before any rule.

    Attributes:
        positions: int64 ``(n_users, c)``, ascending, padded with -1.
        generator_ranks: int64 ``(n_users, c, n_generators)``.
        parts: float32 ``(n_components, n_users, c)``, weighed; 0 in the padding.
        scores: float32 ``(n_users, c)``: their sum; ``-inf`` in the padding.
    """

    positions: Ints
    generator_ranks: Ints
    parts: Floats
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """How the candidates of some users were ranked.

    Attributes:
        candidates: what there was.
        pool: int64 ``(n_users, m)`` columns of the candidates that the rules looked at, best first, padded with -1.
        reranked: what the rules made of the pool, whose columns it counts.
        lists: the result.
    """

    candidates: Candidates
    pool: Ints
    reranked: Reranked
    lists: Recommendations

    def take(self, rows: NDArray[np.bool_]) -> Ranking:
        """Those of some of the users."""
        if rows.all():
            return self
        one = self.candidates
        candidates = Candidates(one.positions[rows], one.generator_ranks[rows], one.parts[:, rows], one.scores[rows])
        return Ranking(candidates, self.pool[rows], self.reranked.take(rows), self.lists.take(rows))


def recommend_batch(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes, day: date
) -> Recommendations:
    """Give every user exactly ``k`` videos, or all that may be shown to that user if they are fewer.

    Args:
        config: generators, weights, rules, exploration.
        catalogue: the videos.
        users: the users, and what each has watched.
        indexes: over vectors of the eligible videos; their positions are the catalogue's.
        day: of the lists, which exploration draws by.

    Raises:
        ReelflowError: vectors of users and videos that do not fit together, or positions outside the catalogue.
    """
    check(catalogue, users)
    world = _world(config, catalogue, indexes)
    proposed, lists = _proposals(world, users, config.k), []
    for start in _starts(users):
        block, own = _block(users, proposed, start)
        lists.append(_lists_of(world, block, _weighed(world, block, own, config.k), day))
    return joined(lists)


def recommend_variants(
    configs: Mapping[str, RecommendConfig], catalogue: Catalogue, users: UserBatch, indexes: Indexes, day: date
) -> dict[str, Ints]:
    """The positions that :func:`recommend_batch` gives with each of several configurations, for little more than one's price.

    Variants of the same generators, which differ in weights, rules or exploration, share proposals and scores.
    """
    check(catalogue, users)
    found: dict[str, Ints] = {}
    groups: dict[object, list[str]] = {}
    for name, config in configs.items():
        unseen = never_shown(config.rules, catalogue).tobytes()
        shared = (unseen, config.k, config.fresh_days, config.fresh_half_life_days, *config.generators.items())
        groups.setdefault(shared, []).append(name)
    for names in groups.values():
        worlds = {name: _world(configs[name], catalogue, indexes) for name in names}
        # Scores of what weighs nothing are not computed: all that any variant needs are.
        first = _world(configs[names[0]].model_copy(update={"learn_weights": True}), catalogue, indexes)
        proposed = _proposals(first, users, first.config.k)
        lists: dict[str, list[Ints]] = {name: [] for name in names}
        for start in _starts(users):
            block, own = _block(users, proposed, start)
            scored = _Scored.of(first, block, *_candidates(first.config, own, len(block), first.config.k))
            for name, world in worlds.items():
                lists[name].append(_lists_of(world, block, scored.weighed(world.config, block), day).positions)
        found |= {name: np.concatenate(parts) for name, parts in lists.items()}
    return {name: found[name] for name in configs}


def rank_one(config: RecommendConfig, catalogue: Catalogue, user: UserBatch, indexes: Indexes, day: date) -> Ranking:
    """As :func:`recommend_batch` for a batch of one user, with all that led to the list: for explanations."""
    check(catalogue, user)
    world = _world(config, catalogue, indexes)
    candidates = _weighed(world, user, _proposals(world, user, config.k), config.k)
    return _ranked(world, user, candidates, day)[-1][1]


def joined(parts: Sequence[Recommendations]) -> Recommendations:
    """The lists of several batches as one."""
    return Recommendations(
        **{name: np.concatenate([getattr(part, name) for part in parts], axis=int(name in _BY_RULE)) for name in _FIELDS}
    )


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
    everywhere = np.broadcast_to(positions, (len(users), len(positions)))
    parts = _components.raw_scores(config, catalogue, users, everywhere)
    _components.standardised(parts, np.ones(everywhere.shape, dtype=bool))
    total: Floats = _components.contributions(config, users, parts).sum(axis=0)
    return total


def candidate_scores(config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes) -> tuple[Ints, Floats]:
    """Give every user's candidates, and what each component says of them before it is weighed.

    Returns:
        positions int64 ``(n_users, c)``, ascending and padded with -1, and standardised scores float32
        ``(n_components, n_users, c)``.
    """
    check(catalogue, users)
    world, found = _world(config, catalogue, indexes), []
    proposed = _proposals(world, users, config.k)
    for start in _starts(users):
        some, own = _block(users, proposed, start)
        scored = _Scored.of(world, some, *_candidates(config, own, len(some), config.k))
        found.append((scored.positions, scored.parts))
    width = max(positions.shape[1] for positions, _ in found)
    padded = [((0, 0), (0, width - positions.shape[1])) for positions, _ in found]
    return (
        np.concatenate([np.pad(positions, pad, constant_values=-1) for (positions, _), pad in zip(found, padded, strict=True)]),
        np.concatenate([np.pad(parts, ((0, 0), *pad)) for (_, parts), pad in zip(found, padded, strict=True)], axis=1),
    )


def proposals(
    config: RecommendConfig, catalogue: Catalogue, users: UserBatch, indexes: Indexes
) -> tuple[Ints, NDArray[np.int64]]:
    """The union of what all generators propose, nothing filled up.

    Returns:
        positions int64 ``(n_users, c)``, ascending and padded with -1, and ranks from 1 within each generator's proposals int64
        ``(n_users, c, n_generators)``, 0 where it did not propose the video.
    """
    check(catalogue, users)
    return _candidates(config, _proposals(_world(config, catalogue, indexes), users, 0), len(users), 0)


def _world(config: RecommendConfig, catalogue: Catalogue, indexes: Indexes) -> generators.World:
    """What generators propose from."""
    return generators.World(config, shown(config, catalogue), indexes)


def shown(config: RecommendConfig, catalogue: Catalogue) -> Catalogue:
    """The catalogue in which only those videos are eligible that the rules show somebody."""
    return catalogue.without(never_shown(config.rules, catalogue))


def _starts(users: UserBatch) -> range:
    return range(0, max(len(users), 1), _USERS_PER_BLOCK)


def _block(users: UserBatch, proposed: Sequence[Proposed], start: int) -> tuple[UserBatch, list[Proposed]]:
    """The users of a block, and what is proposed to them."""
    block = []
    for rows, positions in proposed:
        own = slice(*np.searchsorted(rows, [start, start + _USERS_PER_BLOCK]))
        block.append((rows[own] - start, positions[own]))
    return users.rows(start, start + _USERS_PER_BLOCK), block


def _lists_of(world: generators.World, users: UserBatch, candidates: Candidates, day: date) -> Recommendations:
    """The lists of a block of users."""
    parts = _ranked(world, users, candidates, day)
    order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    return joined([ranking.lists for _, ranking in parts]).take(order)


def _ranked(world: generators.World, users: UserBatch, candidates: Candidates, day: date) -> list[tuple[Ints, Ranking]]:
    """Rankings of a block of users, each of some of its rows.

    Rules can leave someone fewer than ``k`` videos of those that they looked at. For such users alone they look at all
    candidates, and where these are still too few, at more and more of what there is.
    """
    config, size = world.config, int(world.catalogue.eligible.sum())
    rows, fill, pool, parts = np.arange(len(users)), config.k, config.rerank_pool, []
    while True:
        found = _ranking(world, users.take(rows), candidates, pool, day)
        count = (candidates.positions >= 0).sum(axis=1)
        more = (count > max(pool, config.k)) | ((count >= fill) & (fill < size))
        again = (found.lists.positions[:, -1] < 0) & more
        parts.append((rows[~again], found.take(~again)))
        if not again.any():
            return parts
        rows, fill, pool = rows[again], min(size, 4 * fill), max(4 * pool, int(count.max()))
        some = users.take(rows)
        candidates = _weighed(world, some, _proposals(world, some, fill), fill)


def _ranking(world: generators.World, users: UserBatch, candidates: Candidates, pool: int, day: date) -> Ranking:
    config, catalogue = world.config, world.catalogue
    columns = np.where(candidates.positions >= 0, np.arange(candidates.positions.shape[1]), -1)
    # Candidates are in order of position, so ties are too.
    scores, best = unpack(smallest(pack(candidates.scores, columns), max(pool, config.k)))
    row = np.arange(len(users))[:, None]
    present = best >= 0
    page = Page(np.where(present, candidates.positions[row, best], -1), np.where(present, scores, 0), catalogue, users)
    reranked = rerank(config.rules, page, config.k)
    final, explored, propensity = explore(
        config.exploration,
        catalogue,
        users.user_ids,
        day,
        k=config.k,
        columns=reranked.order,
        positions=page.positions,
        scores=reranked.scores,
        rules=config.rules,
    )
    there = final >= 0
    column = best[row, final]  # of the candidates
    lists = Recommendations(
        positions=np.where(there, page.positions[row, final], -1),
        scores=np.where(there, reranked.scores[row, final], 0).astype(np.float32),
        parts=np.where(there[..., None], np.moveaxis(candidates.parts, 0, 2)[row, column], 0),
        generator_ranks=np.where(there[..., None], candidates.generator_ranks[row, column], 0).astype(np.int32),
        before=np.where(there, reranked.before[:, row, final], 0),
        after=np.where(there, reranked.after[:, row, final], 0),
        explored=explored,
        propensity=propensity,
    )
    return Ranking(candidates, best, reranked, lists)


def _weighed(world: generators.World, users: UserBatch, proposed: Sequence[Proposed], fill: int) -> Candidates:
    """The candidates of some users with their scores."""
    found = _candidates(world.config, proposed, len(users), fill)
    return _Scored.of(world, users, *found).weighed(world.config, users, once=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """Candidates with standardised scores, before they are weighed: ``parts`` float32 ``(n_components, n_users, c)``."""

    positions: Ints
    generator_ranks: Ints
    parts: Floats

    @classmethod
    def of(cls, world: generators.World, users: UserBatch, positions: Ints, ranks: Ints) -> _Scored:
        parts = _components.raw_scores(world.config, world.catalogue, users, positions)
        return cls(positions, ranks, _components.standardised(parts, positions >= 0))

    def weighed(self, config: RecommendConfig, users: UserBatch, *, once: bool = False) -> Candidates:
        """The same with the weights of a configuration; ``once`` does without a copy."""
        parts = _components.contributions(config, users, self.parts if once else self.parts.copy())
        scores = np.where(self.positions >= 0, parts.sum(axis=0), -np.inf).astype(np.float32)
        return Candidates(self.positions, self.generator_ranks, parts, scores)


def _proposals(world: generators.World, users: UserBatch, fill: int) -> list[Proposed]:
    """What each generator proposes to some users: as many of them at once as there are, since a search reads all videos.

    The last generator, popularity, goes on to ``fill`` beyond its limit.
    """
    config, catalogue = world.config, world.catalogue
    may = Filter(catalogue.eligible, catalogue.blocked, users.country, users.watched_indptr, users.watched)
    found = []
    for name in GENERATORS:
        limit = max(config.limit(name), fill) if name == GENERATORS[-1] else config.limit(name)
        found.append(_proposed(generators.BY_NAME[name](world, users), limit, may) if limit else _NOTHING)
    return found


def _candidates(config: RecommendConfig, proposed: Sequence[Proposed], n_users: int, fill: int) -> tuple[Ints, Ints]:
    """Union of all proposals ``(n_users, c)``, ascending and padded with -1, and ranks ``(n_users, c, n_generators)``.

    What popularity proposes beyond its limit is there only where a user has fewer than ``fill`` candidates without it.
    """
    positions, ranks = union(proposed, n_users)
    popular = config.limit(GENERATORS[-1])
    if fill > popular:
        drop_needless_fill(positions, ranks, k=fill, limit=popular)
    return positions, ranks


_NOTHING = np.array([], dtype=np.int64), np.zeros((0, 0), dtype=np.int64)


def _proposed(source: generators.Proposals, limit: int, may: Filter) -> Proposed:
    """The users to whom a generator proposes something, and the positions ``(n, limit)`` of what they may be shown."""

    def best(rows: Ints, k: int) -> Ints:
        return source.best(rows, k)[1]

    return propose(best, limit, source.size, may, source.rows)
