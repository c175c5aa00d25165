"""Where the code and the workspace lie, and the few settings that wiring needs; read without importing reelflow's packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

PASSED_ON = ("REELFLOW_HOME", "REELFLOW_ENV", "REELFLOW_CONF")


@dataclass(frozen=True, slots=True)
class Alerts:
    """Who is told what went wrong; ``conf.orchestration.AlertsConfig`` says more."""

    kinds: tuple[str, ...]
    email_to: tuple[str, ...]
    email_from: str
    smtp_connection: str
    webhook_url: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the DAGs know of their surroundings."""

    repository: Path
    """The source tree; stages run there."""
    venv: Path
    """The virtual environment of the stages (not Airflow's)."""
    home: Path
    """The workspace."""
    runs: Path
    """Where stages leave reports and the verdict."""
    store: Path
    """The serving store's file, which alerts read to say what is live."""
    store_url: str | None
    """The server that is the serving store instead."""
    driver_memory: str
    """Heap of a Spark driver."""
    retries: int
    """How often a failed stage is tried again."""
    retry_delay: timedelta
    """How long it waits before."""
    approval: timedelta | None
    """How long a refused gate waits for a person; None: nobody is asked."""
    alerts: Alerts
    """Who is told."""
    shadow: str | None
    """What is tried beside the live settings; None: nothing is."""

    def environment(self) -> dict[str, str]:
        """Variables that every stage gets. ``PATH`` is a template: the worker's own, not the DAG processor's."""
        python = str(self.venv / "bin" / "python")
        return {
            "PATH": "{{ path_of_stages() }}",
            "PYTHONPATH": str(self.repository),
            "PYTHONUNBUFFERED": "1",
            "PYSPARK_PYTHON": python,
            "PYSPARK_DRIVER_PYTHON": python,
            **self._java_options(),
            **{name: os.environ[name] for name in PASSED_ON if os.environ.get(name)},
            "REELFLOW_HOME": str(self.home),
            "REELFLOW_KIND": "{{ kind(dag_run) }}",
        }

    def _java_options(self) -> dict[str, str]:
        """Lets spark-submit's JVM start from the archive of classes that set-up wrote, where there is one."""
        classes = self.venv / "spark-classes.jsa"
        options = f"-XX:SharedArchiveFile={classes} -Xlog:disable -Xlog:all=error:stderr"
        return {"SPARK_SUBMIT_OPTS": options} if classes.exists() else {}

    def path_of_stages(self) -> str:
        """The ``PATH`` of this process with the stages' environment in front, so that its ``spark-submit`` is found first."""
        return f"{self.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def read_settings() -> Settings:
    """Read the settings from the environment and from ``conf/``, as ``conf.resolved`` does."""
    repository = Path(os.environ.get("REELFLOW_REPOSITORY") or Path(__file__).resolve().parent.parent)
    home = Path(os.environ.get("REELFLOW_HOME") or repository / "var").expanduser().resolve()
    merged: dict[str, Any] = {}
    layers = [repository / "conf" / "base.yaml", repository / "conf" / f"{os.environ.get('REELFLOW_ENV', 'local')}.yaml"]
    if own := os.environ.get("REELFLOW_CONF"):
        layers.append(Path(own))
    for path in layers:
        _merge(merged, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    airflow, alerts = merged["airflow"], merged["airflow"]["alerts"]
    hours = float(os.environ.get("REELFLOW_APPROVAL_HOURS") or airflow["approval_hours"])
    return Settings(
        repository=repository,
        venv=Path(os.environ.get("REELFLOW_VENV") or repository / ".venv"),
        home=home,
        runs=home / Path(merged["paths"]["runs"]).expanduser(),
        store=home / Path(merged["paths"]["store"]).expanduser(),
        store_url=merged["store"]["url"],
        driver_memory=str(merged["spark"]["driver_memory"]),
        retries=int(os.environ.get("REELFLOW_RETRIES") or 2),
        retry_delay=timedelta(seconds=float(os.environ.get("REELFLOW_RETRY_SECONDS") or 120)),
        approval=timedelta(hours=hours) if hours else None,
        alerts=Alerts(
            kinds=tuple(alerts["kinds"]),
            email_to=tuple(alerts["email_to"]),
            email_from=alerts["email_from"],
            smtp_connection=alerts["smtp_connection"],
            webhook_url=alerts["webhook_url"],
        ),
        shadow=merged["shadow"]["name"],
    )


def _merge(base: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Lay ``overlay`` over ``base`` in place; the stages' own loader checks the keys."""
    for key, value in overlay.items():
        if isinstance(base.get(key), dict) and isinstance(value, Mapping):
            _merge(base[key], value)
        else:
            base[key] = value
