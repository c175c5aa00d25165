"""Two days of a small platform: what a stage that was killed leaves, and how the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs import publish, recommend
from schemas import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY, RECOMMENDATIONS
from tests.builders import Workspace, tree
from tests.e2e.day import AFTER_BOTH, AFTER_FIRST, FIRST_DAY, SECOND, SECOND_DAY, TODAY, aliases, differences, log, published

pytestmark = [pytest.mark.slow, pytest.mark.spark]

ROOT = Path(__file__).resolve().parents[2]


class TestKilled:
    def test_recommend_killed_while_it_writes(self, both):
        before, lake = published(both), tree(both.home / "lake")
        digest = both.lake.manifest(RECOMMENDATIONS, TODAY).digest
        process = start(both, "-m", "jobs.recommend", "--as-of", SECOND, "--force")
        wait_for(process, lambda: any((both.home / "lake" / "_staging").glob("*.recommendations/*")))
        kill(process)
        assert published(both) == before
        assert differences(tree(both.home / "lake"), lake) == []
        assert list((both.home / "lake" / "_staging").glob("*.recommendations"))  # the orphan
        assert both.run(recommend, "--as-of", SECOND).up_to_date  # what is there is whole
        report = both.run(recommend, "--as-of", SECOND, "--force")
        assert report.wrote["rows"] == len(before["rows"])
        assert both.lake.manifest(RECOMMENDATIONS, TODAY).digest == digest
        assert list((both.home / "lake" / "_staging").glob("*.recommendations")) == []
        assert differences(tree(both.home / "lake"), lake) == []

    @pytest.mark.parametrize(
        "point",
        ["_rows.load", "_rows.verify", "_log.activate", "_log.retire_old"],
    )
    def test_publish_killed_before_the_switch_is_done(self, world, eve, point):
        before = published(eve)
        kill_at(eve, f"serving.sqlite.{point}")
        assert published(eve) == before
        assert [row[:2] for row in log(eve)] == [(FIRST_DAY, "live"), (SECOND_DAY, "loading")]
        assert aliases(eve) == AFTER_FIRST
        assert eve.run(publish, "--as-of", SECOND).facts["status"] == "live"
        assert published(eve) == published(world.both)
        assert [row[:2] for row in log(eve)] == [(FIRST_DAY, "retired"), (SECOND_DAY, "failed"), (SECOND_DAY, "live")]
        assert aliases(eve) == AFTER_BOTH

    def test_publish_killed_between_the_switch_and_the_aliases(self, world, eve):
        kill_at(eve, "jobs._registry.follow")
        assert published(eve) == published(world.both)
        assert aliases(eve) == AFTER_FIRST
        assert eve.run(publish, "--as-of", SECOND).up_to_date
        assert published(eve) == published(world.both)
        assert aliases(eve) == AFTER_BOTH

    @pytest.mark.parametrize("point", ["_keep", "_enter"])
    def test_publish_killed_between_the_switch_and_the_history(self, world, eve, point):
        history = tree(world.both.home / "lake" / RECOMMENDATION_HISTORY.name)
        kill_at(eve, f"jobs._served.{point}")
        assert published(eve) == published(world.both)
        assert len(eve.lake.every(PUBLICATION_SWITCHES)) == 1
        assert eve.run(publish, "--as-of", SECOND).up_to_date
        assert tree(eve.home / "lake" / RECOMMENDATION_HISTORY.name) == history
        assert len(eve.lake.every(PUBLICATION_SWITCHES)) == 2


def start(space: Workspace, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **space.variables, "PYTHONPATH": str(ROOT)}
    for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "SPARK_SUBMIT_MODE"):
        environment.pop(name, None)
    with (space.home / "process.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def wait_for(process: subprocess.Popen[bytes], condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it never got there"
        time.sleep(0.002)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, the JVM included, with no chance to clean up."""
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL


def kill_at(space: Workspace, name: str) -> None:
    """Publish the second day in a process of its own that kills itself when it calls the named function."""
    place, function = name.rsplit(".", 1)
    program = (
        "import os, pkgutil, signal, sys\n"
        "from jobs import publish\n"
        f"setattr(pkgutil.resolve_name({place!r}), {function!r}, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))\n"
        f"sys.argv[1:] = ['--as-of', {SECOND!r}]\n"
        "publish.main()\n"
    )
    process = start(space, "-c", program)
    said = (space.home / "process.log").read_text(encoding="utf-8") if process.wait(timeout=300) != -signal.SIGKILL else ""
    assert process.returncode == -signal.SIGKILL, said
