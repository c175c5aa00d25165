"""What the towers are trained on, and its encoding: each version of a user and video once, examples as rows into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from models.features import FEATURES, FeatureSpec, Number, Sequence, TextMean, example_videos
from models.rows import HISTORY_ROW, one_chunk, rows_as_of
from models.towers._objectives import told_by
from schemas import EXAMPLES, QUERY_TEXT, USER_VERSIONS, VIDEO_TEXT, VIDEO_VERSIONS
from schemas import columns as col
from schemas.errors import ReelflowError

_ROWS_AT_ONCE = 65_536

Mask = npt.NDArray[np.bool_]
Rows: TypeAlias = "npt.NDArray[np.int64]"
Histories: TypeAlias = "Callable[[], Iterator[pa.Table]]"
Texts: TypeAlias = "Callable[[pa.Table], Tensor]"
"""Videos with VIDEO_TEXT in, numbers (n_videos, width) out."""

_OF_RULES = (col.MISINFORMATION_SCORE, col.CLICKBAIT_SCORE, col.SPONSORED_BOOST)
_VIDEO_FACTS = tuple(name for name in VIDEO_VERSIONS.columns if name not in (col.TITLE, col.TAGS, *_OF_RULES))
_COUNTED = {column for f in FEATURES if isinstance(f, Number) for column in f.columns} - set(VIDEO_VERSIONS.columns)
_LISTS = {name for f in FEATURES if isinstance(f, Sequence) for name in (f.column, f.ages)} | {
    f.column for f in FEATURES if isinstance(f, TextMean)
}
_NEEDED = {
    "examples": (
        col.USER_ID, col.VIDEO_ID, col.EXPOSURE, col.OCCURRED_AT, col.DEVICE, col.LABEL, col.WEIGHT,
        *sorted(_COUNTED),
    ),
    "users": USER_VERSIONS.columns,
    "videos": (*_VIDEO_FACTS, *VIDEO_TEXT.columns[2:]),
    "queries": QUERY_TEXT.columns,
    "watches": (col.USER_ID, col.VIDEO_ID, col.OCCURRED_AT),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TowerData:
    """Examples with the features of their users and videos, and which of them to train and to validate on."""

    examples: pa.Table
    """EXAMPLES with EXAMPLE_FEATURES, and the counters of each one's video as of the midnight before it. Their histories may
    lie apart, in ``histories``; ``HISTORY_ROW`` is then each one's row there."""
    users: pa.Table
    """USER_VERSIONS."""
    videos: pa.Table
    """VIDEO_VERSIONS with VIDEO_TEXT."""
    queries: pa.Table
    """QUERY_TEXT."""
    watches: pa.Table
    """User, video and time of every watch that the look-back knows, in order of time."""
    train: Mask
    """(n_examples,)"""
    validation: Mask
    """(n_examples,)"""
    histories: Histories | None = None
    """Gives the lists of EXAMPLE_FEATURES, part by part: together they are too large to be held."""

    def __post_init__(self) -> None:
        problems = [
            f"{name}: missing column {column}"
            for name, columns in {**_NEEDED, "examples": (*_NEEDED["examples"], *self._own_columns)}.items()
            for column in columns
            if column not in getattr(self, name).column_names
        ]
        for name in ("train", "validation"):
            mask = getattr(self, name)
            if mask.shape != (self.examples.num_rows,) or mask.dtype != np.bool_:
                problems.append(f"{name}: found {mask.dtype}{mask.shape}, expected bool({self.examples.num_rows},)")
        if problems:
            raise ReelflowError(
                f"tower data: {'; '.join(problems)}; expected {EXAMPLES.name} with their features, and versions"
            )

    def parts(self, chosen: Rows) -> Iterator[tuple[Rows, pa.Table]]:
        """Histories of some examples (n,), part by part: places in ``chosen``, and a row of lists for each of them."""
        if self.histories is None:
            yield np.arange(len(chosen)), self.examples.select(sorted(_LISTS)).take(pa.array(chosen))
            return
        wanted = self.examples.column(HISTORY_ROW).to_numpy()[chosen]
        order, first = np.argsort(wanted, kind="stable"), 0
        ascending = wanted[order]
        for part in self.histories():
            start, end = np.searchsorted(ascending, (first, first + part.num_rows))
            yield order[start:end], part.take(pa.array(ascending[start:end] - first))
            first += part.num_rows

    @property
    def _own_columns(self) -> list[str]:
        return sorted(_LISTS) if self.histories is None else [HISTORY_ROW]

    def fit_spec(self, *, min_count: int, leave_out: tuple[str, ...]) -> FeatureSpec:
        """What the training examples teach about the features."""
        shown = self.examples.filter(pa.array(self.train))
        return FeatureSpec.fit(shown, self.users, self.videos, self.queries, min_count=min_count, leave_out=leave_out)


