"""Hand-written raw logs, lake tables and workspaces: a few rows whose right outcome is obvious."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import yaml

from jobs import _stage
from jobs._recipe import Recipe
from jobs._stage import Context, Report
from jobs._tables import Lake, Partition
from jobs._window import Window, floor_hour
from schemas import HISTORIES, INTERACTIONS, TRENDS, USER_VERSIONS, USERS, VIDEO_VERSIONS, VIDEOS, Table

VIDEO = {
    "title": "a title",
    "tags": ["x", "y"],
    "language": "en",
    "duration_seconds": 100.0,
    "uploaded_at": "2026-01-01T00:00:00Z",
}
MADE_BY_HAND = Recipe({}, "by hand", {})
NO_HISTORY: Mapping[str, list[int]] = {name: [] for history in HISTORIES.values() for name in (history.values, history.ages)}
NO_TRENDS: Mapping[str, int] = {trend.column: 0 for trend in TRENDS}


def event(event_id: str, kind: str, at: str, user: int = 1, video: int | None = 10, **more: Any) -> dict[str, Any]:
    """One raw interaction on 2026-01-07 (or the full time given)."""
    moment = at if "T" in at else f"2026-01-07T{at}Z"
    return {"event_id": event_id, "user_id": user, "video_id": video, "interaction_type": kind, "occurred_at": moment, **more}


def video(video_id: int, **more: Any) -> dict[str, Any]:
    """One raw video of 100 seconds, uploaded on 2026-01-01."""
    return {"video_id": video_id, **VIDEO, **more}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> None:
    """Append rows as JSON lines; a string goes in as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        for row in rows:
            stream.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


def write_raw(
    root: Path,
    events: Iterable[Mapping[str, Any]],
    videos: Iterable[Mapping[str, Any]] = (),
    users: Iterable[Mapping[str, Any]] = (),
    snapshot: str = "2026-01-07",
) -> None:
    """Write raw logs below ``root``: each event into the directory of its own hour, one snapshot of videos and users."""
    hours: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in events:
        hours[f"dt={row['occurred_at'][:10]}/hr={row['occurred_at'][11:13]}"].append(row)
    for hour, rows in hours.items():
        write_lines(root / "interactions" / hour / "events.jsonl", rows)
    write_lines(root / "videos" / f"dt={snapshot}" / "videos.jsonl", videos)
    write_lines(root / "users" / f"dt={snapshot}" / "users.jsonl", users)


def moment(text: str) -> datetime:
    """A UTC time: ``HH:MM[:SS]`` of 2026-01-07, or a full ISO time."""
    return datetime.fromisoformat(text if "T" in text else f"2026-01-07T{text}").replace(tzinfo=UTC)


def window(start: str, end: str) -> Window:
    """The window between two times as :func:`moment` takes them."""
    return Window(moment(start), moment(end))


def arrow(table: Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of a lake table; what a row leaves out is null."""
    return pa.Table.from_pylist([{name: row.get(name) for name in table.columns} for row in rows], schema=table.arrow)


def interaction(event_id: str, kind: str, at: datetime, user: int = 1, video: int | None = 10, **more: Any) -> dict[str, Any]:
    """One clean event on a video of 100 seconds."""
    row = {"event_id": event_id, "user_id": user, "video_id": video, "interaction_type": kind, "occurred_at": at}
    return {**row, "duration_seconds": 100.0, **more}


def write_interactions(lake: Lake, rows: Iterable[Mapping[str, Any]], hours: Window) -> None:
    """Write clean events into the lake, each in its hour; an hour without events becomes an empty partition."""
    by_hour: dict[datetime, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["occurred_at"], row["event_id"])):
        by_hour[floor_hour(row["occurred_at"])].append(row)
    assert set(by_hour) <= set(hours.hours())
    for hour in hours.hours():
        lake.write(INTERACTIONS, Partition.hour(hour), arrow(INTERACTIONS, by_hour[hour]), MADE_BY_HAND)


def write_catalogue(lake: Lake, day: datetime, videos: Iterable[Mapping[str, Any]], users: Iterable[Mapping[str, Any]]) -> None:
    """Write the videos and users as known at the end of a day; a video is 100 seconds long and from 2026-01-01."""
    basic = {"duration_seconds": 100.0, "uploaded_at": moment("2026-01-01T00:00"), "snapshot_date": "2026-01-01"}
    known = [{**basic, **row} for row in videos]
    lake.write(VIDEOS, Partition(day.date()), arrow(VIDEOS, known), MADE_BY_HAND)
    lake.write(USERS, Partition(day.date()), arrow(USERS, [{**basic, **row} for row in users]), MADE_BY_HAND)


def write_versions(lake: Lake, day: datetime, videos: Iterable[Mapping[str, Any]], users: Iterable[Mapping[str, Any]]) -> None:
    """Write what the snapshots up to the end of a day said, in order; a version is from 2026-01-01 like its video."""
    began = moment("2026-01-01T00:00")
    basic = {"duration_seconds": 100.0, "uploaded_at": began, "valid_from": began}
    for table, rows in ((VIDEO_VERSIONS, videos), (USER_VERSIONS, users)):
        known = sorted(({**basic, **row} for row in rows), key=lambda row: (row[table.key[0]], row["valid_from"]))
        lake.write(table, Partition(day.date()), arrow(table, known), MADE_BY_HAND)


def stage_context(stage: str, *arguments: str) -> Context:
    """What a stage is given for these command-line arguments, in the workspace that the environment names."""
    return _stage.context(stage, _stage.command_line(stage, None).parse_args(arguments))


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` with its content, staging areas and locks left out."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if not name.startswith("_staging/") and not name.endswith(".lock")}


def seconds(count: float) -> timedelta:
    """So many seconds."""
    return timedelta(seconds=count)


class Workspace:
    """A folder in which stages run, with a configuration that is small enough for tests."""

    def __init__(self, home: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        small: dict[str, Any] = {"master": "local[2]", "driver_memory": "1g", "shuffle_partitions": 1}
        given = dict(settings or {})
        given["spark"] = small | dict(given.get("spark", {}))
        overlay = home / "settings.yaml"
        overlay.write_text(yaml.safe_dump(given), encoding="utf-8")
        self.home, self.raw, self.lake = home, home / "raw", Lake(home / "lake")
        self.variables = {"REELFLOW_HOME": str(home), "REELFLOW_CONF": str(overlay)}

    def copy_to(self, home: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> Workspace:
        """A copy with settings of its own, free to be changed."""
        shutil.copytree(self.home, home)
        return Workspace(home, settings)

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Let ``REELFLOW_HOME`` and ``REELFLOW_CONF`` name this workspace."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            yield

    def run(self, stage: ModuleType, *arguments: str) -> Report:
        """Run a stage by its ``run`` with a command line's arguments; errors come through."""
        with self.environment():
            return stage.run(stage_context(stage.__name__.removeprefix("jobs."), *arguments))

    def command(self, stage: ModuleType, *arguments: str) -> tuple[int, str, str]:
        """Run a stage as from the command line; returns exit status, standard output and standard error."""
        out, error, status = io.StringIO(), io.StringIO(), 0
        with self.environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            try:
                _stage.main(stage.__name__.removeprefix("jobs."), stage.run, stage.__doc__, arguments)
            except SystemExit as end:
                status = int(end.code or 0)
        return status, out.getvalue(), error.getvalue()

    def rows(self, table: Table, within: Window) -> list[dict[str, Any]]:
        """The rows of a table's partitions within a window."""
        return self.lake.read(table, self.lake.partitions(table, within)).to_pylist()
