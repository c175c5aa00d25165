import contextlib
import io
import json
import shutil

import pytest

from jobs import examples, features, index, ingest, plan, publish, recommend, scan, text
from jobs._recipe import CURRENT, MISSING, Recipe, State
from jobs._tables import Partition
from jobs._window import iso
from schemas import EXAMPLES, INTERACTIONS, RECOMMENDATIONS
from tests.builders import event, moment, stage_context, video, write_lines, write_raw
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, train

ARGUMENTS = ("--start", "2026-01-07", "--end", "2026-01-07T13:00:00Z")


def planned(space, *arguments, stages=plan.LAKE_STAGES):
    """(name, path) -> (state, why) of everything that the stages would find, and the stages that were not looked at."""
    with space.environment():
        steps = list(plan.plan(stage_context("plan", *arguments), stages))
    units = {(u.name, u.partition.path): (str(u.status.state), u.status.why) for step in steps for u in step.units}
    return units, {step.stage: step.waits_for for step in steps if step.waits_for}


def states(space, *arguments, stages=plan.LAKE_STAGES):
    return {key: state for key, (state, _) in planned(space, *arguments, stages=stages)[0].items()}


def hours(name, *numbers):
    return {(name, f"dt=2026-01-07/hr={number:02d}") for number in numbers}


def command(space, *arguments):
    out, error, status = io.StringIO(), io.StringIO(), 0
    with space.environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            plan.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), error.getvalue()


class TestRecipe:
    def test_every_difference_is_named(self):
        old = Recipe({"a": "1", "b": "2"}, "0123456789abcdef", {"rate": 0.5, "gone": 1})
        new = Recipe({"a": "1", "b": "3", "c": "4"}, "fedcba9876543210", {"rate": 0.25})
        found = new.status(old)
        assert (found.state, found.why) == (
            State.STALE,
            "input b changed; input c changed; code 01234567 -> fedcba98; "
            "parameter gone: 1 -> nothing; parameter rate: 0.5 -> 0.25",
        )

    def test_equal_recipes_are_up_to_date_however_they_were_written(self):
        assert Recipe({"a": "1"}, "x", {"t": (1, 2)}).status(Recipe({"a": "1"}, "x", {"t": [1, 2]})) == CURRENT


@pytest.fixture(scope="module")
def log(spark, new_workspace):
    """Three hours of one day, taken in to their features."""
    space = new_workspace()
    rows = [
        event(f"{hour}-{n}", kind, f"{hour}:0{n}:00") for hour in (10, 11, 12) for n, kind in enumerate(("impression", "like"))
    ]
    write_raw(space.raw, rows, videos=[video(10)], snapshot="2026-01-06")
    for stage in (ingest, examples, text, features):
        space.run(stage, *ARGUMENTS)
    return space