@dataclass(frozen=True, slots=True)
class UserInputs:
    """What the user side of a tower sees of n users or examples."""

    codes: Tensor
    """Of user and context (n, n_features), int64."""
    histories: tuple[tuple[Tensor, Tensor], ...]
    """Codes of videos int32 and buckets of their ages int8, both (n, length); 0 in the padding."""
    texts: tuple[Tensor, ...]
    """Rows of ``text_vectors``, int32 (n, length); 0 in the padding."""
    text_vectors: tuple[Tensor, ...]
    """(1 + n_texts, dim), zeros first; the same for all rows."""

    def __len__(self) -> int:
        return len(self.codes)

    def rows(self, rows: Tensor) -> UserInputs:
        """Some of them."""
        histories = tuple((codes[rows], ages[rows]) for codes, ages in self.histories)
        return UserInputs(self.codes[rows], histories, tuple(text[rows] for text in self.texts), self.text_vectors)

    def with_codes(self, codes: Tensor) -> UserInputs:
        """The same with other codes."""
        return UserInputs(codes, self.histories, self.texts, self.text_vectors)


@dataclass(frozen=True, slots=True)
class VideoInputs:
    """What the video side of a tower sees of n videos."""

    codes: Tensor
    """(n, n_features), int64."""
    numbers: Tensor
    """(n, n_numbers), float32."""
    about: Tensor
    """What the model keeps of their texts (n, width), float32."""

    def __len__(self) -> int:
        return len(self.codes)

    def rows(self, rows: Tensor) -> VideoInputs:
        """Some of them."""
        return VideoInputs(self.codes[rows], self.numbers[rows], self.about[rows])

    def with_codes(self, codes: Tensor) -> VideoInputs:
        """The same with other codes."""
        return VideoInputs(codes, self.numbers, self.about)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples as tensors. What belongs to a version of a user or video is stored once; examples hold rows into it."""

    users: Tensor
    """Codes of each version of a user that occurs (n_users, n_user_features), int64."""
    videos: VideoInputs
    """Each version of a video that occurs, without numbers."""
    user: Tensor
    """Row of each example's user (n,)."""
    video: Tensor
    """Row of each example's video (n,)."""
    past: UserInputs
    """Codes of each example's moment and device, and what its user did before."""
    numbers: Tensor
    """Numbers of each example's video at that moment (n, n_numbers), float32; no columns where they were not asked for."""
    label: Tensor
    """(n,) float32, 0 or 1."""
    told: Tensor
    """Of further objectives (n, n_objectives), float32, from 0 to 1 or NaN."""
    weight: Tensor
    """(n,) float32."""

    def __len__(self) -> int:
        return len(self.label)

    def user_inputs(self, rows: Tensor) -> UserInputs:
        """Of some examples."""
        past = self.past.rows(rows)
        return past.with_codes(torch.cat((self.users[self.user[rows]], past.codes), dim=1))

    def video_inputs(self, rows: Tensor) -> VideoInputs:
        """Of some examples."""
        found = self.videos.rows(self.video[rows])
        return VideoInputs(found.codes, self.numbers[rows], found.about)


def encode_examples(
    spec: FeatureSpec, data: TowerData, mask: Mask, texts: Texts | None = None, objectives: tuple[str, ...] = ()
) -> Encoded:
    """Encode some of the examples; users and videos that have no version keep their id and miss the rest.

    Args:
        spec: learned on training examples.
        data: examples and features.
        mask: which examples (n_examples,).
        texts: what the model keeps of videos' texts; without it their numbers are left out as well.
        objectives: columns of EXAMPLES to keep as they are told.
    """
    chosen = np.flatnonzero(mask)
    examples = data.examples.select(_NEEDED["examples"]).take(pa.array(chosen))
    known_users, user = _versions(examples, data.users, col.USER_ID)
    known_videos, video = _versions(examples, data.videos, col.VIDEO_ID)
    known_codes = spec.codes("video", known_videos)
    if texts is not None:
        then = example_videos(examples, data.videos)
        scaled = torch.from_numpy(spec.numbers(then, examples.column(col.OCCURRED_AT)))
        about = texts(known_videos)
    else:
        scaled, about = torch.empty((examples.num_rows, 0)), torch.empty((known_videos.num_rows, 0))
    return Encoded(
        users=torch.from_numpy(spec.codes("user", known_users)),
        videos=VideoInputs(torch.from_numpy(known_codes), torch.empty((known_videos.num_rows, 0)), about),
        user=user,
        video=video,
        past=_past(spec, data, chosen, spec.codes("context", examples, examples.column(col.OCCURRED_AT))),
        numbers=scaled,
        told=told_by(data.examples, objectives)[torch.from_numpy(chosen)],
        label=_float_tensor(examples.column(col.LABEL)),
        weight=_float_tensor(examples.column(col.WEIGHT)),
    )


