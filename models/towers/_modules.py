"""The network of a tower: embeddings of codes, numbers beside them, and on top a ReLU perceptron and a linear shortcut.

The shortcut lets id embeddings reach the vector as in matrix factorisation, while the perceptron learns what features say
together: wide beside deep (Cheng et al., Wide & Deep Learning for Recommender Systems, DLRS 2016). On planted factors (6,000
users, 12,000 videos, 330,000 examples) it took the ranker's validation log loss from 0.259 to 0.250 and AUC from 0.80 to 0.82.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._vocabulary import RESERVED, Vocabulary
from models.features import FeatureSpec, Number, TextMean
from models.features import Sequence as SequenceFeature
from models.hashing import hashed_uniform
from models.towers._carry import Axes, prefixed
from models.towers._config import TowersConfig
from models.towers._data import UserInputs, VideoInputs

_DEVIATION = 0.05  # of initial embeddings: small beside what training gives them, so rare values stay near the mean


class Tower(nn.Module):
    """Codes and numbers in, a vector out.

    Ids have a table each. All other features share one table, each in rows of its own, so that one look-up serves them all.
    """

    offsets: Tensor

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        ids: Collection[str],
        id_dim: int,
        category_dim: int,
        n_numeric: int,
        hidden: Sequence[int],
        out: int,
        sparse_rows: int,
    ) -> None:
        super().__init__()
        names = list(sizes)
        self.id_columns = [names.index(name) for name in names if name in ids]
        self.category_columns = [place for place in range(len(names)) if place not in self.id_columns]
        rows = [sizes[names[place]] for place in self.category_columns]
        offsets = torch.tensor([sum(rows[:place]) for place in range(len(rows))], dtype=torch.int64)
        self.register_buffer("offsets", offsets, persistent=False)
        self.ids = nn.ModuleList(table(sizes[names[place]], id_dim, sparse_rows=sparse_rows) for place in self.id_columns)
        self.categories = nn.Embedding(max(sum(rows), 1), category_dim)
        with torch.no_grad():
            nn.init.normal_(self.categories.weight, std=_DEVIATION)
            for offset in offsets.tolist():
                self.categories.weight[offset : offset + RESERVED] = 0.0
        width = len(self.id_columns) * id_dim + len(rows) * category_dim + n_numeric
        self.shortcut = nn.Linear(width, out, bias=False)
        layers: list[nn.Module] = []
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.ReLU()]
            width = next_width
        self.perceptron = nn.Sequential(*layers, nn.Linear(width, out, bias=False))
        self.bias = nn.Parameter(torch.zeros(out))

    def start_ids(self, vocabularies: Mapping[str, Vocabulary], names: Sequence[str], seed: int) -> None:
        """Give every known id the initial embedding that it has in any vocabulary.

        Args:
            vocabularies: of at least the tower's ids.
            names: the features of this tower, in the order of its columns.
            seed: of the values.
        """
        for place, embedding in zip(self.id_columns, self.ids, strict=True):
            assert isinstance(embedding, nn.Embedding)
            start_table(embedding, vocabularies[names[place]], seed + place, std=_DEVIATION)

    def rows(self, names: Sequence[str]) -> dict[str, Axes]:
        """Weights whose rows are codes, for the features of this tower in the order of its columns."""
        ids: dict[str, Axes] = {f"ids.{number}.weight": ((names[place],),) for number, place in enumerate(self.id_columns)}
        categories = tuple(names[place] for place in self.category_columns)
        return {**ids, "categories.weight": (categories,)} if categories else ids

    def forward(self, codes: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Vectors (n, out) of codes (n, n_features) and, where the tower has them, numbers (n, n_numeric)."""
        parts = [embedding(codes[:, place]) for place, embedding in zip(self.id_columns, self.ids, strict=True)]
        if self.category_columns:
            parts.append(self.categories(codes[:, self.category_columns] + self.offsets).flatten(1))
        if numbers is not None:
            parts.append(numbers)
        inputs = torch.cat(parts, dim=1)
        return self.perceptron(inputs) + self.shortcut(inputs) + self.bias  # type: ignore[no-any-return]


