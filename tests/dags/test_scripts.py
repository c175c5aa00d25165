"""What `make run` and `make set-up` decide before anything is started."""

import json
import re
import sys
from datetime import UTC, date, datetime

import pytest

from .conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

import set_up
from lock import locked
from workspace import (
    SIMULATOR,
    UsageError,
    check_as_of,
    choose,
    lookback_days,
    parse_as_of,
    parse_days,
    read_logs,
    source_of,
)


@pytest.fixture
def raw(tmp_path):
    """Raw logs of 2026-01-02 to 2026-01-07; the 8th is there, but empty."""
    root = tmp_path / "logs"
    for day in range(2, 9):
        hour = root / "interactions" / f"dt=2026-01-{day:02}" / "hr=00"
        hour.mkdir(parents=True)
        if day < 8:
            (hour / "part-0.parquet").touch()
    (root / "interactions" / "dt=latest").mkdir()
    (root / "videos").mkdir()
    return root


def test_days_of_the_logs(raw):
    logs = read_logs(raw)
    assert (logs.first, logs.last) == (date(2026, 1, 2), date(2026, 1, 7))


@pytest.mark.parametrize(
    ("as_of", "days"),
    [("2026-01-08T00:00:00Z", 6), ("2026-01-07T12:00:00Z", 6), ("2026-01-03", 1), ("2026-01-02T01:00:00Z", 1)],
)
def test_lookback_reaches_the_earliest_logs(raw, as_of, days):
    logs, moment = read_logs(raw), parse_as_of(as_of)
    check_as_of(logs, moment)
    assert lookback_days(logs, moment) == days


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        ("2026-01-02", "begin at 2026-01-02T00:00:00Z"),
        ("2025-06-01", "begin at"),
        ("2026-01-08T00:00:01Z", "latest day to run is AS_OF=2026-01-08T00:00:00Z"),
    ],
)
def test_as_of_outside_the_logs(raw, as_of, message):
    with pytest.raises(UsageError, match=message):
        check_as_of(read_logs(raw), parse_as_of(as_of))


def test_as_of_is_read_as_utc():
    expected = datetime(2026, 1, 8, tzinfo=UTC)
    assert {parse_as_of(text) for text in ("2026-01-08", "2026-01-08T00:00:00", "2026-01-08T01:00+01:00")} == {expected}
    with pytest.raises(UsageError, match="AS_OF=tomorrow: not an ISO 8601 time"):
        parse_as_of("tomorrow")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "week", ""])
def test_lookback_is_a_number_of_days(text):
    assert parse_days("31") == 31
    with pytest.raises(UsageError, match="whole number of days"):
        parse_days(text)


def test_folders_that_hold_no_logs(tmp_path):
    with pytest.raises(UsageError, match="not found"):
        read_logs(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        read_logs(tmp_path / "file")
    with pytest.raises(UsageError, match="no folder interactions/ in it; found file"):
        read_logs(tmp_path)
    (tmp_path / "interactions").mkdir()
    with pytest.raises(UsageError, match="no folder videos/"):
        read_logs(tmp_path)
    (tmp_path / "videos").mkdir()
    with pytest.raises(UsageError, match="no logs below interactions"):
        read_logs(tmp_path)


def test_default_workspace_while_it_is_unused_or_holds_the_same(tmp_path):
    home, why = choose(tmp_path, "/data/a", "a", None)
    assert (home, why, source_of(home)) == (tmp_path / "var", "the default", "/data/a")
    assert choose(tmp_path, "/data/a", "a", None)[0] == home


def test_another_source_gets_its_own_workspace(tmp_path):
    choose(tmp_path, SIMULATOR, "simulated", None)
    home, why = choose(tmp_path, "/data/a", "a", None)
    assert (home.name, why) == ("var-a", "var/ holds the logs of the simulator")
    other, _ = choose(tmp_path, "/elsewhere/a", "a", None)
    assert other.name.startswith("var-a-")
    assert choose(tmp_path, "/data/a", "a", None)[0] == home
    assert choose(tmp_path, SIMULATOR, "simulated", None)[0] == tmp_path / "var"


def test_logs_simulated_by_hand_are_not_mixed_with_others(tmp_path):
    (tmp_path / "var" / "raw").mkdir(parents=True)
    assert choose(tmp_path, "/data/a", "a", None)[0] == tmp_path / "var-a"
    assert choose(tmp_path, SIMULATOR, "simulated", None)[0] == tmp_path / "var"


def test_asked_for_workspace_is_taken_or_refused_never_replaced(tmp_path):
    own = tmp_path / "own"
    assert choose(tmp_path, "/data/a", "a", own) == (own, "as asked")
    with pytest.raises(UsageError, match=r"holds the logs of /data/a, not of the simulator.*WORKSPACE=DIR"):
        choose(tmp_path, SIMULATOR, "simulated", own)
    (own / "source.json").write_text("{")
    with pytest.raises(UsageError, match="not readable"):
        choose(tmp_path, "/data/a", "a", own)


def test_locks_hold_released_versions_only():
    frozen = "torch==2.13.0+cpu\nAlembic==1.2\n-e /here\nlocal @ file:///there\n# note\npip==24.0\n"
    assert locked(frozen) == ["Alembic==1.2", "pip==24.0", "torch==2.13.0"]


def test_locks_hold_what_was_asked_for():
    for name, files in {"reelflow": ("reelflow.in", "dev.in"), "airflow": ("airflow.in",)}.items():
        folder = REPOSITORY / "requirements"
        lock = (folder / f"{name}.lock").read_text().splitlines()
        held = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lock if "==" in line}
        lines = [
            line for file in files for line in (folder / file).read_text().splitlines() if line and not line.startswith("#")
        ]
        asked = {re.split(r"[=<>\[]", line)[0].lower() for line in lines}
        assert {re.sub(r"[-_.]+", "-", name) for name in asked} <= held


@pytest.mark.parametrize(
    ("says", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_402"', 8), ('version "21" x', 21), ("no", None)],
)
def test_java_version(tmp_path, monkeypatch, says, version):
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert set_up.java_version() == version


def test_a_java_that_does_not_fit_is_said(monkeypatch):
    monkeypatch.setattr(set_up, "java_version", lambda: 11)
    with pytest.raises(
        SystemExit, match=r"(?s)`java` is version 11; Spark needs 17 or 21.*apt-get install openjdk-17-jre-headless"
    ):
        set_up.java()


def test_nothing_is_installed_twice(tmp_path, monkeypatch):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "airflow.lock").write_text("a==1\n")
    done = []
    monkeypatch.setattr(set_up, "REPOSITORY", tmp_path)
    monkeypatch.setattr(set_up, "pip", lambda folder, *arguments: done.append(arguments))

    def virtual_environment(folder):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(set_up, "virtual_environment", virtual_environment)
    set_up.environment("airflow")
    set_up.environment("airflow")
    assert len(done) == 1
    (tmp_path / "requirements" / "airflow.lock").write_text("a==2\n")
    set_up.environment("airflow")
    assert len(done) == 2


def test_record_of_the_source_is_plain_json(tmp_path):
    home, _ = choose(tmp_path, "/data/a", "a", None)
    assert json.loads((home / "source.json").read_text()) == {"source": "/data/a"}
