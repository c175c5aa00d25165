import ast
import json
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise

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
    "gate": {"ask"},
    "ask": {"approve"},
    "approve": {"verdict"},
    "verdict": {"index"},
    "index": {"recommend"},
    "recommend": {"scan"},
    "scan": {"publish"},
    "publish": {"data_docs", "shadow", "summary"},
    "shadow": {"after_shadow"},
    "after_shadow": {"summary"},
    "data_docs": {"summary"},
    "summary": set(),
}
SPARK = {"ingest", "examples", "features", "recommend", "scan"}
PYTHON = set(EDGES) - SPARK - {"ask", "verdict", "after_shadow"}
HOURLY = ["ingest", "text", "examples", "features", "refresh", "gate", "verdict", "index", "recommend", "scan", "publish"]
POOLS = {
    **dict.fromkeys(SPARK, "spark"),
    **dict.fromkeys(["text", "train_wals", "train_towers", "evaluate", "noise_floor", "shadow"], "train"),
    "publish": "publish",
}


def test_dag_ids(dags):
    assert set(dags) == {"reelflow_daily", "reelflow_erasure", "reelflow_hourly", "reelflow_rollback"}


def test_edges(daily):
    assert {task.task_id: task.downstream_task_ids for task in daily.tasks} == EDGES


def test_edges_of_the_hourly_lane(hourly):
    expected = {stage: {below} for stage, below in pairwise(HOURLY)}
    assert {task.task_id: task.downstream_task_ids for task in hourly.tasks} == {**expected, "publish": set()}


def test_rollback_is_one_task_without_a_schedule(dags):
    rollback = dags["reelflow_rollback"]
    assert [task.task_id for task in rollback.tasks] == ["rollback"]
    assert rollback.schedule is None
    assert rollback.get_task("rollback").pool == "publish"
    assert rollback.params.get_param("reason").schema["minLength"] == 3


def test_erasure_is_one_task_that_waits_for_a_person(dags):
    erasure = dags["reelflow_erasure"]
    assert [task.task_id for task in erasure.tasks] == ["erase"]
    assert erasure.schedule is None
    task = erasure.get_task("erase")
    assert task.bash_command.endswith('-m jobs.erase --user="$USER_ID" --by "$BY" --reason "$REASON"')
    assert (task.env["USER_ID"], task.env["REASON"]) == ("{{ params.user_id }}", "{{ params.reason }}")
    assert task.execution_timeout == timedelta(hours=24)
    user = erasure.params.get_param("user_id").schema
    assert (user["type"], user["pattern"]) == ("string", "^-?[0-9]{1,19}$")


def test_pools(daily, hourly):
    assert {task.task_id: task.pool for task in daily.tasks if task.pool != "default_pool"} == POOLS
    expected = {**{stage: "spark" for stage in HOURLY if stage in SPARK}, "publish": "publish"}
    assert {task.task_id: task.pool for task in hourly.tasks if task.pool != "default_pool"} == expected
    assert {task.priority_weight for task in hourly.tasks} == {10}
    assert {task.priority_weight for task in daily.tasks} == {1}
    assert {task.weight_rule for dag in (daily, hourly) for task in dag.tasks} == {"absolute"}


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
    kinds = "live and manual runs"
    expected = {"recompute": "what is stale", "publish": kinds, "shadow": kinds, "force": False, "as_of": None}
    assert daily.params.dump() == expected
    assert all(daily.params.get_param(name).description for name in expected)
    stages = [stage for stage in EDGES if stage not in {"ask", "approve", "verdict", "after_shadow", "data_docs", "summary"}]
    assert set(daily.params.get_param("recompute").schema["enum"]) == {"what is stale", *stages}


def test_stages_to_choose_from_are_in_an_order_in_which_they_may_run(daily):
    order = daily.params.get_param("recompute").schema["enum"][1:]
    for stage in order:
        below = {task.task_id for task in daily.get_task(stage).get_flat_relatives(upstream=False)}
        assert not below & set(order[: order.index(stage)]), stage


