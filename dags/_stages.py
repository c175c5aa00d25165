"""Operators that run stages: ``python -m jobs.<stage>``, or the same through spark-submit."""

from __future__ import annotations

import logging
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from _settings import Settings
from _verdict import read_verdict
from _window import Window, window_of
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

log = logging.getLogger("airflow.task")

SPARK_CONNECTION = "spark_default"
AS_OF = "{{ window(dag_run, params).as_of }}"
FORCE = "{{ '--force' if params.force else '' }}"
# A stage exits with 2 for an error that only a person can mend. The texts are those of the two operators.
_MENDABLE = re.compile(r"non-zero exit code 2\.|Error code is: 2\.")


class _Stage:
    """Says how long the stage took, and does not retry what a retry cannot mend."""

    def execute(self, context: Context) -> Any:
        """Run the stage."""
        started = time.monotonic()
        try:
            return super().execute(context)
        except AirflowException as error:
            if _MENDABLE.search(str(error)):
                raise AirflowFailException(
                    f"{self.task_id}: stopped by an error that a retry cannot mend; "
                    f"it stands above, after `reelflow | {self.task_id} | error:`"
                ) from error
            raise
        finally:
            self.log.info("reelflow-seconds | %s | %.2f", self.task_id, time.monotonic() - started)


class PythonStage(_Stage, BashOperator):
    """A stage that needs no Spark."""


class SparkStage(_Stage, SparkSubmitOperator):
    """A stage on Spark. The connection alone decides where it runs."""

    def execute(self, context: Context) -> Any:
        """Submit the stage, once it is sure where to."""
        try:
            BaseHook.get_connection(SPARK_CONNECTION)
        except AirflowNotFoundException as error:  # the operator would quietly submit to YARN
            raise AirflowFailException(
                f"connection {SPARK_CONNECTION!r}: not found; expected a Spark connection. Set the environment variable "
                f'AIRFLOW_CONN_SPARK_DEFAULT to JSON such as {{"conn_type": "spark", "host": "local[2]"}}, '
                "or add it in the UI under Admin, Connections"
            ) from error
        self.application_args = [argument for argument in self.application_args or [] if argument]
        return super().execute(context)


def python_stage(settings: Settings, stage: str, *, minutes: int, **options: Any) -> PythonStage:
    """A task that runs ``python -m jobs.<stage>`` in the stages' environment."""
    return PythonStage(
        task_id=stage,
        bash_command=f"exec '{settings.venv}/bin/python' -m jobs.{stage} --as-of {AS_OF} {FORCE}",
        env=settings.environment(),
        append_env=True,
        cwd=str(settings.repository),
        skip_on_exit_code=None,
        do_xcom_push=False,
        **_common(settings, minutes),
        **options,
    )


def spark_stage(settings: Settings, stage: str, *, minutes: int, **options: Any) -> SparkStage:
    """A task that submits ``jobs.<stage>`` to Spark."""
    return SparkStage(
        task_id=stage,
        conn_id=SPARK_CONNECTION,
        application=str(settings.repository / "jobs" / "__main__.py"),
        application_args=[stage, "--as-of", AS_OF, FORCE],
        name=f"reelflow {stage} {AS_OF}",
        driver_memory=settings.driver_memory,
        env_vars=settings.environment(),
        # A cleared task must run again: the default remembers the finished job and skips it without a word.
        durable=False,
        **_common(settings, minutes),
        **options,
    )


def verdict_task(settings: Settings, *, minutes: int) -> ShortCircuitOperator:
    """A task that lets the run go on only if the gate passed; if not, all up to ``publish`` is skipped."""

    def decide(dag_run: Any, params: dict[str, Any]) -> bool:
        return decide_on(settings.runs / run_window(dag_run, params).folder / "verdict.json")

    return ShortCircuitOperator(
        task_id="verdict",
        python_callable=decide,
        # The summary's own trigger rule counts, so it reports a refusal too.
        ignore_downstream_trigger_rules=False,
        do_xcom_push=True,  # Airflow skips what lies downstream only where it may push which
        **{**_common(settings, minutes), "retries": 0},
    )


def decide_on(path: Path) -> bool:
    """Log the gate's verdict in one line and return whether it passed.

    Raises:
        AirflowFailException: there is no readable verdict.
    """
    try:
        verdict = read_verdict(path)
    except ValueError as error:
        log.error("reelflow | verdict | error: %s", error)  # noqa: TRY400 - one line for a person
        raise AirflowFailException(str(error)) from error
    outcome = "passed" if verdict.passed else "refused, nothing is published"
    log.info("reelflow | verdict | %s: %s", outcome, verdict.reason.removeprefix("passed: ").removeprefix("refused: "))
    return verdict.passed


def run_window(dag_run: Any, params: Any) -> Window:
    """The window of a DAG run, for templates and tasks."""
    return window_of(dag_run.logical_date, params.get("as_of"), dag_run.run_after)


def macros(settings: Settings) -> dict[str, Any]:
    """What the tasks' templates call."""
    return {"window": run_window, "path_of_stages": settings.path_of_stages}


def _common(settings: Settings, minutes: int) -> dict[str, Any]:
    return {
        "retries": settings.retries,
        "retry_delay": timedelta(minutes=2),
        "execution_timeout": timedelta(minutes=minutes),
    }
