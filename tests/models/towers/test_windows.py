"""Every example finds its user's watches before it, newest last, at least half a window of them where there are as many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from models.towers._windows import windows

LENGTH = 4


def table(rows):
    users, seconds = zip(*rows, strict=True) if rows else ((), ())
    at = pa.array(np.array(seconds, dtype=np.int64) * 1_000_000).cast(pa.timestamp("us", tz="UTC"))
    return pa.table({"user_id": pa.array(users, pa.int64()), "occurred_at": at})


def before(laid, row):
    """Codes that an example sees, oldest first."""
    return laid.codes[laid.window[row], : laid.place[row]].tolist()


def test_by_hand():
    watches = table([(7, 10), (7, 20), (8, 20), (7, 30)])
    examples = table([(7, 20), (8, 5), (7, 31), (9, 50)])
    laid = windows(examples, watches, np.array([2, 3, 4, 5]), LENGTH)

    assert [before(laid, row) for row in range(4)] == [[2], [], [2, 3, 5], []]
    assert laid.age_seconds.tolist() == [10.0, 0.0, 1.0, 0.0]
    assert len(laid) == 3, "a window a user"


@pytest.mark.parametrize("seed", range(3))
def test_against_a_search_through_all(seed):
    rng = np.random.default_rng(seed)
    events = sorted(zip(rng.integers(0, 5, 80).tolist(), rng.integers(0, 60, 80).tolist(), strict=True), key=lambda row: row[1])
    asked = list(zip(rng.integers(0, 6, 50).tolist(), rng.integers(0, 62, 50).tolist(), strict=True))
    codes = rng.integers(2, 9, 80)
    laid = windows(table(asked), table(events), codes, LENGTH)

    for row, (user, at) in enumerate(asked):
        all_before = [code for code, (owner, when) in zip(codes.tolist(), events, strict=True) if owner == user and when < at]
        seen = before(laid, row)
        assert seen == all_before[len(all_before) - len(seen) :]
        assert len(seen) >= min(len(all_before), LENGTH // 2 + 1)
    order, starts = laid.by_window()
    for window in range(len(laid)):
        rows = order[starts[window] : starts[window + 1]]
        assert len(rows) >= 1
        assert (laid.window[rows] == window).all()
        assert laid.lengths[window] == laid.place[rows].max(), "nothing behind the last example is held"
        assert (laid.codes[window, laid.lengths[window] :] == 0).all()


def test_nothing_was_watched():
    laid = windows(table([(1, 5), (2, 5)]), table([]), np.empty(0, np.int64), LENGTH)

    assert [before(laid, row) for row in range(2)] == [[], []]
