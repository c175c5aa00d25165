"""The daily DAG on a whole Airflow: what people do to it, and what goes wrong. The tests build on each other, in this order."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import APPROVAL_SECONDS, World
from .receivers import PEOPLE, Received
from .stack import Stack, repeating, wait_for
from .standins import STAGES

DAILY, HOURLY = "reelflow_daily", "reelflow_hourly"
TODAY = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")
FIRST, SECOND = "2026-01-05", "2026-01-06"
HOUR = "2030-01-01T05:00:00Z"
HOURLY_STAGES = ("ingest", "text", "examples", "features", "refresh", "gate", "index", "recommend", "scan", "publish")
DONE = {"success", "skipped"}


def as_of(day: str) -> str:
    """The end of a day."""
    return (datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def backfilled(day: str) -> str:
    """The id of a backfill's run: Airflow names it by the time from which it may start."""
    return f"backfill__{as_of(day).replace('Z', '+00:00')}"


def triggered(stack: Stack, end: str, **conf: Any) -> str:
    """Start a run by hand for the day that ends at ``end``; its id."""
    return stack.trigger(DAILY, conf={"as_of": end, **conf})


def made(end: str) -> dict[str, bytes]:
    """The file of each stage that writes one, as it must be for a window."""
    folder = end.replace("-", "").replace(":", "")
    return {
        f"lake/{stage}/{folder}": hashlib.sha256(f"{stage} {end}".encode()).hexdigest().encode()
        for stage in STAGES
        if stage not in {"gate", "publish"}
    }


def of_window(world: World, end: str) -> dict[str, bytes]:
    """What lies in the lake for a window."""
    folder = end.replace("-", "").replace(":", "")
    return {name: content for name, content in world.files().items() if name.endswith(f"/{folder}")}


@contextmanager
def watching(look: Callable[[], Any]) -> Iterator[list[Any]]:
    """Look again and again while inside; what was seen."""
    seen: list[Any] = []
    with repeating(lambda: seen.append(look())):
        yield seen


