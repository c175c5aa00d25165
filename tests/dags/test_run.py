"""Real runs of the DAG by Airflow, in the foreground as `make run` does it, with stages that only leave a trace."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

STAGES = [
    "ingest", "examples", "text", "features", "train_wals", "train_towers", "evaluate", "noise_floor", "gate", "index",
    "recommend", "scan", "publish", "data_docs", "summary",
]  # fmt: skip

STAGE = """
import json, os, sys
from pathlib import Path

def main(stage, arguments):
    home = Path(os.environ["REELFLOW_HOME"])
    told = json.loads((home / "told.json").read_text())
    with (home / "trace").open("a") as trace:
        print(stage, *arguments, file=trace)
    if stage in told["fails"]:
        print(f"reelflow | {stage} | error: told to", file=sys.stderr)
        sys.exit(told["fails"][stage])
    if stage == "gate" and "verdict" in told:
        folder = home / "runs" / "20260108T000000Z"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "verdict.json").write_text(json.dumps(told["verdict"]))
    print(f"reelflow | {stage} | done")

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A source tree with the real configuration, and stages and an environment that stand in for the real ones."""
    root = tmp_path_factory.mktemp("repository")
    (root / "jobs").mkdir()
    (root / "jobs" / "__main__.py").write_text(STAGE)
    for stage in [*STAGES, "shadow"]:
        (root / "jobs" / f"{stage}.py").write_text(
            f"import sys\nfrom jobs.__main__ import main\nmain({stage!r}, sys.argv[1:])\n"
        )
    shutil.copytree(REPOSITORY / "conf", root / "conf", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    programs = root / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "spark-submit").write_text(
        '#!/bin/sh\necho "$@" > "$REELFLOW_HOME/spark-submit"\n'
        'while [ $# -gt 0 ]; do case "$1" in *__main__.py) exec python "$@";; esac; shift; done\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    return root


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace whose Airflow database is ready."""
    os.environ["REELFLOW_AIRFLOW_VENV"] = sys.prefix
    from airflow_environment import airflow_environment
    from airflow_run import migrate

    home = tmp_path_factory.mktemp("workspace")
    (home / "airflow").mkdir()
    migrate(home, airflow_environment(home, "local[1]"))
    return home


@pytest.fixture
def run(repository, workspace, capsys):
    """Run the day that ends on 2026-01-08; returns what was shown, what ran, and how it ended."""
    from airflow_environment import airflow_environment
    from airflow_run import RunFailedError, run_day

    def one(told=None, conf=None, **environment):
        (workspace / "trace").unlink(missing_ok=True)
        shutil.rmtree(workspace / "runs", ignore_errors=True)
        (workspace / "told.json").write_text(json.dumps({"fails": {}, **(told or {})}))
        variables = {**airflow_environment(workspace, "local[1]"), "REELFLOW_REPOSITORY": str(repository), **environment}
        variables = {name: value for name, value in variables.items() if value is not None}
        error = timing = None
        try:
            timing = run_day("2026-01-07T00:00:00Z", conf or {}, variables, workspace / "airflow.log")
        except RunFailedError as failure:
            error = str(failure)
        trace = workspace / "trace"
        return capsys.readouterr().out, trace.read_text().splitlines() if trace.exists() else [], error, timing

    return one


@pytest.mark.airflow
def test_passed(run, workspace):
    shown, trace, error, timing = run({"verdict": {"passed": True, "reason": "correlation 0.93"}})
    assert error is None
    assert sorted(trace) == sorted(f"{stage} --as-of 2026-01-08T00:00:00Z" for stage in STAGES)
    assert [line.split()[0] for line in trace][-5:] == STAGES[-5:]
    assert shown.splitlines()[0] == "reelflow | ingest | done"
    assert "reelflow | verdict | passed: correlation 0.93" in shown.splitlines()
    assert all(line.startswith("reelflow | ") for line in shown.splitlines())
    submitted = (workspace / "spark-submit").read_text()
    assert "--master local[1]" in submitted
    assert "--driver-memory 4g" in submitted
    assert 0 < timing.stage_seconds < timing.total_seconds


