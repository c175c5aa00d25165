"""Logistic regression on the ranker's features: the ranking baseline of the evaluation (M2).

The logit is linear in the one-hot codes of user, context and video, in some crosses of these, in the video's numbers and
vectors, and in how like the user's history the video is: the inner product of its vector with the mean vector of the last
watched, and of the last liked videos. Ids are codes too, so each known user, video and creator has an effect of its own. The
loss is the cross-entropy weighted by the inverse sampling rate, as the ranker's, plus an L2 penalty; it is convex, and L-BFGS
(Liu and Nocedal, 1989) finds its minimum from any start. What belongs to a version of a user or a video is computed once for
all its examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from conf import Section
from models import features
from models.features import FeatureSpec
from models.metrics import log_loss
from models.towers import TowerData
from models.towers._data import Encoded, encode_examples
from schemas import EXPOSURES
from schemas import columns as col
from schemas.errors import ReelflowError

FORMAT_VERSION = 1
_JSON, _WEIGHTS = "logistic.json", "weights.npy"
_TASTES = ("watched", "liked")
_ROWS_AT_ONCE = 16_384
_FLAT = 1e-9  # curvature of a column that is zero in every example

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class LogisticConfig(Section):
    """Section ``logistic``."""

    regularizations: tuple[float, ...] = Field(min_length=1)
    """L2 penalties to choose from by the log loss on the validation split: a penalty weighs ``regularization / 2`` times the
    squared weights against the sum, not the mean, of the weighted examples' losses."""

    min_count: int = Field(ge=1)
    """A value seen less often than this in training shares the weight of rare ones."""

    leave_out: tuple[str, ...]
    """Features to do without, by their names in models/features/_declared.py."""

    crosses: tuple[tuple[str, str], ...]
    """Pairs of a user's or a context's feature and a video's that get a weight for each combination of their codes; those of
    which one is left out are ignored."""

    max_iterations: int = Field(ge=1)
    """Of L-BFGS, for each penalty."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedLogistic:
    """A fitted logistic regression.

    Attributes:
        config: what it was fitted with.
        spec: encoding of the features.
        weights: float64 ``(1 + n_columns,)``, the intercept first.
        regularization: the penalty that was chosen.
        losses: validation log loss of each penalty that was tried, in the order of ``config.regularizations``; empty where
            there was nothing to choose.
    """

    config: LogisticConfig
    spec: FeatureSpec
    weights: Floats
    regularization: float
    losses: tuple[float, ...]

    def predict(self, data: TowerData, mask: Mask) -> Floats:
        """Probability of relevance (n,) of some examples (n_examples,), each at its own moment and on its device."""
        with threadpool_limits(1, "blas"):
            return np.asarray(expit(_Design.of(self.config, self.spec, data, mask).logits(self.weights)))

    def save(self, directory: Path) -> None:
        """Write ``logistic.json`` and ``weights.npy`` into an existing directory."""
        facts = {
            "format_version": FORMAT_VERSION,
            "config": self.config.model_dump(mode="json"),
            "regularization": self.regularization,
            "losses": list(self.losses),
            "spec": json.loads(self.spec.to_json()),
        }
        (directory / _JSON).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")
        with (directory / _WEIGHTS).open("wb") as stream:
            np.save(stream, self.weights, allow_pickle=False)

    def without_user(self, user_id: int) -> FittedLogistic | None:
        """The same model without the weights of a user; None where it does not know the user."""
        spec, code = self.spec.without(features.USER_ID, user_id)
        if code is None:
            return None
        names, sizes = list(self.spec.coded("user", "context")), list(self.spec.coded("user").values())
        gone = [1 + sum(sizes[: names.index(features.USER_ID)]) + code]
        vectors = sum(self.spec.width(vector) for vector in self.spec.of(features.Vector))
        start = 1 + sum(self.spec.coded("user", "video", "context").values()) + vectors
        for own, _, height, width in _crosses(self.config, self.spec):
            if names[own] == features.USER_ID:
                gone += range(start + code * width, start + (code + 1) * width)
            start += height * width
        return replace(self, spec=spec, weights=np.delete(self.weights, gone))

    @staticmethod
    def load(directory: Path) -> FittedLogistic:
        """Read what :meth:`save` wrote.

        Raises:
            ReelflowError: a file is missing, of another format version, or does not match the other.
        """
        try:
            facts = json.loads((directory / _JSON).read_text(encoding="utf-8"))
            weights = np.load(directory / _WEIGHTS, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ReelflowError(f"logistic model {directory}: cannot be read ({error}); train it again") from error
        if facts.get("format_version") != FORMAT_VERSION:
            found = facts.get("format_version")
            raise ReelflowError(f"logistic model {directory}: found format {found}, expected {FORMAT_VERSION}; train it again")
        spec = FeatureSpec.from_json(json.dumps(facts["spec"]))
        config = LogisticConfig.model_validate(facts["config"])
        if weights.shape != (expected := (_width(config, spec),)):
            raise ReelflowError(
                f"logistic model {directory}: found weights of shape {weights.shape}, expected {expected}; train it again"
            )
        return FittedLogistic(config, spec, weights, facts["regularization"], tuple(facts["losses"]))


def fit_logistic(config: LogisticConfig, data: TowerData, *, regularization: float | None = None) -> FittedLogistic:
    """Fit on the training impressions, or on all training examples where nothing was recorded as shown.

    Args:
        config: section ``logistic``.
        data: examples and features.
        regularization: use this penalty instead of choosing one on the validation split.

    Raises:
        ReelflowError: the training examples do not hold both labels, or there is nothing to choose a penalty on.
    """
    spec = data.fit_spec(min_count=config.min_count, leave_out=config.leave_out)
    shown = pc.equal(data.examples.column(col.EXPOSURE), EXPOSURES[0]).to_numpy()
    if not (shown & data.train).any():
        shown = np.ones_like(shown)
    with threadpool_limits(1, "blas"):  # more threads would change the last bits of sums
        train = _Design.of(config, spec, data, data.train & shown)
        if not 0.0 < (rate := float(np.average(train.label, weights=train.weight))) < 1.0:
            raise ReelflowError(
                f"logistic regression: found {len(train.label)} training examples of which {int(train.label.sum())} are "
                "relevant (label 1); expected both labels; widen the look-back or check that watches and likes arrive"
            )
        start = np.zeros(_width(config, spec))
        start[0] = np.log(rate / (1.0 - rate))
        if regularization is not None:
            weights = train.minimum(regularization, start, config.max_iterations)
            return FittedLogistic(config, spec, weights, regularization, ())
        validation = _Design.of(config, spec, data, data.validation & shown)
        if not len(validation.label):
            raise ReelflowError(
                "logistic regression: found no validation examples to choose among logistic.regularizations; expected some; "
                "widen the look-back or give one penalty"
            )
        return _choose(config, spec, train, validation, start)


def _choose(config: LogisticConfig, spec: FeatureSpec, train: _Design, validation: _Design, start: Floats) -> FittedLogistic:
    """The fit whose penalty has the least validation loss; from strong to weak, each starts at the one before."""
    tried: dict[float, tuple[float, Floats]] = {}
    for regularization in sorted(set(config.regularizations), reverse=True):
        start = train.minimum(regularization, start, config.max_iterations)
        loss = log_loss(validation.label, expit(validation.logits(start)), validation.weight)
        tried[regularization] = (loss, start)
    best = min(tried, key=lambda penalty: tried[penalty][0])
    losses = tuple(tried[penalty][0] for penalty in config.regularizations)
    return FittedLogistic(config, spec, tried[best][1], best, losses)


@dataclass(frozen=True, slots=True)
class _Design:
    """The design matrix of n examples in parts: rows of distinct users and videos, and what each example has of its own."""

    users: sp.csr_matrix
    """One-hot codes of each version of a user (n_users, n_codes)."""
    videos: sp.csr_matrix
    """Likewise (n_videos, n_codes)."""
    vectors: Floats
    """Vectors of each version of a video, side by side (n_videos, width)."""
    context: sp.csr_matrix
    """One-hot codes of each example's moment and device, then of crosses (n, n_codes)."""
    numbers: Floats
    """Of each example's video, then its likeness to the user's histories (n, n_numbers)."""
    user: NDArray[np.int64]
    """Row of each example's user (n,)."""
    video: NDArray[np.int64]
    label: Floats
    weight: Floats

    @classmethod
    def of(cls, config: LogisticConfig, spec: FeatureSpec, data: TowerData, mask: Mask) -> _Design:
        encoded = encode_examples(spec, data, mask, partial(_vectors, spec))
        return cls(
            users=_one_hot(encoded.users.numpy(), spec.coded("user").values()),
            videos=_one_hot(encoded.videos.codes.numpy(), spec.coded("video").values()),
            vectors=encoded.videos.about.numpy().astype(np.float64),
            context=_one_hot(*_own_codes(config, spec, encoded)),
            numbers=np.concatenate([encoded.numbers.numpy(), _likeness(spec, data, encoded)], axis=1).astype(np.float64),
            user=encoded.user.numpy(),
            video=encoded.video.numpy(),
            label=encoded.label.numpy().astype(np.float64),
            weight=encoded.weight.numpy().astype(np.float64),
        )

    def logits(self, weights: Floats) -> Floats:
        """Logit of each example (n,)."""
        users, videos, vectors, context, numbers = self._split(weights[1:])
        of_videos = self.videos @ videos + self.vectors @ vectors
        own = self.context @ context + self.numbers @ numbers
        return np.asarray(weights[0] + (self.users @ users)[self.user] + of_videos[self.video] + own)

    def minimum(self, regularization: float, start: Floats, max_iterations: int) -> Floats:
        """Weights that minimise the penalised loss."""
        total = self.weight.sum()
        penalty = np.full(len(start), regularization / total)
        penalty[0] = 0.0  # the intercept is free, so that the mean prediction is the mean label

        predicted = expit(self.logits(start))
        curvature = self._transposed(predicted * (1.0 - predicted) * self.weight / total, power=2)
        # In units of each weight's own curvature the minimum is found in a fifth of the steps.
        unit = 1.0 / np.sqrt(curvature + penalty + _FLAT)

        def loss(scaled: Floats) -> tuple[float, Floats]:
            weights = unit * scaled
            logits = self.logits(weights)
            losses = np.logaddexp(0.0, logits) - self.label * logits
            slope = self._transposed((expit(logits) - self.label) * self.weight / total)
            value = float(losses @ self.weight) / total + 0.5 * float(penalty @ weights**2)
            return value, unit * (slope + penalty * weights)

        limits = {"maxiter": max_iterations, "ftol": 1e-7, "gtol": 1e-6}
        return np.asarray(unit * minimize(loss, start / unit, jac=True, method="L-BFGS-B", options=limits).x)

    def _transposed(self, residual: Floats, power: int = 1) -> Floats:
        """Transposed design matrix, each entry raised to ``power``, times ``residual`` (n,)."""
        by_user = np.bincount(self.user, residual, self.users.shape[0])
        by_video = np.bincount(self.video, residual, self.videos.shape[0])
        parts = (
            [residual.sum()],
            self.users.T @ by_user,
            self.videos.T @ by_video,
            (self.vectors if power == 1 else self.vectors**power).T @ by_video,
            self.context.T @ residual,
            (self.numbers if power == 1 else self.numbers**power).T @ residual,
        )
        return np.concatenate(parts)

    def _split(self, weights: Floats) -> Sequence[Floats]:
        parts = (self.users, self.videos, self.vectors, self.context, self.numbers)
        return np.split(weights, np.cumsum([part.shape[1] for part in parts])[:-1])


