"""Two-tower retrieval: what the user watched, in order, and the user's features against one vector a video (M5).

The state of a causal encoder after the last watch and a perceptron on all other features add up to the user's vector; the
encoder reads the same table of videos that it is scored against. Small catalogues are scored whole. In larger ones each
positive must win against the other videos of its batch and some drawn evenly, so that videos that are never a positive learn to
lose as well (Yang et al., Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations, WWW 2020). Such
candidates are drawn unevenly, so each logit is reduced by the logarithm of the probability that its video is a candidate (Yi et
al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019). A video counts once however
often it was drawn, which leaves no accidental hits to mask.

Inside, a score is a dot product plus the video's bias. What leaves the model are unit vectors in the same order of scores: two
more columns take the bias, and what a video's vector lacks in length (Neyshabur and Srebro, On Symmetric and Asymmetric LSHs
for Inner Product Search, ICML 2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._vocabulary import RESERVED
from models.features import FeatureSpec, Vector
from models.towers._carry import Axes, carry, prefixed
from models.towers._checkpoint import Checkpoint
from models.towers._config import TowersConfig
from models.towers._content import Content, content_of, content_table
from models.towers._data import Encoded, TowerData, UserInputs, encode_examples, encode_users_at
from models.towers._modules import UserSide, start_table, table
from models.towers._sequence import SequenceEncoder
from models.towers._store import Stored, read, write
from models.towers._train import SCORE, Progress, Record, batch_rows, hide_ids, in_chunks, run, seeded
from models.towers._windows import Windows, windows
from schemas import columns as col
from schemas.errors import ReelflowError

KIND = "retrieval"
Vectors = npt.NDArray[np.float32]

_VIDEO = "video_id"  # the feature; retrieval needs it
_WATCHED = "watched"  # the sequence that the encoder reads
_VALIDATION_POSITIVES = 4000  # each is ranked against the whole catalogue
_RECALL_AT = 100
_DEVIATION = 0.02  # of initial vectors of videos
_ALIKE = 8  # batches whose windows are sorted by length, so that little is padding


class _Retrieval(nn.Module):
    """Encoder of histories, perceptron on features, and table of videos."""

    def __init__(self, config: TowersConfig, spec: FeatureSpec, content_dim: int) -> None:
        super().__init__()
        own = config.retrieval
        rows = spec.vocabularies[_VIDEO].size
        self.video = table(rows, own.dim, sparse_rows=config.sparse_rows, std=_DEVIATION)
        self.bias = nn.Embedding(rows, 1, sparse=self.video.sparse)
        nn.init.zeros_(self.bias.weight)
        self.encoder = (
            SequenceEncoder(own.dim, blocks=own.blocks, heads=own.heads, length=own.history, dropout=own.dropout)
            if own.blocks and _WATCHED in (feature.name for feature in spec.features)
            else None
        )
        self.user = UserSide(config, spec, content_dim=content_dim, hidden=own.hidden, out=own.dim)
        self.norm = nn.LayerNorm(own.dim)
        self.content = Content(sum(spec.width(feature) for feature in spec.of(Vector)), content_dim)

    def rows(self) -> dict[str, Axes]:
        """Weights whose rows are codes."""
        own: Axes = ((_VIDEO,),)
        return {"video.weight": own, "bias.weight": own, **prefixed("user", self.user.rows())}

    def states(self, codes: Tensor) -> Tensor:
        """States (n, 1 + length, dim) of histories (n, length), oldest first."""
        assert self.encoder is not None
        states: Tensor = self.encoder(self.video(codes) * self.video.embedding_dim**0.5)
        return states

    def users(self, inputs: UserInputs, state: Tensor | None) -> Tensor:
        """Vectors (n, dim) of users whose histories left a state (n, dim)."""
        said, _ = self.user(inputs)
        found: Tensor = self.norm(said if state is None else state + said)
        return found

    def scores(self, users: Tensor, codes: Tensor) -> Tensor:
        """Scores (n, m) of users (n, dim) for video codes (m,)."""
        found: Tensor = users @ self.video(codes).T + self.bias(codes).T
        return found


@dataclass(frozen=True, slots=True)
class FittedRetrieval:
    """A trained retrieval model. The dot product of a user's and a video's vector orders the videos for the user."""

    config: TowersConfig
    spec: FeatureSpec
    history: tuple[Record, ...]
    best_epoch: int
    module: _Retrieval

    def user_vectors(self, users: pa.Table, queries: pa.Table, at: datetime) -> Vectors:
        """Unit vectors (n_users, dim + 2) of users, in order, at a moment and on their newest device.

        A user whom training did not see is placed by history and the other features.

        Args:
            users: USER_FEATURES as of ``at``.
            queries: QUERY_TEXT.
            at: the moment.
        """
        inputs = encode_users_at(self.spec, users, queries, at)
        codes, lengths = self._watched(users)
        vectors = in_chunks(lambda rows: _users_at(self.module, inputs.rows(rows), codes[rows], lengths[rows]), len(inputs))
        ones = torch.ones((len(vectors), 1))
        return _numpy(F.normalize(torch.cat((vectors, ones, torch.zeros_like(ones)), dim=1), dim=1))

    def video_vectors(self, video_ids: npt.NDArray[np.int64]) -> Vectors:
        """Unit vectors (n, dim + 2) of videos, in order; all unknown ones share one, see ``known_videos``."""
        whole = torch.cat((self.module.video.weight, self.module.bias.weight), dim=1)
        longest = whole.norm(dim=1).max().clamp_min(1e-12)
        whole = whole / longest
        rest = (1.0 - whole.square().sum(dim=1, keepdim=True)).clamp_min(0.0).sqrt()
        codes = torch.from_numpy(self._codes(video_ids))
        return _numpy(F.normalize(torch.cat((whole, rest), dim=1)[codes], dim=1))

    def known_videos(self, video_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether training saw each video often enough to give it a vector of its own (n,)."""
        return self._codes(video_ids) >= RESERVED

    def ranks(self, data: TowerData, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Place of each example's video (n_chosen,) among all known ones for its user at its moment, from 1; 0 if not known.

        Args:
            data: examples and features.
            mask: which examples (n_examples,).
        """
        positives = _Positives.of(self.config, self.spec, data, mask)
        known = torch.nonzero(positives.video >= RESERVED)[:, 0]
        found = torch.zeros(len(positives.video), dtype=torch.int64)
        with torch.inference_mode():
            found[known] = _ranks(self.module, positives, known)
        return np.asarray(found.numpy())

    def save(self, directory: Path) -> None:
        """Write the model into ``directory`` as JSON and safetensors; the same model gives the same bytes."""
        write(directory, KIND, Stored(self.config, self.spec, self.history, self.best_epoch, self.module.state_dict()))

    @staticmethod
    def load(directory: Path) -> FittedRetrieval:
        """The model that ``save`` wrote.

        Raises:
            ReelflowError: the directory holds none, or one of another format.
        """
        stored = read(directory, KIND)
        module = _Retrieval(stored.config, stored.spec, stored.content_dim)
        stored.fill(module)
        return FittedRetrieval(stored.config, stored.spec, stored.history, stored.best_epoch, module)

    def _codes(self, video_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self.spec.vocabularies[_VIDEO].encode(pa.array(video_ids, type=pa.int64()))

    def _watched(self, users: pa.Table) -> tuple[Tensor, Tensor]:
        """What users watched last, oldest first (n, length), and how much that is (n,)."""
        if self.module.encoder is None:
            return torch.zeros((users.num_rows, 0), dtype=torch.int64), torch.zeros(users.num_rows, dtype=torch.int64)
        newest_first = self.spec.history(users, _WATCHED, self.config.retrieval.history)
        lengths = torch.from_numpy((newest_first.ages > 0).sum(axis=1))
        places = lengths[:, None] - 1 - torch.arange(newest_first.codes.shape[1])
        codes = torch.from_numpy(newest_first.codes).long().gather(1, places.clamp_min(0))
        return codes.masked_fill(places < 0, 0), lengths


def fit_retrieval(
    config: TowersConfig,
    data: TowerData,
    seed: int,
    progress: Progress | None = None,
    *,
    epochs: int | None = None,
    start: FittedRetrieval | None = None,
    checkpoint: Path | None = None,
) -> FittedRetrieval:
    """Train retrieval on the positives of ``data``.

    Args:
        config: section ``towers``.
        data: examples and features.
        seed: the same seed and data give the same arrays.
        progress: called with each epoch's record: epoch, train_loss, and with validation score (mean of 1 / log2(1 + rank)
            of a positive in the whole catalogue) and recall_at_100.
        epochs: exactly this many and no early stopping: to train again on all data for the ``best_epoch`` found before.
        start: a model to go on from, with its scales and contents and every value that it knows; where no epoch is better on
            validation, ``best_epoch`` is 0.
        checkpoint: file to go on from if it is there, and to keep what is needed to after each epoch; its path must tell data,
            settings and seed.

    Raises:
        ReelflowError: no training example is a positive; a start of another shape.
    """
    spec = data.fit_spec(min_count=config.min_count, leave_out=config.leave_out)
    if start is not None:
        spec = start.spec.extended(spec)
    positive = data.examples.column(col.LABEL).to_numpy() == 1
    if not (positive & data.train).any():
        raise ReelflowError(
            f"retrieval: found no relevant example (label 1) among {int(data.train.sum())} training examples; expected at "
            "least one; widen the look-back or check that watches and likes arrive"
        )
    train, validation = (_Positives.of(config, spec, data, mask & positive) for mask in (data.train, data.validation))
    content = start.module.content if start is not None else content_of(spec, data.videos)
    with seeded(seed, config.threads) as generator:
        module = _Retrieval(config, spec, content.dim)
        module.user.start(spec, seed)
        module.content.load_state_dict(content.state_dict())
        start_table(module.video, spec.vocabularies[_VIDEO], seed, std=_DEVIATION)
        if start is not None:
            carry(module, module.rows(), spec, start.module, start.spec)
        module.user.know(content_table(content, spec, data.videos, _VIDEO))
        softmax = _Softmax(config, module, train, generator=generator)
        chosen = torch.randperm(len(validation.video), generator=generator)[:_VALIDATION_POSITIVES].sort().values
        chosen = chosen[validation.video[chosen] >= RESERVED]
        trained = run(
            module,
            softmax.step,
            batches=softmax.batches,
            config=config.retrieval,
            validate=(lambda: _validate(module, validation, chosen)) if len(chosen) else None,
            generator=generator,
            epochs=epochs,
            progress=progress,
            started=start is not None,
            checkpoint=None if checkpoint is None else Checkpoint(checkpoint),
        )
    return FittedRetrieval(config, spec, trained.history, trained.best_epoch, module)


@dataclass(frozen=True, slots=True)
class _Positives:
    """Positives, the windows that they stand in, and their videos."""

    encoded: Encoded
    windows: Windows
    video: Tensor
    """Code of each example's video (n,)."""

    @staticmethod
    def of(config: TowersConfig, spec: FeatureSpec, data: TowerData, mask: npt.NDArray[np.bool_]) -> _Positives:
        encoded = encode_examples(spec, data, mask)
        codes = spec.vocabularies[_VIDEO].encode(data.watches.column(col.VIDEO_ID))
        laid = windows(data.examples.filter(pa.array(mask)), data.watches, codes, config.retrieval.history)
        video = encoded.videos.codes[encoded.video, list(spec.coded("video")).index(_VIDEO)]
        return _Positives(encoded, laid, video)


