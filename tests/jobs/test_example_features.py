"""Features as of each example's second: against a brute-force twin, and whatever happens at or after the example."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta

import pytest

from jobs import _example_features, _fan_out, features, plan
from jobs._tables import Partition
from jobs._window import floor_hour
from schemas import EXAMPLE_FEATURES, EXAMPLES, INTERACTIONS, USER_HISTORY, VIDEO_HOURS
from tests.builders import (
    MADE_BY_HAND,
    Workspace,
    arrow,
    interaction,
    moment,
    tree,
    window,
    write_catalogue,
    write_interactions,
)
from tests.jobs.point_in_time import history_of, trends_of
from tests.jobs.test_features import example

pytestmark = pytest.mark.slow

LENGTHS = {"watched": 4, "liked": 2, "seen": 5, "searched": 2}
SETTINGS = {"features": {"history": LENGTHS}, "window": {"history_days": 8}}
LOG = window("2025-12-28T00:00", "2026-01-08T00:00")
DAYS = window("2026-01-06T00:00", "2026-01-08T00:00")
ARGUMENTS = ("--start", "2026-01-06T00:00:00Z", "--end", "2026-01-08T00:00:00Z")
ROUND = [timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=8), timedelta(0), timedelta(minutes=10)]


def a_log():
    """Eleven days of four users; events cluster where windows begin and end, some at the very same microsecond."""
    rng = random.Random(11)
    at = [
        DAYS.start + timedelta(seconds=rng.randrange(2 * 86_400), microseconds=rng.choice([0, 1, 999_999])) for _ in range(120)
    ]
    at += [DAYS.start + timedelta(hours=rng.randrange(48)) for _ in range(30)]
    shown = [interaction(f"e{n:04}", "impression", moment, n % 4, n % 5) for n, moment in enumerate(at)]
    rows = list(shown)
    for n in range(1200):
        near = rng.choice(shown)
        when = near["occurred_at"] - rng.choice(ROUND) + timedelta(microseconds=rng.choice([-1, 0, 1, 1_000_000]))
        if rng.random() < 0.4:
            when = LOG.start + timedelta(seconds=rng.randrange(11 * 86_400))
        if not LOG.start <= when < LOG.end:
            continue
        kind = rng.choice(["impression", "watch", "like", "search", "click"])
        thing = None if kind == "search" else rng.randrange(5)
        query = f"query {rng.randrange(9)}" if kind == "search" else None
        rows.append(interaction(f"f{n:04}", kind, when, rng.randrange(4), thing, query=query))
    return rows, shown


def write_examples(lake, shown):
    known = [example(row["event_id"], row["occurred_at"] + timedelta(minutes=10), row["video_id"]) for row in shown]
    known = [{**one, "user_id": row["user_id"]} for one, row in zip(known, shown, strict=True)]
    known = [one for one in known if one["known_at"] < DAYS.end]
    known.sort(key=lambda one: (one["occurred_at"], one["event_id"]))
    for hour in DAYS.hours():
        mine = [one for one in known if floor_hour(one["known_at"]) == hour]
        lake.write(EXAMPLES, Partition.hour(hour), arrow(EXAMPLES, mine), MADE_BY_HAND)
    return known


@pytest.fixture(scope="module")
def made(new_workspace):
    space = new_workspace(SETTINGS)
    rows, shown = a_log()
    write_interactions(space.lake, rows, LOG)
    known = write_examples(space.lake, shown)
    write_catalogue(space.lake, moment("00:00"), [{"video_id": n} for n in range(5)], [])
    space.run(features, *ARGUMENTS)
    return space, rows, known


def expected(rows, one):
    reach = timedelta(days=SETTINGS["window"]["history_days"])
    return {
        "event_id": one["event_id"],
        **history_of(rows, one["user_id"], one["occurred_at"], LENGTHS, reach),
        **trends_of(rows, one["video_id"], one["occurred_at"]),
    }


def test_every_example_is_that_of_the_brute_force_twin(made):
    space, rows, known = made
    found = space.rows(EXAMPLE_FEATURES, DAYS)
    assert len(found) == len(known) > 140
    assert found == [
        expected(rows, one)
        for one in sorted(known, key=lambda one: (floor_hour(one["known_at"]), one["occurred_at"], one["event_id"]))
    ]
    assert all(any(row[name] for row in found) for name in EXAMPLE_FEATURES.columns)


def test_rows_lie_in_the_order_of_the_examples(made):
    space = made[0]
    for partition in space.lake.partitions(EXAMPLES, DAYS):
        ids = [space.lake.read(table, [partition])["event_id"].to_pylist() for table in (EXAMPLES, EXAMPLE_FEATURES)]
        assert ids[0] == ids[1]


@pytest.mark.parametrize("place", [3, 40, 77, 111, 139])
def test_deleting_everything_at_or_after_an_example_changes_none_of_its_features(made, tmp_path, place):
    space, rows, known = made
    one = known[place]
    past = Workspace(tmp_path / "home", SETTINGS)
    write_interactions(past.lake, [row for row in rows if row["occurred_at"] < one["occurred_at"]], LOG)
    for table in ("examples", "videos", "users"):
        shutil.copytree(space.lake.root / table, past.lake.root / table)
    past.run(features, *ARGUMENTS)
    before, after = (
        [row for row in where.rows(EXAMPLE_FEATURES, DAYS) if row["event_id"] == one["event_id"]] for where in (space, past)
    )
    assert before == after
    assert len(after) == 1


def test_the_state_of_a_day_is_the_same_from_the_day_before_and_from_all_its_days(made, tmp_path):
    space = made[0]
    again = space.copy_to(tmp_path / "home", SETTINGS)
    shutil.rmtree(again.lake.root / USER_HISTORY.name / "dt=2026-01-06")
    shutil.rmtree(again.lake.root / USER_HISTORY.name / "dt=2026-01-05")
    shutil.rmtree(again.lake.root / USER_HISTORY.name / "dt=2026-01-04", ignore_errors=True)
    again.run(features, *ARGUMENTS)
    assert tree(again.lake.root) == tree(space.lake.root)


@pytest.mark.parametrize("at_a_time", [1, 40])
def test_how_the_work_is_cut_does_not_matter(made, tmp_path, monkeypatch, at_a_time):
    space = made[0]
    again = space.copy_to(tmp_path / "home", SETTINGS)
    for table in (EXAMPLE_FEATURES, USER_HISTORY, VIDEO_HOURS):
        shutil.rmtree(again.lake.root / table.name)
    monkeypatch.setattr(_example_features, "_ROWS_AT_A_TIME", at_a_time)
    monkeypatch.setattr("jobs._log._ROWS_AT_A_TIME", at_a_time)
    monkeypatch.setattr("jobs._log._ROWS_KEPT", at_a_time)
    monkeypatch.setattr(_fan_out, "cut", lambda units, weights, runs: [units[n : n + 7] for n in range(0, len(units), 7)])
    again.run(features, *ARGUMENTS)
    assert tree(again.lake.root) == tree(space.lake.root)


def test_a_late_event_makes_stale_what_looks_back_on_it(made, tmp_path):
    space, rows, _ = made
    late = space.copy_to(tmp_path / "home", SETTINGS)
    hour = moment("2026-01-06T05:00")
    mine = [row for row in rows if floor_hour(row["occurred_at"]) == hour]
    new = interaction("late", "watch", hour + timedelta(minutes=1), 1, 1)
    ordered = sorted([*mine, new], key=lambda row: (row["occurred_at"], row["event_id"]))
    late.lake.write(INTERACTIONS, Partition.hour(hour), arrow(INTERACTIONS, ordered), MADE_BY_HAND)
    with late.environment():
        found = features.plan(plan._stage.context("plan", plan._stage.command_line("plan", None).parse_args(ARGUMENTS)), {})
    stale = {}
    for unit in found:
        if not unit.status.current:
            stale.setdefault(unit.name, []).append(unit.partition.start)
    assert stale["video_hours"] == [hour]
    assert stale["user_history"] == [moment("2026-01-06T00:00"), moment("2026-01-07T00:00")]
    assert min(stale["example_features"]) == hour
    assert len(stale["example_features"]) == 43
    late.run(features, *ARGUMENTS)
    found = {row["event_id"]: row for row in late.rows(EXAMPLE_FEATURES, DAYS)}
    twin = [expected([*rows, new], one) for one in made[2]]
    assert [found[row["event_id"]] for row in twin] == twin


def test_hours_without_a_log_are_empty(new_workspace):
    space = new_workspace(SETTINGS)
    shown = [interaction("a", "impression", moment("12:00"), 1, 1), interaction("b", "impression", moment("12:00:01"), 1, 2)]
    write_interactions(space.lake, shown, window("12:00", "13:00"))
    write_examples(space.lake, shown)
    write_catalogue(space.lake, moment("00:00"), [{"video_id": 1}], [])
    space.run(features, *ARGUMENTS)
    found = space.rows(EXAMPLE_FEATURES, DAYS)
    assert [(row["seen_history"], row["seen_ages_seconds"]) for row in found] == [([], []), ([1], [1])]
    assert space.lake.partitions(VIDEO_HOURS, LOG) == [Partition.hour(moment("12:00"))]