def _width(config: LogisticConfig, spec: FeatureSpec) -> int:
    """Number of weights, the intercept's included."""
    codes = sum(spec.coded("user", "video", "context").values()) + sum(a * b for _, _, a, b in _crosses(config, spec))
    vectors = spec.of(features.Vector)
    numbers = len(spec.of(features.Number)) + len(_tastes(spec)) * len(vectors)
    return 1 + codes + sum(spec.width(vector) for vector in vectors) + numbers


def _crosses(config: LogisticConfig, spec: FeatureSpec) -> list[tuple[int, int, int, int]]:
    """Of each cross: the places of its features among the codes of user and context and among those of videos, and their sizes.

    Raises:
        ReelflowError: a name that no feature of that side has.
    """
    left, right = spec.coded("user", "context"), spec.coded("video")
    known = {feature.name for feature in features.FEATURES}
    if unknown := sorted({name for cross in config.crosses for name in cross} - known):
        raise ReelflowError(f"logistic regression: found {', '.join(unknown)} in logistic.crosses, expected names of features")
    return [
        (list(left).index(own), list(right).index(shown), left[own], right[shown])
        for own, shown in config.crosses
        if own in left and shown in right
    ]


def _own_codes(config: LogisticConfig, spec: FeatureSpec, encoded: Encoded) -> tuple[NDArray[np.int64], list[int]]:
    """Codes that belong to an example: its context's and its crosses' (n, n_codes), and the size of each."""
    context, sizes = encoded.past.codes.numpy(), list(spec.coded("context").values())
    left = np.concatenate([encoded.users.numpy()[encoded.user.numpy()], context], axis=1)
    right = encoded.videos.codes.numpy()
    crosses = _crosses(config, spec)
    joined = [left[:, own] * width + right[encoded.video.numpy(), shown] for own, shown, _, width in crosses]
    return np.column_stack([context, *joined]), [*sizes, *(height * width for _, _, height, width in crosses)]


