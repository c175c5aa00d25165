"""One run over a week makes the same files as a run a day, whatever the order of the days, and as a run an hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import conf
from benchmarks._events import START, write_events
from jobs import examples, features, ingest
from jobs._window import DAY, HOUR, Window, floor_hour, iso, midnight
from schemas import INTERACTIONS, REJECTED
from tests.builders import Workspace, event, tree, video, window, write_lines, write_raw

pytestmark = pytest.mark.slow

STAGES: tuple[ModuleType, ...] = (ingest, examples, features)
WINDOW_WIDE = ("user_features", "video_features")
"""Tables whose partitions tell of all of the window: only equal windows give equal ones."""
FIRST = midnight((START + DAY).date())
WEEK = Window(FIRST, FIRST + 7 * DAY)
DAYS = [Window(midnight(day), midnight(day) + DAY) for day in WEEK.days()]
HOURS = [Window(hour, hour + HOUR) for hour in DAYS[2].hours()]
SETTINGS = {"examples": {"negative_sample_rate": 1.0}}


def run(space: Workspace, windows: Iterable[Window], stages: Iterable[ModuleType] = STAGES) -> None:
    for when in windows:
        for stage in stages:
            space.run(stage, "--start", iso(when.start), "--end", iso(when.end))


def files(space: Workspace) -> dict[str, bytes]:
    """Every file of the lake, those of window-wide tables left out."""
    return {name: content for name, content in tree(space.lake.root).items() if name.split("/")[0] not in WINDOW_WIDE}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.fixture(scope="module", autouse=True)
def quick_configuration() -> Iterator[None]:
    """Each file of the configuration is parsed once: it is read 200 times here."""
    read = cache(conf._read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conf, "_read", lambda path: deepcopy(read(path)))
        yield


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A week taken in by one run. Events repeat in the next hour and the one after, labels cross hours and midnights."""
    space = Workspace(tmp_path_factory.mktemp("week"), SETTINGS)
    write_events(space.raw, 2 + 7 * 24, 100, seed=3, users=40, videos=60)
    for number, day in enumerate(DAYS):
        folder = f"dt={day.end:%Y-%m-%d}"
        write_lines(space.raw / "videos" / folder / "a.jsonl", [video(50_000, like_count=number), {"video_id": number}])
        write_lines(space.raw / "users" / folder / "a.jsonl", [{"user_id": 1_000 + number, "city": f"city {number}"}])
    run(space, [WEEK])
    return space


def raw_copy(space: Workspace, home: Path) -> Workspace:
    """Another workspace that reads the same raw logs."""
    return Workspace(home, {**SETTINGS, "paths": {"raw": str(space.raw)}})


def test_one_run_and_seven_make_the_same_bytes(week: Workspace, tmp_path: Path) -> None:
    expected = files(week)
    assert {name.split("/")[0] for name in expected} >= {
        "interactions", "rejected", "videos", "users", "video_versions", "user_versions", "rejected_snapshots", "examples",
        "example_features", "user_history", "video_hours", "video_counts",
    }  # fmt: skip
    assert sum(name.startswith("examples/") and name.endswith(".parquet") for name in expected) == 7 * 24
    space = raw_copy(week, tmp_path / "home")
    run(space, DAYS)
    assert differences(files(space), expected) == []
    assert week.rows(INTERACTIONS, WEEK) and week.rows(REJECTED, WEEK)
    print(f"{len(expected)} files, {sum(map(len, expected.values()))} bytes")


def test_the_order_of_the_runs_does_not_matter(week: Workspace, tmp_path: Path) -> None:
    """Days from the last to the first, one of them by the hour; features made before their past was there are stale."""
    space = raw_copy(week, tmp_path / "home")
    run(space, [*DAYS[:2:-1], *HOURS, *DAYS[1::-1]], (ingest, examples))
    run(space, DAYS[:2:-1], (features,))
    run(space, [WEEK], (features,))
    assert differences(files(space), files(week)) == []


def test_what_is_known_only_later_is_taken_in_by_a_run_that_covers_it(tmp_path: Path) -> None:
    """The one thing that a range knows and a day does not: videos whose first snapshot comes after the day."""
    one, many = Workspace(tmp_path / "one"), Workspace(tmp_path / "many")
    days = window("2026-01-05T00:00", "2026-01-08T00:00")
    at: Iterable[datetime] = (hour for hour in days.hours() if hour.hour == 12)
    events = [event(f"{hour:%d}", "click", iso(hour), video=10 + hour.day) for hour in at]
    for space in (one, many):
        write_raw(space.raw, events, [video(15), video(17)], snapshot="2026-01-05")
        write_raw(space.raw, [], [video(16)], snapshot="2026-01-08")
    stages = (ingest, examples)
    run(one, [days], stages)
    run(many, [Window(midnight(day), midnight(day) + timedelta(days=1)) for day in days.days()], stages)
    late = floor_hour(events_at(events, "06"))
    assert [row["event_id"] for row in one.rows(INTERACTIONS, days)] == ["05", "06", "07"]
    assert [row["event_id"] for row in many.rows(INTERACTIONS, days)] == ["05", "07"]
    assert {name.split("/")[-3:-1][-1] for name in differences(files(one), files(many)) if "rejected/" in name} == {
        f"hr={late.hour:02d}"
    }
    run(many, [days], stages)
    assert differences(files(one), files(many)) == []


def events_at(events: list[dict], event_id: str) -> datetime:
    return next(datetime.fromisoformat(row["occurred_at"]) for row in events if row["event_id"] == event_id)
