"""A small simulated platform whose logs arrive hour by hour, under a whole Airflow with the real stages."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from .stack import Stack, running, wait_for
from .standins import REPOSITORY, stages_python

DAILY, HOURLY = "reelflow_daily", "reelflow_hourly"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PATIENCE = 2400.0
START = datetime.fromisoformat("2026-01-05T00:00:00+00:00")
"""Where the simulated logs begin."""


def settings(users: int, days: int) -> dict[str, Any]:
    """Settings under which so few users train small models within seconds, and the gate has enough of them to judge."""
    return {
        "spark": {"master": "local[1]", "driver_memory": "1g", "shuffle_partitions": 1},
        "window": {"lookback_days": 3},
        "simulate": {
            "users": users, "videos": 500, "days": days, "start": f"{START:%Y-%m-%d}", "sessions_per_user_day": 1.0,
            "relevant_rate": 0.1, "malformed_fraction": 0.0, "duplicate_fraction": 0.0,
        },
        "popularity": {"min_events": 1.0},
        "wals": {"factors": 8, "iterations": 5, "regularization": 5.0},
        "towers": {
            "id_dim": 8, "category_dim": 4, "vector_dim": 4,
            "retrieval": {"min_steps_per_epoch": 20, "dim": 8, "hidden": [16], "history": 20, "blocks": 1, "max_epochs": 3},
            "ranker": {"min_steps_per_epoch": 20, "dim": 8, "hidden": [16], "max_epochs": 3},
        },
        "recommend": {"k": 20, "generators": {"retrieval": 60, "wals": 40, "popular": 40}},
        # Models of two days and those of three differ more than base.yaml allows those of consecutive months.
        "gate": {
            "min_correlation": 0.4, "min_ratio_to_popularity": 0.1, "correlation_users": 200, "correlation_videos": 150,
            "differential": {
                "components": {"ranker": 0.1, "retrieval": 0.1, "wals": 0.0}, "segments": [], "depth": 20, "min_kept": 0.05,
            },
            "floors": {
                "min_users": 20, "baselines": {"popularity_by_segment": 0.1}, "min_slice_ratio": 0.1, "margin": 0.5,
            },
            "functional": [{"check": "never_shown", "users": 50, "top": 2}],
            "invariance": [{"check": "row_order", "epsilon": 0.001, "users": 30, "videos": 50}],
        },
        "hourly": {"min_correlation": 0.5, "correlation_users": 100, "correlation_videos": 100},
        "scan": {"max_coverage_ratio": None, "max_popularity_share_change": None},
    }  # fmt: skip


@contextmanager
def platform(home: Path, users: int, days: int) -> Iterator[Stack]:
    """An Airflow on the real source tree, and a workspace with simulated logs; both lanes are switched on."""
    file = home / "settings.yaml"
    file.write_text(yaml.safe_dump(settings(users, days)), encoding="utf-8")
    variables = {
        "REELFLOW_REPOSITORY": str(REPOSITORY),
        "REELFLOW_VENV": str(stages_python().parent.parent),
        "REELFLOW_HOME": str(home),
        "REELFLOW_CONF": str(file),
        "REELFLOW_RETRY_SECONDS": "1",
        "REELFLOW_APPROVAL_HOURS": "0",
        "OMP_NUM_THREADS": "1",
    }
    in_stages_environment("-m", "jobs.simulate", variables=variables)
    with running(home, variables) as stack:
        for dag in (DAILY, HOURLY):
            stack.unpause(dag)
        for dag in (DAILY, HOURLY):  # of yesterday and of this hour: there are no logs, and the stage `ingest` says so
            for run in stack.scheduled(dag):
                wait_for(lambda dag=dag, run=run: stack.state(dag, run) in {"success", "failed"}, f"the end of {run}")
        yield stack


def in_stages_environment(*arguments: str, variables: dict[str, str] | None = None) -> str:
    """Run Python as the stages do; what it printed."""
    done = subprocess.run(
        [stages_python(), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def withhold(home: Path, since: datetime) -> None:
    """Take the logs of all hours from a time on out of the raw logs: they are yet to arrive."""
    for folder in sorted((home / "raw" / "interactions").glob("dt=*/hr=*")):
        begin = datetime.fromisoformat(f"{folder.parent.name[3:]}T{folder.name[3:]}:00:00+00:00")
        if begin >= since:
            there = home / "later" / folder.parent.name / folder.name
            there.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(there)


def arrive(home: Path, until: datetime) -> None:
    """Deliver the logs of every withheld hour that ends by a time."""
    for folder in sorted((home / "later").glob("dt=*/hr=*")):
        begin = datetime.fromisoformat(f"{folder.parent.name[3:]}T{folder.name[3:]}:00:00+00:00")
        if begin + HOUR <= until:
            there = home / "raw" / "interactions" / folder.parent.name / folder.name
            there.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(there)


def last_acted(home: Path, since: datetime) -> dict[int, str]:
    """By user, the end of the last hour in which they did something or were shown something, by the raw logs alone.

    Events about videos that no snapshot knows yet do not count: they are refused until one does.

    Args:
        home: of the platform; hours that are yet to arrive do not count.
        since: a midnight; users who did nothing from this time on are left out.
    """
    places = home / "raw" / "interactions" / "dt=*" / "hr=*" / "*"
    query = " UNION ALL ".join(
        f"SELECT user_id::BIGINT AS user_id, video_id, occurred_at::TIMESTAMP AS moment FROM {reader}('{places}.{ending}')"
        for reader, ending in (("read_parquet", "parquet"), ("read_json", "jsonl"), ("read_csv", "csv"))
    )
    last = "strftime(date_trunc('hour', max(moment)) + INTERVAL 1 HOUR, '%Y-%m-%dT%H:%M:%SZ')"
    videos = (
        f"SELECT video_id FROM read_parquet('{home}/raw/videos/*/*', hive_partitioning = true) WHERE dt <= '{since:%Y-%m-%d}'"
    )
    query = (
        f"SELECT user_id, {last} FROM ({query}) WHERE moment >= '{since:%Y-%m-%d %H:%M:%S}'"
        f" AND (video_id IS NULL OR video_id IN ({videos})) GROUP BY user_id"
    )
    code = (
        "import duckdb, json, sys; duckdb.sql(\"SET TimeZone = 'UTC'\"); print(json.dumps(duckdb.sql(sys.argv[1]).fetchall()))"
    )
    return dict(json.loads(in_stages_environment("-c", code, query)))


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    """What the store answers."""
    with closing(sqlite3.connect(f"file:{home}/store/recommendations.sqlite?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(query).fetchall()


def iso(moment: datetime) -> str:
    """A time as stages and the store write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
