"""Which store the stages are told of, and what alerts say is live in it."""

import json
import os
import sqlite3
import sys
from contextlib import closing

import pytest
import yaml
from _settings import read_settings
from _store import live_now, store_of_connection

URL = "postgres://writer:s3cret@db.example.com:5432/serving"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of an empty workspace, with this store and a program in the place of the stages' Python."""
    monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("REELFLOW_VENV", str(tmp_path / "venv"))
    monkeypatch.delenv("AIRFLOW_CONN_REELFLOW_STORE", raising=False)
    monkeypatch.delenv("REELFLOW_STORE_URL", raising=False)

    def lay(url=None, prints="", code=0):
        program = tmp_path / "venv" / "bin" / "python"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\nfrom pathlib import Path\n"
            f"said = [sys.argv[1:], os.environ.get('REELFLOW_STORE_URL'), os.environ['REELFLOW_HOME']]\n"
            f"Path({str(tmp_path / 'asked')!r}).write_text(json.dumps(said))\nprint({prints!r})\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        own = tmp_path / "own.yaml"
        own.write_text(yaml.safe_dump({"store": {"url": url}}))
        monkeypatch.setenv("REELFLOW_CONF", str(own))
        return read_settings()

    return lay


def test_connection_reaches_the_stage_and_nothing_stays(monkeypatch):
    monkeypatch.setenv("REELFLOW_STORE_URL", "redis://before")
    monkeypatch.setenv(
        "AIRFLOW_CONN_REELFLOW_STORE",
        json.dumps(
            {
                "conn_type": "postgres",
                "host": "db.example.com",
                "port": 5432,
                "login": "writer",
                "password": "s3cret",
                "schema": "serving",
            }
        ),
    )
    with store_of_connection():
        assert os.environ["REELFLOW_STORE_URL"] == URL
    assert os.environ["REELFLOW_STORE_URL"] == "redis://before"


def test_no_connection_leaves_the_environment_alone(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_REELFLOW_STORE", raising=False)
    monkeypatch.setenv("REELFLOW_STORE_URL", "redis://before")
    with store_of_connection():
        assert os.environ["REELFLOW_STORE_URL"] == "redis://before"
    monkeypatch.delenv("REELFLOW_STORE_URL")
    with store_of_connection():
        assert "REELFLOW_STORE_URL" not in os.environ
    assert "REELFLOW_STORE_URL" not in os.environ


def test_what_is_live_in_a_file(settings):
    found = settings()
    assert live_now(found) == "nothing was ever published"
    found.store.parent.mkdir()
    found.store.write_text("no database")
    assert live_now(found).startswith("the store cannot be read: ")
    found.store.unlink()
    with closing(sqlite3.connect(found.store)) as connection, connection:
        connection.execute("CREATE TABLE publications (version, as_of, model_version, status, users, published_at)")
        assert live_now(found) == "nothing was ever published"
        connection.execute(
            "INSERT INTO publications VALUES (7, '2026-01-07T00:00:00Z', 'm', 'live', 6000, '2026-01-07T01:00:00Z')"
        )
    assert live_now(found) == "version 7 (m) as of 2026-01-07T00:00:00Z, 6,000 users, published at 2026-01-07T01:00:00Z"


def test_what_is_live_on_a_server_is_asked_of_the_stages_environment(settings, tmp_path, monkeypatch):
    found = settings("postgresql://db.example.com/serving", json.dumps({"text": "version 7 knows everything"}))
    assert live_now(found) == "version 7 knows everything"
    assert json.loads((tmp_path / "asked").read_text()) == [["-m", "serving.freshness"], None, str(tmp_path)]
    monkeypatch.setenv("AIRFLOW_CONN_REELFLOW_STORE", URL)
    assert live_now(settings(None, json.dumps({"text": "version 8"}), code=1)) == "version 8"
    assert json.loads((tmp_path / "asked").read_text())[1] == URL


@pytest.mark.parametrize("prints", ["", "no JSON", "{}"])
def test_a_server_that_cannot_be_asked_is_said(settings, prints):
    assert live_now(settings("redis://127.0.0.1:1", prints, code=2)).startswith("the store cannot be asked: ")
