"""What a data engineer does in the UI, in a real Chromium: a week of history, and an answer to the gate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from .conftest import World
from .stack import PASSWORDS, Stack, wait_for
from .standins import STAGES

pytestmark = pytest.mark.long

DAILY = "reelflow_daily"
WEEK = [f"2026-01-{day:02}T00:00:00Z" for day in range(6, 13)]
"""Ends of the days 5 to 11 January."""
PICTURES = os.environ.get("REELFLOW_PICTURES")
"""Where screenshots go, for docs/images; none are made without."""


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Any]:
    """A page on which ann is logged in."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the PATH; on Debian: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        found = browser.new_page(viewport={"width": 1400, "height": 1250})
        found.set_default_timeout(120_000)
        found.goto(stack.url)
        found.fill("input[name=username]", "ann")
        found.fill("input[name=password]", PASSWORDS["ann"])
        found.keyboard.press("Enter")
        found.wait_for_url(lambda url: "login" not in url)
        yield found
        browser.close()


def picture(page: Any, name: str, home: Path | None = None) -> None:
    """Take a screenshot, where they are wanted; the workspace of this test is shown as a plain one."""
    if PICTURES:
        page.wait_for_timeout(1500)
        page.evaluate(
            "home => { const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); while (walk.nextNode())"
            " walk.currentNode.textContent = walk.currentNode.textContent.replace(home, '/srv/reelflow/var'); }",
            str(home),
        )
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def pick(page: Any, day: str) -> None:
    """Fill the first date that is still empty."""
    page.get_by_text("Select date and time").first.click()
    page.locator('input[placeholder="YYYY/MM/DD"]').last.fill(day)
    page.locator('input[placeholder="HH:mm"]').last.fill("00:00")
    page.keyboard.press("Enter")
    page.get_by_text("Date Range").click()


def test_a_week_of_history(stack: Stack, world: World, page: Any) -> None:
    today = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")
    world.tell(today, refuse=True)
    page.goto(f"{stack.url}/dags/{DAILY}")
    page.get_by_role("button", name="Trigger").click()
    page.get_by_text("Backfill", exact=True).first.click()
    pick(page, "2026/01/05")
    pick(page, "2026/01/11")
    page.fill("input[name=max_active_runs]", "2")
    page.get_by_text("7 runs will be triggered.").wait_for()
    picture(page, "backfill")
    page.get_by_role("button", name="Run Backfill").click()
    (found,) = wait_for(lambda: stack.get("/backfills", dag_id=DAILY)["backfills"], "the backfill")
    page.goto("about:blank")  # the page asks the API server for everything, again and again
    assert (found["from_date"], found["to_date"]) == ("2026-01-05T00:00:00Z", "2026-01-11T00:00:00Z")
    runs = [f"backfill__{end.replace('Z', '+00:00')}" for end in WEEK]
    wait_for(lambda: set(runs) <= set(stack.runs(DAILY)), "the seven runs")
    for run in runs:
        states = stack.finish(DAILY, run, seconds=1800)
        assert {task for task, state in states.items() if state == "skipped"} == {"ask", "approve", "publish", "shadow"}
    for end in WEEK:
        begun = world.trace(as_of=end, what="begins")
        assert sorted(entry["stage"] for entry in begun) == sorted(set(STAGES) - {"publish"})
        assert {entry["kind"] for entry in begun} == {"backfill"}
    page.goto(f"{stack.url}/dags/{DAILY}")
    picture(page, "week")
    assert not set(WEEK) & set(world.publications())


def test_an_answer_to_the_gate(stack: Stack, world: World, page: Any) -> None:
    """The live run of yesterday was refused: ann says yes on the page that Airflow has for it."""
    today = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")
    (live,) = stack.scheduled(DAILY)
    wait_for(lambda: stack.states(DAILY, live)["ask"] in {"awaiting_input", "success"}, "the question", 1800)
    if stack.states(DAILY, live)["ask"] == "success":  # it was not answered while the week was made: ask again
        stack.send("POST", f"/dags/{DAILY}/clearTaskInstances", {
            "dry_run": False, "dag_run_id": live, "task_ids": ["ask"], "include_downstream": True, "only_failed": False,
        })  # fmt: skip
    stack.asked(DAILY, live)
    page.goto(f"{stack.url}/dags/{DAILY}/runs/{live}/tasks/ask/required_actions?map_index=-1")
    page.get_by_text("correlation: over 9 unseen pairs").wait_for()
    assert not page.get_by_role("button", name="Publish all the same").is_enabled()  # not without a reason
    page.locator("[name=element_reason]").fill("the catalogue was renewed")
    picture(page, "approval", stack.home)
    page.get_by_role("button", name="Publish all the same").click()
    stack.finish(DAILY, live, seconds=600)
    (given,) = [one for one in world.report(today, "verdict.json")["answers"] if one["approved"]]
    assert (given["by"], given["reason"]) == ("ann", "the catalogue was renewed")
    assert world.live() == today
