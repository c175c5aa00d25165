"""The video features of KuaiRand, for the edition that a log is of."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ReelflowError

_NEEDED = ("video_id", "author_id", "upload_dt", "video_duration", "tag")
_BEIJING = dt.timezone(dt.timedelta(hours=8))
_LEAST_COVERED = 0.9  # a log's own feature file has nearly all of its videos; another edition's a few by chance


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a feature file says about a video."""

    creator_id: int | None = None
    tags: list[str] | None = None
    duration_seconds: float = 0.0
    """0 where unknown."""
    uploaded_us: int | None = None


def read_video_facts(file: Path, wanted: NDArray[np.int64]) -> dict[int, VideoFacts]:
    """Facts of the videos of a log.

    Args:
        file: a ``video_features_basic`` file.
        wanted: ids of the log's videos, ascending.

    Raises:
        ReelflowError: no such file, other columns, a value that is none, or a file that lacks many of the videos.
    """
    if not file.is_file():
        raise ReelflowError(f"video features {file}: found no such file; expected a KuaiRand video_features_basic file")
    needed, facts = set(wanted.tolist()), {}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if missing := sorted(set(_NEEDED) - set(reader.fieldnames or ())):
            raise ReelflowError(
                f"video features {file}: found no column {', '.join(missing)}; expected a video_features_basic file"
            )
        for row in reader:
            try:
                number = int(row["video_id"])
                if number in needed:
                    facts[number] = _facts(row)
            except (ValueError, TypeError) as error:
                raise ReelflowError(
                    f"video features {file}, line {reader.line_num}: {error}; expected official values; fetch the file again"
                ) from error
    share = len(facts) / max(len(needed), 1)
    if share < _LEAST_COVERED:
        raise ReelflowError(
            f"video features {file}: found {share:.0%} of the log's videos, expected at least {_LEAST_COVERED:.0%}; "
            "editions of KuaiRand number their videos differently: name the file of the log's edition, or leave --videos out"
        )
    return facts


def _facts(row: dict[str, str]) -> VideoFacts:
    uploaded = None
    if row["upload_dt"]:
        day = dt.datetime.strptime(row["upload_dt"], "%Y-%m-%d").replace(tzinfo=_BEIJING)
        uploaded = int(day.timestamp()) * 1_000_000
    tags = [tag.strip() for tag in row["tag"].split(",") if tag.strip()] if row["tag"] else []
    return VideoFacts(
        creator_id=int(float(row["author_id"])) if row["author_id"] else None,
        tags=tags or None,
        duration_seconds=float(row["video_duration"]) / 1_000 if row["video_duration"] else 0.0,
        uploaded_us=uploaded,
    )
