"""Pairs of values, one of the user's or moment's and one of the video's: a weight each, found by a dot product.

Whether a user reads a video's language is no matter of degree. Embeddings find such pairs slowly, as products of what begins
small; a table of all pairs finds them at once (the wide part of Cheng et al., Wide & Deep Learning for Recommender Systems,
DLRS 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.features import FeatureSpec
from models.towers._carry import Axes
from schemas.errors import ReelflowError

_WIDEST = 256  # columns that a cross adds to every vector: the values of its video's feature


class Crosses(nn.Module):
    """Tables of pairs; all weights begin at zero."""

    def __init__(self, spec: FeatureSpec, pairs: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        users, videos = spec.coded("user", "context"), spec.coded("video")
        left_out = {name for pair in pairs for name in pair} - users.keys() - videos.keys()
        kept = [(own, theirs) for own, theirs in pairs if not {own, theirs} & left_out]
        for own, theirs in kept:
            if own not in users or theirs not in videos or videos[theirs] > _WIDEST:
                raise ReelflowError(
                    f"towers.ranker.crosses: found [{own}, {theirs}], expected a category of users or moments and one of "
                    f"videos with at most {_WIDEST} values"
                )
        self.pairs = kept
        self.places = [(list(users).index(own), list(videos).index(theirs)) for own, theirs in kept]
        self.tables = nn.ParameterList(torch.zeros(users[own], videos[theirs]) for own, theirs in kept)

    @property
    def width(self) -> int:
        """Columns that all pairs add to a vector."""
        return sum(table.shape[1] for table in self.tables)

    def rows(self) -> dict[str, Axes]:
        """Weights whose rows or columns are codes."""
        return {f"tables.{place}": ((own,), (theirs,)) for place, (own, theirs) in enumerate(self.pairs)}

    def of_users(self, codes: Tensor) -> Tensor:
        """Weights (n, values of all videos' features) that users with these codes give to each value."""
        parts = [table[codes[:, place]] for (place, _), table in zip(self.places, self.tables, strict=True)]
        return torch.cat(parts, dim=1) if parts else codes.new_zeros((len(codes), 0), dtype=torch.float32)

    def of_videos(self, codes: Tensor) -> Tensor:
        """One column each value, 1 for those that videos with these codes have."""
        parts = [F.one_hot(codes[:, place], table.shape[1]) for (_, place), table in zip(self.places, self.tables, strict=True)]
        return torch.cat(parts, dim=1).float() if parts else codes.new_zeros((len(codes), 0), dtype=torch.float32)
