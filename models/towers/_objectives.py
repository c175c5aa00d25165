"""What else an example tells beside relevance, as further heads on the same towers (L5).

A head weighs every product of the user's and the video's numbers anew, where relevance adds them up as they are; so heads cost
a vector each, nothing at serving, and what they learn reaches relevance through the towers alone (shared bottom: Caruana,
Multitask Learning, Machine Learning 1997).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.rows import one_chunk
from schemas.errors import ReelflowError

Objective = Literal["clicked", "watch_fraction", "completed", "liked", "shared", "disliked"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
"""Columns of EXAMPLES, each a share from 0 to 1 or a yes or no."""


class Heads(nn.Module):
    """Logits of the objectives that weigh something; at the beginning each is that of relevance."""

    def __init__(self, weights: Mapping[Objective, float], width: int) -> None:
        super().__init__()
        self.names = weighed(weights)
        self.weights = [weights[name] for name in self.names]
        self.products = nn.Parameter(torch.ones((width, len(self.names))))
        self.bias = nn.Parameter(torch.zeros(len(self.names)))

    def loss(self, products: Tensor, told: Tensor, weight: Tensor) -> Tensor:
        """Sum over the objectives of weight times mean cross-entropy.

        Args:
            products: of the numbers of users and videos (n, width).
            told: of each objective (n, n_objectives); NaN where it is not known.
            weight: of the examples (n,).
        """
        if not self.names:
            return products.new_zeros(())
        known = ~told.isnan()
        losses = F.binary_cross_entropy_with_logits(products @ self.products + self.bias, told.nan_to_num(), reduction="none")
        mass = weight[:, None] * known
        means = (losses * mass).sum(dim=0) / mass.sum(dim=0).clamp_min(1e-12)
        return means @ torch.tensor(self.weights)


def weighed(weights: Mapping[Objective, float]) -> tuple[Objective, ...]:
    """The objectives that weigh something, in order."""
    return tuple(name for name in OBJECTIVES if weights.get(name))


def told_by(examples: pa.Table, names: Sequence[str]) -> Tensor:
    """Values of some objectives (n, n_names), float32; NaN for null.

    Raises:
        ReelflowError: the examples do not tell one of them.
    """
    if missing := [name for name in names if name not in examples.column_names]:
        raise ReelflowError(
            f"ranker: examples have no column {missing[0]}; expected it, for towers.ranker.objectives gives it a weight"
        )
    columns = [one_chunk(examples.column(name)).cast(pa.float32(), safe=False) for name in names]
    parts = [torch.from_numpy(column.to_numpy(zero_copy_only=False).copy()) for column in columns]
    return torch.stack(parts, dim=1) if parts else torch.empty((examples.num_rows, 0))