@pytest.mark.airflow
def test_refused(run):
    shown, trace, error, _ = run(
        {"verdict": {"passed": False, "reason": "correlation 0.41"}}, {"as_of": "2026-01-08T00:00:00Z", "force": True}
    )
    assert error is None
    assert {line.split()[0] for line in trace} == set(STAGES) - {"index", "recommend", "scan", "publish"}
    assert trace[-1] == "summary --as-of 2026-01-08T00:00:00Z --force"
    assert "reelflow | verdict | refused, nothing is published: correlation 0.41" in shown.splitlines()


@pytest.fixture
def tried(tmp_path):
    """Settings that try something."""
    own = tmp_path / "own.yaml"
    own.write_text("shadow: {name: bigger-towers}")
    return str(own)


@pytest.mark.airflow
@pytest.mark.parametrize("status", [0, 2])
def test_a_run_that_tries_something_ends_the_same_whether_that_fails_or_not(run, tried, status):
    told = {"verdict": {"passed": True, "reason": "correlation 0.93"}, "fails": {"shadow": status} if status else {}}
    shown, trace, error, _ = run(told, REELFLOW_CONF=tried)
    assert error is None
    ran = [line.split()[0] for line in trace]
    assert sorted(ran) == sorted([*STAGES, "shadow"])
    assert ran.index("publish") < ran.index("shadow") < ran.index("summary")
    assert ("reelflow | shadow | error: told to" in shown.splitlines()) is bool(status)


@pytest.mark.airflow
def test_a_run_may_do_without(run, tried):
    _, trace, error, _ = run({"verdict": {"passed": True, "reason": "fine"}}, {"shadow": "no"}, REELFLOW_CONF=tried)
    assert error is None
    assert sorted(line.split()[0] for line in trace) == sorted(STAGES)


@pytest.mark.airflow
def test_an_error_that_a_person_must_mend_is_not_retried(run):
    shown, trace, error, _ = run({"fails": {"train_wals": 2}}, REELFLOW_RETRIES="2")
    assert [line.split()[0] for line in trace].count("train_wals") == 1
    assert not {"gate", "publish", "summary"} & {line.split()[0] for line in trace}
    assert "data_docs" in {line.split()[0] for line in trace}
    assert "reelflow | train_wals | error: told to" in shown.splitlines()
    assert "a retry cannot mend" in error
    assert "the whole log:" in error


@pytest.mark.airflow
def test_the_same_holds_on_spark(run):
    shown, trace, error, _ = run({"fails": {"ingest": 2}}, REELFLOW_RETRIES="2")
    assert [line.split()[0] for line in trace] == ["ingest", "data_docs"]
    assert "reelflow | ingest | error: told to" in shown.splitlines()
    assert "a retry cannot mend" in error


@pytest.mark.airflow
def test_a_missing_connection_does_not_fall_back_to_yarn(run):
    _, trace, error, _ = run(AIRFLOW_CONN_SPARK_DEFAULT=None)
    assert [line.split()[0] for line in trace] == ["data_docs"]
    assert "connection 'spark_default': not found" in error
    assert "AIRFLOW_CONN_SPARK_DEFAULT" in error


def test_only_one_at_a_time(workspace):
    from airflow_run import RunFailedError, only_one

    with only_one(workspace), pytest.raises(RunFailedError, match=f"in use by process {os.getpid()}"), only_one(workspace):
        pass


def test_ending_a_run_ends_what_it_started(tmp_path):
    import subprocess
    import time

    from airflow_run import end_tree

    marker = tmp_path / "pid"
    # `setsid` puts the grandchild into a session of its own, as Airflow does with a stage.
    child = subprocess.Popen(["bash", "-c", f"setsid sleep 60 & echo $! > {marker}; wait"])
    while not marker.exists() or not marker.read_text().strip():
        time.sleep(0.05)
    end_tree(child.pid)
    child.wait(timeout=5)
    state = Path(f"/proc/{marker.read_text().strip()}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"
