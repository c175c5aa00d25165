"""The section ``airflow``, which DAGs read; its checks are here because DAG files import none of our packages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conf import Section

__all__ = ["AirflowConfig", "AlertsConfig", "PoolsConfig"]


class PoolsConfig(Section):
    """Slots of Airflow's pools."""

    spark: int = Field(ge=1)
    """Stages on Spark that run at a time: as many JVMs of ``spark.driver_memory`` as the machine holds."""
    train: int = Field(ge=1)
    """Trainings, encoders and evaluations of the daily lane that run at a time."""
    publish: Literal[1]
    """What changes the live version runs alone."""


class AlertsConfig(Section):
    """Who is told when a task fails for good, a gate refuses, or a person is asked."""

    kinds: tuple[Literal["live", "backfill", "manual"], ...]
    """Kinds of runs that alert."""
    email_to: tuple[str, ...]
    """Addresses; none: no mail is sent."""
    email_from: str
    """The sender's address."""
    smtp_connection: str
    """Airflow connection that names the mail server."""
    webhook_url: str | None
    """Where each alert is posted as JSON; null: nowhere."""


class AirflowConfig(Section):
    """Section ``airflow``."""

    pools: PoolsConfig
    """Pools that ``make run`` and ``make up`` create."""
    approval_hours: float = Field(ge=0)
    """How long a person may take to answer for a gate that refused; no answer is a no; 0: nobody is asked."""
    alerts: AlertsConfig
    """Mail and webhook, both off by default."""