def _one_hot(codes: NDArray[np.int64], sizes: Iterable[int]) -> sp.csr_matrix:
    """One row an entry of ``codes`` (n, n_features), one column a code of each feature (n, sum of sizes)."""
    widths = np.array([*sizes], dtype=np.int64)
    first = np.cumsum(widths) - widths
    columns = (codes + first).ravel()
    indptr = np.arange(len(codes) + 1) * codes.shape[1]
    return sp.csr_matrix((np.ones(len(columns)), columns, indptr), shape=(len(codes), int(widths.sum())))


def _tastes(spec: FeatureSpec) -> list[int]:
    """Places of the histories that tell a taste among the specification's sequences."""
    return [place for place, feature in enumerate(spec.of(features.Sequence)) if feature.name in _TASTES]


def _likeness(spec: FeatureSpec, data: TowerData, encoded: Encoded) -> NDArray[np.float32]:
    """Inner products of each example's video with the mean of its user's histories, (n, n_histories * n_vectors)."""
    columns = []
    vectors = spec.of(features.Vector)
    widths = [spec.width(feature) for feature in vectors]
    for feature, of_videos in zip(vectors, torch.split(encoded.videos.about, widths, dim=1) if widths else (), strict=True):
        table = _by_code(spec, data.videos, feature)
        candidates = F.normalize(of_videos)
        for place in _tastes(spec):
            codes, _ = encoded.past.histories[place]
            found = [
                (F.embedding_bag(some.long(), table, mode="mean", padding_idx=0) * candidates[videos]).sum(dim=1)
                for some, videos in zip(
                    torch.split(codes, _ROWS_AT_ONCE), torch.split(encoded.video, _ROWS_AT_ONCE), strict=True
                )
            ]
            columns.append(torch.cat(found).numpy())
    return np.stack(columns, axis=1) if columns else np.empty((len(encoded), 0), dtype=np.float32)


def _vectors(spec: FeatureSpec, videos: pa.Table) -> torch.Tensor:
    """Vectors of every text side by side (n_videos, width of all)."""
    parts = [torch.from_numpy(part) for part in spec.vectors(videos).values()]
    return torch.cat(parts, dim=1) if parts else torch.empty((videos.num_rows, 0))


def _by_code(spec: FeatureSpec, videos: pa.Table, feature: features.Vector) -> torch.Tensor:
    """Unit vectors by code of a video (n_codes, width), as its first version had them; zeros for missing and rare ones."""
    ids = videos.column(col.VIDEO_ID).to_numpy()
    first = videos.filter(pa.array(np.append(True, ids[1:] != ids[:-1])[: len(ids)]))
    vocabulary = spec.vocabularies[col.VIDEO_ID]
    codes = vocabulary.encode(first.column(col.VIDEO_ID))
    table = torch.zeros((vocabulary.size, spec.width(feature)))
    table[torch.from_numpy(codes)] = F.normalize(torch.from_numpy(spec.vectors(first)[feature.name]))
    table[:2] = 0.0
    return table
