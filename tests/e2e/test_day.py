"""Two days of a small platform through every stage: what is published, what a repeat does, and what no failure may change."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file, save_file

from jobs import (
    _bundles,
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
    simulate,
    summary,
    text,
    train_towers,
    train_wals,
)
from jobs._tables import Partition
from jobs._window import compact
from models.bundle import open_bundle, seal
from schemas import (
    EXAMPLES,
    FALLBACK_RECOMMENDATIONS,
    INTERACTIONS,
    RECOMMENDATIONS,
    REJECTED,
    USER_FEATURES,
    USERS,
    VIDEO_FEATURES,
    VIDEOS,
)
from serving import SqliteStore, reader
from tests.builders import Workspace, moment, tree, window

pytestmark = pytest.mark.spark

ROOT = Path(__file__).resolve().parents[2]
K = 20
# The first day's models know two days of 300 users, the second's three: they correlate 0.76 where base.yaml asks for 0.8 of
# a platform's consecutive months. Shuffled vectors correlate 0.42 (the counters still agree), so 0.6 tells the two apart.
# Some 70 users are judged, too
# few to beat popularity on every machine; half of it keeps the floor in place.
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
    "gate": {
        "min_correlation": 0.6,
        "min_ratio_to_popularity": 0.2,  # for the lower end of an interval over some 70 users
        "correlation_users": 200,
        "correlation_videos": 150,
        "differential": {
            "components": {"ranker": 0.2, "retrieval": 0.2, "wals": 0.1},
            "segments": [],
            "depth": 20,
            "min_kept": 0.1,
        },
        "floors": {"min_users": 20, "baselines": {"popularity_by_segment": 0.2}, "min_slice_ratio": 0.2, "margin": 0.3},
        "functional": [
            {"check": "never_shown", "users": 50, "top": 2},
            {"check": "knows_recent", "min_share": 0.99, "hours": 24.0, "min_examples": 3},
        ],
        "invariance": [
            {"check": "row_order", "epsilon": 0.001, "users": 30, "videos": 50},
            {"check": "draws", "max_moved": 0.0, "users": 30},
        ],
    },
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


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):
    space = Workspace(tmp_path_factory.mktemp("day"), SETTINGS)
    with space.environment(), contextlib.redirect_stdout(io.StringIO()):
        assert simulate.main([]) == 0
    for stage in STAGES:
        space.run(stage, "--as-of", FIRST)
    for stage in BEFORE_PUBLISH:
        space.run(stage, "--as-of", SECOND)
    eve = copy_of(space, tmp_path_factory.mktemp("eve") / "home")
    space.run(publish, "--as-of", SECOND)
    return World(space, eve)


@pytest.fixture
def both(world, tmp_path):
    """A copy of the world after both days, free to be changed."""
    return copy_of(world.both, tmp_path / "both")


@pytest.fixture
def eve(world, tmp_path):
    """A copy of the world in which all is ready to publish the second day."""
    return copy_of(world.eve, tmp_path / "eve")


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


class TestWhatIsPublished:
    def test_no_row_is_lost_between_raw_logs_and_the_lake(self, world):
        lake, sums = world.both.lake, {"read": 0, "kept": 0, "duplicate": 0, "rejected": 0}
        for hour in DATA.hours():
            kept, refused = (lake.manifest(table, Partition.hour(hour)) for table in (INTERACTIONS, REJECTED))
            counts = refused.counts
            assert counts["read"] == kept.rows + counts.get("duplicate", 0) + refused.rows
            sums["read"] += counts["read"]
            sums["kept"] += kept.rows
            sums["duplicate"] += counts.get("duplicate", 0)
            sums["rejected"] += refused.rows
        assert min(sums.values()) > 0  # there was something to refuse
        assert sums["read"] == raw_rows(world.both.raw)
        assert lake.manifest(USERS, TODAY).rows == lake.manifest(USER_FEATURES, TODAY).rows
        assert lake.manifest(VIDEOS, TODAY).rows >= lake.manifest(VIDEO_FEATURES, TODAY).rows > 500
        rows = lake.manifest(RECOMMENDATIONS, TODAY).rows
        assert len(published(world.both)["rows"]) == rows > 0
        assert len(published(world.both)["fallback"]) == lake.manifest(FALLBACK_RECOMMENDATIONS, TODAY).rows

    def test_every_user_has_a_full_list_of_videos_that_may_be_shown(self, world):
        lists: dict[int, list[tuple[int, int]]] = {}
        for row in published(world.both)["rows"]:
            lists.setdefault(row[0], []).append(row[1:3])
        users = world.both.lake.read(USER_FEATURES, [TODAY]).to_pylist()
        videos = world.both.lake.read(VIDEO_FEATURES, [TODAY]).to_pylist()
        assert lists.keys() == {user["user_id"] for user in users}
        assert any(user["watched"] for user in users)
        assert any(video["removed"] for video in videos)
        assert any(video["blocked_countries"] for video in videos)
        for user in users:
            may = {
                video["video_id"]
                for video in videos
                if not video["removed"] and user["country"] not in video["blocked_countries"]
            } - set(user["watched"])
            shown = [video for _, video in lists[user["user_id"]]]
            assert [rank for rank, _ in lists[user["user_id"]]] == list(range(1, min(K, len(may)) + 1))
            assert len(set(shown)) == len(shown)
            assert set(shown) <= may

    def test_watched_is_what_the_clean_events_say(self, world):
        files = [str(file) for file in world.both.lake.files(INTERACTIONS, [Partition.hour(hour) for hour in DATA.hours()])]
        acts = duckdb.sql(
            f"SELECT DISTINCT user_id, video_id FROM read_parquet({files}, hive_partitioning = false) "
            "WHERE interaction_type IN ('click', 'watch', 'like', 'dislike') AND video_id IS NOT NULL"
        ).fetchall()
        expected: dict[int, set[int]] = {}
        for user, video in acts:
            expected.setdefault(user, set()).add(video)
        found = world.both.lake.read(USER_FEATURES, [TODAY]).to_pylist()
        assert {user["user_id"]: set(user["watched"]) for user in found if user["watched"]} == {
            user: videos for user, videos in expected.items() if user in {row["user_id"] for row in found}
        }
        shown = {(row[0], row[2]) for row in published(world.both)["rows"]}
        assert not shown & set(acts)

    def test_fallback_lists_obey_countries(self, world):
        videos = {row["video_id"]: row for row in world.both.lake.read(VIDEO_FEATURES, [TODAY]).to_pylist()}
        lists: dict[str, list[dict]] = {}
        scores: dict[str, list[float]] = {}
        parents = {row[0]: row[-1] for row in published(world.both)["fallback"]}
        for row in published(world.both)["fallback"]:
            lists.setdefault(row[0], []).append(videos[row[2]])
            scores.setdefault(row[0], []).append(row[3])
        countries = {country for video in videos.values() for country in video["blocked_countries"]}
        assert lists.keys() >= {"all", *(f"country={country}" for country in countries)}
        assert any("|device=" in segment for segment in lists)
        assert all(parent in lists for segment, parent in parents.items() if segment != "all")
        for segment, shown in lists.items():
            country = segment.partition("|")[0].removeprefix("country=")
            assert len({video["video_id"] for video in shown}) == len(shown) == K
            assert not any(video["removed"] or country in video["blocked_countries"] for video in shown)
            assert scores[segment] == sorted(scores[segment], reverse=True)
            assert segment.startswith("country=") or not any(video["blocked_countries"] for video in shown)

    def test_every_row_says_which_model_made_it_and_until_when_it_holds(self, world):
        ((version, *times),) = {row[6:9] for row in published(world.both)["rows"]}
        assert re.fullmatch(r"20260108T000000Z-[0-9a-f]{12}", version)
        assert times == [SECOND, "2026-01-10T00:00:00Z"]

    def test_the_second_day_was_judged_against_the_first(self, world):
        runs = world.both.home / "runs"
        first, verdict = (json.loads((runs / compact(day) / "verdict.json").read_text()) for day in (FIRST_DAY, SECOND_DAY))
        assert first["passed"]
        assert (first["incumbent"], first["correlation"]) == ({}, None)
        assert verdict["passed"]
        assert verdict["incumbent"] == {"wals": FIRST, "towers": FIRST}
        assert verdict["correlation"]["pooled_pearson"] >= SETTINGS["gate"]["min_correlation"]

    def test_aliases_name_the_days(self, world):
        assert aliases(world.both) == AFTER_BOTH
        assert aliases(world.eve) == AFTER_FIRST

    def test_the_log_tells_both_days(self, world):
        assert [row[:2] for row in log(world.both)] == [(FIRST_DAY, "retired"), (SECOND_DAY, "live")]


class TestAgain:
    def test_a_repeat_finds_everything_up_to_date(self, both):
        before = tree(both.home / "lake"), tree(both.home / "bundles"), published(both), log(both)
        assert {stage.__name__: both.run(stage, "--as-of", SECOND).up_to_date for stage in STAGES} == {
            stage.__name__: True for stage in STAGES
        }
        assert (tree(both.home / "lake"), tree(both.home / "bundles"), published(both), log(both)) == before
        assert aliases(both) == AFTER_BOTH

    def test_force_makes_the_same_bytes_and_a_new_generation(self, both):
        lake, bundles = tree(both.home / "lake"), tree(both.home / "bundles")
        rows, entries = published(both), log(both)
        for stage in STAGES:
            assert not both.run(stage, "--as-of", SECOND, "--force").up_to_date, stage.__name__
        assert differences(tree(both.home / "lake"), lake) == []
        assert differences(tree(both.home / "bundles"), bundles) == []
        assert published(both) == rows
        assert log(both) == [entries[0], (*entries[1][:1], "retired", *entries[1][2:]), entries[1]]
        assert aliases(both) == AFTER_BOTH

    @pytest.mark.parametrize("force", [(), ("--force",)])
    def test_an_older_day_is_superseded(self, both, force):
        before = published(both)
        report = both.run(publish, "--as-of", FIRST, *force)
        assert report.facts["status"] == "superseded"
        assert "newer" in report.notes[0]
        assert published(both) == before
        assert SqliteStore(both.home / "store" / "recommendations.sqlite").live().as_of == SECOND_DAY
        assert aliases(both) == AFTER_BOTH


class TestSabotage:
    def test_shuffled_vectors_are_refused_and_nothing_moves(self, eve):
        before = published(eve)
        shuffle(eve)
        eve.run(evaluate, "--as-of", SECOND)
        report = eve.run(gate, "--as-of", SECOND)
        assert report.facts["passed"] is False
        assert report.notes[0].startswith("refused: correlation_with_incumbent: ")
        assert report.facts["ndcg@10"] > 0  # the holdout models are as good as before: only the comparison can tell
        for stage in (index, recommend, scan, publish):
            status, _, error = eve.command(stage, "--as-of", SECOND)
            assert status == 2
            assert f"the gate refused: {report.notes[0]}; what is live stays live" in error
        assert published(eve) == before
        assert [row[:2] for row in log(eve)] == [(FIRST_DAY, "live")]
        assert aliases(eve) == AFTER_FIRST
        user = before["rows"][0][0]
        page = read(eve, str(user))
        assert f"user {user}: {K} recommendations" in page
        assert "20260107T000000Z-" in page
        eve.run(summary, "--as-of", SECOND)
        said = (eve.home / "runs" / "20260108T000000Z" / "summary.txt").read_text(encoding="utf-8")
        assert "the gate refused this run's models; what was live before stays live" in said
        assert "publish       failed: verdict as of 2026-01-08T00:00:00Z: the gate refused" in said

    def test_the_untouched_models_pass_after_the_same_sealing(self, eve):
        """The refusal above is due to the shuffling, not to sealing bundles by hand."""
        digests = {kind: open_bundle(bundle_path(eve, kind), kind=kind).digest for kind in ("wals", "towers")}
        for kind, digest in digests.items():
            found = open_bundle(bundle_path(eve, kind), kind=kind)
            assert seal(found.path, kind=kind, properties=found.properties).digest == digest
        assert eve.run(gate, "--as-of", SECOND, "--force").facts["passed"] is True


@pytest.mark.slow
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
        ["_sqlite_rows.load", "_sqlite_rows.verify", "_sqlite_log.activate", "_sqlite_log.retire_old"],
    )
    def test_publish_killed_before_the_switch_is_done(self, world, eve, point):
        before = published(eve)
        kill_at(eve, f"serving.{point}")
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


class TestReader:
    def test_a_known_user_sees_their_own_page(self, world):
        rows = published(world.both)["rows"]
        user = rows[0][0]
        own = [row for row in rows if row[0] == user]
        titles = {row["video_id"]: row["title"] for row in world.both.lake.read(VIDEOS, [TODAY]).to_pylist()}
        page = read(world.both, str(user), "--k", "5").splitlines()
        assert page[0] == f"user {user}: 5 recommendations"
        assert page[1].startswith(f"version 2 of model {own[0][6]}, fresh until 2026-01-10T00:00:00Z")
        assert [line.split()[0] for line in page[-5:]] == ["1", "2", "3", "4", "5"]
        for line, row in zip(page[-5:], own, strict=False):
            assert titles[row[2]][:30].strip() in line
            assert f"{row[3]:.4f}" in line
            assert row[4] in line

    def test_an_unknown_user_sees_the_fallback(self, world):
        assert read(world.both, "999999999").startswith("user 999999999: no list of their own; fallback list 'all'\n")
        country = next(row[0] for row in published(world.both)["fallback"] if row[0] != "all")
        page = read(world.both, "999999999", "--country", country.removeprefix("country="))
        assert page.startswith(f"user 999999999: no list of their own; fallback list {country!r}\n")
        assert "local:1" in page

    def test_a_page_past_its_time_says_so(self, world):
        user = published(world.both)["rows"][0][0]
        assert "STALE since 2026-01-10T00:00:00Z" in read(world.both, str(user), at="2026-01-10T00:00:00Z")


class TestSummary:
    def test_it_tells_the_day_in_numbers_that_add_up(self, both):
        both.command(publish, "--as-of", SECOND)
        status, _, error = both.command(summary, "--as-of", SECOND)
        assert (status, error) == (0, "")
        said = (both.home / "runs" / "20260108T000000Z" / "summary.txt").read_text(encoding="utf-8")
        rows = published(both)["rows"]
        assert "(balanced)" in said
        assert f"{raw_rows(both.raw):,} rows in" in said
        assert f"{len({row[0] for row in rows}):,} users, {len(rows):,} rows, expires 2026-01-10T00:00:00Z" in said
        assert "from this run" in said


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


def shuffle(space: Workspace) -> None:
    """Give every video the vectors of another one in the final models of the second day, and seal them like new."""
    rng = np.random.default_rng(0)
    wals, towers = (open_bundle(bundle_path(space, kind), kind=kind) for kind in ("wals", "towers"))
    factors = np.load(wals.path / "final" / "video_factors.npy")
    np.save(wals.path / "final" / "video_factors.npy", rng.permutation(factors))
    of_videos = [f"video.tower.{table}.weight" for table in ("ids.0", "ids.1", "categories")]
    tables = {"retrieval": ["video.weight", "bias.weight"], "ranker": [*of_videos, "content.components", "crosses.tables.0"]}
    for name, keys in tables.items():
        file = towers.path / "final" / name / "weights.safetensors"
        weights = load_file(file)
        for key in keys:
            weights[key] = np.ascontiguousarray(rng.permutation(weights[key], axis=int(key.startswith("crosses"))))
        save_file(weights, file)
    for found in (wals, towers):
        seal(found.path, kind=found.kind, properties=found.properties)
        assert open_bundle(found.path, kind=found.kind).digest != found.digest
    assert {wals.kind, towers.kind} == {_bundles.WALS, _bundles.TOWERS}


def read(space: Workspace, *arguments: str, at: str = "2026-01-08T01:00:00Z") -> str:
    out = io.StringIO()
    with space.environment(), contextlib.redirect_stdout(out):
        assert reader.main([*arguments, "--at", at]) == 0
    return out.getvalue()


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names of files that are only on one side or differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def start(space: Workspace, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **space.variables, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
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


def test_examples_of_both_days_are_there(world):
    """The last impressions wait for their label: the newest example is known before the end of the data."""
    rows = world.both.rows(EXAMPLES, DATA)
    assert len({row["event_id"] for row in rows}) == len(rows) > 1000
    assert max(row["known_at"] for row in rows) < SECOND_DAY
