"""What the towers are trained on, and its encoding: each distinct user and video once, examples as rows into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models._vocabulary import look_up, one_chunk
from models.features import COUNTERS, FeatureSpec, example_videos
from schemas import EXAMPLES, USER_FEATURES, VIDEO_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError

Mask = npt.NDArray[np.bool_]

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "examples": (
        col.USER_ID, col.VIDEO_ID, col.EXPOSURE, col.OCCURRED_AT, col.DEVICE, col.LABEL, col.WEIGHT, *COUNTERS,
    ),
    "users": tuple(name for name in USER_FEATURES.columns if name not in (col.WATCHED, col.INTERACTION_COUNT)),
    "videos": tuple(name for name in VIDEO_FEATURES.columns if name not in (col.BLOCKED_COUNTRIES, col.REMOVED)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TowerData:
    """Examples with the features of their users and videos, and which of them to train and to validate on."""

    examples: pa.Table
    """EXAMPLES, with the counters of each one's video as of the midnight before it."""
    users: pa.Table
    """USER_FEATURES."""
    videos: pa.Table
    """VIDEO_FEATURES."""
    train: Mask
    """(n_examples,)"""
    validation: Mask
    """(n_examples,)"""

    def __post_init__(self) -> None:
        problems = [
            f"{name}: missing column {column}"
            for name, table in (("examples", self.examples), ("users", self.users), ("videos", self.videos))
            for column in _NEEDED[name]
            if column not in table.column_names
        ]
        for name, mask in (("train", self.train), ("validation", self.validation)):
            if mask.shape != (self.examples.num_rows,) or mask.dtype != np.bool_:
                problems.append(f"{name}: found {mask.dtype}{mask.shape}, expected bool({self.examples.num_rows},)")
        if problems:
            raise ReelflowError(f"tower data: {'; '.join(problems)}; expected {EXAMPLES.name} with counters and both features")

    def training(self) -> pa.Table:
        """The examples to train on."""
        return self.examples.filter(pa.array(self.train))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples as tensors. A feature of a user or video is stored once; examples hold rows into it."""

    users: torch.Tensor
    """Codes of each distinct user (n_users, n_user_features), int64."""
    videos: torch.Tensor
    """Codes of each distinct video (n_videos, n_video_features), int64."""
    user: torch.Tensor
    """Row of each example's user (n,)."""
    video: torch.Tensor
    """Row of each example's video (n,)."""
    context: torch.Tensor
    """Codes of each example's moment and device (n, n_context_features), int64."""
    numbers: torch.Tensor
    """Numbers of each example's video at that moment (n, n_numeric), float32; no columns where they were not asked for."""
    label: torch.Tensor
    """(n,) float32, 0 or 1."""
    weight: torch.Tensor
    """(n,) float32."""

    def __len__(self) -> int:
        return len(self.label)

    def user_codes(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes of user and context of some examples (n_rows, n_user_features + n_context_features)."""
        return torch.cat((self.users[self.user[rows]], self.context[rows]), dim=1)

    def video_codes(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes of the videos of some examples (n_rows, n_video_features)."""
        return self.videos[self.video[rows]]


def encode_examples(
    spec: FeatureSpec, examples: pa.Table, users: pa.Table, videos: pa.Table, *, numbers: bool = True
) -> Encoded:
    """Encode examples; users and videos that the tables do not hold keep their id and miss the rest.

    Args:
        spec: learned on training examples.
        examples: with counters.
        users: USER_FEATURES.
        videos: VIDEO_FEATURES.
        numbers: whether the videos' numbers are needed.
    """
    distinct_users, user = _distinct(examples.column(col.USER_ID))
    distinct_videos, video = _distinct(examples.column(col.VIDEO_ID))
    known_users = look_up(distinct_users, users, col.USER_ID, _NEEDED["users"][1:])
    facts = look_up(distinct_videos, videos, col.VIDEO_ID, [name for name in spec.video if name != col.VIDEO_ID])
    if numbers:
        at = examples.column(col.OCCURRED_AT)
        scaled = torch.from_numpy(spec.scale_videos(example_videos(examples, videos), at))
    else:
        scaled = torch.empty((examples.num_rows, 0))
    return Encoded(
        users=stack(spec.encode_users(known_users)),
        videos=stack({name: vocabulary.encode(facts.column(name)) for name, vocabulary in spec.video.items()}),
        user=user,
        video=video,
        context=stack(spec.encode_context(examples.column(col.OCCURRED_AT), examples.column(col.DEVICE))),
        numbers=scaled,
        label=_float_tensor(examples.column(col.LABEL)),
        weight=_float_tensor(examples.column(col.WEIGHT)),
    )


def encode_users_at(spec: FeatureSpec, users: pa.Table, at: datetime) -> torch.Tensor:
    """Codes of users at one moment, on their own newest device (n_users, n_user_features + n_context_features)."""
    return stack(spec.encode_users(users) | spec.encode_context(at, users.column(col.DEVICE)))


def stack(codes: Mapping[str, npt.NDArray[np.int64]]) -> torch.Tensor:
    """Columns of codes, each (n,), side by side (n, n_features)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(list(codes.values()), axis=1)))


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, torch.Tensor]:
    """The distinct values (n_distinct,) and the place of each row's value among them (n,)."""
    encoded = pc.dictionary_encode(one_chunk(column))
    return encoded.dictionary, torch.from_numpy(encoded.indices.to_numpy().astype(np.int64))


def _float_tensor(column: pa.ChunkedArray) -> torch.Tensor:
    return torch.from_numpy(one_chunk(column).cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).copy())
