import ast
import json
import subprocess
import sys
from datetime import timedelta

import pytest

from .conftest import DAGS, REPOSITORY

EDGES = {
    "ingest": {"examples", "text"},
    "examples": {"features"},
    "text": {"train_wals", "train_towers"},
    "features": {"train_wals", "train_towers"},
    "train_wals": {"evaluate", "noise_floor"},
    "train_towers": {"evaluate", "noise_floor"},
    "noise_floor": {"gate"},
    "evaluate": {"gate"},
    "gate": {"verdict"},
    "verdict": {"index"},
    "index": {"recommend"},
    "recommend": {"scan"},
    "scan": {"publish"},
    "publish": {"data_docs", "summary"},
    "data_docs": {"summary"},
    "summary": set(),
}
SPARK = {"ingest", "examples", "features", "recommend", "scan"}
PYTHON = set(EDGES) - SPARK - {"verdict"}


def test_dag_ids(dags):
    assert set(dags) == {"reelflow_daily"}


def test_edges(daily):
    assert {task.task_id: task.downstream_task_ids for task in daily.tasks} == EDGES


def test_every_stage_has_a_module():
    missing = [stage for stage in SPARK | PYTHON if not (REPOSITORY / "jobs" / f"{stage}.py").is_file()]
    assert missing == []
    assert (REPOSITORY / "jobs" / "__main__.py").is_file()


def test_schedule(daily):
    timetable = daily.timetable
    assert type(timetable).__name__ == "CronDataIntervalTimetable"
    assert (timetable.expression, str(timetable.timezone)) == ("0 0 * * *", "UTC")
    assert (daily.catchup, daily.max_active_runs) == (False, 1)
    assert daily.start_date.isoformat() == "1970-01-01T00:00:00+00:00"
    assert daily.doc_md.startswith("Daily full retraining")


def test_params(daily):
    assert daily.params.dump() == {"as_of": None, "force": False}
    assert all(daily.params.get_param(name).description for name in ("as_of", "force"))


@pytest.mark.parametrize("stage", sorted(SPARK))
def test_spark_stages(daily, stage):
    task = daily.get_task(stage)
    assert type(task).__name__ == "SparkStage"
    assert task._conn_id == "spark_default"
    assert task.durable is False
    assert task.application == str(REPOSITORY / "jobs" / "__main__.py")
    assert task.application_args[:2] == [stage, "--as-of"]
    assert task._driver_memory == "4g"
    assert task.env_vars["PYSPARK_PYTHON"] == task.env_vars["PYSPARK_DRIVER_PYTHON"] == str(REPOSITORY / ".venv/bin/python")
    assert task.env_vars["PYTHONPATH"] == str(REPOSITORY)
    assert task.env_vars["REELFLOW_HOME"] == str(REPOSITORY / "var")


@pytest.mark.parametrize("stage", sorted(PYTHON))
def test_python_stages(daily, stage):
    task = daily.get_task(stage)
    assert type(task).__name__ == "PythonStage"
    assert f"'{REPOSITORY}/.venv/bin/python' -m jobs.{stage} --as-of " in task.bash_command
    assert (task.append_env, task.cwd) == (True, str(REPOSITORY))
    assert task.env["REELFLOW_HOME"] == str(REPOSITORY / "var")
    assert 99 not in task.skip_on_exit_code


def test_every_task_ends(daily):
    for task in daily.tasks:
        assert timedelta(minutes=1) < task.execution_timeout <= timedelta(hours=4), task.task_id
        assert task.retries == (0 if task.task_id == "verdict" else 2), task.task_id
        assert task.retry_delay == timedelta(minutes=2), task.task_id


def test_a_refusal_skips_all_but_data_docs_and_the_summary(daily):
    assert daily.get_task("verdict").ignore_downstream_trigger_rules is False
    rules = {task.task_id: task.trigger_rule.value for task in daily.tasks if task.trigger_rule.value != "all_success"}
    assert rules == {"data_docs": "all_done", "summary": "none_failed"}


@pytest.mark.parametrize(
    ("conf", "arguments"),
    [
        ({}, "--as-of 2026-01-08T00:00:00Z "),
        ({"as_of": "2026-01-08T06:00:00Z", "force": True}, "--as-of 2026-01-08T06:00:00Z --force"),
    ],
)
def test_rendered_arguments(daily, monkeypatch, conf, arguments):
    from datetime import UTC, datetime
    from types import SimpleNamespace

    monkeypatch.setenv("PATH", "/usr/bin")
    run = SimpleNamespace(logical_date=datetime(2026, 1, 7, tzinfo=UTC), run_after=datetime(2026, 1, 8, tzinfo=UTC))
    context = {"dag_run": run, "params": {"as_of": None, "force": False, **conf}}
    environment = daily.get_template_env()
    gate, ingest = daily.get_task("gate"), daily.get_task("ingest")
    assert gate.render_template(gate.bash_command, context, environment).endswith(f" -m jobs.gate {arguments}")
    assert " ".join(ingest.render_template(ingest.application_args, context, environment)) == f"ingest {arguments}"
    assert ingest.render_template(ingest.env_vars, context, environment)["PATH"] == f"{REPOSITORY}/.venv/bin:/usr/bin"


def test_dags_import_nothing_of_ours_and_no_engine():
    forbidden = {"conf", "jobs", "models", "schemas", "serving", "pyspark", "torch", "faiss", "implicit", "mlflow", "pandas"}
    for path in DAGS.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in names} & forbidden, path.name


def test_nothing_in_dags_shadows_a_package():
    taken = {"conf", "schemas", "models", "jobs", "serving", "tests"}
    assert not taken & {path.stem for path in DAGS.iterdir()}


def test_helpers_are_not_parsed_as_dags():
    assert "_*.py" in (DAGS / ".airflowignore").read_text(encoding="utf-8").split()


def test_the_generated_page_is_up_to_date():
    command = [sys.executable, str(REPOSITORY / "scripts" / "generate_dags_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_follow_the_environment(tmp_path, monkeypatch):
    from _settings import read_settings

    overlay = tmp_path / "own.yaml"
    overlay.write_text(json.dumps({"spark": {"driver_memory": "9g"}, "paths": {"runs": "/elsewhere"}}), encoding="utf-8")
    for name, value in {"HOME": str(tmp_path / "w"), "CONF": str(overlay), "RETRIES": "0", "VENV": "/v"}.items():
        monkeypatch.setenv(f"REELFLOW_{name}", value)
    settings = read_settings()
    assert (settings.driver_memory, str(settings.runs), settings.retries, str(settings.venv)) == ("9g", "/elsewhere", 0, "/v")
    assert settings.environment()["REELFLOW_CONF"] == str(overlay)
