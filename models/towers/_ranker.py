"""Two-tower ranker: every feature on both sides, and a probability of relevance that is true to the platform's rate (M6).

logit = u . v + b_u + b_v, with the biases computed by the towers and folded into two more columns of the vectors, so that one
dot product gives the logit. Negatives were down-sampled; weighting each example by the inverse of its rate makes the
cross-entropy, and so the sigmoid, that of all impressions (He et al., Practical Lessons from Predicting Clicks on Ads at
Facebook, ADKDD 2014, correct the same bias afterwards).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.features import FeatureSpec, Vector
from models.towers._carry import Axes, carry, prefixed
from models.towers._checkpoint import Checkpoint
from models.towers._config import TowersConfig
from models.towers._content import Content, content_of, content_table
from models.towers._crosses import Crosses
from models.towers._data import (
    Encoded,
    TowerData,
    UserInputs,
    VideoInputs,
    encode_examples,
    encode_users_at,
    encode_videos_at,
)
from models.towers._losses import class_weights, mean_loss, platt
from models.towers._modules import UserSide, VideoSide
from models.towers._objectives import Heads, weighed
from models.towers._store import Stored, read, write
from models.towers._train import SCORE, Progress, Record, Run, batch_rows, hide_ids, in_chunks, run, seeded, shuffled
from schemas import EXPOSURES
from schemas import columns as col
from schemas.errors import ReelflowError

KIND = "ranker"
Vectors = npt.NDArray[np.float32]

_SHOWN = EXPOSURES[0]


class _Ranker(nn.Module):
    """Both towers, the calibration of their logit, and its folding into vectors."""

    calibration: Tensor

    def __init__(self, config: TowersConfig, spec: FeatureSpec, content_dim: int) -> None:
        super().__init__()
        shape: dict[str, Any] = {"hidden": config.ranker.hidden, "out": config.ranker.dim + 1}
        self.user = UserSide(config, spec, content_dim=content_dim, **shape)
        self.video = VideoSide(config, spec, content_dim=content_dim, **shape)
        self.content = Content(sum(spec.width(feature) for feature in spec.of(Vector)), content_dim)
        self.crosses = Crosses(spec, config.ranker.crosses)
        width = config.ranker.dim + content_dim + self.crosses.width + 2
        self.heads = Heads(config.ranker.objectives, width)
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))

    def start_at(self, rate: float) -> None:
        """Set the first guess to the base rate, so that training does not begin by unlearning one half."""
        with torch.no_grad():
            self.user.tower.bias[-1] = float(np.log(rate / (1.0 - rate)))

    def user_vectors(self, inputs: UserInputs) -> Tensor:
        """Vectors (n, width) of users: what the tower says, the taste, the pairs, and two columns for the biases."""
        out, taste = self.user(inputs)
        scale, shift = self.calibration
        said = scale * torch.cat((out[:, :-1], taste, self.crosses.of_users(inputs.codes), out[:, -1:]), dim=1)
        return torch.cat((said[:, :-1], said[:, -1:] + shift, scale.expand(len(out), 1)), dim=1)

    def video_vectors(self, inputs: VideoInputs) -> Tensor:
        """Vectors (n, width) of videos."""
        out = self.video(inputs)
        pairs = self.crosses.of_videos(inputs.codes)
        return torch.cat((out[:, :-1], inputs.about, pairs, torch.ones_like(out[:, :1]), out[:, -1:]), dim=1)

    def rows(self) -> dict[str, Axes]:
        """Weights whose rows are codes."""
        parts = {"user": self.user.rows(), "video": self.video.rows(), "crosses": self.crosses.rows()}
        return {name: axes for part, tables in parts.items() for name, axes in prefixed(part, tables).items()}

    def forward(self, users: UserInputs, videos: VideoInputs) -> Tensor:
        """Logits (n,) of n pairs."""
        return self.products(users, videos).sum(dim=1)

    def products(self, users: UserInputs, videos: VideoInputs) -> Tensor:
        """What the logits are sums of (n, width)."""
        return self.user_vectors(users) * self.video_vectors(videos)


@dataclass(frozen=True, slots=True)
class FittedRanker:
    """A trained ranker. ``sigmoid(user_vectors @ video_vectors.T)`` is the probability that the user finds it relevant."""

    config: TowersConfig
    spec: FeatureSpec
    history: tuple[Record, ...]
    best_epoch: int
    module: _Ranker

    def user_vectors(self, users: pa.Table, queries: pa.Table, at: datetime) -> Vectors:
        """Vectors (n_users, width) of users, in order, at a moment and on their newest device.

        Args:
            users: USER_FEATURES as of ``at``.
            queries: QUERY_TEXT.
            at: the moment.
        """
        inputs = encode_users_at(self.spec, users, queries, at)
        return _numpy(in_chunks(lambda rows: self.module.user_vectors(inputs.rows(rows)), len(inputs)))

    def video_vectors(self, videos: pa.Table, at: datetime) -> Vectors:
        """Vectors (n_videos, width) of videos, in order, at a moment.

        Args:
            videos: VIDEO_FEATURES as of ``at``, with VIDEO_TEXT.
            at: the moment.
        """
        inputs = encode_videos_at(self.spec, self.module.content.reader(self.spec), videos, at)
        return _numpy(in_chunks(lambda rows: self.module.video_vectors(inputs.rows(rows)), len(inputs)))

    def predict(self, data: TowerData, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Probability of relevance (n,) of some examples (n_examples,), each at its own moment and on its device."""
        encoded = encode_examples(self.spec, data, mask, self.module.content.reader(self.spec))
        logits = in_chunks(lambda rows: _logits(self.module, encoded, rows), len(encoded))
        return np.asarray(torch.sigmoid(logits.double()).numpy())

    def save(self, directory: Path) -> None:
        """Write the model into ``directory`` as JSON and safetensors; the same model gives the same bytes."""
        write(directory, KIND, Stored(self.config, self.spec, self.history, self.best_epoch, self.module.state_dict()))

    @staticmethod
    def load(directory: Path) -> FittedRanker:
        """The model that ``save`` wrote.

        Raises:
            ReelflowError: the directory holds none, or one of another format.
        """
        stored = read(directory, KIND)
        module = _Ranker(stored.config, stored.spec, stored.content_dim)
        stored.fill(module)
        return FittedRanker(stored.config, stored.spec, stored.history, stored.best_epoch, module)


