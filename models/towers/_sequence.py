"""What a user watched, in order, as a vector: a causal transformer whose state after each watch serves the examples behind it.

Self-attention over the history as in SASRec (Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018), with the
normalisation before each layer (Xiong et al., On Layer Normalization in the Transformer Architecture, ICML 2020) and, in the
place of positions counted from the start, a bias for the distance between two watches (Raffel et al., JMLR 2020): a history
that was cut to its newest watches then reads as it did in training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FURTHER = 4  # width of the inner layer, in widths of the vectors


class Dropout(nn.Module):
    """Dropout from one random byte an activation: its share is rounded to 1/256. torch's own took a quarter of a step."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.dropped = round(share * 256)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropped:
            return x
        draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * (kept * (256.0 / (256 - self.dropped)))


class _Block(nn.Module):
    def __init__(self, dim: int, *, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.before_attention, self.before_perceptron = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ask = nn.Linear(dim, 3 * dim)
        self.answer = nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(
            nn.Linear(dim, _FURTHER * dim), nn.GELU(), Dropout(dropout), nn.Linear(_FURTHER * dim, dim)
        )
        self.distance = nn.Parameter(torch.zeros(heads, length))

    def forward(self, x: Tensor, distances: Tensor, mask: Tensor) -> Tensor:
        n, length, dim = x.shape
        query, key, value = self.ask(self.before_attention(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = (self.distance[:, distances] + mask)[None]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.dropout(self.answer(seen.transpose(1, 2).reshape(n, length, dim)))
        return x + self.dropout(self.perceptron(self.before_perceptron(x)))  # type: ignore[no-any-return]


class SequenceEncoder(nn.Module):
    """Histories in, the state after each watch out; a learned state stands for no history."""

    def __init__(self, dim: int, *, blocks: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.length, self.dropout = length, Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(dim, heads=heads, length=length, dropout=dropout) for _ in range(blocks))
        self.nothing = nn.Parameter(torch.zeros(dim))

    def forward(self, watched: Tensor) -> Tensor:
        """States (n, 1 + length, dim) of embedded histories (n, length, dim), oldest first.

        State ``p`` is what is known after the first ``p`` watches. What lies behind the end of a shorter history changes no
        state before it.
        """
        length = watched.shape[1]
        steps = torch.arange(length)
        distances = (steps[:, None] - steps[None, :]).clamp_min(0)
        mask = torch.full((length, length), -1e9).triu(1)
        x = self.dropout(watched)
        for block in self.blocks:
            x = block(x, distances, mask)
        return torch.cat((self.nothing.expand(len(x), 1, -1), x), dim=1)
