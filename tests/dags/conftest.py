"""Airflow with a home of its own that is thrown away; nothing here needs the stages' environment."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "dags"

if "airflow" not in sys.modules:  # Airflow reads its environment when it is first imported
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "REELFLOW"))]:
        del os.environ[name]
    os.environ.update(
        AIRFLOW_HOME=tempfile.mkdtemp(prefix="reelflow-airflow-"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
        AIRFLOW__CORE__UNIT_TEST_MODE="False",
    )
    sys.path.insert(0, str(DAGS))  # as Airflow does


@pytest.fixture(scope="session")
def dags():
    """Every DAG of the repository by its id, as Airflow's own loader finds them."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(DAGS), bundle_name="dags-folder")
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture(scope="session")
def daily(dags):
    """The daily DAG."""
    return dags["reelflow_daily"]


@pytest.fixture(scope="session")
def hourly(dags):
    """The hourly DAG."""
    return dags["reelflow_hourly"]
