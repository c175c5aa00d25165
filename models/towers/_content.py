"""What videos are about, in few numbers: the principal components of their text's vectors.

Every text of a log speaks of the same few topics, and its vectors have hundreds of numbers. The first components keep what
tells videos apart, so that the mean over a history is a taste that can be compared with a video directly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models._vocabulary import RESERVED
from models.features import FeatureSpec
from schemas import columns as col

DIM = 64
"""Most components that are kept."""

_SAMPLE = 50_000  # videos from which the components come
_ROWS_AT_ONCE = 65_536
_LENGTH = 4.0  # of a video's components: at 1 likeness stayed far below the logits' scale in the few epochs of a training


class Content(nn.Module):
    """Vectors of a video's texts in, components out; zeros where a video has no text."""

    mean: Tensor
    components: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("components", torch.zeros((width, dim)))

    @property
    def dim(self) -> int:
        """Number of components; 0 where training saw no text."""
        return int(self.components.shape[1])

    def forward(self, vectors: tuple[Tensor, ...]) -> Tensor:
        """Components (n, dim) of vectors (n, width of each)."""
        whole = _units(vectors)
        told = (whole != 0.0).any(dim=1, keepdim=True)
        found: Tensor = ((whole - self.mean) * told) @ self.components
        return found

    def reader(self, spec: FeatureSpec) -> Callable[[pa.Table], Tensor]:
        """Gives the components (n_videos, dim) of VIDEO_VERSIONS or VIDEO_FEATURES with VIDEO_TEXT."""

        def read(videos: pa.Table) -> Tensor:
            starts = range(0, max(videos.num_rows, 1), _ROWS_AT_ONCE)
            parts = (spec.vectors(videos.slice(start, _ROWS_AT_ONCE)).values() for start in starts)
            return torch.cat([self(tuple(torch.from_numpy(part) for part in vectors)) for vectors in parts])

        return read

    def learn(self, vectors: tuple[Tensor, ...]) -> None:
        """Set the components to those of some videos' vectors, scaled so that their mean length is ``_LENGTH``."""
        whole = _units(vectors)
        rows = whole[(whole != 0.0).any(dim=1)]
        rows = rows[:: max(1, len(rows) // _SAMPLE)].double()
        if not len(rows) or not self.dim:
            return
        mean = rows.mean(dim=0)
        centred = rows - mean
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # eigenvectors differ in their last bits from one number of threads to another
        _, vectors_ = torch.linalg.eigh(centred.T @ centred / len(rows))
        torch.set_num_threads(threads)
        kept = vectors_[:, -self.dim :].flip(1)
        # The sign of a component is arbitrary: the same data must give the same one.
        kept = kept * torch.sign(kept.gather(0, kept.abs().argmax(dim=0, keepdim=True)))
        length = (centred @ kept).norm(dim=1).mean().clamp_min(1e-12)
        self.mean.copy_(mean)
        self.components.copy_(_LENGTH * kept / length)


def content_of(spec: FeatureSpec, videos: pa.Table) -> Content:
    """The components of the texts of some videos, VIDEO_VERSIONS with VIDEO_TEXT."""
    dims = [dim for dim in (spec.dims[name] for name in spec.vectors(videos.slice(0, 0))) if dim]
    vectors = tuple(torch.from_numpy(part) for part in spec.vectors(videos).values())
    width = sum(part.shape[1] for part in vectors)
    content = Content(width, min(DIM, sum(dims)) if any(bool(part.any()) for part in vectors) else 0)
    content.learn(vectors)
    return content


def content_table(content: Content, spec: FeatureSpec, videos: pa.Table, vocabulary: str) -> Tensor:
    """Components of each known video in its newest version, float32 (n_codes, dim); zeros where nothing is known."""
    known = spec.vocabularies[vocabulary]
    held = torch.zeros((known.size, content.dim))
    codes = known.encode(videos.column(col.VIDEO_ID))
    newest = np.full(known.size, -1, dtype=np.int64)
    newest[codes] = np.arange(len(codes))  # versions of a video are in order of time
    newest[:RESERVED] = -1
    rows: npt.NDArray[np.int64] = newest[newest >= 0]
    held[torch.from_numpy(codes[rows])] = content.reader(spec)(videos.take(pa.array(rows)))
    return held


def _units(vectors: tuple[Tensor, ...]) -> Tensor:
    """Vectors of each text at length 1, side by side (n, width); zeros where there is none."""
    return torch.cat([F.normalize(part, dim=1) for part in vectors], dim=1)
