"""A small platform, two days of which go through every stage: settings, and what its tests look at."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import shutil
import sqlite3
from pathlib import Path

import duckdb
from mlflow.tracking import MlflowClient

from jobs import (
    evaluate,
    examples,
    features,
    gate,
    index,
    ingest,
    noise_floor,
    publish,
    recommend,
    scan,
    text,
    train_towers,
    train_wals,
)
from jobs._tables import Partition
from jobs._window import compact
from serving import SqliteStore, reader
from tests.builders import Workspace, moment, window
from tests.gates import small_gate

K = 20
# The first day's models know two days of 300 users, the second's three: they correlate 0.76 where base.yaml asks for 0.8 of
# a platform's consecutive months. Shuffled vectors correlate 0.42 (the counters still agree), so 0.6 tells the two apart.
# Some 70 users are judged, too few to beat popularity on every machine; half of it keeps the floor in place.
SETTINGS = {
    "window": {"lookback_days": 3},
    "simulate": {
        "users": 300,
        "videos": 500,
        "days": 3,
        "start": "2026-01-05",
        "sessions_per_user_day": 1.0,
        "relevant_rate": 0.1,
        "malformed_fraction": 0.005,
        "duplicate_fraction": 0.01,
    },
    "popularity": {"min_events": 1.0},
    "wals": {"factors": 8, "iterations": 5, "regularization": 5.0},
    "towers": {
        "id_dim": 8,
        "category_dim": 4,
        "vector_dim": 4,
        "retrieval": {"min_steps_per_epoch": 20, "dim": 8, "hidden": [16], "history": 20, "blocks": 1, "max_epochs": 3},
        "ranker": {"min_steps_per_epoch": 20, "dim": 8, "hidden": [16], "max_epochs": 3},
    },
    "recommend": {"k": K, "generators": {"retrieval": 60, "wals": 40, "popular": 40}},
    "gate": small_gate(
        min_correlation=0.6,
        pairs=(200, 150),
        drawn=50,
        drawn_videos=50,
        differential={"components": {"ranker": 0.2, "retrieval": 0.2, "wals": 0.1}, "depth": 20, "min_kept": 0.1},
        floors={"min_users": 20, "min_slice_ratio": 0.2, "margin": 0.3},
    ),
}
FIRST, SECOND = "2026-01-07T00:00:00Z", "2026-01-08T00:00:00Z"
FIRST_DAY, SECOND_DAY = moment("2026-01-07T00:00"), moment("2026-01-08T00:00")
TODAY = Partition(moment("2026-01-07T00:00").date())
DATA = window("2026-01-05T00:00", "2026-01-08T00:00")
BEFORE_PUBLISH = (
    ingest,
    examples,
    text,
    features,
    train_wals,
    train_towers,
    evaluate,
    noise_floor,
    gate,
    index,
    recommend,
    scan,
)
STAGES = (*BEFORE_PUBLISH, publish)


@dataclasses.dataclass(frozen=True)
class World:
    """Both days published, and a copy from just before the second was."""

    both: Workspace
    eve: Workspace


def copy_of(space: Workspace, home: Path) -> Workspace:
    shutil.copytree(space.home, home)
    return Workspace(home, SETTINGS)


def bundle_path(space: Workspace, kind: str, as_of=SECOND_DAY) -> Path:
    return space.home / "bundles" / kind / compact(as_of)


def published(space: Workspace) -> dict[str, list[tuple]]:
    """What the views show: the rows of all users and the fallback lists, in order of rank."""
    with contextlib.closing(sqlite3.connect(space.home / "store" / "recommendations.sqlite")) as connection:
        found = connection.execute("SELECT * FROM recommendations ORDER BY user_id, rank").fetchall()
        lists = connection.execute("SELECT * FROM fallback_recommendations ORDER BY segment, rank").fetchall()
    return {"rows": found, "fallback": lists}


def log(space: Workspace) -> list[tuple]:
    """Every publication, oldest first: as_of, status, model version and rows."""
    records = SqliteStore(space.home / "store" / "recommendations.sqlite").publications()
    return [(record.as_of, str(record.status), record.model_version, record.rows) for record in reversed(records)]


KINDS = ("wals", "towers", "serving")


def aliases(space: Workspace) -> dict[str, dict[str, str]]:
    """The as_of of the version behind every alias of the registered models."""
    client = MlflowClient(tracking_uri=f"sqlite:///{space.home / 'mlflow' / 'mlflow.db'}")
    return {
        kind: {
            alias: client.get_model_version(model.name, version).tags["as_of"]
            for model in [client.get_registered_model(f"reelflow-{kind}")]
            for alias, version in model.aliases.items()
        }
        for kind in KINDS
    }


AFTER_BOTH = {kind: {"candidate": SECOND, "champion": SECOND, "previous": FIRST} for kind in KINDS}
AFTER_FIRST = {kind: {"candidate": SECOND, "champion": FIRST} for kind in KINDS}


def raw_rows(raw: Path) -> int:
    """Rows of the raw interactions, counted from the files."""
    folder = raw / "interactions"
    parquet = [str(file) for file in folder.rglob("*.parquet")]
    total = duckdb.sql(f"SELECT count(*) FROM read_parquet({parquet}, hive_partitioning = false)").fetchall()[0][0]
    for file in folder.rglob("*"):
        if file.suffix == ".jsonl":
            total += sum(1 for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        elif file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as stream:
                total += sum(1 for row in csv.reader(stream) if row) - 1
    return int(total)


def read(space: Workspace, *arguments: str, at: str = "2026-01-08T01:00:00Z") -> str:
    out = io.StringIO()
    with space.environment(), contextlib.redirect_stdout(out):
        assert reader.main([*arguments, "--at", at]) == 0
    return out.getvalue()


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of files that are only on one side or differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
