"""Both DAGs on a whole Airflow with the real stages and 400 users. The tests build on each other, in this order."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.simulated_day import HISTORY_DAYS, Day, Looks, looking

from .platform import DAILY, DAY, HOUR, PATIENCE, START, iso, last_acted, platform, rows, withhold
from .stack import Stack, wait_for
from .standins import REPOSITORY

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]

FIRST = START + HISTORY_DAYS * DAY
SECOND = FIRST + DAY
LIVE = "SELECT * FROM recommendations ORDER BY user_id, rank"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running Airflow whose logs end with the history."""
    home = tmp_path_factory.mktemp("real")
    with platform(home, users=400, days=HISTORY_DAYS + 2) as found:
        withhold(home, FIRST)
        yield found


@pytest.fixture(scope="module")
def lanes(real: Stack) -> tuple[Day, Looks]:
    """A day alone and an hour alone; then the next day with hours beside it until it is published, and one hour after it."""
    with looking(real.home / "store" / "recommendations.sqlite") as seen:
        day = Day(real, seen)
        day.start_daily(FIRST)
        day.finish_daily()
        day.hour(SECOND - HOUR)
        day.start_daily(SECOND)
        end = SECOND
        while day.daily_goes_on():
            day.hour(end := end + HOUR)
        day.finish_daily()
        day.hour(end + HOUR)
    return day, seen


def test_hours_are_published_while_the_next_day_trains(real: Stack, lanes: tuple[Day, Looks]) -> None:
    day, _ = lanes
    hours = [run for run in day.runs if run.lane == "hourly"]
    found = rows(real.home, "SELECT as_of, status, base, version, published_at FROM publications ORDER BY version")
    assert {as_of for as_of, *_ in found} <= {run.as_of for run in day.runs}
    at = {as_of: published for as_of, status, _, _, published in found if status != "superseded"}
    in_order = [at[run.as_of] for run in hours if run.as_of in at]
    assert in_order == sorted(in_order)
    assert [run.as_of for run in hours if run.beside and at.get(run.as_of, "never") <= at[iso(SECOND)]] != []
    versions = {version: (as_of, base) for as_of, _, base, version, _ in found}
    last, status, base, *_ = found[-1]
    assert (last, status) == (hours[-1].as_of, "live")
    while base is not None:  # down to the day that all these hours go over
        root, base = versions[base]
    assert root == iso(SECOND)
    assert all(run.users < 400 for run in hours if run.as_of in at)


def test_readers_saw_whole_versions_and_never_older_lists(lanes: tuple[Day, Looks]) -> None:
    _, seen = lanes
    assert seen.versions == sorted(seen.versions)
    assert {version: len(contents) for version, contents in seen.contents.items()} == dict.fromkeys(seen.versions, 1)
    assert seen.went_back == set()


def test_whoever_acted_has_a_list_of_that_hour(real: Stack, lanes: tuple[Day, Looks]) -> None:
    lists = dict(rows(real.home, "SELECT user_id, as_of FROM recommendations WHERE rank = 1"))
    acted = last_acted(real.home, SECOND)
    assert len(acted) > 20
    assert {user: (as_of, lists.get(user, "")) for user, as_of in acted.items() if lists.get(user, "") < as_of} == {}
    assert min(lists.values()) == iso(SECOND)
    assert rows(real.home, "SELECT DISTINCT n FROM (SELECT count(*) AS n FROM recommendations GROUP BY user_id)") == [(20,)]


def test_a_cleared_day_is_made_again_to_the_byte(real: Stack, lanes: tuple[Day, Looks]) -> None:
    first = run_of(real)
    made, live = content(real.home, "lake", "bundles"), rows(real.home, LIVE)
    real.send("POST", f"/dags/{DAILY}/dagRuns/{first}/clear", {"dry_run": False})
    wait_for(lambda: real.state(DAILY, first) in {"queued", "running"}, "the run's second begin")
    real.finish(DAILY, first, seconds=PATIENCE)
    assert differing(made, content(real.home, "lake", "bundles")) == set()
    assert rows(real.home, LIVE) == live


def test_a_backfilled_day_whose_training_is_killed_changes_nothing(real: Stack, lanes: tuple[Day, Looks]) -> None:
    first = run_of(real)
    made, live = content(real.home, "lake", "bundles"), rows(real.home, LIVE)
    before = real.tasks(DAILY, first)["train_towers"]["try_number"]
    real.backfill(DAILY, f"{FIRST - DAY:%Y-%m-%d}", f"{FIRST - DAY:%Y-%m-%d}", {"publish": "yes", "recompute": "train_wals"})
    os.kill(wait_for(lambda: pid_of("jobs.train_towers"), "the training", PATIENCE), signal.SIGKILL)
    states = real.finish(DAILY, first, seconds=PATIENCE)
    assert states["publish"] == "success"
    assert real.tasks(DAILY, first)["train_towers"]["try_number"] == before + 2
    assert differing(made, content(real.home, "lake", "bundles")) == set()
    assert rows(real.home, LIVE) == live
    (status,) = rows(real.home, f"SELECT status FROM publications WHERE as_of = '{iso(FIRST)}' ORDER BY version DESC LIMIT 1")
    assert status == ("superseded",)
    summary = (real.home / "runs" / "backfill.txt").read_text()
    assert summary.startswith(f"reelflow, days {FIRST - DAY:%Y-%m-%d} to {FIRST - DAY:%Y-%m-%d}")


def run_of(real: Stack) -> str:
    """The run of the first day."""
    return next(
        run for run, about in real.runs(DAILY).items() if str(about["logical_date"]).startswith(f"{FIRST - DAY:%Y-%m-%d}T")
    )


def content(home: Path, *folders: str) -> dict[str, bytes]:
    """Every file of some folders of a workspace, staging areas left out."""
    files = (path for folder in folders for path in sorted((home / folder).rglob("*")) if path.is_file())
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in files if "_staging" not in path.parts}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    """The files that are not in both, or not the same."""
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}


def pid_of(module: str) -> int | None:
    """The process that runs ``python -m module`` for this repository, if there is one."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            here = (folder / "cwd").resolve() == REPOSITORY
        except OSError:
            continue
        if here and module in words:
            return int(folder.name)
    return None
