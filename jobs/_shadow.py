"""What is tried in the shadow, and what its runs keep on disk: ``runs/<as_of>/shadow/<trial>/``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, field_validator

from conf import Section
from jobs import _bundles
from jobs._recipe import MISSING, Recipe, State, Status, canonical
from jobs._stage import Context
from jobs._swap import read_json, swap
from jobs._window import compact, from_compact, iso
from schemas import columns as col

Ints = NDArray[np.int64]

SECTIONS = ("logistic", "popularity", "random_negatives", "recommend", "split", "towers", "wals")
"""Sections that a trial may lay something over: what comes after the tables of the lake, which both sides share."""
FOLDER = "shadow"
REPORT, PAGE = f"{FOLDER}/report.json", f"{FOLDER}/index.html"
_KEPT, _LISTS = "kept.json", "lists.parquet"
_SIDES = (col.CHAMPION, col.CANDIDATE)
_IDS = pa.list_(pa.int64())
_SCHEMA = pa.schema(
    [
        pa.field(col.USER_ID, pa.int64(), nullable=False),
        *(pa.field(name, _IDS, nullable=False) for name in (col.WATCHED, *_SIDES)),
    ]
)


class ShadowConfig(Section):
    """Section ``shadow``."""

    name: str | None = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)
    """What is tried, in small letters, digits and hyphens; null: nothing is."""
    settings: dict[str, dict[str, Any]]
    """Sections with the keys that differ, laid over all other settings; none: the candidate is the champion's like."""
    runs: int = Field(ge=1)
    """Daily runs that it is compared in."""
    users: int = Field(ge=2)
    """Active users whose lists are kept and judged, at most."""

    @field_validator("settings")
    @classmethod
    def _of_models(cls, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        others = sorted(set(settings) - set(SECTIONS))
        if others:
            raise ValueError(f"found {', '.join(others)}, expected some of {', '.join(SECTIONS)}: the lake's tables are shared")
        return settings

    @property
    def trial(self) -> str:
        """The name and a digest of the settings: other settings are another trial."""
        return f"{self.name}-{hashlib.sha256(canonical(self.settings).encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Kept:
    """Lists of one run that wait for what users do after it."""

    as_of: datetime
    folder: Path
    content: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of all that was kept."""
        return hashlib.sha256(canonical(self.content).encode()).hexdigest()

    def lists(self) -> pa.Table:
        """Users ascending, what each had watched, and both lists."""
        return pq.read_table(self.folder / _LISTS, schema=_SCHEMA).combine_chunks()


def read_kept(context: Context, trial: str, as_of: datetime | None = None) -> Kept | None:
    """What the run of an ``as_of`` kept of a trial, or None."""
    when = as_of or context.as_of
    folder = context.paths.runs / compact(when) / FOLDER / trial
    content = read_json(folder / _KEPT, "shadow", "shadow")
    return None if content is None else Kept(when, folder, content)


def all_kept(context: Context, trial: str) -> list[Kept]:
    """What all runs kept of a trial, in order of time."""
    names = (path.parents[2].name for path in context.paths.runs.glob(f"*/{FOLDER}/{trial}/{_KEPT}"))
    moments = sorted(at for name in names if (at := from_compact(name)))
    return [kept for at in moments if (kept := read_kept(context, trial, at))]


def check(kept: Kept | None, wanted: Recipe) -> Status:
    """How what was kept stands to a recipe."""
    if kept is None:
        return MISSING
    if not (kept.folder / _LISTS).exists():
        return Status(State.STALE, "its lists are not there")
    return wanted.status(Recipe(**kept.content["recipe"]))


def keep(
    context: Context, trial: str, recipe: Recipe, *, users: pa.Table, lists: Mapping[str, Ints], facts: Mapping[str, Any]
) -> None:
    """Replace what this run kept of a trial.

    Args:
        context: of the run.
        trial: its name and digest.
        recipe: what the lists are made from.
        users: USER_FEATURES of the users, ascending.
        lists: int64 ``(n_users, k)`` video ids by side, padded with -1.
        facts: what else was found, as plain values.
    """
    live = context.run_folder / FOLDER / trial
    staged = _bundles.staging(live)
    staged.mkdir(parents=True)
    columns = [users[col.USER_ID], users[col.WATCHED], *(_listed(lists[side]) for side in _SIDES)]
    pq.write_table(pa.table(columns, schema=_SCHEMA), staged / _LISTS, compression="zstd")
    digest = hashlib.sha256((staged / _LISTS).read_bytes()).hexdigest()
    content = {"as_of": iso(context.as_of), "recipe": asdict(recipe), "lists": digest, "users": users.num_rows, **facts}
    (staged / _KEPT).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    swap(staged, live)


def padded(lists: pa.ChunkedArray) -> Ints:
    """Lists of a kept table as int64 ``(n, k)``, padded with -1."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = np.diff(array.offsets.to_numpy())
    found = np.full((len(array), int(lengths.max(initial=0))), -1, dtype=np.int64)
    found[np.arange(found.shape[1]) < lengths[:, None]] = array.flatten().to_numpy()
    return found


def read_report(context: Context) -> dict[str, Any] | None:
    """What ``shadow`` reported for this ``as_of``, or None.

    Raises:
        ReelflowError: it cannot be read.
    """
    return read_json(context.run_folder / REPORT, "report", "shadow")


def _listed(lists: Ints) -> pa.ListArray:
    filled = lists >= 0
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(lists[filled]))