def test_params_of_the_hourly_lane(hourly):
    assert hourly.params.dump() == {"force": False, "as_of": None}


@pytest.mark.parametrize("stage", sorted(SPARK))
def test_spark_stages(daily, stage):
    task = daily.get_task(stage)
    assert type(task).__name__ == "SparkStage"
    assert task._conn_id == "spark_default"
    assert task.durable is False
    assert task.application == str(REPOSITORY / "jobs" / "__main__.py")
    assert task.application_args[0] == stage
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
        limit = task.response_timeout if task.task_id == "ask" else task.execution_timeout
        assert timedelta(minutes=1) < limit <= timedelta(hours=6), task.task_id
        assert task.retries == (0 if task.task_id == "verdict" else 2), task.task_id
        assert task.retry_delay == timedelta(minutes=2), task.task_id


def test_a_refusal_skips_all_but_data_docs_and_the_summary(daily):
    assert daily.get_task("verdict").ignore_downstream_trigger_rules is False
    rules = {task.task_id: task.trigger_rule.value for task in daily.tasks if task.trigger_rule.value != "all_success"}
    # A gate that passed skips the question; the verdict is read all the same.
    assert rules == {
        "verdict": "none_failed", "data_docs": "all_done", "summary": "none_failed",
        "shadow": "none_failed", "after_shadow": "all_done",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("conf", "of_ingest", "of_gate"),
    [
        ({}, ["--as-of", "2026-01-08T00:00:00Z"], ["--as-of", "2026-01-08T00:00:00Z"]),
        (
            {"as_of": "2026-01-08T06:00:00Z", "force": True},
            ["--as-of", "2026-01-08T06:00:00Z", "--force"],
            ["--as-of", "2026-01-08T06:00:00Z", "--force"],
        ),
        (
            {"recompute": "train_wals"},
            ["--as-of", "2026-01-08T00:00:00Z"],
            ["--as-of", "2026-01-08T00:00:00Z", "--force"],
        ),
    ],
)
def test_rendered_arguments(daily, monkeypatch, conf, of_ingest, of_gate):
    from datetime import UTC, datetime
    from types import SimpleNamespace

    monkeypatch.setenv("PATH", "/usr/bin")
    run = SimpleNamespace(
        logical_date=datetime(2026, 1, 7, tzinfo=UTC),
        run_after=datetime(2026, 1, 8, tzinfo=UTC),
        run_type="manual" if "as_of" in conf else "backfill",
    )
    context = {"dag_run": run, "params": {**daily.params.dump(), **conf}}
    environment = daily.get_template_env()
    gate, ingest = daily.get_task("gate"), daily.get_task("ingest")
    assert gate.render_template(gate.bash_command, context, environment).split()[3:] == ["jobs.gate", *of_gate]
    assert " ".join(ingest.render_template(ingest.application_args, context, environment)).split() == ["ingest", *of_ingest]
    variables = ingest.render_template(ingest.env_vars, context, environment)
    assert variables["PATH"] == f"{REPOSITORY}/.venv/bin:/usr/bin"
    assert variables["REELFLOW_KIND"] == run.run_type


def test_rendered_arguments_of_the_hourly_lane(hourly):
    from datetime import UTC, datetime
    from types import SimpleNamespace

    run = SimpleNamespace(
        logical_date=datetime(2026, 1, 7, 4, 5, tzinfo=UTC),
        run_after=datetime(2026, 1, 7, 5, 5, tzinfo=UTC),
        run_type="scheduled",
    )
    context = {"dag_run": run, "params": hourly.params.dump()}
    environment, refresh, ingest = hourly.get_template_env(), hourly.get_task("refresh"), hourly.get_task("ingest")
    expected = ["--as-of", "2026-01-07T05:00:00Z", "--lane", "hourly"]
    assert refresh.render_template(refresh.bash_command, context, environment).split()[3:] == ["jobs.refresh", *expected]
    assert " ".join(ingest.render_template(ingest.application_args, context, environment)).split() == ["ingest", *expected]


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
