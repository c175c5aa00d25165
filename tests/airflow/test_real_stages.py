"""The daily DAG on a whole Airflow with the real stages, on a platform of 300 users and three days."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from .stack import Stack, running, wait_for
from .standins import REPOSITORY, stages_python

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]

DAILY = "reelflow_daily"
FIRST, SECOND = "2026-01-07T00:00:00Z", "2026-01-08T00:00:00Z"
PATIENCE = 2400.0
SETTINGS: dict[str, Any] = {
    "spark": {"master": "local[1]", "driver_memory": "1g", "shuffle_partitions": 1},
    "window": {"lookback_days": 3},
    "simulate": {
        "users": 300, "videos": 500, "days": 3, "start": "2026-01-05", "sessions_per_user_day": 1.0, "relevant_rate": 0.1,
    },
    "popularity": {"min_events": 1.0},
    "wals": {"factors": 8, "iterations": 5, "regularization": 5.0},
    "towers": {
        "id_dim": 8, "category_dim": 4, "vector_dim": 4,
        "retrieval": {"min_steps_per_epoch": 20, "dim": 8, "hidden": [16], "history": 20, "blocks": 1, "max_epochs": 3},
        "ranker": {"min_steps_per_epoch": 20, "dim": 8, "hidden": [16], "max_epochs": 3},
    },
    "recommend": {"k": 20, "generators": {"retrieval": 60, "wals": 40, "popular": 40}},
    "gate": {"min_correlation": 0.0, "min_ratio_to_popularity": 0.1, "correlation_users": 200, "correlation_videos": 150},
    "scan": {"max_coverage_ratio": None, "max_popularity_share_change": None},
}  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An Airflow on the real source tree, and a workspace with simulated logs."""
    home = tmp_path_factory.mktemp("real")
    settings = home / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    variables = {
        "REELFLOW_REPOSITORY": str(REPOSITORY),
        "REELFLOW_VENV": str(stages_python().parent.parent),
        "REELFLOW_HOME": str(home),
        "REELFLOW_CONF": str(settings),
        "REELFLOW_RETRY_SECONDS": "1",
        "REELFLOW_APPROVAL_HOURS": "0",
        "OMP_NUM_THREADS": "1",
    }
    simulated = subprocess.run(
        [stages_python(), "-m", "jobs.simulate"],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert simulated.returncode == 0, simulated.stderr
    with running(home, variables) as found:
        found.unpause(DAILY)
        yield found


def content(home: Path, *folders: str) -> dict[str, bytes]:
    """Every file of some folders of a workspace, staging areas left out."""
    files = (path for folder in folders for path in sorted((home / folder).rglob("*")) if path.is_file())
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in files if "_staging" not in path.parts}


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    """What the store answers."""
    with closing(sqlite3.connect(f"file:{home}/store/recommendations.sqlite?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def test_real_days(real: Stack) -> None:
    """Two days are published; the first is cleared, and made anew by a backfill whose training is killed: nothing changes."""
    first = real.trigger(DAILY, "2026-01-06T00:00:00Z", {"force": True})
    real.finish(DAILY, first, seconds=PATIENCE)
    second = real.trigger(DAILY, "2026-01-07T00:00:00Z")
    real.finish(DAILY, second, seconds=PATIENCE)
    live = rows(real.home, "SELECT * FROM recommendations ORDER BY user_id, rank")
    assert {row[6] for row in live} != set()
    assert rows(real.home, "SELECT as_of, status FROM publications ORDER BY version") == [(FIRST, "retired"), (SECOND, "live")]
    made = content(real.home, "lake", "bundles")

    real.send("POST", f"/dags/{DAILY}/dagRuns/{first}/clear", {"dry_run": False})
    wait_for(lambda: real.state(DAILY, first) in {"queued", "running"}, "the run's second begin")
    real.finish(DAILY, first, seconds=PATIENCE)
    differ = {name for name in made if content(real.home, "lake", "bundles").get(name) != made[name]}
    assert differ == set()
    assert rows(real.home, "SELECT * FROM recommendations ORDER BY user_id, rank") == live
    assert rows(real.home, "SELECT as_of, status FROM publications WHERE status = 'live'") == [(SECOND, "live")]

    real.backfill(DAILY, "2026-01-06", "2026-01-06", {"publish": "yes", "recompute": "train_wals"})
    run = wait_for(lambda: next((name for name in real.runs(DAILY) if name == first), None), "the run")
    pid = wait_for(lambda: pid_of("jobs.train_towers"), "the training", PATIENCE)
    os.kill(pid, signal.SIGKILL)
    real.finish(DAILY, run, seconds=PATIENCE)
    assert real.tasks(DAILY, run)["train_towers"]["try_number"] >= 2
    differ = {name for name in made if content(real.home, "lake", "bundles").get(name) != made[name]}
    assert differ == set()
    assert rows(real.home, "SELECT * FROM recommendations ORDER BY user_id, rank") == live
    assert (real.home / "runs" / "backfill.txt").read_text().startswith("reelflow, days 2026-01-06 to 2026-01-06")


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
