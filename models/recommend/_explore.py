"""Exploration: configured places of a list that show videos of which not enough is known (S7).

What a place shows is drawn by a softmax over the scores of the user's candidates that are new or hardly shown and did not make
the list by themselves, without repeats, less those that the rule ``creators`` forbids between the videos above and those that
would follow. The draw depends on the user, the day and the place alone, so a list that is made again is the same; its
probability goes into the table, for the unbiased estimates that logged feedback allows (Swaminathan and Joachims,
Counterfactual risk minimization, ICML 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.hashing import hashed_pairs, hashed_text
from models.recommend._catalogue import Catalogue
from models.recommend._config import ExplorationConfig
from models.recommend.rules import Creators, Rule

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def explorable(config: ExplorationConfig, catalogue: Catalogue) -> NDArray[np.bool_]:
    """Which videos are new or hardly shown, bool ``(n_videos,)``."""
    facts = catalogue.facts
    known: NDArray[np.bool_] = (facts.age_days > config.new_days) & (facts.impressions >= config.uncertain_impressions)
    return ~known


def explore(
    config: ExplorationConfig,
    catalogue: Catalogue,
    user_ids: Ints,
    day: date,
    *,
    k: int,
    columns: Ints,
    positions: Ints,
    scores: Floats,
    rules: Sequence[Rule] = (),
) -> tuple[Ints, NDArray[np.bool_], NDArray[np.float64]]:
    """Put explored videos into the places of the slots; what stood there and below moves down.

    A place for which nothing is left that may be explored there stays as it is, and so does a list that ends before its slot.

    A drawn video parts the others without changing their order, so it can only bring too many of its own creator together:
    whether it does is all that is asked, and windows that held still hold. Of near-duplicates the rules left one.

    Args:
        config: the slots, and what may be explored.
        catalogue: the videos.
        user_ids: int64 ``(n_users,)``.
        day: of the lists; another day, other draws.
        k: length of a list.
        columns: int64 ``(n_users, m)`` candidates in their order after the rules, padded with -1; the first ``k`` are the list.
        positions: int64 ``(n_users, c)`` catalogue positions of the candidates.
        scores: float32 ``(n_users, c)`` of the candidates.
        rules: those of the list; only ``creators`` is asked.

    Returns:
        int64 ``(n_users, k)`` columns of the final lists, padded with -1; bool ``(n_users, k)``, what was drawn; and float64
        ``(n_users, k)``, the probability with which it was, among the videos that could be at that place, given the places
        before it: 1 where nothing was drawn.
    """
    n_users, width = columns.shape
    final = np.full((n_users, k), -1, dtype=np.int64)
    final[:, : min(k, width)] = columns[:, :k]
    drawn, propensity = np.zeros((n_users, k), dtype=bool), np.ones((n_users, k))
    slots = [slot - 1 for slot in config.slots if slot <= k]
    if not slots or width <= k:
        return final, drawn, propensity
    rest = columns[:, k:]  # candidates that did not make the list: nothing of it is lost by showing them
    row = np.arange(n_users)[:, None]
    open_ = (rest >= 0) & explorable(config, catalogue)[positions[row, rest]]
    logits = np.where(open_, scores[row, rest] / config.temperature, -np.inf).astype(np.float64)
    limits = [rule for rule in rules if isinstance(rule, Creators)]
    creators = catalogue.facts.creator
    listed, offered = (np.where(some >= 0, creators[positions[row, some]], -1) for some in (final, rest))
    for slot in slots:
        allowed = logits.copy()
        for rule in limits:
            allowed[rule.too_many(listed, slot, offered)] = -np.inf
        drawing = np.flatnonzero((allowed > -np.inf).any(axis=1))
        if not len(drawing):
            continue
        point = _uniform(user_ids[drawing], day, slot, config.salt)
        chosen, probability = _draw(allowed[drawing], point)
        new = (rest[drawing, chosen], offered[drawing, chosen], True, probability)
        for array, value in zip((final, listed, drawn, propensity), new, strict=True):
            array[drawing, slot + 1 :] = array[drawing, slot:-1]
            array[drawing, slot] = value
        logits[drawing, chosen] = -np.inf
    return final, drawn, propensity


def _draw(logits: NDArray[np.float64], point: NDArray[np.float64]) -> tuple[Ints, NDArray[np.float64]]:
    """One column of each row by its softmax, in which a point of [0, 1) falls, and the probability of that column.

    Args:
        logits: float64 ``(n, c)``, finite somewhere in each row.
        point: float64 ``(n,)``.
    """
    mass = np.exp(logits - logits.max(axis=1, keepdims=True))
    cumulated = mass.cumsum(axis=1)
    chosen = (cumulated <= point[:, None] * cumulated[:, -1:]).sum(axis=1)
    # Rounding could put the point behind the last video that has any mass.
    last = logits.shape[1] - 1 - (mass[:, ::-1] > 0).argmax(axis=1)
    chosen = np.minimum(chosen, last)
    return chosen, mass[np.arange(len(mass)), chosen] / cumulated[:, -1]


def _uniform(user_ids: Ints, day: date, slot: int, salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each user, of this day and slot alone."""
    words = hashed_pairs(user_ids, np.broadcast_to(_seed(day, slot, salt), len(user_ids)))
    return (words >> np.uint64(11)).astype(np.float64) / 2**53


@cache
def _seed(day: date, slot: int, salt: str) -> NDArray[np.int64]:
    return hashed_text(pa.array([f"{day.isoformat()} {slot}"]), salt).view(np.int64)
