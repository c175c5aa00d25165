"""Operators that run stages: ``python -m jobs.<stage>``, or the same through spark-submit."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from _runs import Kind, kind_of, refuse_common_end
from _settings import Settings
from _store import store_of_connection
from _window import DAY, Window, window_of
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException, AirflowSkipException

log = logging.getLogger("airflow.task")

SPARK_CONNECTION = "spark_default"
SPARK_POOL, TRAIN_POOL, PUBLISH_POOL, DEFAULT_POOL = "spark", "train", "publish", "default_pool"
# A stage exits with 2 for an error that only a person can mend. The texts are those of the two operators.
_MENDABLE = re.compile(r"non-zero exit code 2\.|Error code is: 2\.")


class _Stage:
    """Says how long the stage took, and does not retry what a retry cannot mend."""

    reason_to_skip: Callable[[Context], str | None] | None = None
    """Says why a run does without this stage; None where none does."""

    def execute(self, context: Context) -> Any:
        """Run the stage."""
        if self.reason_to_skip is not None and (why := self.reason_to_skip(context)):
            self.log.info("reelflow | %s | skipped: %s", self.task_id, why)
            raise AirflowSkipException(why)
        started = time.monotonic()
        try:
            with store_of_connection():
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

    def __init__(self, *, reason_to_skip: Callable[[Context], str | None] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.reason_to_skip = reason_to_skip


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
        self.application_args = [word for argument in self.application_args or [] for word in argument.split() if word]
        return super().execute(context)


class Stages:
    """Makes the tasks of one DAG: each stage gets the window, ``force``, and what all stages of the DAG have in common."""

    def __init__(self, settings: Settings, *, grain: timedelta = DAY, more: str = "", priority: int = 1) -> None:
        """Say what the tasks of the DAG share.

        Args:
            settings: of this installation.
            grain: length of a run's window.
            more: further arguments of every stage.
            priority: tasks of a higher one get a free slot of a pool first.
        """
        self._settings, self._grain, self._more, self._priority = settings, grain, more, priority

    def python(self, stage: str, *, minutes: int, arguments: str = "", **options: Any) -> PythonStage:
        """A task that runs ``python -m jobs.<stage>`` for the run's window, in the stages' environment."""
        return self.plain(stage, minutes=minutes, arguments=f"{self._arguments(stage)} {arguments}".rstrip(), **options)

    def plain(
        self,
        command: str,
        *,
        minutes: int,
        pool: str = DEFAULT_POOL,
        arguments: str = "",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> PythonStage:
        """A task that runs ``python -m jobs.<command>`` with these arguments and no others."""
        return PythonStage(
            task_id=command,
            bash_command=f"exec '{self._settings.venv}/bin/python' -m jobs.{command} {arguments}",
            env={**self._settings.environment(), **(env or {})},
            append_env=True,
            cwd=str(self._settings.repository),
            skip_on_exit_code=None,
            do_xcom_push=False,
            pool=pool,
            **self.common(minutes),
            **options,
        )

    def spark(self, stage: str, *, minutes: int, **options: Any) -> SparkStage:
        """A task that submits ``jobs.<stage>`` to Spark."""
        return SparkStage(
            task_id=stage,
            conn_id=SPARK_CONNECTION,
            application=str(self._settings.repository / "jobs" / "__main__.py"),
            application_args=[stage, self._arguments(stage)],
            name=f"reelflow {stage} {{{{ window(dag_run, params).as_of }}}}",
            driver_memory=self._settings.driver_memory,
            env_vars=self._settings.environment(),
            # A cleared task must run again: the default remembers the finished job and skips it without a word.
            durable=False,
            pool=SPARK_POOL,
            **self.common(minutes),
            **options,
        )

    def common(self, minutes: int) -> dict[str, Any]:
        """What every task has."""
        return {
            "retries": self._settings.retries,
            "retry_delay": self._settings.retry_delay,
            "execution_timeout": timedelta(minutes=minutes),
            "priority_weight": self._priority,
            "weight_rule": "absolute",
        }

    def window(self, dag_run: Any, params: Any) -> Window:
        """The window of a DAG run, for templates and tasks."""
        as_of = params.get("as_of")
        refuse_common_end(kind_of(dag_run.run_type), as_of)
        return window_of(dag_run.logical_date, as_of, dag_run.run_after, self._grain)

    def macros(self, **more: Any) -> dict[str, Any]:
        """What the tasks' templates call."""
        return {"window": self.window, "path_of_stages": self._settings.path_of_stages, "kind": kind, **more}

    def _arguments(self, stage: str) -> str:
        """The stage's arguments; ``redo`` is a macro of the DAG."""
        shared = f"--as-of {{{{ window(dag_run, params).as_of }}}} {{{{ redo('{stage}', params) }}}}"
        return f"{shared} {self._more}".rstrip()


def kind(dag_run: Any) -> Kind:
    """The kind of a DAG run."""
    return kind_of(dag_run.run_type)
