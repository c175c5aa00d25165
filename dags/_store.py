"""Which serving store the stages write to: what an Airflow connection says, or the configuration."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from _settings import Settings
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

STORE_CONNECTION, STORE_VARIABLE = "reelflow_store", "REELFLOW_STORE_URL"
_SECONDS = 30


@contextmanager
def store_of_connection() -> Iterator[None]:
    """Inside, programs that this process starts find the store of the connection ``reelflow_store``, where there is one.

    The password travels in the environment of the task alone: no argument, log or rendered field holds it.
    """
    before = os.environ.get(STORE_VARIABLE)
    try:
        os.environ[STORE_VARIABLE] = BaseHook.get_connection(STORE_CONNECTION).get_uri()
    except AirflowNotFoundException:
        yield
        return
    try:
        yield
    finally:
        os.environ.pop(STORE_VARIABLE)
        if before is not None:
            os.environ[STORE_VARIABLE] = before


def live_now(settings: Settings) -> str:
    """What readers see at this moment, from the store alone."""
    with store_of_connection():
        if os.environ.get(STORE_VARIABLE) or settings.store_url:
            return _asked(settings)
    return _read(settings.store)


def _asked(settings: Settings) -> str:
    """What the stages' environment says of a store on a server."""
    command = [str(settings.venv / "bin" / "python"), "-m", "serving.freshness"]
    environment = {**os.environ, "PYTHONPATH": str(settings.repository), "REELFLOW_HOME": str(settings.home)}
    try:
        done = subprocess.run(
            command, cwd=settings.repository, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        return str(json.loads(done.stdout)["text"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return f"the store cannot be asked: {error}"


def _read(store: Path) -> str:
    if not store.exists():
        return "nothing was ever published"
    query = "SELECT version, as_of, model_version, users, published_at FROM publications WHERE status = 'live'"
    try:
        with closing(sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.Error as error:
        return f"the store cannot be read: {error}"
    if row is None:
        return "nothing was ever published"
    version, as_of, model_version, users, published_at = row
    return f"version {version} ({model_version}) as of {as_of}, {users:,} users, published at {published_at}"