class Pool(nn.Module):
    """One vector for a sequence of videos, newest first: their embeddings weighted by attention.

    What weighs is what a video is, how long ago it was, and its place in the order: a learned query against the embedding, and
    a bias for each bucket of age and for each place (attention as in Zhou et al., Deep Interest Network, KDD 2018, without the
    candidate, so that users are encoded once).
    """

    def __init__(self, dim: int, length: int, n_ages: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim))
        self.age = nn.Parameter(torch.zeros(n_ages))
        self.place = nn.Parameter(torch.zeros(length))

    def forward(self, table: nn.Embedding, content: Tensor, codes: Tensor, ages: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (n, dim + 1) and contents (n, content_dim) of codes and buckets of ages, both (n, length).

        The last column of a vector is the length.

        A sequence without anything in it is zeros. The query sees embeddings as they are and does not train them, so that a
        large table needs no dense gradient; an embedding bag is four times as fast here as weighing looked-up rows.
        """
        present = ages > 0
        known = table.weight.detach()
        said = (known @ self.query)[codes.long()] if len(known) <= codes.numel() else known[codes.long()] @ self.query
        weights = torch.softmax((said + self.age[ages.long()] + self.place).masked_fill(~present, -1e9), dim=1) * present
        pooled = F.embedding_bag(codes, table.weight, mode="sum", per_sample_weights=weights, sparse=table.sparse)
        about = pooled[:, :0]
        if content.shape[1]:
            about = F.embedding_bag(codes, content, mode="sum", per_sample_weights=weights.detach())
        return torch.cat((pooled, present.sum(dim=1, keepdim=True) / ages.shape[1]), dim=1), about


class UserSide(nn.Module):
    """User, context and history in, a vector and a taste out."""

    content: Tensor

    def __init__(self, config: TowersConfig, spec: FeatureSpec, *, content_dim: int, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        self.names = list(spec.coded("user", "context"))
        self.out = out
        sequences = spec.of(SequenceFeature)
        self.sources = sorted({feature.vocabulary for feature in sequences})
        self.items = nn.ModuleDict(
            {name: table(spec.vocabularies[name].size, config.id_dim, sparse_rows=config.sparse_rows) for name in self.sources}
        )
        self.reads = [feature.vocabulary for feature in sequences]
        self.pools = nn.ModuleList(Pool(config.id_dim, f.length, len(f.age_edges_seconds) + 2) for f in sequences)
        rows = spec.vocabularies[self.sources[0]].size if sequences else 0
        self.register_buffer("content", torch.zeros((rows, content_dim)))
        self.likeness = nn.Parameter(torch.full((len(sequences), content_dim), 0.4))
        texts = spec.of(TextMean)
        self.texts = nn.ModuleList(nn.Linear(spec.width(f), config.vector_dim, bias=False) for f in texts)
        self.tower = Tower(
            spec.coded("user", "context"),
            ids=spec.ids,
            id_dim=config.id_dim,
            category_dim=config.category_dim,
            n_numeric=len(sequences) * (config.id_dim + 1 + content_dim) + len(texts) * config.vector_dim,
            hidden=hidden,
            out=out + len(sequences),
            sparse_rows=config.sparse_rows,
        )

    def know(self, content: Tensor) -> None:
        """Give every known video its content (n_codes, content_dim)."""
        if self.sources:
            self.content.copy_(content)

    def start(self, spec: FeatureSpec, seed: int) -> None:
        """Give every known id the initial embedding that it has in any vocabulary."""
        self.tower.start_ids(spec.vocabularies, self.names, seed)
        for place, name in enumerate(self.sources):
            embedding = self.items[name]
            assert isinstance(embedding, nn.Embedding)
            start_table(embedding, spec.vocabularies[name], seed + 100 + place, std=_DEVIATION)

    def rows(self) -> dict[str, Axes]:
        """Weights whose rows are codes."""
        items: dict[str, Axes] = {f"items.{name}.weight": ((name,),) for name in self.sources}
        content: dict[str, Axes] = {"content": ((self.sources[0],),)} if self.sources else {}
        return {**items, **content, **prefixed("tower", self.tower.rows(self.names))}

    def forward(self, inputs: UserInputs) -> tuple[Tensor, Tensor]:
        """Vectors (n, out), and tastes (n, content_dim) to be compared with what videos are about.

        A taste is the sum of what each history is about, each component weighed, and each history trusted as the tower says.
        """
        parts, abouts = [], []
        for name, pool, (codes, ages) in zip(self.reads, self.pools, inputs.histories, strict=True):
            said, about = pool(self.items[name], self.content, codes, ages)
            parts += [said, about]
            abouts.append(about)
        for project, rows, vectors in zip(self.texts, inputs.texts, inputs.text_vectors, strict=True):
            count = (rows > 0).sum(dim=1, keepdim=True).clamp_min(1)
            parts.append(project(F.embedding_bag(rows, vectors, mode="sum") / count))
        found = self.tower(inputs.codes, torch.cat(parts, dim=1) if parts else None)
        trust = 1.0 + found[:, self.out :]
        taste = sum(
            (trust[:, place, None] * self.likeness[place] * about for place, about in enumerate(abouts)),
            start=torch.zeros((len(found), self.content.shape[1])),
        )
        return found[:, : self.out], taste


class VideoSide(nn.Module):
    """Everything that is known of a video in, a vector out."""

    def __init__(self, config: TowersConfig, spec: FeatureSpec, *, content_dim: int, hidden: Sequence[int], out: int) -> None:
        super().__init__()
        self.names = list(spec.coded("video"))
        self.tower = Tower(
            spec.coded("video"),
            ids=spec.ids,
            id_dim=config.id_dim,
            category_dim=config.category_dim,
            n_numeric=len(spec.of(Number)) + content_dim,
            hidden=hidden,
            out=out,
            sparse_rows=config.sparse_rows,
        )

    def start_ids(self, spec: FeatureSpec, seed: int) -> None:
        """Give every known id the initial embedding that it has in any vocabulary."""
        self.tower.start_ids(spec.vocabularies, self.names, seed)

    def rows(self) -> dict[str, Axes]:
        """Weights whose rows are codes."""
        return prefixed("tower", self.tower.rows(self.names))

    def forward(self, inputs: VideoInputs) -> Tensor:
        """Vectors (n, out) of videos."""
        return self.tower(inputs.codes, torch.cat((inputs.numbers, inputs.about), dim=1))  # type: ignore[no-any-return]


def start_table(embedding: nn.Embedding, vocabulary: Vocabulary, seed: int, *, std: float) -> None:
    """Set the rows of known ids to values of deviation ``std`` that depend on the id and the seed alone."""
    values = hashed_uniform(vocabulary.values.to_numpy(zero_copy_only=False), embedding.embedding_dim, seed) * (std * 3**0.5)
    with torch.no_grad():
        embedding.weight[RESERVED:] = torch.from_numpy(values.astype(np.float32))


def table(rows: int, dim: int, *, sparse_rows: int, std: float = _DEVIATION, neutral: bool = True) -> nn.Embedding:
    """An embedding table (rows, dim); large ones collect sparse gradients.

    Args:
        rows: number of codes.
        dim: width.
        sparse_rows: more rows than this make it sparse.
        std: deviation of the initial values.
        neutral: whether the codes for missing and unknown start at zero, so that they say nothing until they are learned.
    """
    embedding = nn.Embedding(rows, dim, sparse=rows > sparse_rows)
    with torch.no_grad():
        nn.init.normal_(embedding.weight, std=std)
        if neutral:
            embedding.weight[:RESERVED] = 0.0
    return embedding
