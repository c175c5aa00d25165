"""Make raw logs of a KuaiRand log: real short-video impressions with clicks, play times, likes and hates.

``python -m jobs.import_kuairand DIR_OR_FILE [--videos FILE] [--out DIR] [--force]`` reads one log file, or every ``log_*.csv``
and ``log_*.tsv`` of a folder. ``--videos`` names the ``video_features_basic`` file of the same edition. See docs/importers.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.importing import (
    DAY_US,
    Column,
    ImportReport,
    Rejected,
    Step,
    build_events,
    date_of,
    first_instants,
    read_numbers,
    run_command,
    write_log,
    write_snapshot,
)
from jobs.importing._kuairand import VideoFacts, read_video_facts
from schemas import RAW_USERS, RAW_VIDEOS, InteractionType
from schemas import columns as col
from schemas.errors import ReelflowError

_SECOND_US = 1_000_000
_LATEST_MS = 4_102_444_800_000  # the year 2100
_NEEDED = ("user_id", "video_id", "time_ms", "is_click", "play_time_ms", "duration_ms")
_REACTIONS = ("is_like", "is_hate", "label", "is_forward", "is_comment")

Rows = dict[str, NDArray[np.int64]]


def import_kuairand(source: Path, out: Path, *, videos: Path | None = None) -> ImportReport:
    """Write the raw logs of a KuaiRand log into a folder.

    Args:
        source: a log file, or a folder of them.
        out: where to write.
        videos: the ``video_features_basic`` file of the same edition: editions number their videos differently.

    Raises:
        ReelflowError: no log, columns that are missing, no usable row, or video facts of another edition.
    """
    rejected = Rejected()
    rows, read = _read_logs(_log_files(source), rejected)
    if not len(rows["user_id"]):
        raise rejected.refuse_all(source)
    user, video, at_us = rows["user_id"], rows["video_id"], rows["time_ms"] * 1_000
    ids, first_us = first_instants(video, at_us)
    facts = read_video_facts(videos, ids) if videos else {}
    stamp = pa.array(rows["time_ms"]).cast(pa.string())
    written = write_log(
        out,
        at_us,
        lambda part: build_events(
            prefix="kr", stamp=stamp[part], user=user[part], video=video[part], at_us=at_us[part], steps=_steps(rows, part)
        ),
    )
    first_day = date_of(int(at_us[0]))
    people = np.unique(user)
    write_snapshot(out, "videos", first_day, _videos(ids, first_us, rows, facts))
    write_snapshot(out, "users", first_day, _users(people))
    rejected.write(out)
    return ImportReport(
        out=out, read=read, events=written.events, hours=written.hours, users=len(people), videos=len(ids),
        rejected=len(rejected), last_us=written.last_us,
    )  # fmt: skip


def _log_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    files = sorted([*source.glob("log_*.csv"), *source.glob("log_*.tsv")])
    if not files:
        raise ReelflowError(
            f"KuaiRand source {source}: found no log; expected a log file, or a folder with log_*.csv or log_*.tsv"
        )
    return files


def _read_logs(files: Sequence[Path], rejected: Rejected) -> tuple[Rows, int]:
    """All rows in order of time, user and video, and the number of rows read; equal keys keep the files' order."""
    parts, read = [], 0
    for file in files:
        part = _read_log(file, rejected)
        parts.append(part)
        read += len(part["user_id"]) + rejected.count(file.name)
    rows = {
        name: np.concatenate([part[name] for part in parts])
        for name in (*_NEEDED, "liked", "hated", "is_forward", "is_comment")
    }
    order = np.lexsort((rows["video_id"], rows["user_id"], rows["time_ms"]))
    return {name: values[order] for name, values in rows.items()}, read


