import os
from datetime import date, datetime

import pytest
import yaml

import conf
from benchmarks.quality._workspace import Workspace, days, join, label_holdout, training
from schemas import EXAMPLES
from schemas.errors import ReelflowError
from tests.builders import event, video, write_raw


@pytest.fixture
def raw(tmp_path):
    write_raw(tmp_path / "raw", [event("a", "watch", "2026-01-03T22:00:00Z"), event("b", "watch", "10:00:00")], [video(10)])
    return tmp_path / "raw"


def test_the_look_back_reaches_the_first_logs_and_the_seed_every_model(raw, tmp_path, monkeypatch):
    own = tmp_path / "own.yaml"
    own.write_text("wals: {factors: 7, seed: 3}\nwindow: {lookback_days: 2}\n", encoding="utf-8")
    monkeypatch.setenv("REELFLOW_CONF", str(own))
    made = training(tmp_path / "home", raw, datetime.fromisoformat("2026-01-07T12:00:00Z"), 9).write()
    with made.environment():
        settings = conf.resolved()
        assert conf.home() == made.home
    assert settings["window"] == {"lookback_days": 5, "history_days": 5}  # 4.5 days from the midnight of the first event
    assert (settings["wals"]["factors"], settings["wals"]["seed"], settings["towers"]["seed"]) == (7, 9, 9)
    assert settings["paths"]["raw"] == str(raw.resolve())
    assert os.environ["REELFLOW_CONF"] == str(own)


def test_without_a_seed_the_configured_ones_hold(raw, tmp_path):
    made = training(tmp_path / "home", raw, datetime.fromisoformat("2026-01-08T00:00:00Z"))
    assert set(yaml.safe_load(made.write().conf.read_text(encoding="utf-8"))) == {"paths", "window"}


def test_joined_logs_hold_the_files_of_both_and_nothing_older(raw, tmp_path):
    write_raw(tmp_path / "later", [event("c", "watch", "10:30:00")], [video(10)], snapshot="2026-01-09")
    join([tmp_path / "later"], tmp_path / "both")
    join([raw, tmp_path / "later"], tmp_path / "both")
    found = sorted(path.relative_to(tmp_path / "both").as_posix() for path in (tmp_path / "both").rglob("*.jsonl"))
    assert [name for name in found if name.startswith("inter")] == [
        "interactions/dt=2026-01-03/hr=22/0-events.jsonl",
        "interactions/dt=2026-01-07/hr=10/0-events.jsonl",
        "interactions/dt=2026-01-07/hr=10/1-events.jsonl",
    ]
    assert {"videos/dt=2026-01-07/0-videos.jsonl", "videos/dt=2026-01-09/1-videos.jsonl"} <= set(found)
    assert (tmp_path / "both" / found[-1]).read_text(encoding="utf-8")
    assert days(tmp_path / "both") == (date(2026, 1, 3), date(2026, 1, 7))


def test_a_stage_that_fails_is_an_error(tmp_path):
    with pytest.raises(ReelflowError, match="stage ingest: failed"):
        Workspace(tmp_path / "home", {}).write().run("ingest", "--as-of", "never")


@pytest.mark.slow
def test_a_holdout_that_ends_with_its_last_day_is_not_taken_for_a_broken_log(tmp_path):
    """Three nights of 1,000 events, enough to be compared with; of the fourth only the hour is read in which labels end."""
    raw, as_of = tmp_path / "raw", datetime.fromisoformat("2026-01-05T00:00:00Z")
    for day in range(5, 8):
        events = [event(f"{day}-{n}", "impression", f"2026-01-0{day}T00:10:00Z", n % 40, n % 50) for n in range(1_000)]
        write_raw(raw, events, [video(n) for n in range(50)], snapshot=f"2026-01-0{day}")
    made, window = label_holdout(tmp_path / "home", raw, raw, as_of)
    assert window.end == datetime.fromisoformat("2026-01-08T01:00:00Z")
    with made.environment():
        lake = made.context(window.end).lake
        assert lake.read(EXAMPLES, lake.partitions(EXAMPLES, window)).num_rows > 0
