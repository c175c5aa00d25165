"""Candidates of a batch of users: who may be shown what, proposals of one generator, and the union of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SLACK = 64
_CELLS_A_WATCH = 16
_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2**64 over the golden ratio
_PROPOSALS_AT_ONCE = 2**20  # 512 users to a depth of 2,048; who must look deeper does so in smaller groups, in the same memory
_NOTHING = np.iinfo(np.int64).max
_GENERATOR_BIT, _POSITION_BIT = 26, 32  # 6 bits of generator above 26 of rank


class Filter:
    """Which videos may be shown to which users of one batch."""

    def __init__(self, eligible: Bools, blocked: Bools, country: Ints, watched_indptr: Ints, watched: Ints) -> None:
        """Prepare the look-up of watched videos.

        Args:
            eligible: bool ``(n_videos,)``.
            blocked: bool ``(n_countries, n_videos)``.
            country: int64 ``(n_users,)`` row of ``blocked``, or -1.
            watched_indptr: int64 ``(n_users + 1,)``.
            watched: int64 ``(n_watched,)`` positions.
        """
        self._eligible, self._blocked, self._country = eligible, blocked, country
        self._width = max(len(eligible), 1)
        owner = np.repeat(np.arange(len(country)), np.diff(watched_indptr))
        self._watched = np.sort(owner * self._width + watched)
        # Nearly no proposal was watched: a table of hashes that fits the cache tells which ones need a look at all.
        self._bits = max(8, int(_CELLS_A_WATCH * len(watched)).bit_length())
        self._hashed = np.zeros(1 << self._bits, dtype=bool)
        self._hashed[self._cell(self._watched)] = True

    def __call__(self, rows: Ints, positions: Ints) -> Bools:
        """Tell which proposals may be shown.

        Args:
            rows: int64 ``(n,)``, the users.
            positions: int64 ``(n, k)``, what is proposed to each, padded with -1.

        Returns:
            bool ``(n, k)``; false in the padding.
        """
        may: Bools = (positions >= 0) & self._eligible[positions]
        if len(self._watched):
            keys = rows[:, None] * self._width + positions
            row, column = np.nonzero(self._hashed[self._cell(keys)] & may)
            asked = keys[row, column]
            place = np.minimum(np.searchsorted(self._watched, asked), len(self._watched) - 1)
            may[row, column] = self._watched[place] != asked
        country = self._country[rows]
        if bool((country >= 0).any()):
            may &= ~self._blocked[country[:, None], positions] | (country < 0)[:, None]
        return may

    def _cell(self, keys: Ints) -> NDArray[np.uint64]:
        """Where in the table a key belongs: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
        return keys.astype(np.uint64) * _GOLDEN >> np.uint64(64 - self._bits)


def propose(generate: Callable[[Ints, int], Ints], limit: int, size: int, may: Filter, rows: Ints) -> tuple[Ints, Ints]:
    """Keep each row's best ``limit`` videos that may be shown, looking deeper only for rows that lost too many.

    Args:
        generate: gives the best ``k`` positions of some rows, ``(n, k)``, padded with -1.
        limit: how many to keep per row.
        size: how many videos the generator has.
        may: what may be kept.
        rows: int64 ``(n,)``, the rows to ask for.

    Returns:
        ``rows``, and positions ``(n, limit)`` best first, padded with -1.
    """
    kept = np.full((len(rows), limit), -1, dtype=np.int64)
    todo, depth = np.arange(len(rows)), min(size, limit + _SLACK)
    while limit and size and len(todo):
        short = []
        at_once = max(1, _PROPOSALS_AT_ONCE // depth)
        for some in (todo[start : start + at_once] for start in range(0, len(todo), at_once)):
            proposed = generate(rows[some], depth)
            good = may(rows[some], proposed)
            place = np.cumsum(good, axis=1) - 1
            row, column = np.nonzero(good & (place < limit))
            kept[some[row], place[row, column]] = proposed[row, column]
            short.append(some[good.sum(axis=1) < limit])
        if depth == size:
            break
        todo = np.concatenate(short)
        depth = min(size, 2 * depth)
    return rows, kept


def union(proposals: Sequence[tuple[Ints, Ints]], n_users: int) -> tuple[Ints, Ints]:
    """Merge the proposals of several generators, each video once.

    Args:
        proposals: what :func:`propose` returned, a generator each; at most 64, of ranks below 2^26.
        n_users: rows of the batch.

    Returns:
        positions ``(n_users, c)``, ascending and padded with -1, and ranks from 1 within each generator's proposals
        ``(n_users, c, n_generators)``, 0 where it did not propose the video.
    """
    keys = np.full((n_users, sum(kept.shape[1] for _, kept in proposals)), _NOTHING, dtype=np.int64)
    left = 0
    for generator, (rows, kept) in enumerate(proposals):
        rank = np.arange(1, kept.shape[1] + 1)
        packed = kept << _POSITION_BIT | generator << _GENERATOR_BIT | rank
        keys[rows, left : left + kept.shape[1]] = np.where(kept >= 0, packed, _NOTHING)
        left += kept.shape[1]
    keys.sort(axis=1)
    row, column = np.nonzero(keys != _NOTHING)
    found = keys[row, column]
    position = found >> _POSITION_BIT
    first = np.ones(len(found), dtype=bool)
    first[1:] = (position[1:] != position[:-1]) | (row[1:] != row[:-1])
    counts = np.bincount(row[first], minlength=n_users)
    starts = np.cumsum(counts) - counts
    place = np.cumsum(first) - 1 - starts[row]
    width = int(counts.max(initial=1))  # never 0, so that rows without candidates need no special care
    positions = np.full((n_users, width), -1, dtype=np.int64)
    positions[row, place] = position
    ranks = np.zeros((n_users, width, len(proposals)), dtype=np.int64)
    ranks[row, place, found >> _GENERATOR_BIT & 63] = found & (1 << _GENERATOR_BIT) - 1
    return positions, ranks


def drop_needless_fill(positions: Ints, ranks: Ints, *, k: int, limit: int) -> None:
    """Turn the last generator's proposals beyond its limit into fill, and drop, in place, what a row does not need for ``k``.

    Args:
        positions: int64 ``(n_users, c)``, as :func:`union` gives them.
        ranks: int64 ``(n_users, c, n_generators)``.
        k: length of the list that a row must fill.
        limit: how many proposals of the last generator are its own.
    """
    last = ranks[:, :, -1]
    is_fill = (last > limit) & ~ranks[:, :, :-1].any(axis=2)
    fill_rank = np.where(is_fill, last, _NOTHING)
    last[last > limit] = 0
    missing = k - ((positions >= 0) & ~is_fill).sum(axis=1, keepdims=True)
    place = fill_rank.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    positions[is_fill & (place >= missing)] = -1
