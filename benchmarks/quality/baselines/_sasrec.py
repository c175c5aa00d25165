"""SASRec with cross-entropy over the full catalogue, the variant that holds up.

Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018); Klenitskiy and Vasilev, "Turning Dross Into Gold Loss:
is BERT4Rec really better than SASRec?" (RecSys 2023). A causal transformer reads a user's videos in order of time and predicts
the next one at each place. Layers are pre-norm, positions are learned, and the table of videos is both input and output.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.quality._world import Events, Floats, Ints, World
from benchmarks.quality.baselines._base import Fitted, Judge, Params, suggest_input

MAX_EPOCHS, PATIENCE, EVERY = 150, 4, 3
"""Epochs at most; looks at validation without a better figure before tuning stops; epochs from one look to the next."""
_BATCH_PLACES = 2048
_WARM_STEPS = 50


class SasRec:
    """The transformer; while tuning it finds its number of epochs, and a refit trains for as many."""

    name = "SASRec"
    trials = 0.4
    first: Params = {  # noqa: RUF012
        "input": "positives", "width": 64, "layers": 2, "heads": 2, "max_length": 100, "dropout": 0.3, "learning_rate": 1e-3,
        "weight_decay": 0.01,
    }  # fmt: skip

    def suggest(self, trial: optuna.Trial) -> Params:
        """Shape and training."""
        return {
            "input": suggest_input(trial),
            "width": trial.suggest_categorical("width", [64, 128]),
            "layers": trial.suggest_int("layers", 1, 3),
            "heads": trial.suggest_categorical("heads", [1, 2]),
            "max_length": trial.suggest_categorical("max_length", [50, 100, 200]),
            "dropout": trial.suggest_float("dropout", 0.1, 0.6),
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 0.3, log=True),
        }

    def fit(self, world: World, params: Params, seed: int, judge: Judge | None = None) -> Fitted:
        """Train for ``params["epochs"]``, or until ``judge`` sees no progress."""
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        events = world.inputs[params["input"]]
        histories = sequences(events, world.shape[0])
        shape = {name: params[name] for name in ("width", "layers", "heads", "max_length", "dropout")}
        net = Transformer(n_videos=world.shape[1], **shape)
        decayed = [weight for weight in net.parameters() if weight.ndim > 1]
        others = [weight for weight in net.parameters() if weight.ndim < 2]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": params["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
            lr=params["learning_rate"],
        )
        warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / _WARM_STEPS))
        best, best_epoch, best_state = -1.0, 0, copy.deepcopy(net.state_dict())
        for epoch in range(1, int(params.get("epochs", MAX_EPOCHS)) + 1):
            net.train()
            for places in batches(histories, params["max_length"], rng):
                loss = net.loss(torch.from_numpy(places))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                warm.step()
            if judge is not None and epoch % EVERY == 0:
                figure = judge(_scorer(net, histories, params["max_length"]), epoch)
                if figure > best:
                    best, best_epoch, best_state = figure, epoch, copy.deepcopy(net.state_dict())
                elif epoch - best_epoch >= PATIENCE * EVERY:
                    break
        if judge is not None:
            net.load_state_dict(best_state)
            return Fitted(_scorer(net, histories, params["max_length"]), {"epochs": best_epoch})
        return Fitted(_scorer(net, histories, params["max_length"]))


class Transformer(nn.Module):
    """Videos so far to scores of the next one; video ``v`` is row ``v + 1`` of the table, row 0 is padding."""

    def __init__(self, *, n_videos: int, width: int, layers: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.videos = nn.Embedding(n_videos + 1, width, padding_idx=0)
        self.positions = nn.Parameter(torch.empty(max_length, width))
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.videos.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)
        with torch.no_grad():
            self.videos.weight[0] = 0

    def forward(self, places: Tensor) -> Tensor:
        """States after each place, ``(n, length, width)``; ``places`` is int64 ``(n, length)``, padded with 0 at the end.

        Nothing looks ahead, so padding at the end changes nothing before it.
        """
        states = self.dropout(self.videos(places) * self.videos.embedding_dim**0.5 + self.positions[: places.shape[1]])
        for layer in self.layers:
            states = layer(states)
        return self.norm(states)

    def loss(self, places: Tensor) -> Tensor:
        """Mean cross-entropy of each next video over the whole catalogue."""
        told, wanted = places[:, :-1], places[:, 1:]
        real = wanted > 0
        return F.cross_entropy(self(told)[real] @ self.videos.weight[1:].T, wanted[real] - 1)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width), nn.Dropout(dropout)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        n, length, width = states.shape
        parts = self.project(self.before(states)).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        states = states + self.dropout(self.merge(seen.transpose(1, 2).reshape(n, length, width)))
        return states + self.feed(self.between(states))


def sequences(events: Events, n_users: int) -> list[Ints]:
    """Each user's videos in order of time, as rows of the table."""
    order = np.argsort(events.user, kind="stable")
    bounds = np.searchsorted(events.user[order], np.arange(1, n_users))
    return np.split(events.video[order] + 1, bounds)


def batches(histories: list[Ints], max_length: int, rng: np.random.Generator) -> Iterator[Ints]:
    """An epoch: each place of each history once as a target, int64 ``(n, length + 1)`` a batch, padded with 0 at the end.

    Long histories are cut into windows, elsewhere in each epoch; windows of about one length go together.
    """
    windows = []
    for history in histories:
        start = 0 if len(history) <= max_length + 1 else int(rng.integers(max_length)) - max_length + 1
        while start < len(history) - 1:
            windows.append(history[max(start, 0) : start + max_length + 1])
            start += max_length
    order = rng.permutation(len(windows))
    order = order[np.argsort([len(windows[place]) for place in order], kind="stable")]
    groups: list[list[int]] = [[]]
    for place in order.tolist():
        if groups[-1] and len(windows[place]) * (len(groups[-1]) + 1) > _BATCH_PLACES:
            groups.append([])
        groups[-1].append(place)
    for number in rng.permutation(len(groups)).tolist():
        yield _padded([windows[place] for place in groups[number]])


def _padded(rows: list[Ints]) -> Ints:
    padded = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def _scorer(net: Transformer, histories: list[Ints], max_length: int) -> Any:
    def scores(users: Ints) -> Floats:
        net.eval()
        lengths = np.array([min(len(histories[user]), max_length) for user in users])
        found = np.zeros((len(users), net.videos.num_embeddings - 1), dtype=np.float32)
        known = np.flatnonzero(lengths)
        with torch.no_grad():
            for few in np.array_split(known[np.argsort(lengths[known], kind="stable")], max(1, len(known) // 64)):
                if len(few):
                    places = torch.from_numpy(_padded([histories[user][-max_length:] for user in users[few]]))
                    last = net(places)[torch.arange(len(few)), torch.from_numpy(lengths[few] - 1)]
                    found[few] = (last @ net.videos.weight[1:].T).numpy()
        return found

    return scores
