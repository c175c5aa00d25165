"""What people are told of a task whose own process is killed each time: the process that would send the alert is gone."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from .conftest import World
from .receivers import Received
from .stack import Stack, wait_for
from .test_daily import DAILY, triggered

pytestmark = pytest.mark.long

RETRIES = 2


def test_a_task_killed_for_good_alerts(stack: Stack, world: World, received: Received) -> None:
    end = "2026-02-05T00:00:00Z"
    world.tell(end, seconds={"ingest": 300})
    stack.unpause(DAILY)
    run = triggered(stack, end)
    for attempt in range(1 + RETRIES):
        begun = wait_for(lambda n=attempt: world.trace(as_of=end, stage="ingest", what="begins")[n:], "the stage's begin")
        stage = begun[0]["pid"]
        for pid in (parent_of(stage), stage):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    stack.finish(DAILY, run, expected="failed")
    assert stack.tasks(DAILY, run)["ingest"]["try_number"] == 1 + RETRIES
    ((mail, post),) = wait_for(lambda: received.about(run), "the alert", 60)
    assert mail["Subject"].startswith("reelflow: ingest of reelflow_daily failed, 2026-02-04T00:00:00Z to ")
    assert post["what"] == "failed, or its process was killed"


def parent_of(pid: int) -> int:
    """The process that started another one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
