"""Why a video is, or is not, in a user's list: the same computation, looked at from one video (S9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from models.recommend import generators
from models.recommend._batch import Ranking, rank_one
from models.recommend._candidates import Filter
from models.recommend._catalogue import Catalogue, UserBatch
from models.recommend._config import COMPONENTS, GENERATORS, RecommendConfig
from models.recommend._indexes import Indexes
from models.recommend.rules import excluded_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of one video for one user.

    Attributes:
        rank: in the list, from 1; None where it is not in it.
        reasons: what happened to it, in the order in which it happened.
    """

    rank: int | None
    reasons: tuple[str, ...]


def explain(
    config: RecommendConfig, catalogue: Catalogue, user: UserBatch, indexes: Indexes, day: date, *, position: int
) -> Explanation:
    """Follow a video through the making of a list.

    Args:
        config: as the list was made with.
        catalogue: the videos.
        user: a batch of one user.
        indexes: as the list was made with.
        day: of the list.
        position: of the video in the catalogue.
    """
    if barred := list(_barred(config, catalogue, user, position)):
        return Explanation(rank=None, reasons=tuple(barred))
    ranking = rank_one(config, catalogue, user, indexes, day)
    lists = ranking.lists
    place = np.flatnonzero(lists.positions[0] == position)
    rank = int(place[0]) + 1 if len(place) else None
    candidate = np.flatnonzero(ranking.candidates.positions[0] == position)
    if not len(candidate):
        return Explanation(rank=rank, reasons=tuple(_unproposed(config, catalogue, user, indexes, position)))
    column = int(candidate[0])
    reasons = [_proposed(ranking, column), _scored(ranking, column), *_reranked(config, ranking, column)]
    if rank is None:
        reasons.append(_lost(config, ranking, column))
    elif lists.explored[0, rank - 1]:
        reasons.append(f"exploration drew it for rank {rank}, with a probability of {lists.propensity[0, rank - 1]:.4f}")
    return Explanation(rank=rank, reasons=tuple(reasons))


def _barred(config: RecommendConfig, catalogue: Catalogue, user: UserBatch, position: int) -> Iterator[str]:
    """Why the user may not be shown the video at all."""
    if not catalogue.eligible[position]:
        yield "it is removed: nobody is shown it"
    for rule, said in excluded_by(config.rules, catalogue, position):
        yield f"rule {rule} shows it to nobody: {said}"
    country = int(user.country[0])
    if country >= 0 and catalogue.blocked[country, position]:
        yield f"it is blocked in the user's country, {catalogue.countries[country]}"
    every = np.ones(len(catalogue.video_ids), dtype=bool)
    anywhere = Filter(every, catalogue.blocked, np.array([-1]), user.watched_indptr, user.watched)
    if not anywhere(np.array([0]), np.array([[position]]))[0, 0]:
        yield "the user has clicked, watched, liked or disliked it already"


def _proposed(ranking: Ranking, column: int) -> str:
    ranks = ranking.candidates.generator_ranks[0, column]
    by = [f"{name} at place {rank}" for name, rank in zip(GENERATORS, ranks.tolist(), strict=True) if rank]
    return f"proposed by {', '.join(by)}" if by else "proposed by no generator: it fills the list up, by popularity"


def _scored(ranking: Ranking, column: int) -> str:
    scores = ranking.candidates.scores[0]
    parts = zip(COMPONENTS, ranking.candidates.parts[:, 0, column].tolist(), strict=True)
    told = ", ".join(f"{name} {part:+.3f}" for name, part in sorted(parts, key=lambda pair: -abs(pair[1])) if part)
    rank, n = int((scores > scores[column]).sum()) + 1, int(np.isfinite(scores).sum())
    return f"scored {scores[column]:.3f} ({told or 'nothing says anything of it'}): place {rank} of {n} candidates"


def _reranked(config: RecommendConfig, ranking: Ranking, column: int) -> Iterator[str]:
    """What the rules did, where they looked at it."""
    pool = np.flatnonzero(ranking.pool[0] == column)
    if not len(pool):
        return
    for rule, before, after in ranking.reranked.moves_of(0, int(pool[0])):
        yield f"rule {rule} moved it from rank {before} to {after}" if after else f"rule {rule} left it out at rank {before}"


def _lost(config: RecommendConfig, ranking: Ranking, column: int) -> str:
    """Why a candidate is not in the list."""
    pool = np.flatnonzero(ranking.pool[0] == column)
    if not len(pool):
        return f"the rules look at the best {config.rerank_pool} candidates alone, and it is not among them"
    place = np.flatnonzero(ranking.reranked.order[0] == pool[0])
    if not len(place):
        return "so it is not in the list"
    return f"it stands at rank {int(place[0]) + 1} after the rules, and the list ends at {config.k}"


def _unproposed(
    config: RecommendConfig, catalogue: Catalogue, user: UserBatch, indexes: Indexes, position: int
) -> Iterator[str]:
    """How far each generator would have had to go to propose the video."""
    yield "no generator proposed it:"
    world = generators.World(config, catalogue, indexes)
    for name in GENERATORS:
        limit, source = config.limit(name), generators.BY_NAME[name](world, user)
        if not limit:
            yield f"  {name}: switched off"
        elif not len(source.rows) or not source.size:
            yield f"  {name}: knows nothing of the user"
        else:
            found = np.flatnonzero(source.best(source.rows[:1], source.size)[1][0] == position)
            place = f"it is at place {int(found[0]) + 1} of {source.size}" if len(found) else "it does not know the video"
            yield f"  {name}: {place}; the first {limit} that may be shown are proposed"
