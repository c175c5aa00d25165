"""The check that does not need the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving import SqliteStore
from serving.freshness import main
from tests.serving.builders import publish


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recommendations.sqlite"


def found(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, object]]:
    status = main([str(argument) for argument in arguments])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("at", "more", "status", "state", "age"),
    [
        ("2026-01-08T06:00:00Z", (), 0, "fresh", 6.0),
        ("2026-01-09T23:59:59Z", (), 0, "fresh", 48.0),
        ("2026-01-10T00:00:00Z", (), 1, "stale", 48.0),
        ("2026-01-08T06:00:00Z", ("--max-age-hours", 6), 0, "fresh", 6.0),
        ("2026-01-08T06:30:00Z", ("--max-age-hours", 6), 1, "stale", 6.5),
        ("2026-01-10T00:00:00Z", ("--max-age-hours", 72), 0, "fresh", 48.0),
        ("2026-01-08T08:00:00+02:00", (), 0, "fresh", 6.0),
    ],
)
def test_by_the_clock(
    file: Path, capsys: pytest.CaptureFixture[str], *, at: str, more: tuple[object, ...], status: int, state: str, age: float
) -> None:
    publish(SqliteStore(file), 8, 1)  # as of 2026-01-08, for 48 hours
    ended, told = found(capsys, "--store", file, "--at", at, *more)
    assert (ended, told["state"], told["age_hours"]) == (status, state, age)
    assert (told["version"], told["as_of"], told["expires_at"]) == (1, "2026-01-08T00:00:00Z", "2026-01-10T00:00:00Z")
    assert ("docs/operations.md" in str(told["text"])) == (state == "stale")


def test_nothing_was_published(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = found(capsys, "--store", file)
    assert (status, told["state"], told["as_of"]) == (2, "nothing is live", None)


def test_a_file_that_is_no_store(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("no database")
    status, told = found(capsys, "--store", file)
    assert (status, told["state"]) == (2, "unreadable")


@pytest.mark.parametrize("at", ["noon", "0001-01-01T00:00:00+10:00", "9999-12-31T23:00:00-10:00"])
def test_a_time_that_is_none(file: Path, capsys: pytest.CaptureFixture[str], at: str) -> None:
    status, told = found(capsys, "--store", file, "--at", at)
    assert (status, told["state"]) == (2, "unreadable")
    assert str(told["text"]).startswith(f"--at '{at}': expected ISO 8601")


@pytest.mark.parametrize("store", ["foo://x", "postgresql://:secret@/?sslmode=nonsense", "redis://127.0.0.1:x"])
def test_a_store_that_there_cannot_be(capsys: pytest.CaptureFixture[str], store: str) -> None:
    """Who is alerted by the exit status reads JSON all the same."""
    status, told = found(capsys, "--store", store)
    assert (status, told["state"], told["version"]) == (2, "unreadable", None)
    assert str(told["text"]).startswith("store ")


def test_the_store_of_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("REELFLOW_CONF", raising=False)
    publish(SqliteStore(tmp_path / "store" / "recommendations.sqlite"), 8, 1)
    assert found(capsys, "--at", "2026-01-08T06:00:00Z")[0] == 0