def _read_log(file: Path, rejected: Rejected) -> Rows:
    """The sound rows of one file; a reaction that its columns do not tell is 0."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        first = stream.readline().rstrip("\r\n")
    separator = "\t" if "\t" in first else ","
    header = first.split(separator)
    if missing := sorted(set(_NEEDED) - set(header)):
        raise ReelflowError(
            f"KuaiRand log {file}: found no column {', '.join(missing)} in {first[:120]!r}; expected the official header; "
            "name a log file (log_*.csv), not a feature file"
        )
    columns = {name: Column(header.index(name), "int64") for name in (*_NEEDED, *_REACTIONS) if name in header}
    raw = read_numbers(file, columns, separator=separator, width=len(header), header=True, rejected=rejected)
    dated = (raw["time_ms"] >= 0) & (raw["time_ms"] < _LATEST_MS)
    timed = (raw["play_time_ms"] >= 0) & (raw["duration_ms"] >= 0)
    for at in np.flatnonzero(~(dated & timed)).tolist():
        wrong = "time_ms out of range" if timed[at] else "play_time_ms or duration_ms below 0"
        rejected.add(file.name, int(raw["line"][at]), wrong, separator.join(str(raw[name][at]) for name in columns))
    rows = {name: values[dated & timed].astype(np.int64) for name, values in raw.items()}
    nothing = np.zeros(len(rows["user_id"]), np.int64)
    # The explicit files have `label` (1 liked, 0 hated) in place of the official is_like and is_hate.
    explicit = "label" in rows and "is_like" not in rows
    rows["liked"] = rows["label"] if explicit else rows.get("is_like", nothing)
    rows["hated"] = 1 - rows["label"] if explicit else rows.get("is_hate", nothing)
    return {"is_forward": nothing, "is_comment": nothing} | rows


def _steps(rows: Rows, part: slice) -> tuple[Step, ...]:
    """The events of log rows: an answer one second after the impression, reactions another second later."""
    played = rows["play_time_ms"][part]
    return (
        Step(InteractionType.IMPRESSION, np.ones(len(played), bool), 0),
        Step(InteractionType.CLICK, rows["is_click"][part] == 1, _SECOND_US),
        Step(InteractionType.WATCH, played > 0, _SECOND_US, played / 1_000),
        Step(InteractionType.LIKE, rows["liked"][part] == 1, 2 * _SECOND_US),
        Step(InteractionType.DISLIKE, rows["hated"][part] == 1, 2 * _SECOND_US),
        Step(InteractionType.SHARE, rows["is_forward"][part] == 1, 2 * _SECOND_US),
        Step(InteractionType.COMMENT, rows["is_comment"][part] == 1, 2 * _SECOND_US),
    )


def _videos(ids: NDArray[np.int64], first_us: NDArray[np.int64], rows: Rows, facts: dict[int, VideoFacts]) -> pa.Table:
    """A row a video of the log; its duration is the longest that any row states, because 0 means unknown."""
    longest_ms = np.zeros(len(ids), np.int64)
    np.maximum.at(longest_ms, np.searchsorted(ids, rows["video_id"]), rows["duration_ms"])
    known = [facts.get(number, VideoFacts()) for number in ids.tolist()]
    seconds = np.where(longest_ms > 0, longest_ms / 1_000, [fact.duration_seconds for fact in known])
    uploaded = [
        min(fact.uploaded_us, seen) if fact.uploaded_us is not None else seen // DAY_US * DAY_US
        for fact, seen in zip(known, first_us.tolist(), strict=True)
    ]
    found = {
        col.VIDEO_ID: pa.array(ids),
        col.CREATOR_ID: pa.array([fact.creator_id for fact in known], pa.int64()),
        col.TAGS: pa.array([fact.tags for fact in known], pa.list_(pa.string())),
        col.DURATION_SECONDS: pa.array(seconds),
        col.UPLOADED_AT: pa.array(uploaded, pa.timestamp("us", tz="UTC")),
    }
    schema = RAW_VIDEOS.arrow
    return pa.table([found.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema)


def _users(ids: NDArray[np.int64]) -> pa.Table:
    """A row a user of the log; KuaiRand hides everything else."""
    schema = RAW_USERS.arrow
    found = {col.USER_ID: pa.array(ids)}
    return pa.table([found.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.import_kuairand", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="DIR_OR_FILE", help="a log file, or a folder with log_*.csv or log_*.tsv")
    parser.add_argument("--videos", type=Path, help="video_features_basic file of the same edition")
    parser.add_argument("--out", type=Path, help="folder of the raw logs (default: raw in the workspace)")
    parser.add_argument("--force", action="store_true", help="replace whatever is in the folder")
    chosen = parser.parse_args(arguments)
    return run_command(
        "import_kuairand",
        chosen.out,
        force=chosen.force,
        work=lambda out: import_kuairand(chosen.source, out, videos=chosen.videos),
    )


if __name__ == "__main__":
    sys.exit(main())
