"""Raw logs that say the same in other words end in the same scores, to the last bit (G4).

The whole way from the logs to the scores: names of users, ids of events, the order of rows and files, and the letter case of
tags and titles are changed. All negatives are kept here: which of them a smaller rate keeps is drawn by a hash of the id of
the event.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf import load
from jobs import _bundles, _gate_material, _training, examples, features, ingest, text, train_towers, train_wals
from models.ensemble import Ensemble
from models.recommend import RecommendConfig
from schemas import columns as col
from tests.builders import Workspace, event, moment, stage_context, write_lines, write_raw
from tests.jobs import planted

pytestmark = [pytest.mark.slow, pytest.mark.spark]

START, AS_OF = moment("2026-01-05T00:00"), "2026-01-07T00:00:00Z"
USERS, VIDEOS, DAYS = range(1, 31), range(100, 140), 2
STAGES = (ingest, examples, text, features, train_wals, train_towers)
SETTINGS: dict[str, Any] = {
    **planted.SETTINGS,
    "window": {"lookback_days": DAYS, "history_days": 1},
    "examples": {"negative_sample_rate": 1.0},
    "text": {"threads": 1, "tags": {"dim": 4, "epochs": 2}},
}
TITLES = ("How to bake bread", "Goals of the week", "Bread at home", "A cup final")
TAGS = (["Food", "bread"], ["sport", "Goal"])


def log() -> list[dict[str, Any]]:
    """Impressions of both halves of the catalogue, watches of the own one, searches; no two events at the same time."""
    chance, rows = random.Random(7), []
    for day in range(DAYS):
        for user in USERS:
            for video in chance.sample(VIDEOS, 12):
                at = START + timedelta(days=day, seconds=chance.randrange(80_000), microseconds=len(rows))
                pair = {"user": user, "video": video, "device": chance.choice("ab")}
                rows.append(event(f"e{len(rows):06d}", "impression", _text(at), **pair))
                if chance.random() < (0.7 if video % 2 == user % 2 else 0.1):
                    later = _text(at + timedelta(seconds=60, microseconds=1))
                    rows.append(event(f"e{len(rows):06d}", "watch", later, **pair, watch_seconds=90.0))
            query = {"video": None, "query": chance.choice(["Bread", "goals"])}
            at = START + timedelta(days=day, hours=23, microseconds=len(rows))
            rows.append(event(f"e{len(rows):06d}", "search", _text(at), user=user, **query))
    return rows


def videos() -> list[dict[str, Any]]:
    return [
        {"video_id": video, "creator_id": video % 7, "title": TITLES[video % 4], "tags": TAGS[video % 2], "language": "en"}
        | {"duration_seconds": 100.0, "uploaded_at": "2026-01-01T00:00:00Z"}
        for video in VIDEOS
    ]


def users() -> list[dict[str, Any]]:
    known = {"country": "DE", "language": "en"}
    return [{"user_id": user, "username": f"user {user}", "age": 20 + user, **known} for user in USERS]


def say_otherwise(raw: Path) -> None:
    """Write the same logs in other words, each folder's rows in another order and in two files."""
    chance = random.Random(11)
    for file in sorted(raw.rglob("*.jsonl")):
        rows = [_otherwise(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
        chance.shuffle(rows)
        file.unlink()
        half = len(rows) // 2
        write_lines(file.with_name("z-part.jsonl"), rows[:half])
        write_lines(file.with_name("a-part.jsonl"), rows[half:])


def _otherwise(row: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(row)
    if "event_id" in row:  # in no order that has to do with the former one
        changed["event_id"] = random.Random(row["event_id"]).randbytes(8).hex()
    if "username" in row:
        changed["username"] = f"somebody else, {1000 - row['user_id']}"
    if "tags" in row:
        changed["tags"] = [tag.swapcase() for tag in row["tags"]]
        changed["title"] = row["title"].upper()
    return changed


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The platform, and the same in other words: taken in and trained on by the real stages."""
    space = Workspace(tmp_path_factory.mktemp("said") / "home", SETTINGS)
    write_raw(space.raw, log(), videos(), users(), snapshot="2026-01-05")
    for stage in STAGES:
        space.run(stage, "--as-of", AS_OF)
    other = Workspace(tmp_path_factory.mktemp("otherwise") / "home", SETTINGS)
    for folder in ("raw", "mlflow"):
        shutil.copytree(space.home / folder, other.home / folder)
    say_otherwise(other.raw)
    for stage in STAGES:
        assert not other.run(stage, "--as-of", AS_OF).up_to_date, stage.__name__
    return space, other


def scores(space: Workspace) -> np.ndarray:
    """What the final models predict, by component and together, float32 ``(4, n_users, n_videos)``."""
    with space.environment():
        context = stage_context("gate", "--as-of", AS_OF)
        models = Ensemble.load(*_bundles.folders(_bundles.models(context)))
        scene = _gate_material.scene(context, _training.read(context), models, load("recommend", RecommendConfig))
        assert scene.users[col.USER_ID].to_pylist() == list(USERS)
        weighings = [scene.ranking, *(scene.ranking.weighing({name: 1.0}) for name in ("ranker", "retrieval", "wals"))]
        everything = np.arange(len(VIDEOS))
        return np.stack([scene.with_models(models, one).scores(scene.users, everything) for one in weighings])


def arrays(space: Workspace) -> dict[str, bytes]:
    """Every file of both bundles but the manifests, which name the digests of what was read."""
    root = space.home / "bundles"
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "bundle.json")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_scores_are_the_same_to_the_last_bit(said):
    found, expected = scores(said[1]), scores(said[0])
    assert np.isfinite(expected).all()
    assert (expected.std(axis=(1, 2)) > 0.1).all(), "scores that do not vary would prove nothing"
    assert np.array_equal(found, expected)


def test_so_are_the_models(said):
    found, expected = (arrays(one) for one in said)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_logs_were_different(said):
    contents = [{path.read_text(encoding="utf-8") for path in one.raw.rglob("*.jsonl")} for one in said]
    assert not contents[0] & contents[1]
    assert any("BREAD AT HOME" in content for content in contents[1])


def _text(at: Any) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
