"""Applies rules one after the other, and keeps what each of them did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.recommend.rules._page import Floats, Ints, Page, Rule, ScalarT

Ranks = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """A page after all rules, by the columns of the page before the first.

    A rank counts, from 1, what was there before or after that rule. Both are 0 where a rule did not put a video down or out.

    Attributes:
        rules: names of the rules, in the order in which they were applied.
        order: int64 ``(n_users, m)`` columns of the page in their final order; dropped ones are missing, -1 fills the end.
        scores: float32 ``(n_users, m)`` by column, after penalties.
        before: int32 ``(n_rules, n_users, m)`` by column: rank from which the rule moved the video down or dropped it.
        after: int32 ``(n_rules, n_users, m)`` by column: rank to which it did; 0 where it dropped the video.
    """

    rules: tuple[str, ...]
    order: Ints
    scores: Floats
    before: Ranks
    after: Ranks


def rerank(rules: Sequence[Rule], page: Page, k: int) -> Reranked:
    """Apply rules in their order.

    Args:
        rules: each sees what those before it left.
        page: the candidates.
        k: how many of a row will be shown.
    """
    order = np.where(page.present, np.arange(page.positions.shape[1]), -1)
    scores = page.scores
    before = np.zeros((len(rules), *order.shape), dtype=np.int32)
    after = np.zeros_like(before)
    now = page
    for number, rule in enumerate(rules):
        decision = rule(now, k)
        _record(before[number], after[number], order, decision.order, decision.touched)
        if decision.scores is not now.scores:
            scores = scores.copy()
            row, place = np.nonzero(order >= 0)
            scores[row, order[row, place]] = decision.scores[row, place]
        if decision.touched.any():
            order = _taken(order, decision.order)
            now = Page(
                _taken(now.positions, decision.order), _taken(decision.scores, decision.order), page.catalogue, page.users
            )
        else:
            now = Page(now.positions, decision.scores, page.catalogue, page.users)
    return Reranked(tuple(rule.rule for rule in rules), order, scores, before, after)


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
    since, until = before.reshape(len(rules), cells).T, after.reshape(len(rules), cells).T
    cell, rule = np.nonzero(since)
    moves = pc.binary_join_element_wise(
        pc.binary_join_element_wise(
            pc.take(pa.array(rules, pa.string()), pa.array(rule)), pc.cast(pa.array(since[cell, rule]), pa.string()), ":"
        ),
        pc.cast(pa.array(until[cell, rule]), pa.string()),
        ">",
    )
    counts = np.bincount(cell, minlength=len(since))
    bounds = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(bounds, moves, mask=pa.array(counts == 0)), "|")


def _record(before: Ranks, after: Ranks, columns: Ints, order: Ints, touched: NDArray[np.bool_]) -> None:
    """Note what a rule moved or dropped, by column of the page before the first rule.

    Args:
        before: int32 ``(n_users, m)``, written to.
        after: int32 ``(n_users, m)``, written to.
        columns: int64 ``(n_users, m)`` of the first page, by column of the page that the rule saw.
        order: int64 ``(n_users, m)``, what the rule decided.
        touched: bool ``(n_users, m)``, by column of the page that the rule saw.
    """
    row, seen = np.nonzero(touched)
    if not len(row):
        return
    before[row, columns[row, seen]] = seen + 1
    row, place = np.nonzero(order >= 0)
    seen = order[row, place]
    moved = touched[row, seen]
    row, place, seen = row[moved], place[moved], seen[moved]
    after[row, columns[row, seen]] = place + 1


def _taken(values: NDArray[ScalarT], order: Ints) -> NDArray[ScalarT]:
    """Cells of each row in a new order, -1 where that is -1."""
    taken = np.take_along_axis(values, order, axis=1)
    taken[order < 0] = -1
    return taken
