"""How reelflow starts Airflow on one machine: one workspace, one SQLite database in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("REELFLOW_AIRFLOW_VENV") or REPOSITORY / ".venv-airflow") / "bin" / "airflow"
MESSAGE_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def airflow_environment(home: Path, master: str) -> dict[str, str]:
    """The variables under which Airflow runs for the workspace ``home``; a Spark connection from outside is kept."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    port = os.environ.get("PORT") or "8080"
    return {
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": master}),
        **kept,
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",  # of all tasks; the pools bound those that are large
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": "utc",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",  # tasks report there
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "REELFLOW_HOME": str(home),
    }