def fit_ranker(
    config: TowersConfig,
    data: TowerData,
    seed: int,
    progress: Progress | None = None,
    *,
    epochs: int | None = None,
    start: FittedRanker | None = None,
    checkpoint: Path | None = None,
) -> FittedRanker:
    """Train the ranker on the impressions of ``data``, or on all examples where nothing was recorded as shown.

    Args:
        config: section ``towers``.
        data: examples and features.
        seed: the same seed and data give the same arrays.
        progress: called with each epoch's record: epoch, train_loss, and with validation log_loss and score (minus log_loss).
        epochs: exactly this many and no early stopping: to train again on all data for the ``best_epoch`` found before.
        start: a model to go on from, with its scales and contents and every value that it knows; where no epoch is better on
            validation, ``best_epoch`` is 0.
        checkpoint: file to go on from if it is there, and to keep what is needed to after each epoch; its path must tell data,
            settings and seed.

    Raises:
        ReelflowError: the training examples do not hold both labels; a start of another shape.
    """
    spec = data.fit_spec(min_count=config.min_count, leave_out=config.leave_out)
    if start is not None:
        spec = start.spec.extended(spec)
    _check_alike(config, start)
    shown = read_by_ranker(data, data.train)
    content = start.module.content if start is not None else content_of(spec, data.videos)
    texts = content.reader(spec)
    train, validation = (
        encode_examples(spec, data, mask & shown, texts, objectives)
        for mask, objectives in ((data.train, weighed(config.ranker.objectives)), (data.validation, ()))
    )
    rate = ((train.label * train.weight).sum() / train.weight.sum()).item()
    if not 0.0 < rate < 1.0:
        raise ReelflowError(
            f"ranker: found {len(train)} training examples of which {int(train.label.sum())} are relevant (label 1); expected "
            "both labels; widen the look-back or check that watches and likes arrive"
        )
    with seeded(seed, config.threads) as generator:
        module = _Ranker(config, spec, content.dim)
        module.content.load_state_dict(content.state_dict())
        module.user.start(spec, seed)
        module.video.start_ids(spec, seed + 1)
        module.start_at(rate)
        if start is not None:
            carry(module, module.rows(), spec, start.module, start.spec)
            module.calibration.copy_(torch.tensor([1.0, 0.0]))
        module.user.know(content_table(content, spec, data.videos, "video_id"))
        trained = _train(
            config,
            module,
            train,
            validation,
            generator=generator,
            progress=progress,
            epochs=epochs,
            started=start is not None,
            checkpoint=None if checkpoint is None else Checkpoint(checkpoint),
        )
        if config.ranker.loss != "bce":
            held = validation if epochs is None and len(validation) else train
            logits = in_chunks(lambda rows: _logits(module, held, rows), len(held))
            module.calibration.copy_(torch.tensor(platt(logits, held.label, held.weight)))
    return FittedRanker(config, spec, trained.history, trained.best_epoch, module)