class _Softmax:
    """The loss of the positives of some windows against the candidates of a step."""

    def __init__(self, config: TowersConfig, module: _Retrieval, train: _Positives, *, generator: torch.Generator) -> None:
        self.config, self.module, self.train, self.generator = config, module, train, generator
        n, self.n_videos = len(train.video), module.video.num_embeddings
        self.order, self.starts = train.windows.by_window()
        positives = batch_rows(n, largest=config.retrieval.batch_size, min_steps=config.retrieval.min_steps_per_epoch)
        self.n_windows = max(1, round(positives * len(train.windows) / n))
        self.whole = torch.arange(RESERVED, self.n_videos) if self.n_videos <= config.retrieval.full_softmax_videos else None
        share = torch.bincount(train.video, minlength=self.n_videos).double() / n
        absent_from_batch = (1.0 - share) ** min(positives, n)
        absent_from_draw = (1.0 - 1.0 / self.n_videos) ** config.retrieval.uniform_negatives
        self.log_chance = (1.0 - absent_from_batch * absent_from_draw).clamp_min(1e-12).log().float()

    def batches(self) -> Sequence[Tensor]:
        """Windows of each step of an epoch, in random order and of similar lengths."""
        drawn = torch.randperm(len(self.train.windows), generator=self.generator)
        parts: list[Tensor] = []
        for some in torch.split(drawn, _ALIKE * self.n_windows):
            alike = some[torch.argsort(self.train.windows.lengths[some], stable=True)]
            parts += torch.split(alike, self.n_windows)
        return [parts[place] for place in torch.randperm(len(parts), generator=self.generator).tolist()]

    def step(self, of: Tensor) -> tuple[Tensor, int]:
        """Mean loss of the positives in some windows, weighted."""
        counts = self.starts[of + 1] - self.starts[of]
        rows = self.order[
            torch.repeat_interleave(self.starts[of] - (counts.cumsum(0) - counts), counts) + torch.arange(int(counts.sum()))
        ]
        users = self.train.encoded.user_inputs(rows)
        columns = self.module.user.tower.id_columns
        users = users.with_codes(hide_ids(users.codes, columns, self.config.retrieval.id_dropout, self.generator))
        state = _states(self.module, self.train.windows, of, rows, torch.repeat_interleave(torch.arange(len(of)), counts))
        vectors = self.module.users(users, state)
        wanted = self.train.video[rows]
        if self.whole is not None:
            logits, place = self.module.scores(vectors, self.whole), wanted - RESERVED
            known = place >= 0
            logits, place = logits[known], place[known]
        else:
            drawn = torch.randint(self.n_videos, (self.config.retrieval.uniform_negatives,), generator=self.generator)
            candidates, place = torch.unique(torch.cat((wanted, drawn)), return_inverse=True)
            logits, place = self.module.scores(vectors, candidates) - self.log_chance[candidates], place[: len(rows)]
            known = torch.ones(len(rows), dtype=torch.bool)
        losses = F.cross_entropy(logits, place, reduction="none")
        weight = self.train.encoded.weight[rows][known]
        return (losses * weight).sum() / weight.sum().clamp_min(1e-12), len(rows)


