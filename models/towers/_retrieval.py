"""Two-tower retrieval: a perceptron on the user's features against one vector a video, trained by sampled softmax (M5).

Each positive must win against the other videos of its batch and some drawn evenly from the catalogue, so that videos that
are never a positive learn to lose as well (Yang et al., Mixed Negative Sampling for Learning Two-tower Neural Networks in
Recommendations, WWW 2020). Candidates are drawn unevenly, so each logit is reduced by the logarithm of the probability that
its video is a candidate (Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys
2019). A video counts once however often it was drawn, which leaves no accidental hits to mask.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from models.features import FeatureSpec
from models.towers._config import TowersConfig
from models.towers._data import Encoded, TowerData, UserInputs, encode_examples, encode_users_at
from models.towers._modules import UserSide, start_table, table
from models.towers._store import Stored, read, write
from models.towers._train import SCORE, Progress, Record, batch_rows, hide_ids, in_chunks, run, seeded
from schemas import columns as col
from schemas.errors import ReelflowError

KIND = "retrieval"
Vectors = npt.NDArray[np.float32]

_VIDEO = "video_id"  # the feature; retrieval needs it
_VALIDATION_POSITIVES = 2000  # each is ranked against the whole catalogue
_RECALL_AT = 100


class _Retrieval(nn.Module):
    """User tower and table of videos; both give unit vectors."""

    def __init__(self, config: TowersConfig, spec: FeatureSpec) -> None:
        super().__init__()
        self.user = UserSide(config, spec, hidden=config.hidden, out=config.dim)
        rows = spec.vocabularies[_VIDEO].size
        # Unit vectors are wanted, so the scale is free; that of one column gives Adam's steps the usual relative size.
        self.video = table(rows, config.dim, sparse_rows=config.sparse_rows, std=config.dim**-0.5, neutral=False)

    def user_vectors(self, inputs: UserInputs) -> Tensor:
        """Unit vectors (n, dim) of users."""
        return F.normalize(self.user(inputs), dim=1)

    def video_vectors(self, codes: Tensor) -> Tensor:
        """Unit vectors (n, dim) of video codes (n,)."""
        return F.normalize(self.video(codes), dim=1)


@dataclass(frozen=True, slots=True)
class FittedRetrieval:
    """A trained retrieval model. The dot product of a user's and a video's vector orders the videos for the user."""

    config: TowersConfig
    spec: FeatureSpec
    history: tuple[Record, ...]
    best_epoch: int
    module: _Retrieval

    def user_vectors(self, users: pa.Table, queries: pa.Table, at: datetime) -> Vectors:
        """Unit vectors (n_users, dim) of users, in order, at a moment and on their newest device.

        A user whom training did not see is placed by the other features.

        Args:
            users: USER_FEATURES as of ``at``.
            queries: QUERY_TEXT.
            at: the moment.
        """
        inputs = encode_users_at(self.spec, users, queries, at)
        return _numpy(in_chunks(lambda rows: self.module.user_vectors(inputs.rows(rows)), len(inputs)))

    def video_vectors(self, video_ids: npt.NDArray[np.int64]) -> Vectors:
        """Unit vectors (n, dim) of videos, in order; all unknown ones share one, see ``known_videos``."""
        codes = torch.from_numpy(self._codes(video_ids))
        return _numpy(in_chunks(lambda rows: self.module.video_vectors(codes[rows]), len(codes)))

    def known_videos(self, video_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether training saw each video often enough to give it a vector of its own (n,)."""
        return self._codes(video_ids) >= RESERVED

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
        module = _Retrieval(stored.config, stored.spec)
        stored.fill(module)
        return FittedRetrieval(stored.config, stored.spec, stored.history, stored.best_epoch, module)

    def _codes(self, video_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self.spec.vocabularies[_VIDEO].encode(pa.array(video_ids, type=pa.int64()))


def fit_retrieval(
    config: TowersConfig, data: TowerData, seed: int, progress: Progress | None = None, epochs: int | None = None
) -> FittedRetrieval:
    """Train retrieval on the positives of ``data``.

    Args:
        config: section ``towers``.
        data: examples and features.
        seed: the same seed and data give the same arrays.
        progress: called with each epoch's record: epoch, train_loss, and with validation score (mean of 1 / log2(1 + rank)
            of a positive in the whole catalogue) and recall_at_100.
        epochs: exactly this many and no early stopping: to train again on all data for the ``best_epoch`` found before.

    Raises:
        ReelflowError: no training example is a positive.
    """
    spec = data.fit_spec(min_count=config.min_count, leave_out=config.leave_out)
    positive = data.examples.column(col.LABEL).to_numpy() == 1
    train = encode_examples(spec, data, data.train & positive, numbers=False)
    validation = encode_examples(spec, data, data.validation & positive, numbers=False)
    if len(train) == 0:
        raise ReelflowError(
            f"retrieval: found no relevant example (label 1) among {int(data.train.sum())} training examples; expected at "
            "least one; widen the look-back or check that watches and likes arrive"
        )
    with seeded(seed, config.threads) as generator:
        module = _Retrieval(config, spec)
        module.user.start_ids(spec, seed)
        start_table(module.video, spec.vocabularies[_VIDEO], seed, std=config.dim**-0.5)
        batch = batch_rows(len(train), largest=config.retrieval_batch_size, min_steps=config.min_steps_per_epoch)
        softmax = _SampledSoftmax(config, module, spec, train, batch=batch, generator=generator)
        chosen = torch.randperm(len(validation), generator=generator)[:_VALIDATION_POSITIVES]
        wanted = _video_codes(spec, validation)
        chosen = chosen[wanted[chosen] >= RESERVED] if len(chosen) else chosen
        trained = run(
            module,
            softmax.step,
            n=len(train),
            batch=batch,
            config=config,
            generator=generator,
            validate=(lambda: _validate(module, validation, wanted, chosen)) if len(chosen) else None,
            epochs=epochs,
            progress=progress,
        )
    return FittedRetrieval(config, spec, trained.history, trained.best_epoch, module)


class _SampledSoftmax:
    """The loss of a batch of positives against the distinct videos of the batch and of an even draw."""

    def __init__(
        self,
        config: TowersConfig,
        module: _Retrieval,
        spec: FeatureSpec,
        train: Encoded,
        *,
        batch: int,
        generator: torch.Generator,
    ) -> None:
        self.config, self.module, self.train, self.generator = config, module, train, generator
        self.video = _video_codes(spec, train)
        self.n_videos = module.video.num_embeddings
        share = torch.bincount(self.video, minlength=self.n_videos).double() / len(train)
        absent_from_batch = (1.0 - share) ** min(batch, len(train))
        absent_from_draw = (1.0 - 1.0 / self.n_videos) ** config.uniform_negatives
        self.log_chance = (1.0 - absent_from_batch * absent_from_draw).clamp_min(1e-12).log().float()

    def step(self, rows: Tensor) -> Tensor:
        """Mean loss of the positives in ``rows`` (batch,), weighted."""
        users = self.train.user_inputs(rows)
        columns = self.module.user.tower.id_columns
        users = users.with_codes(hide_ids(users.codes, columns, self.config.id_dropout, self.generator))
        drawn = torch.randint(self.n_videos, (self.config.uniform_negatives,), generator=self.generator)
        candidates, place = torch.unique(torch.cat((self.video[rows], drawn)), return_inverse=True)
        cosines = self.module.user_vectors(users) @ self.module.video_vectors(candidates).T
        logits = cosines / self.config.temperature - self.log_chance[candidates]
        losses = F.cross_entropy(logits, place[: len(rows)], reduction="none")
        weight = self.train.weight[rows]
        return (losses * weight).sum() / weight.sum()


def _validate(module: _Retrieval, validation: Encoded, wanted: Tensor, rows: Tensor) -> Mapping[str, float]:
    """How high the videos of some positives rank for their users among all known videos.

    With one relevant video, nDCG is 1 / log2(1 + rank).
    """
    codes = torch.arange(RESERVED, module.video.num_embeddings)
    videos = module.video_vectors(codes)
    own = wanted[rows] - RESERVED
    ranks = []
    for part, target in zip(torch.split(rows, 256), torch.split(own, 256), strict=True):
        scores = module.user_vectors(validation.user_inputs(part)) @ videos.T
        ranks.append((scores > scores.gather(1, target[:, None])).sum(dim=1) + 1)
    rank = torch.cat(ranks).double()
    recall = (rank <= _RECALL_AT).double().mean().item()
    return {SCORE: (1.0 / torch.log2(1.0 + rank)).mean().item(), f"recall_at_{_RECALL_AT}": recall}


def _video_codes(spec: FeatureSpec, encoded: Encoded) -> Tensor:
    """Code of each example's video (n,)."""
    return encoded.videos.codes[encoded.video, list(spec.coded("video")).index(_VIDEO)]


def _numpy(tensor: Tensor) -> Vectors:
    return tensor.numpy()
