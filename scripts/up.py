"""``make up``: Airflow with its UI, scheduler included, on this machine. Runs in the stages' environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from airflow_environment import PROGRAM, REPOSITORY, airflow_environment
from airflow_run import RunFailedError, end_tree, migrate, only_one

sys.path.insert(0, str(REPOSITORY))

import conf


def main() -> None:
    """Start Airflow in the foreground, until it is interrupted."""
    home = conf.home()
    if not os.environ.get("REELFLOW_CONF") and (home / "run.yaml").exists():
        os.environ["REELFLOW_CONF"] = str(home / "run.yaml")  # the logs that `make run RAW=...` named
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = airflow_environment(home, conf.resolved()["spark"]["master"])
    passwords = Path(environment["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
    try:
        with only_one(home):
            migrate(home, environment)
            print(
                f"reelflow | up | workspace {home}\n"
                f"reelflow | up | http://127.0.0.1:{environment['AIRFLOW__API__PORT']}, user admin, password in {passwords}\n"
                "reelflow | up | the DAG is paused at first: unpause it there; Ctrl-C stops Airflow",
                flush=True,
            )
            process = subprocess.Popen([PROGRAM, "standalone"], env=environment, start_new_session=True)
            try:
                sys.exit(process.wait())
            finally:
                end_tree(process.pid)
    except (RunFailedError, conf.ConfigError) as error:
        sys.exit(f"reelflow | up | error: {error}")
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
