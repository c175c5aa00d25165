"""Exploration: configured places of a list that show videos of which not enough is known (S7).

What a place shows is drawn by a softmax over the scores of the user's candidates that are new or hardly shown and did not make
the list by themselves, without repeats. The draw depends on the user, the day and the place alone, so a list that is made again
is the same; the probability with which it was drawn goes into the table, for the unbiased estimates that logged feedback allows
(Swaminathan and Joachims, Counterfactual risk minimization, ICML 2015).
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.hashing import hashed_pairs, hashed_text
from models.recommend._catalogue import Catalogue
from models.recommend._config import ExplorationConfig

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
) -> tuple[Ints, NDArray[np.bool_], NDArray[np.float64]]:
    """Put explored videos into the places of the slots; what stood there and below moves down.

    A list that has nothing left to explore, or ends before a slot, stays as it is from there on.

    Args:
        config: the slots, and what may be explored.
        catalogue: the videos.
        user_ids: int64 ``(n_users,)``.
        day: of the lists; another day, other draws.
        k: length of a list.
        columns: int64 ``(n_users, m)`` candidates in their order after the rules, padded with -1; the first ``k`` are the list.
        positions: int64 ``(n_users, c)`` catalogue positions of the candidates.
        scores: float32 ``(n_users, c)`` of the candidates.

    Returns:
        int64 ``(n_users, k)`` columns of the final lists, padded with -1; bool ``(n_users, k)``, what was drawn; and float64
        ``(n_users, k)``, the probability with which it was, given the places before it: 1 where nothing was drawn.
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
    for slot in slots:
        drawing = np.flatnonzero((logits > -np.inf).any(axis=1))
        if not len(drawing):
            break
        mass = np.exp(logits[drawing] - logits[drawing].max(axis=1, keepdims=True))
        cumulated = mass.cumsum(axis=1)
        point = _uniform(user_ids[drawing], day, slot, config.salt)[:, None] * cumulated[:, -1:]
        chosen = (cumulated <= point).sum(axis=1).clip(max=rest.shape[1] - 1)
        # Rounding could put the point behind the last video that has any mass.
        last = rest.shape[1] - 1 - (mass[:, ::-1] > 0).argmax(axis=1)
        chosen = np.minimum(chosen, last)
        probability = mass[np.arange(len(drawing)), chosen] / cumulated[:, -1]
        for array, value in ((final, rest[drawing, chosen]), (drawn, True), (propensity, probability)):
            array[drawing, slot + 1 :] = array[drawing, slot:-1]
            array[drawing, slot] = value
        logits[drawing, chosen] = -np.inf
    return final, drawn, propensity


def _uniform(user_ids: Ints, day: date, slot: int, salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each user, of this day and slot alone."""
    seed = hashed_text(pa.array([f"{day.isoformat()} {slot}"]), salt).view(np.int64)
    words = hashed_pairs(user_ids, np.broadcast_to(seed, len(user_ids)))
    return (words >> np.uint64(11)).astype(np.float64) / 2**53