def _states(module: _Retrieval, laid: Windows, of: Tensor, rows: Tensor, owner: Tensor) -> Tensor | None:
    """State before each example (n, dim): ``owner`` tells which of the windows ``of`` it stands in."""
    if module.encoder is None:
        return None
    longest = max(int(laid.lengths[of].max()), 1)
    return module.states(laid.codes[of, :longest])[owner, laid.place[rows]]


def _users_at(module: _Retrieval, inputs: UserInputs, codes: Tensor, lengths: Tensor) -> Tensor:
    """Vectors (n, dim) of users with histories (n, length), oldest first."""
    state = None
    if module.encoder is not None:
        longest = max(int(lengths.max()), 1) if len(lengths) else 1
        state = module.states(codes[:, :longest])[torch.arange(len(codes)), lengths]
    return module.users(inputs, state)


def _validate(module: _Retrieval, validation: _Positives, rows: Tensor) -> Mapping[str, float]:
    """How high the videos of some positives rank. With one relevant video, nDCG is 1 / log2(1 + rank)."""
    rank = _ranks(module, validation, rows).double()
    recall = (rank <= _RECALL_AT).double().mean().item()
    return {SCORE: (1.0 / torch.log2(1.0 + rank)).mean().item(), f"recall_at_{_RECALL_AT}": recall}


def _ranks(module: _Retrieval, positives: _Positives, rows: Tensor) -> Tensor:
    """Place of the videos of some positives for their users among all known videos, from 1 (n_rows,)."""
    codes = torch.arange(RESERVED, module.video.num_embeddings)
    ranks = [torch.empty(0, dtype=torch.int64)]
    for part in torch.split(rows, 512):
        of, owner = torch.unique(positives.windows.window[part], return_inverse=True)
        state = _states(module, positives.windows, of, part, owner)
        scores = module.scores(module.users(positives.encoded.user_inputs(part), state), codes)
        target = positives.video[part] - RESERVED
        ranks.append((scores > scores.gather(1, target[:, None])).sum(dim=1) + 1)
    return torch.cat(ranks)


def _numpy(tensor: Tensor) -> Vectors:
    return tensor.numpy()
