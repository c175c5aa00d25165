"""Applies rules one after the other, and keeps what each of them did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.recommend._words import joined, numbers, ranked
from models.recommend.rules._page import Bools, Floats, Ints, Page, Rule

Ranks = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """A page after all rules, by the columns of the page before the first.

    A rank counts, from 1, what was there before or after that rule. Both are 0 where a rule did not put a video down or out.

    Attributes:
        rules: names of the rules, in the order in which they were applied.
        order: int64 ``(n_users, m)`` columns of the page in their final order; dropped ones are missing, -1 fills the end.
        scores: float32 ``(n_users, m)`` by column, after penalties; as it was for dropped ones.
        before: int32 ``(n_rules, n_users, m)`` by column: rank from which the rule moved the video down or dropped it.
        after: int32 ``(n_rules, n_users, m)`` by column: rank to which it did; 0 where it dropped the video.
    """

    rules: tuple[str, ...]
    order: Ints
    scores: Floats
    before: Ranks
    after: Ranks

    def take(self, rows: Bools) -> Reranked:
        """Those of some of the users."""
        return Reranked(self.rules, self.order[rows], self.scores[rows], self.before[:, rows], self.after[:, rows])

    def moves_of(self, row: int, column: int) -> Iterator[tuple[str, int, int]]:
        """What each rule did to one video: its name, and the ranks before and after; 0 after one that dropped it."""
        for rule, before, after in zip(self.rules, self.before[:, row, column], self.after[:, row, column], strict=True):
            if before:
                yield rule, int(before), int(after)


def rerank(rules: Sequence[Rule], page: Page, k: int) -> Reranked:
    """Apply rules in their order.

    Args:
        rules: each sees what those before it left.
        page: the candidates.
        k: how many of a row will be shown.
    """
    before = np.zeros((len(rules), *page.positions.shape), dtype=np.int32)
    after = np.zeros_like(before)
    starts = np.arange(len(page.positions))[:, None] * page.positions.shape[1]
    now, columns = page, starts + np.arange(page.positions.shape[1])  # in the flat first page, of what stands on the page now
    for number, rule in enumerate(rules):
        decision = rule(now, k)
        now = replace(now, scores=decision.scores)
        if bool(decision.touched.any()):
            _number(before[number], columns, decision.touched)
            found, cells = decision.order >= 0, starts + np.maximum(decision.order, 0)
            columns = columns.ravel()[cells]
            _number(after[number], columns, found & decision.touched.ravel()[cells])
            now = replace(now, positions=np.where(found, now.positions.ravel()[cells], -1), scores=now.scores.ravel()[cells])
    scores = page.scores.copy()
    scores.ravel()[columns[now.present]] = now.scores[now.present]
    return Reranked(tuple(rule.rule for rule in rules), np.where(now.present, columns - starts, -1), scores, before, after)


def rule_text(rules: Sequence[str], before: Ranks, after: Ranks) -> pa.StringArray:
    """Say which rules moved a video down, in their order, from which rank to which: ``creators:3>7|language:7>9``.

    Args:
        rules: names of the rules.
        before: int32 ``(n_rules, ...)``, as in :class:`Reranked`, for instance of the videos that are shown.
        after: int32 ``(n_rules, ...)``, as in :class:`Reranked`.

    Returns:
        One string a video, in row-major order; null where no rule moved it.
    """
    cells = int(np.prod(before.shape[1:]))
    since, until = before.reshape(len(rules), cells), after.reshape(len(rules), cells)
    rule, cell = np.nonzero(since)
    by_cell = np.argsort(cell, kind="stable")  # the rules of a cell stay in their order
    rule, cell = rule[by_cell], cell[by_cell]
    texts = pc.binary_join_element_wise(ranked(rules, rule, since[rule, cell]), numbers(until[rule, cell]), ">")
    return joined(cell, texts, cells)


def _number(ranks: Ranks, columns: Ints, which: Bools) -> None:
    """Write the rank, from 1, of each cell that is true to its column of the flat first page, in place."""
    cells = np.flatnonzero(which)
    ranks.ravel()[columns.ravel()[cells]] = cells % which.shape[1] + 1
