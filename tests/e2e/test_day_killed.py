"""Two days of a small platform: what a stage that was killed leaves, and how the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import publish, recommend
from schemas import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY, RECOMMENDATIONS
from tests.builders import Workspace, tree
from tests.e2e.day import AFTER_BOTH, AFTER_FIRST, FIRST_DAY, SECOND, SECOND_DAY, TODAY, aliases, differences, log, published

pytestmark = [pytest.mark.slow, pytest.mark.spark]

ROOT = Path(__file__).resolve().parents[2]


class TestKilled:
    def test_recommend_killed_with_all_its_lists_written(self, both):
        before, lake = published(both), tree(both.home / "lake")
        digest = both.lake.manifest(RECOMMENDATIONS, TODAY).digest
        kill_at(both, "jobs._tables.Lake.commit", "recommend", "--force")
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


def kill_at(space: Workspace, name: str, stage: str = "publish", *arguments: str) -> None:
    """Run a stage of the second day in a process that is killed where it calls a function, and its JVM with it."""
    place, function = name.rsplit(".", 1)
    program = (
        "import os, pkgutil, signal, sys\n"
        f"from jobs import {stage}\n"
        f"setattr(pkgutil.resolve_name({place!r}), {function!r}, lambda *a, **k: os.killpg(0, signal.SIGKILL))\n"
        f"sys.argv[1:] = {['--as-of', SECOND, *arguments]!r}\n"
        f"{stage}.main()\n"
    )
    environment = {**os.environ, **space.variables, "PYTHONPATH": str(ROOT)}
    for variable in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "SPARK_SUBMIT_MODE"):
        environment.pop(variable, None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=environment, start_new_session=True, timeout=300, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout
