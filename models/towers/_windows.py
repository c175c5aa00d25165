"""Stretches of what users watched, and where in them each example stands: one pass of the encoder serves many examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from models.rows import one_chunk
from schemas import columns as col

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windows:
    """Watches of m windows, oldest first, and the places of n examples in them.

    Windows of one user overlap by half, so that an example sees at least half a window of what came before, as far as there is
    any. Causal attention keeps what follows an example from it.
    """

    codes: Tensor
    """Of the videos, int64 (m, length); 0 behind the end."""
    lengths: Tensor
    """Watches of each window (m,)."""
    window: Tensor
    """Of each example (n,)."""
    place: Tensor
    """How many watches of its window came before each example (n,)."""
    age_seconds: Tensor
    """Since the last of them, float32 (n,); 0 where there is none."""

    def __len__(self) -> int:
        return len(self.codes)

    def by_window(self) -> tuple[Tensor, Tensor]:
        """Examples in order of their windows (n,), and where each window's begin (m + 1,)."""
        order = torch.argsort(self.window, stable=True)
        counts = torch.bincount(self.window, minlength=len(self))
        return order, torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))


def windows(examples: pa.Table, watches: pa.Table, codes: Ints, length: int) -> Windows:
    """Lay windows over what the users of some examples watched, strictly before each example.

    Args:
        examples: with user and ``occurred_at`` (n rows).
        watches: with user and ``occurred_at``, in order of time within each user.
        codes: of the watches' videos (n_watches,).
        length: watches of a window, at least 2.
    """
    watchers, begun = _column(watches, col.USER_ID), _micros(watches)
    users, at = _column(examples, col.USER_ID), _micros(examples)
    order = np.argsort(watchers, kind="stable")
    watchers, begun, codes = watchers[order], begun[order], codes[order]
    first = np.searchsorted(watchers, users)
    before = _before(watchers, begun, users, at) - first
    step = length // 2
    shift = np.maximum(-(-(before - length) // step), 0) * step
    starts, window = np.unique(np.stack((first + shift, users)), axis=1, return_inverse=True)
    window = window.reshape(-1)
    place = before - shift
    lengths = np.zeros(starts.shape[1], dtype=np.int64)
    np.maximum.at(lengths, window, place)
    rows = starts[0][:, None] + np.arange(length)
    inside = np.arange(length) < lengths[:, None]
    held = (
        np.where(inside, codes[np.minimum(rows, max(len(codes) - 1, 0))], 0) if len(codes) else np.zeros(rows.shape, np.int64)
    )
    last = first + before - 1
    age = (
        np.where(before > 0, (at - begun[np.clip(last, 0, max(len(begun) - 1, 0))]) / 1e6, 0.0)
        if len(begun)
        else np.zeros(len(at))
    )
    return Windows(
        codes=torch.from_numpy(held),
        lengths=torch.from_numpy(lengths),
        window=torch.from_numpy(window),
        place=torch.from_numpy(place),
        age_seconds=torch.from_numpy(age.astype(np.float32)),
    )


def _before(watchers: Ints, begun: Ints, users: Ints, at: Ints) -> Ints:
    """For each (user, moment): the first row of (``watchers``, ``begun``), ascending, that is not before it (n,)."""
    n = len(watchers)
    owner = np.concatenate([watchers, users])
    moment = np.concatenate([begun, at])
    query = np.repeat([1, 0], [n, len(users)])  # at equal moments an example stands before the watch
    rank = np.lexsort((query, moment, owner))
    is_watch = rank < n
    passed = np.cumsum(is_watch)
    found = np.empty(len(users), dtype=np.int64)
    found[rank[~is_watch] - n] = passed[~is_watch]
    return found


def _column(rows: pa.Table, name: str) -> Ints:
    found: Ints = one_chunk(rows.column(name)).to_numpy()
    return found


def _micros(rows: pa.Table) -> Ints:
    found: Ints = one_chunk(rows.column(col.OCCURRED_AT)).cast(pa.int64()).to_numpy()
    return found
