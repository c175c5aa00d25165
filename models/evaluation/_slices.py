"""Slices of users, and of what was relevant or shown to them (V4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from models.evaluation._config import EvaluationConfig
from models.evaluation._world import Holdout, acted_on, pairs
from models.ids import IdMap
from models.rows import look_up, one_chunk
from schemas import columns as col

Ints = NDArray[np.int64]

OTHER, UNKNOWN = "other", "unknown"
VIDEOS = "videos"
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


@dataclass(frozen=True, slots=True)
class People:
    """What users are cut by, at one moment; each column in the order of the ids.

    Attributes:
        ids: int64 ``(n_users,)``, ascending.
        known: bool ``(n_users,)``, whether the ensemble knows the user: it weighs its models in another way for the others.
        acted: int64 ``(n_users,)``, on how many videos the user had acted before.
        country: string ``(n_users,)``, null for unknown.
        language: likewise.
    """

    ids: Ints
    known: NDArray[np.bool_]
    acted: Ints
    country: pa.Array
    language: pa.Array


@dataclass(frozen=True, slots=True)
class Shown:
    """Some of the examples that are predicted.

    Attributes:
        kind: what it is cut by, as of :class:`Slice`.
        value: which one.
        rows: of the examples int64 ``(n,)``.
        whole_users: whether they are all the examples of their users.
    """

    kind: str
    value: str
    rows: Ints
    whole_users: bool


def slices(config: EvaluationConfig, world: Holdout, known: NDArray[np.bool_]) -> tuple[list[Slice], list[str]]:
    """Cut the judged users and videos, and say which cuts there is nothing to cut by.

    Args:
        config: section ``evaluation``.
        world: whom to judge.
        known: which users the ensemble knows ``(n_users,)``.
    """
    young = young_videos(config, world.videos, world.at)
    found: list[Slice] = []
    notes: list[str] = []
    for kind, (values, codes) in _cuts(config, _people(world, known)).items():
        if len(values) < 2:
            notes.append(f"No slices by {kind}: all judged users are {_listed(values)}.")
            continue
        found += [Slice(kind, value, members=np.flatnonzero(codes == place)) for place, value in enumerate(values)]
    by_age = {"new": _relevant(world, young), "older": _relevant(world, ~young)}
    kept = [Slice(VIDEOS, value, relevant=relevant) for value, relevant in by_age.items() if relevant.nnz]
    if len(kept) == 2:
        found += kept
    else:
        days = f"within {config.new_video_days:g} days before the test split"
        notes.append(
            f"No slices by age of the video ({days} is new): all relevant ones are {kept[0].value if kept else 'gone'}."
        )
    return found, notes


def slices_of_examples(
    config: EvaluationConfig, people: People, users: Ints, young: NDArray[np.bool_]
) -> tuple[list[Shown], list[str]]:
    """Cut examples by their users, by the same rules, and by the age of their videos.

    Args:
        config: section ``evaluation``.
        people: the users of the examples, and no others.
        users: int64 ``(n,)`` id of each example's user.
        young: bool ``(n,)``, whether its video is new.
    """
    row = np.searchsorted(people.ids, users)
    cuts = {kind: (values, codes[row]) for kind, (values, codes) in _cuts(config, people).items()}
    ages = [value for value, some in (("new", young), ("older", ~young)) if some.any()]
    cuts[VIDEOS] = ages, (~young).astype(np.int64)
    found: list[Shown] = []
    missing: list[str] = []
    for kind, (values, codes) in cuts.items():
        if len(values) < 2:
            missing.append(f"{kind} (all {_listed(values)})")
            continue
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.searchsorted(codes[order], np.arange(1, len(values))))
        found += [Shown(kind, value, rows, kind != VIDEOS) for value, rows in zip(values, parts, strict=True)]
    return found, [f"No slices of the probabilities by {', '.join(missing)}."] if missing else []


def young_videos(config: EvaluationConfig, videos: pa.Table, at: datetime) -> NDArray[np.bool_]:
    """Which videos are new at a moment, bool ``(n_videos,)`` in the order of VIDEO_FEATURES."""
    uploaded = pc.greater(videos[col.UPLOADED_AT], at - timedelta(days=config.new_video_days))
    young: NDArray[np.bool_] = one_chunk(uploaded).to_numpy(zero_copy_only=False)
    return young


def people_of(users: Ints, rows: pa.Table, log: pa.Table, videos: Ints, *, known: NDArray[np.bool_], at: datetime) -> People:
    """What some users are cut by at a moment; one without a row of features has neither country nor language.

    Args:
        users: int64 ``(n_users,)`` ids, ascending.
        rows: USER_FEATURES with what held at ``at``.
        log: EXAMPLES of the look-back.
        videos: int64 ``(n_videos,)`` ids of the catalogue.
        known: bool ``(n_users,)``, as of :class:`People`.
        at: the moment.
    """
    acted = np.diff(pairs(acted_on(log, at), IdMap(users), IdMap.of(videos)).indptr)
    found = look_up(pa.array(users), rows, col.USER_ID, (col.COUNTRY, col.LANGUAGE))
    return People(users, known, acted.astype(np.int64), one_chunk(found[col.COUNTRY]), one_chunk(found[col.LANGUAGE]))


def _people(world: Holdout, known: NDArray[np.bool_]) -> People:
    users = world.users
    acted = pc.list_value_length(one_chunk(users[col.WATCHED])).to_numpy()
    return People(users[col.USER_ID].to_numpy(), known, acted, one_chunk(users[col.COUNTRY]), one_chunk(users[col.LANGUAGE]))


def _cuts(config: EvaluationConfig, people: People) -> dict[str, tuple[list[str], Ints]]:
    """The values of every cut of users in the order of the page, and which of them each user has ``(n_users,)``."""
    names = [name for _, name in _ACTIVITY]
    tops = [top for top, _ in _ACTIVITY if top is not None]
    labels = {
        "users": np.where(people.known, "known", "new").astype(object),
        "activity": np.array(names, dtype=object)[np.searchsorted(tops, people.acted)],
        "country": np.array(_common(config, people.country.to_pylist()), dtype=object),
        "language": np.array(_common(config, people.language.to_pylist()), dtype=object),
    }
    order = {"users": ["known", "new"], "activity": names}
    found = {}
    for kind, own in labels.items():
        present = _by_size(own.tolist())
        values = [value for value in order.get(kind, present) if value in present]
        places = {value: place for place, value in enumerate(values)}
        found[kind] = values, np.array([places[label] for label in own], dtype=np.int64)
    return found


def _listed(values: Sequence[str]) -> str:
    return ", ".join(repr(value) for value in values) or "gone"


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