def encode_users_at(spec: FeatureSpec, users: pa.Table, queries: pa.Table, at: datetime) -> UserInputs:
    """Users at one moment, on their own newest device.

    Args:
        spec: of the model.
        users: USER_FEATURES as of ``at``.
        queries: QUERY_TEXT.
        at: the moment.
    """
    codes = np.concatenate([spec.codes("user", users), spec.codes("context", users, at)], axis=1)
    return _user_inputs(spec, codes, users, queries)


def encode_videos_at(spec: FeatureSpec, texts: Texts, videos: pa.Table, at: datetime) -> VideoInputs:
    """Videos at one moment.

    Args:
        spec: of the model.
        texts: what the model keeps of videos' texts.
        videos: VIDEO_FEATURES as of ``at``, with VIDEO_TEXT.
        at: the moment.
    """
    numbers = torch.from_numpy(spec.numbers(videos, at))
    return VideoInputs(torch.from_numpy(spec.codes("video", videos)), numbers, texts(videos))


def _user_inputs(spec: FeatureSpec, codes: npt.NDArray[np.int64], rows: pa.Table, queries: pa.Table) -> UserInputs:
    histories = tuple((torch.from_numpy(h.codes), torch.from_numpy(h.ages)) for h in spec.histories(rows).values())
    texts = tuple(torch.from_numpy(cells) for cells in spec.texts(rows, queries).values())
    vectors = tuple(torch.from_numpy(found) for found in spec.text_vectors(queries).values())
    return UserInputs(torch.from_numpy(codes), histories, texts, vectors)


def _past(spec: FeatureSpec, data: TowerData, chosen: Rows, codes: npt.NDArray[np.int64]) -> UserInputs:
    """What the users of some examples did before; ``codes`` are those of the examples' contexts."""
    n = len(chosen)
    histories = tuple(
        (torch.zeros((n, f.length), dtype=torch.int32), torch.zeros((n, f.length), dtype=torch.int8)) for f in spec.of(Sequence)
    )
    texts = tuple(torch.zeros((n, f.length), dtype=torch.int32) for f in spec.of(TextMean))
    for places, part in data.parts(chosen):
        for start in range(0, len(places), _ROWS_AT_ONCE):  # decoding takes several times the size of what comes out
            rows, some = torch.from_numpy(places[start : start + _ROWS_AT_ONCE]), part.slice(start, _ROWS_AT_ONCE)
            for (own, ages), found in zip(histories, spec.histories(some).values(), strict=True):
                own[rows], ages[rows] = torch.from_numpy(found.codes), torch.from_numpy(found.ages)
            for text, cells in zip(texts, spec.texts(some, data.queries).values(), strict=True):
                text[rows] = torch.from_numpy(cells)
    vectors = tuple(torch.from_numpy(found) for found in spec.text_vectors(data.queries).values())
    return UserInputs(torch.from_numpy(codes), histories, texts, vectors)


def _versions(examples: pa.Table, versions: pa.Table, key: str) -> tuple[pa.Table, Tensor]:
    """The distinct versions of the examples' users or videos, ids without any included, and each example's row (n,)."""
    ids = one_chunk(examples.column(key)).to_numpy()
    micros = one_chunk(examples.column(col.OCCURRED_AT)).cast(pa.int64()).to_numpy()
    row = rows_as_of(ids, micros, versions, key)
    _, stranger = np.unique(np.where(row < 0, ids, 0), return_inverse=True)
    _, first, place = np.unique(np.where(row < 0, versions.num_rows + stranger, row), return_index=True, return_inverse=True)
    found = versions.take(pa.array(row[first], mask=row[first] < 0))
    return found.set_column(found.column_names.index(key), key, pa.array(ids[first])), torch.from_numpy(place)


def _float_tensor(column: pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(one_chunk(column).cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).copy())
