"""Slices of the judged users and of what was relevant to them (V4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from models.evaluation._config import EvaluationConfig
from models.evaluation._world import Holdout
from models.rows import one_chunk
from schemas import columns as col

OTHER, UNKNOWN = "other", "unknown"
_ACTIVITY = ((0, "0"), (4, "1 to 4"), (19, "5 to 19"), (99, "20 to 99"), (None, "100 or more"))


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the judged users, or all of them with some of what was relevant.

    Attributes:
        kind: what it is cut by, such as ``country``.
        value: which one, such as ``DE``.
        members: rows of the users int64 ``(n,)``; None for all.
        relevant: what counts as relevant, bool CSR ``(n_users, n_videos)``; None for everything that was.
    """

    kind: str
    value: str
    members: NDArray[np.int64] | None = None
    relevant: sp.csr_matrix | None = None


def slices(config: EvaluationConfig, world: Holdout, known: NDArray[np.bool_]) -> tuple[list[Slice], list[str]]:
    """Cut the judged users and videos, and say which cuts there is nothing to cut by.

    Args:
        config: section ``evaluation``.
        world: whom to judge.
        known: which users the ensemble knows ``(n_users,)``: it weighs its models in another way for the others.
    """
    watched = pc.list_value_length(one_chunk(world.users[col.WATCHED])).to_numpy()
    uploaded = pc.greater(world.videos[col.UPLOADED_AT], world.at - timedelta(days=config.new_video_days))
    young = one_chunk(uploaded).to_numpy(zero_copy_only=False)
    found: list[Slice] = []
    notes: list[str] = []
    by_user = {
        "users": ["known" if one else "new" for one in known],
        "activity": [next(name for top, name in _ACTIVITY if top is None or count <= top) for count in watched],
        "country": _common(config, world.users[col.COUNTRY].to_pylist()),
        "language": _common(config, world.users[col.LANGUAGE].to_pylist()),
    }
    order = {"users": ["known", "new"], "activity": [name for _, name in _ACTIVITY]}
    for kind, labels in by_user.items():
        names = np.array(labels, dtype=object)
        values = [value for value in order.get(kind, _by_size(labels)) if value in labels]
        if len(values) < 2:
            notes.append(f"No slices by {kind}: all judged users are {', '.join(repr(value) for value in values) or 'gone'}.")
            continue
        found += [Slice(kind, value, members=np.flatnonzero(names == value)) for value in values]
    by_age = {"new": _relevant(world, young), "older": _relevant(world, ~young)}
    kept = [Slice("videos", value, relevant=relevant) for value, relevant in by_age.items() if relevant.nnz]
    if len(kept) == 2:
        found += kept
    else:
        days = f"within {config.new_video_days:g} days before the test split"
        notes.append(
            f"No slices by age of the video ({days} is new): all relevant ones are {kept[0].value if kept else 'gone'}."
        )
    return found, notes


def _relevant(world: Holdout, videos: NDArray[np.bool_]) -> sp.csr_matrix:
    """What was relevant, of some of the videos ``(n_videos,)``."""
    relevant = world.relevant.copy()
    relevant.data &= videos[relevant.indices]
    relevant.eliminate_zeros()
    return relevant


def _common(config: EvaluationConfig, values: Sequence[Any]) -> list[str]:
    """Labels, the rare ones counted together."""
    labels = [UNKNOWN if value is None else str(value) for value in values]
    sizes = Counter(labels)
    named = [value for value in _by_size(labels) if sizes[value] >= config.min_slice_users][: config.max_slice_values]
    return [label if label in named else OTHER for label in labels]


def _by_size(labels: Sequence[str]) -> list[str]:
    """Labels, the most frequent first, what is no value of its own last."""
    sizes = Counter(labels)
    return sorted(sizes, key=lambda label: (label in (OTHER, UNKNOWN), -sizes[label], label))
