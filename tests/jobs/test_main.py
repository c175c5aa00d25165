import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from jobs import __main__ as launcher

ROOT = Path(__file__).resolve().parents[2]


def started(monkeypatch, *arguments):
    """What the launcher ends with, and the command line that the stage saw."""
    monkeypatch.setattr(sys, "argv", ["jobs", *arguments])
    with pytest.raises(SystemExit) as end:
        launcher.main()
    return end.value.code, sys.argv


@pytest.mark.parametrize(("arguments", "found"), [((), "'nothing'"), (("inges",), "'inges'"), (("_stage",), "'_stage'")])
def test_an_unknown_stage_is_an_error_that_lists_the_known_ones(monkeypatch, arguments, found):
    code, _ = started(monkeypatch, *arguments)
    stages = sorted(path.stem for path in (ROOT / "jobs").glob("[!_]*.py"))
    assert code == f"reelflow | error: stage: found {found}, expected one of {', '.join(stages)}"
    assert {"ingest", "train_wals", "publish"} <= set(stages)


def test_the_stage_gets_the_rest_of_the_command_line(monkeypatch):
    monkeypatch.setattr(import_module("jobs.summary"), "main", lambda: 7)
    assert started(monkeypatch, "summary", "--as-of", "2026-01-08") == (7, ["jobs", "--as-of", "2026-01-08"])


@pytest.mark.parametrize("command", [["-m", "jobs"], ["jobs/__main__.py"]], ids=["module", "script"])
def test_it_runs_as_a_module_and_as_the_script_that_spark_submit_is_given(command, tmp_path):
    environment = {**os.environ, "REELFLOW_HOME": str(tmp_path), "PYTHONPATH": "" if command[0] != "-m" else str(ROOT)}
    ended = subprocess.run(
        [sys.executable, *command, "simulate", "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: python -m jobs.simulate")
