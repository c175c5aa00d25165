"""An application in this process, and a server in one of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from starlette.testclient import TestClient

from conf import load
from serving import ServingStore
from serving.http import ApiKeys, HttpConfig, create_app

ROOT = Path(__file__).resolve().parents[3]
LOCAL = "http://127.0.0.1:8090"


def config(**changes: Any) -> HttpConfig:
    return HttpConfig.model_validate({**load("http", HttpConfig).model_dump(), **changes})


def client(
    store: ServingStore, *, url: str = LOCAL, keys: ApiKeys | None = None, lake: Path | None = None, **changes: Any
) -> TestClient:
    app = create_app(store, config(**changes), keys, lake)
    return TestClient(app, base_url=url, raise_server_exceptions=False)


def begin(
    home: Path,
    store: Path | None = None,
    *arguments: str,
    port: int = 0,
    settings: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Begin a server, and do not wait until it answers."""
    own = home / "http.yaml"
    own.write_text(yaml.safe_dump({"http": settings or {}}), encoding="utf-8")
    known = {"PYTHONPATH": str(ROOT), "REELFLOW_HOME": str(home), "REELFLOW_CONF": str(own), **(environment or {})}
    chosen = ["--store", str(store)] if store else []
    command = [sys.executable, "-m", "serving.http", "--port", str(port), *chosen, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **known}, text=True, stdout=pipe, stderr=pipe)


class Server:
    """``python -m serving.http`` over a SQLite file or the store of its environment; ``url`` is where it answers."""

    def __init__(self, home: Path, store: Path | None = None, *arguments: str, **options: Any) -> None:
        self.process = begin(home, store, *arguments, **options)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.search(r"http://[^,]+:(\d+)", said)
        if not found:
            raise AssertionError(f"{said}{self.process.communicate(timeout=30)}")
        self.url, self.port = found.group(), int(found.group(1))
        httpx.get(f"{self.url}/health", timeout=60)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end, and wait until it has; returns its exit status."""
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


@contextmanager
def serving(home: Path, store: Path | None = None, *arguments: str, **options: Any) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(home, store, *arguments, **options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()