@pytest.mark.spark
class TestLake:
    def test_of_nothing_all_is_missing(self, new_workspace):
        space = new_workspace()
        write_raw(space.raw, [event("a", "click", "10:00:00")], videos=[video(10)], snapshot="2026-01-06")
        before = sorted(space.home.rglob("*"))
        found, _ = planned(space, *ARGUMENTS)
        assert set(found.values()) == {("missing", "never made")}
        assert hours("interactions", 10, 11, 12) | hours("examples", 10, 11, 12) <= set(found)
        assert sorted(space.home.rglob("*")) == before, "a plan writes nothing"

    def test_of_a_finished_window_all_is_up_to_date(self, log):
        found, waiting = planned(log, *ARGUMENTS)
        assert set(found.values()) == {("up to date", "")}
        assert not waiting
        assert hours("interactions", 10, 11, 12) | hours("examples", 10, 11, 12) <= set(found)

    def test_a_late_file_makes_its_hour_stale_and_what_reads_it(self, log, tmp_path):
        space = log.copy_to(tmp_path / "copy")
        write_lines(space.raw / "interactions/dt=2026-01-07/hr=10/late.jsonl", [event("late", "click", "10:30:00")])
        found, _ = planned(space, *ARGUMENTS)
        stale = {key: why for key, (state, why) in found.items() if state == "stale"}
        assert stale == {
            ("interactions", "dt=2026-01-07/hr=10"): "input interactions changed",
            ("interactions", "dt=2026-01-07/hr=11"): "input previous_hour changed",
            ("examples", "dt=2026-01-07/hr=10"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("examples", "dt=2026-01-07/hr=11"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("examples", "dt=2026-01-07/hr=12"): "reads interactions dt=2026-01-07/hr=11, which is to be made",
            ("query_text", "dt=2026-01-07"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("video_hours", "dt=2026-01-07/hr=10"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("video_hours", "dt=2026-01-07/hr=11"): "reads interactions dt=2026-01-07/hr=11, which is to be made",
            ("user_history", "dt=2026-01-07"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("example_features", "dt=2026-01-07/hr=10"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("example_features", "dt=2026-01-07/hr=11"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("example_features", "dt=2026-01-07/hr=12"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("video_counts", "dt=2026-01-07"): "reads examples dt=2026-01-07/hr=10, which is to be made",
            ("user_features", "dt=2026-01-07"): "reads interactions dt=2026-01-07/hr=10, which is to be made",
            ("video_features", "dt=2026-01-07"): "reads video_counts dt=2026-01-07, which is to be made",
        }
        for stage in (ingest, examples, text, features):
            space.run(stage, *ARGUMENTS)
        assert set(states(space, *ARGUMENTS).values()) == {"up to date"}

    def test_a_late_snapshot_makes_stale_what_reads_the_versions(self, log, tmp_path):
        space = log.copy_to(tmp_path / "copy")
        write_lines(space.raw / "videos/dt=2026-01-06/late.jsonl", [video(11, title="late")])
        found, _ = planned(space, *ARGUMENTS)
        day = "dt=2026-01-07"
        assert {key[0] for key, (state, _) in found.items() if state == "stale"} >= {"videos", "video_versions", "video_text"}
        assert found["video_text", day] == ("stale", f"reads video_versions {day}, which is to be made")
        assert found["query_text", day] == ("up to date", "")

    def test_a_changed_rule_and_a_lost_file_are_told_apart(self, log, tmp_path):
        space = log.copy_to(tmp_path / "copy", {"examples": {"label_window_minutes": 5}})
        ((lost),) = space.lake.files(INTERACTIONS, [Partition.hour(moment("10:00"))])
        lost.unlink()
        found, _ = planned(space, *ARGUMENTS)
        assert found["interactions", "dt=2026-01-07/hr=10"] == ("stale", f"file {lost.name} is not there")
        changed = ("stale", "parameter label_window_minutes: 10.0 -> 5.0")
        assert found["examples", "dt=2026-01-07/hr=12"] == changed

    def test_the_command_puts_neighbours_on_one_line(self, log):
        status, out, error = command(log, *ARGUMENTS)
        assert (status, error) == (0, "")
        assert "ingest        up to date interactions dt=2026-01-07/hr=10 .. dt=2026-01-07/hr=12 (3)" in out
        assert out.splitlines()[-1].startswith("reelflow | plan | 2026-01-07T00:00:00Z to 2026-01-07T13:00:00Z: ")
        assert out.splitlines()[-1].endswith("up to date, 0 missing, 0 stale")

    def test_the_command_speaks_json(self, log):
        _, out, _ = command(log, *ARGUMENTS, "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        one = {"stage": "examples", "name": EXAMPLES.name, "partition": "dt=2026-01-07/hr=11", "state": "up to date", "why": ""}
        assert one in rows

    def test_no_logs_is_one_line(self, workspace):
        status, out, error = command(workspace, *ARGUMENTS)
        assert (status, out) == (2, "")
        assert error.startswith("reelflow | plan | error: raw logs ")

    def test_with_work_in_the_lake_the_models_are_not_looked_at(self, log, tmp_path):
        space = log.copy_to(tmp_path / "copy", {"window": {"lookback_days": 1}})
        found, waiting = planned(space, "--as-of", "2026-01-08T00:00:00Z", stages=plan.LAKE_STAGES + plan.MODEL_STAGES)
        assert found["interactions", "dt=2026-01-07/hr=13"] == ("missing", "never made")
        assert waiting == dict.fromkeys(plan.MODEL_STAGES, "ingest")


@pytest.fixture(scope="module")
def published(spark, tmp_path_factory):
    space = planted(tmp_path_factory.mktemp("published"))
    for end in (FIRST, SECOND):
        train(space, end)
        for stage in (index, recommend, scan, publish):
            space.run(stage, "--as-of", iso(end))
    return space


@pytest.mark.spark
class TestModels:
    def test_of_a_published_day_all_is_up_to_date(self, published):
        found = states(published, "--as-of", iso(SECOND), stages=plan.MODEL_STAGES)
        today = "dt=2026-01-07"
        names = (
            "bundle wals",
            "bundle towers",
            "evaluation",
            "noise floor",
            "verdict",
            "bundle serving",
            RECOMMENDATIONS.name,
            "last scan",
            "live version",
        )
        assert found == {(name, today): "up to date" for name in names}

    def test_an_older_day_is_superseded_and_that_is_no_work(self, published):
        found, _ = planned(published, "--as-of", iso(FIRST), stages=plan.MODEL_STAGES)
        state, why = found["live version", "dt=2026-01-06"]
        assert state == "up to date"
        assert why.startswith("superseded: what is live, as of 2026-01-08T00:00:00Z, is newer")

    def test_a_new_setting_of_a_model_stops_the_plan_at_its_stage(self, published, tmp_path):
        space = published.copy_to(tmp_path / "copy", {**SETTINGS, "wals": {**SETTINGS["wals"], "factors": 5}})
        found, waiting = planned(space, "--as-of", iso(SECOND), stages=plan.MODEL_STAGES)
        assert list(found) == [("bundle wals", "dt=2026-01-07")]
        assert found["bundle wals", "dt=2026-01-07"][0] == "stale"
        assert waiting == dict.fromkeys(plan.MODEL_STAGES[1:], "train_wals")

    def test_a_damaged_bundle_and_an_empty_store_are_work(self, published, tmp_path):
        space = published.copy_to(tmp_path / "copy", SETTINGS)
        shutil.rmtree(space.home / "store")
        assert planned(space, "--as-of", iso(SECOND), stages=("publish",))[0] == {
            ("live version", "dt=2026-01-07"): (MISSING.state, MISSING.why)
        }
        next((space.home / "bundles/wals/20260108T000000Z").rglob("*.npy")).write_bytes(b"")
        ((state, why),) = planned(space, "--as-of", iso(SECOND), stages=("train_wals",))[0].values()
        assert state == "stale"
        assert "it is damaged" in why

    def test_after_a_refusal_nothing_more_is_to_do(self, published, tmp_path):
        space = published.copy_to(tmp_path / "copy", SETTINGS)
        verdict = space.home / "runs/20260108T000000Z/verdict.json"
        verdict.write_text(json.dumps(json.loads(verdict.read_text()) | {"passed": False}))
        found = states(space, "--as-of", iso(SECOND), stages=plan.MODEL_STAGES)
        assert [name for name, _ in found] == ["bundle wals", "bundle towers", "evaluation", "noise floor", "verdict"]
        assert set(found.values()) == {"up to date"}
