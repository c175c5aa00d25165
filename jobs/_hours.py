"""Hours of the raw log: which there are, what is in them, and which must be taken in again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from jobs._recipe import Recipe, State, Status, code_version
from jobs._stage import Context
from jobs._tables import Partition
from jobs._window import HOUR, iso
from jobs.reading import RawFile, partition_files
from schemas import INTERACTIONS, RAW_INTERACTIONS, REJECTED, VIDEOS, RejectReason
from schemas import columns as col
from schemas.errors import ReelflowError

_CODE = (
    "jobs/ingest.py",
    "jobs/_judge.py",
    "jobs/_erased.py",
    "jobs/_arrow.py",
    "jobs/_snapshots.py",
    "jobs/reading",
    "schemas",
)
_DAY_FOLDER = r"dt=\d{4}-\d{2}-\d{2}"
_HOUR_FOLDER = r"hr=([01]\d|2[0-3])"
_REFUSED_ID = re.compile(r"= (-?\d+)$")


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the log: its raw files, and those of the hour before, which decide what is a duplicate."""

    start: datetime
    files: tuple[RawFile, ...]
    before: tuple[RawFile, ...]
    delivered: bool
    """Whether there is a directory for it; an hour without one counts as empty."""
    recipe: Recipe
    status: Status

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.path.stat().st_size for file in self.files)


def plan(context: Context, parameters: Mapping[str, Any]) -> list[Hour]:
    """Every hour that the window needs, in order, and how its tables stand.

    Args:
        context: of the run.
        parameters: of ingest, as they belong into the recipe.

    Raises:
        ReelflowError: there are no raw logs, or none in the days that this run is for.
    """
    raw = _raw(context)
    folders = sorted(raw.glob("dt=????-??-??/hr=??"))
    if not folders:
        raise ReelflowError(f"raw logs {raw}: found no dt=YYYY-MM-DD/hr=HH folder; set paths.raw to a folder with raw logs")
    first, last = _hour_of(folders[0]), _hour_of(folders[-1])
    present = {_hour_of(folder): folder for folder in folders}
    hours = [hour for hour in context.log_window.hours() if hour >= first]
    if not any(context.requested.start <= hour < context.as_of for hour in present):
        raise ReelflowError(
            f"raw logs {raw}: nothing in {iso(context.requested.start)} to {iso(context.as_of)}; they cover {iso(first)} to "
            f"{iso(last + HOUR)}; choose a window in that range or deliver the missing logs"
        )
    wanted = {hour for start in hours for hour in (start, start - HOUR)} & present.keys()
    files = {hour: tuple(partition_files(present[hour])) for hour in sorted(wanted)}
    digests = {hour: _digest(found) for hour, found in files.items()}
    nothing = _digest(())
    code = code_version(*_CODE)
    videos = _known_videos(context)
    planned = []
    for hour in hours:
        inputs = {"interactions": digests.get(hour, nothing), "previous_hour": digests.get(hour - HOUR, nothing)}
        recipe = Recipe(inputs, code, parameters)
        status = _status(context, Partition.hour(hour), recipe, videos)
        planned.append(Hour(hour, files.get(hour, ()), files.get(hour - HOUR, ()), hour in files, recipe, status))
    return planned


def strangers(context: Context) -> list[Path]:
    """Everything below the raw log that is where a partition or a file should be and is neither, hidden names apart."""
    days = _children(_raw(context))
    hours = [path for day in days if re.fullmatch(_DAY_FOLDER, day.name) for path in _children(day)]
    inside = [path for hour in hours if re.fullmatch(_HOUR_FOLDER, hour.name) for path in _children(hour) if path.is_dir()]
    odd_days = [day for day in days if not re.fullmatch(_DAY_FOLDER, day.name)]
    return sorted([*odd_days, *(hour for hour in hours if not re.fullmatch(_HOUR_FOLDER, hour.name)), *inside])


def _status(context: Context, partition: Partition, recipe: Recipe, videos: np.ndarray) -> Status:
    """An hour needs no work if its recipe is the same and no video that it refused as unknown is known by now."""
    status = context.lake.first_status((INTERACTIONS, REJECTED), partition, recipe)
    manifest = context.lake.manifest(REJECTED, partition)
    if not status.current or manifest is None or not manifest.counts.get(RejectReason.UNKNOWN_VIDEO.value):
        return status
    refused = context.lake.read(REJECTED, [partition], [col.REASON, col.DETAIL]).to_pylist()
    details = [row[col.DETAIL] for row in refused if row[col.REASON] == RejectReason.UNKNOWN_VIDEO.value]
    ids = [int(match[1]) for detail in details if (match := _REFUSED_ID.search(detail))]
    known = np.isin(ids, videos).sum()
    return Status(State.STALE, f"a snapshot knows {known} videos that were unknown") if known else status


def _known_videos(context: Context) -> np.ndarray:
    today = Partition(context.last_day)
    if context.lake.manifest(VIDEOS, today) is None:
        return np.empty(0, dtype=np.int64)
    ids: np.ndarray = context.lake.read(VIDEOS, [today], [col.VIDEO_ID])[col.VIDEO_ID].to_numpy()
    return ids


def _raw(context: Context) -> Path:
    return context.paths.raw / RAW_INTERACTIONS.name


def _children(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name[0] not in "._"]


def _hour_of(folder: Path) -> datetime:
    day, hour = folder.parent.name.removeprefix("dt="), folder.name.removeprefix("hr=")
    try:
        return datetime.fromisoformat(f"{day}T{hour}:00:00+00:00")
    except ValueError as error:
        raise ReelflowError(f"raw folder {folder}: not an hour; expected dt=YYYY-MM-DD/hr=00 to hr=23") from error


def _digest(files: Sequence[RawFile]) -> str:
    summary = "\n".join(f"{file.path.name} {file.digest()}" for file in files)
    return hashlib.sha256(summary.encode()).hexdigest()
