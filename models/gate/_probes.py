"""Planted users: rows of USER_FEATURES made from real ones, whose history the gate knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from models.ensemble import Ensemble
from models.gate._scene import Scene, with_columns
from models.ids import IdMap
from schemas import HISTORIES
from schemas import columns as col

Ints = npt.NDArray[np.int64]

_SECONDS_APART = 3600
_EMPTY_OTHERWISE = (col.SEEN_HISTORY, col.SEEN_AGES, col.SEARCHED_HISTORY, col.SEARCHED_AGES)


def plant(scene: Scene, rows: pa.Table, histories: Sequence[Ints]) -> tuple[Scene, pa.Table]:
    """Users whom no model has seen, with the attributes of real ones and these likes, one an hour.

    WALS knows users by their id alone: it folds the planted ones in, as it does new users in production (M4).

    Args:
        scene: the models.
        rows: USER_FEATURES that give the attributes, one for each history, in any order, repetitions allowed.
        histories: int64 ids of the videos that each watched and liked, newest first.

    Returns:
        The scene whose WALS knows them, and their rows, in the order of the histories.
    """
    first = int(scene.users[col.USER_ID].to_numpy().max(initial=0)) + 1
    first = max(first, int(scene.models.wals.users.ids.max(initial=0)) + 1)
    ids = np.arange(first, first + len(histories), dtype=np.int64)
    newest = [[int(video) for video in history] for history in histories]
    ages = [[(place + 1) * _SECONDS_APART for place in range(len(history))] for history in newest]
    columns: dict[str, object] = {
        col.USER_ID: ids,
        col.WATCHED: [sorted(set(history)) for history in newest],
        col.WATCHED_HISTORY: newest,
        col.WATCHED_AGES: ages,
        col.LIKED_HISTORY: newest,
        col.LIKED_AGES: ages,
        col.INTERACTION_COUNT: np.array([2 * len(history) for history in newest], dtype=np.int64),
        **{name: [[] for _ in newest] for name in _EMPTY_OTHERWISE},
    }
    assert {name for history in HISTORIES.values() for name in (history.values, history.ages)} <= set(columns)
    planted = with_columns(rows, columns)
    return scene.with_models(_folded_in(scene.models, ids, newest)), planted


def _folded_in(models: Ensemble, ids: Ints, histories: Sequence[Sequence[int]]) -> Ensemble:
    wals = models.wals
    indptr = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    vectors = wals.fold_in(indptr, np.array([video for history in histories for video in history], dtype=np.int64))
    users = IdMap(np.concatenate([wals.users.ids, ids]))
    return replace(models, wals=replace(wals, users=users, user_factors=np.concatenate([wals.user_factors, vectors])))
