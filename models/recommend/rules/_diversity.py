"""The rule that keeps the first places of a list unlike each other."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from conf import Section
from models.recommend.rules._page import Bools, Decision, Floats, Ints, Page, decided, unchanged

_USERS_PER_BLOCK = 32


class Diversity(Section):
    """Fills the first places with what scores well and is unlike what stands above it: maximal marginal relevance.

    Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking" (SIGIR 1998). The videos of the pool are the page's
    first ``pool``; their scores are stretched to 0 to 1 for each user. Place by place, the video with the largest ``score -
    weight * similarity`` is taken, equals in their order, where similarity is the largest cosine of its title and tags to a
    video taken before, at least 0. A video without title and tags is like no other. What is not taken follows in its order.
    """

    rule: Literal["diversity"] = "diversity"

    weight: float = Field(ge=0)
    """How much of the pool's span of scores a copy of a video above loses."""

    depth: int = Field(ge=1)
    """Places that are filled so, of the first ``k`` at most."""

    pool: int = Field(ge=1)
    """Videos of a page from which they are chosen."""

    def __call__(self, page: Page, k: int) -> Decision:
        """Decide by ``VideoFacts.content``."""
        size = min(self.pool, page.positions.shape[1])
        order = unchanged(page)
        scores = _stretched(page.standing[:, :size], page.present[:, :size])
        for start in range(0, len(order), _USERS_PER_BLOCK):
            rows = slice(start, start + _USERS_PER_BLOCK)
            content = np.take(page.catalogue.facts.content, page.positions[rows, :size], axis=0, mode="wrap")
            taken = self._taken(scores[rows], content, min(self.depth, k, size))
            order[rows, :size] = np.take_along_axis(order[rows, :size], taken, axis=1)
        return decided(page, order)

    def _taken(self, scores: Floats, content: Floats, depth: int) -> Ints:
        """Columns of the pool, chosen ones first: int64 ``(n, size)``.

        Args:
            scores: float32 ``(n, size)``, ``-inf`` where there is no video.
            content: float32 ``(n, size, c)``.
            depth: how many to choose.
        """
        users = np.arange(len(scores))
        # Symmetric, so that the similarities to one video are one contiguous row.
        lost = np.float32(self.weight) * np.maximum(content @ content.transpose(0, 2, 1), 0)
        left, most = scores.copy(), np.zeros_like(scores)
        place = np.full(scores.shape, depth)
        for chosen in range(depth):
            best = (left - most).argmax(axis=1)
            place[users, best] = np.minimum(place[users, best], chosen)  # a row without videos left takes its padding again
            left[users, best] = -np.inf
            np.maximum(most, lost[users, best], out=most)
        return np.argsort(place, axis=1, kind="stable")


def _stretched(standing: Floats, present: Bools) -> Floats:
    """Scores from 0 for the last to 1 for the first video of each row, ``-inf`` in the padding: float32 of the same shape."""
    if not standing.shape[1]:
        return standing
    last = np.maximum(present.sum(axis=1, keepdims=True) - 1, 0)
    standing = np.where(present, standing, 0)
    low, high = np.take_along_axis(standing, last, axis=1), standing[:, :1]
    # Where all are equal nothing is divided, and all are 0.
    stretched = np.divide(standing - low, high - low, out=np.zeros_like(standing), where=high > low)
    return np.where(present, stretched, np.float32(-np.inf))