def read_by_ranker(data: TowerData, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which examples the ranker learns from (n_examples,): impressions, or all where ``mask`` holds none."""
    shown: npt.NDArray[np.bool_] = pc.equal(data.examples.column(col.EXPOSURE), _SHOWN).to_numpy()
    return shown if (shown & mask).any() else np.ones_like(shown)


def _check_alike(config: TowersConfig, start: FittedRanker | None) -> None:
    """Refuse a start in which the same places mean other pairs or objectives."""
    if start is None:
        return
    for name in ("crosses", "objectives"):
        then, now = (getattr(found.ranker, name) for found in (start.config, config))
        if name == "objectives":
            then, now = weighed(then), weighed(now)
        if then != now:
            raise ReelflowError(
                f"ranker: the model to begin with has other towers.ranker.{name}: found {list(then)}, expected {list(now)}; "
                "train in full"
            )


def _train(
    config: TowersConfig,
    module: _Ranker,
    train: Encoded,
    validation: Encoded,
    *,
    generator: torch.Generator,
    progress: Progress | None,
    epochs: int | None,
    started: bool,
    checkpoint: Checkpoint | None,
) -> Run:
    weight = train.weight
    if config.ranker.loss == "class_balanced":
        weight = weight * class_weights(config.ranker.class_balanced_beta, train.label, weight).float()[train.label.long()]

    def step(rows: Tensor) -> tuple[Tensor, int]:
        users, videos = train.user_inputs(rows), train.video_inputs(rows)
        for_users, for_videos = (
            hide_ids(side.codes, tower.id_columns, config.ranker.id_dropout, generator)
            for side, tower in ((users, module.user.tower), (videos, module.video.tower))
        )
        products = module.products(users.with_codes(for_users), videos.with_codes(for_videos))
        loss = mean_loss(config.ranker, products.sum(dim=1), train.label[rows], weight[rows])
        return loss + module.heads.loss(products, train.told[rows], train.weight[rows]), len(rows)

    def validate() -> Mapping[str, float]:
        logits = in_chunks(lambda rows: _logits(module, validation, rows), len(validation))
        if config.ranker.loss != "bce":
            scale, shift = platt(logits, validation.label, validation.weight)
            logits = scale * logits + shift
        losses = F.binary_cross_entropy_with_logits(logits.double(), validation.label.double(), reduction="none")
        loss = ((losses * validation.weight).sum() / validation.weight.sum()).item()
        return {SCORE: -loss, "log_loss": loss}

    batch = batch_rows(len(train), largest=config.ranker.batch_size, min_steps=config.ranker.min_steps_per_epoch)
    return run(
        module,
        step,
        batches=lambda: shuffled(len(train), batch, generator),
        config=config.ranker,
        generator=generator,
        validate=validate if len(validation) else None,
        epochs=epochs,
        progress=progress,
        started=started,
        checkpoint=checkpoint,
        quick=[module.user.likeness, *module.crosses.parameters()],
        quick_rate=config.ranker.quick_rate,
    )


def _logits(module: _Ranker, encoded: Encoded, rows: Tensor) -> Tensor:
    logits: Tensor = module(encoded.user_inputs(rows), encoded.video_inputs(rows))
    return logits


def _numpy(tensor: Tensor) -> Vectors:
    return tensor.numpy()