@pytest.fixture(scope="module", autouse=True)
def race(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The live run of yesterday and a backfill of two old days, told to publish, all load their rows at the same time.

    The pool ``publish`` would keep them apart; here it has room for three, so the store alone decides.
    """
    world = World(stack.home)
    stack.send("PATCH", "/pools/publish", {"name": "publish", "slots": 3, "include_deferred": False})
    for end in (as_of(FIRST), as_of(SECOND), TODAY):
        world.tell(end, meet=3)
    with watching(world.live) as seen:
        stack.unpause(DAILY)
        stack.backfill(DAILY, FIRST, SECOND, {"publish": "yes"})
        live = wait_for(
            lambda: next((run for run, about in stack.runs(DAILY).items() if about["run_type"] == "scheduled"), None),
            "the scheduled run",
        )
        states = {run: stack.finish(DAILY, run) for run in (live, backfilled(FIRST), backfilled(SECOND))}
    stack.send("PATCH", "/pools/publish", {"name": "publish", "slots": 1, "include_deferred": False})
    return {"seen": seen, "live": live, "states": states, "publications": world.publications()}


class TestRace:
    def test_all_three_ran_to_their_end(self, race: dict[str, Any], world: World) -> None:
        for states in race["states"].values():
            assert {task: state for task, state in states.items() if state != "success"} == {
                "ask": "skipped",
                "approve": "skipped",
                "shadow": "skipped",
            }
        begun = [entry for entry in world.trace(stage="publish", what="begins") if entry["as_of"] in race["publications"]]
        assert {(entry["as_of"], entry["kind"]) for entry in begun} == {
            (as_of(FIRST), "backfill"),
            (as_of(SECOND), "backfill"),
            (TODAY, "live"),
        }
        assert len(list((world.home / "met").iterdir())) == 3  # all were loading before any was done

    def test_exactly_one_wins_and_it_is_the_newest(self, race: dict[str, Any], world: World) -> None:
        assert race["publications"][TODAY] == ["live"]
        assert {race["publications"][as_of(day)][0] for day in (FIRST, SECOND)} <= {"superseded", "retired"}
        assert world.live() == TODAY

    def test_readers_never_went_back(self, race: dict[str, Any]) -> None:
        seen = [moment for moment in race["seen"] if moment is not None]
        assert seen == sorted(seen)

    def test_every_stage_had_the_window_of_its_run(self, world: World) -> None:
        for end in (as_of(FIRST), as_of(SECOND), TODAY):
            assert {entry["stage"] for entry in world.trace(as_of=end, what="begins")} == set(STAGES)
            assert of_window(world, end) == made(end)


class TestOldDays:
    def test_an_old_day_while_the_live_lane_runs(self, stack: Stack, world: World) -> None:
        """It is made anew from a stage on, told to publish, and changes nothing for readers."""
        world.tell(TODAY, seconds={"train_wals": 4})
        before = world.trace()
        with watching(lambda: world.ask("SELECT DISTINCT as_of, model_version FROM recommendations")) as seen:
            live = triggered(stack, TODAY, force=True)
            stack.backfill(DAILY, FIRST, FIRST, {"publish": "yes", "recompute": "train_wals"})
            wait_for(lambda: stack.state(DAILY, backfilled(FIRST)) in {"queued", "running"}, "the backfill's begin")
            stack.finish(DAILY, backfilled(FIRST))
            stack.finish(DAILY, live)
        assert world.publications()[as_of(FIRST)][-1] == "superseded"
        assert world.publications()[TODAY] == ["retired", "live"]
        assert {tuple(rows) for rows in seen} == {((TODAY, f"model-{TODAY}"),)}
        entries = [entry for entry in world.trace(as_of=as_of(FIRST), what="begins") if entry not in before]
        forced = {entry["stage"] for entry in entries if entry["force"]}
        assert forced == set(STAGES) - {"ingest", "examples", "text", "features"}
        assert of_window(world, as_of(FIRST)) == made(as_of(FIRST))

    def test_a_cleared_run_computes_the_same_bytes_again(self, stack: Stack, world: World) -> None:
        before, lake, live = world.trace(), world.files(), world.ask("SELECT * FROM recommendations ORDER BY 1, 2")
        for file in (world.home / "lake").glob("*/20260106T000000Z"):
            file.unlink()
        stack.send("POST", f"/dags/{DAILY}/dagRuns/{backfilled(FIRST)}/clear", {"dry_run": False})
        wait_for(lambda: stack.state(DAILY, backfilled(FIRST)) in {"queued", "running"}, "the run's second begin")
        stack.finish(DAILY, backfilled(FIRST))
        again = {entry["stage"] for entry in world.trace(as_of=as_of(FIRST), what="ends") if entry not in before}
        assert again == set(STAGES)
        assert world.files() == lake
        assert world.ask("SELECT * FROM recommendations ORDER BY 1, 2") == live

    def test_a_backfill_neither_asks_nor_publishes_by_itself(self, stack: Stack, world: World) -> None:
        day = "2026-01-07"
        world.tell(as_of(day), refuse=True)
        stack.backfill(DAILY, day, "2026-01-08")
        refused, passed = (stack.finish(DAILY, backfilled(found)) for found in (day, "2026-01-08"))
        assert (refused["ask"], refused["index"], refused["summary"]) == ("skipped", "skipped", "success")
        assert "a backfill never asks" in stack.task_log(DAILY, backfilled(day), "ask")
        assert (passed["scan"], passed["publish"], passed["summary"]) == ("success", "skipped", "success")
        assert not {as_of(day), as_of("2026-01-08")} & set(world.publications())


class TestKilled:
    def test_a_stage_killed_by_the_kernel_is_tried_again_and_ends_equal(self, stack: Stack, world: World) -> None:
        end = "2026-02-02T00:00:00Z"
        world.tell(end, seconds={"examples": 60})
        run = triggered(stack, end)
        entry = wait_for(lambda: world.trace(as_of=end, stage="examples", what="begins"), "the stage's begin")[0]
        world.tell(end)
        os.kill(entry["pid"], signal.SIGKILL)
        stack.finish(DAILY, run)
        assert stack.tasks(DAILY, run)["examples"]["try_number"] == 2
        assert of_window(world, end) == made(end)
        assert world.live() == TODAY

    def test_the_scheduler_killed_and_started_again(self, stack: Stack, world: World) -> None:
        end = "2026-02-03T00:00:00Z"
        world.tell(end, seconds={"examples": 6})
        run = triggered(stack, end)
        wait_for(lambda: world.trace(as_of=end, stage="examples", what="begins"), "the stage's begin")
        stack.kill_component("scheduler")
        time.sleep(1)
        world.tell(end)
        stack.start_component("scheduler")
        stack.finish(DAILY, run)
        assert of_window(world, end) == made(end)
        assert world.publications()[end] == ["superseded"]


class TestAlerts:
    def test_a_failed_stage_reaches_people_by_mail_and_webhook(self, stack: Stack, world: World, received: Received) -> None:
        end, window = "2026-02-04T00:00:00Z", "2026-02-03T00:00:00Z to 2026-02-04T00:00:00Z"
        world.tell(end, fails="ingest")
        run = triggered(stack, end)
        states = stack.finish(DAILY, run, expected="failed")
        assert {task for task, state in states.items() if state != "upstream_failed"} == {"ingest", "data_docs", "after_shadow"}
        ((mail, post),) = wait_for(lambda: received.about(run), "the alert", 60)
        assert mail["Subject"] == f"reelflow: ingest of reelflow_daily failed, {window}"
        assert (mail["To"], mail["From"]) == (", ".join(PEOPLE), "reelflow@example.com")
        said = dict(line.split(":", 1) for line in mail.get_content().splitlines() if line)
        assert said["What"].strip().startswith("failed: ingest: stopped by an error that a retry cannot mend")
        assert said["Window"].strip() == window
        assert said["Live now"].split(", published")[0].strip().endswith(f"(model-{TODAY}) as of {TODAY}, 200 users")
        assert "after `reelflow | ingest | error:`, what it found" in said["Next step"]
        link = said["Link"].strip()
        assert link.startswith(f"{stack.url}/dags/{DAILY}/runs/")
        assert (post["task"], post["kind"], post["window"], post["link"]) == ("ingest", "manual", window, link)
        assert post["text"] == f"{mail['Subject']}\n{mail.get_content()}"
        assert "reelflow | ingest | error: logs: found none" in stack.task_log(DAILY, run, "ingest")


class TestApproval:
    def test_a_person_approves(self, stack: Stack, world: World, received: Received) -> None:
        end = "2030-01-01T00:00:00Z"
        world.tell(end, refuse=True)
        stack.unpause(HOURLY)
        run = triggered(stack, end)
        detail = asked(stack, run)
        assert detail["subject"] == f"reelflow as of {end}: the gate refused. Publish all the same?"
        assert "- correlation: over 9 unseen pairs" in detail["body"].splitlines()
        ((mail, post),) = received.about(run)
        assert mail["Subject"] == f"reelflow: ask of reelflow_daily asks, 2029-12-31T00:00:00Z to {end}"
        assert (post["task"], post["what"]) == ("ask", "the gate refused; a person is asked")
        answer(stack, run, "Publish all the same", "the catalogue was renewed; see 'ticket 7' $(id)")
        states = stack.finish(DAILY, run)
        assert {task: state for task, state in states.items() if state != "success"} == {"shadow": "skipped"}
        given = world.report(end, "verdict.json")["answers"]
        assert [(one["approved"], one["by"], one["reason"]) for one in given] == [
            (True, "ann", "the catalogue was renewed; see 'ticket 7' $(id)")
        ]
        assert "approved by ann at" in stack.task_log(DAILY, run, "verdict")
        assert world.live() == end

    def test_nobody_answers_and_the_hourly_lane_goes_on_meanwhile(self, stack: Stack, world: World) -> None:
        """An hour passes a daily run that is at work, and publishes while that waits for an answer."""
        end = "2030-01-02T00:00:00Z"
        world.tell(end, refuse=True, hold={"gate": "hour-is-there"})
        world.tell(HOUR, hold={"publish": "somebody-is-asked"})
        run = triggered(stack, end)
        hour = stack.trigger(HOURLY, conf={"as_of": HOUR})
        wait_for(lambda: world.trace(as_of=HOUR, stage="publish", what="begins"), "the hour's lists")
        assert [entry["stage"] for entry in world.trace(as_of=HOUR, what="ends")] == list(HOURLY_STAGES[:-1])
        (world.home / "hour-is-there").touch()
        asked(stack, run)
        (world.home / "somebody-is-asked").touch()
        assert set(stack.finish(HOURLY, hour).values()) == {"success"}
        assert stack.states(DAILY, run)["ask"] == "awaiting_input"
        assert world.live() == HOUR
        states = stack.finish(DAILY, run)
        assert (states["ask"], states["approve"], states["verdict"]) == ("success", "success", "success")
        assert {states[task] for task in ("index", "recommend", "scan", "publish")} == {"skipped"}
        (given,) = world.report(end, "verdict.json")["answers"]
        assert (given["approved"], given["by"]) == (False, "nobody")
        assert given["reason"].startswith(f"no answer within 0:00:{APPROVAL_SECONDS:.0f}")
        assert world.live() == HOUR

    def test_the_schedule_ran_the_last_hour(self, stack: Stack, world: World) -> None:
        """Its window ends with the hour before the run may start, at five past."""
        run = stack.scheduled(HOURLY)[0]
        stack.finish(HOURLY, run)
        end = datetime.fromisoformat(stack.get(f"/dags/{HOURLY}/dagRuns/{run}")["run_after"]).replace(minute=0, second=0)
        begun = world.trace(as_of=end.strftime("%Y-%m-%dT%H:%M:%SZ"), what="begins", lane="hourly")
        assert [(entry["stage"], entry["kind"]) for entry in begun] == [(stage, "live") for stage in HOURLY_STAGES]


def asked(stack: Stack, run: str) -> dict[str, Any]:
    """Wait until a person is asked; the question."""
    found = stack.asked(DAILY, run)
    assert found["options"] == ["Publish all the same", "Do not publish"]
    return found


def answer(stack: Stack, run: str, option: str, reason: str) -> None:
    """Answer as ann."""
    body = {"chosen_options": [option], "params_input": {"reason": reason}}
    stack.send("PATCH", f"/dags/{DAILY}/dagRuns/{run}/taskInstances/ask/-1/hitlDetails", body, user="ann")


class TestRollback:
    def test_under_load(self, stack: Stack, world: World) -> None:
        """Readers hammer the store; each answer is whole and of one version, the new one until it is the old one."""
        query = "SELECT count(*), min(as_of), max(as_of), min(model_version), max(model_version) FROM recommendations"
        with ExitStack() as readers:
            all_seen = [readers.enter_context(watching(lambda: world.ask(query)[0])) for _ in range(3)]
            stack.unpause("reelflow_rollback")
            run = stack.trigger("reelflow_rollback", conf={"reason": "the lists of five are wrong"})
            stack.finish("reelflow_rollback", run)
        whole = [(1000, end, end, f"model-{end}", f"model-{end}") for end in (HOUR, "2030-01-01T00:00:00Z")]
        for seen in all_seen:
            assert len(seen) > 50
            assert set(seen) == set(whole)
            assert seen == sorted(seen, key=whole.index)
        assert world.live() == "2030-01-01T00:00:00Z"
        assert world.ask("SELECT action, reason FROM switch_log ORDER BY id DESC LIMIT 1") == [
            ("rollback", "admin: the lists of five are wrong")
        ]
