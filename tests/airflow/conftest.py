"""One Airflow for all tests of this folder, on stages that leave a trace and publish into a real store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from .receivers import Received, receiving
from .stack import Stack, running
from .standins import REPOSITORY, make_repository

APPROVAL_SECONDS = 40.0


@pytest.fixture(scope="session")
def received() -> Iterator[Received]:
    """A mail server and a web server, and the alerts that came."""
    with receiving() as found:
        yield found


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, received: Received) -> Iterator[Stack]:
    """A running Airflow whose DAGs are not paused."""
    root, home = tmp_path_factory.mktemp("repository") / "tree", tmp_path_factory.mktemp("workspace")
    make_repository(root)
    (home / "told.json").write_text("{}")
    (home / "settings.yaml").write_text(yaml.safe_dump(received.settings()))
    variables = {
        "REELFLOW_REPOSITORY": str(root),
        "REELFLOW_REAL": str(REPOSITORY),
        "REELFLOW_CONF": str(home / "settings.yaml"),
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(received.smtp),
        "REELFLOW_RETRY_SECONDS": "1",
        "REELFLOW_APPROVAL_HOURS": str(APPROVAL_SECONDS / 3600),
    }
    with running(home, variables) as found:
        yield found


class World:
    """What the stand-ins are told and what they did."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def tell(self, as_of: str, **what: Any) -> None:
        """What the stages are to do for a window."""
        file = self.home / "told.json"
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps({**json.loads(file.read_text()), as_of: what}))
        draft.replace(file)

    def trace(self, **which: Any) -> list[dict[str, Any]]:
        """What the stages noted, oldest first."""
        file = self.home / "trace"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if all(line[name] == value for name, value in which.items())]

    def files(self) -> Mapping[str, bytes]:
        """Every file of the lake and its content."""
        return {
            path.relative_to(self.home).as_posix(): path.read_bytes()
            for path in sorted((self.home / "lake").rglob("*"))
            if path.is_file()
        }

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the store answers, asked as any app asks it."""
        store = self.home / "store" / "recommendations.sqlite"
        if not store.exists():
            return []
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as connection:
            ready = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'publications'").fetchall()
            return connection.execute(query).fetchall() if ready else []

    def publications(self) -> dict[str, list[str]]:
        """The statuses of each window's publications."""
        found: dict[str, list[str]] = {}
        for as_of, status in self.ask("SELECT as_of, status FROM publications ORDER BY version"):
            found.setdefault(as_of, []).append(status)
        return found

    def live(self) -> str | None:
        """The end of the window that is live."""
        found = self.ask("SELECT as_of FROM publications WHERE status = 'live'")
        return found[0][0] if found else None

    def report(self, as_of: str, name: str) -> Any:
        """A report of a run."""
        return json.loads((self.home / "runs" / as_of.replace("-", "").replace(":", "") / name).read_text())


@pytest.fixture
def world(stack: Stack) -> World:
    """The stand-ins' world."""
    return World(stack.home)
