"""Connections to PostgreSQL: how one is opened, what two publishers exclude each other by, and what errors mean to a person.

Two kinds of advisory lock, both of :data:`LOCKS` in the store's own database. ``(LOCKS, 0)`` lasts for a transaction: what
changes the log of versions takes it alone, what loads rows takes it shared. Whoever has it is done soon: what takes long takes
it last, and waits for nothing then that another such transaction may have. ``(LOCKS, version)`` lasts for a session: it is the
lease of the publisher that loads this version. The server drops it when the connection ends, however it ends, so there is no
timeout to tune and no clock to trust.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from serving._protocol import StoreError
from serving.postgres import _schema

__all__ = ["LOCKS", "LOCK_TIMEOUT", "ReaderPool", "Server", "alone", "alongside", "lock_beside"]

Connection = psycopg.Connection[tuple[Any, ...]]

LOCKS = 0x52464C57  # "RFLW": tells our locks from those of other applications in the database
LOCK_TIMEOUT = "60s"  # of a writer
_CONNECTIONS = 16  # for reading, in one process; the server's own limit is 100 by default, for everybody
_WAIT_SECONDS = 30.0

# A machine that vanished is noticed after a minute instead of two hours, on both ends.
# Keepalives are sent while nothing is under way; what was sent and is not acknowledged has a limit of its own.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_SESSION = "SET search_path = reelflow, pg_temp; SET TimeZone = 'UTC'; SET client_min_messages = warning; "
_WRITER = (
    f"SET lock_timeout = '{LOCK_TIMEOUT}'; SET tcp_user_timeout = '60s'; "
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
)
# Every statement of a reader is a look-up by key, whatever its parameters: plan it once.
_READER = "SET plan_cache_mode = force_generic_plan"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Server:
    """A database, by a URL that libpq understands. What the URL leaves out comes from the environment, as with ``psql``."""

    def __init__(self, url: str) -> None:
        given = _given(url)
        self._given = _DEFAULTS | {name: str(value) for name, value in given.items() if value is not None}
        self.name = _name(self._given)

    def open_writer(self) -> Connection:
        """Connect for writing; make the tables where there are none.

        Raises:
            StoreError: there is no such server, or it refuses, or holds tables that this code does not know.
        """
        with self.translated("open"):
            connection = self._connect("reelflow publisher", _WRITER)
            try:
                if not _schema.is_ours(connection, self.name):
                    with alone(connection):
                        if not _schema.is_ours(connection, self.name):  # nobody was quicker
                            _schema.create(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def open_reader(self) -> Connection | None:
        """Connect for reading; None while nobody has created a store there.

        Raises:
            StoreError: there is no such server, or it refuses, or holds tables that this code does not know.
        """
        connection = self._connect("reelflow reader", _READER)
        try:
            if _schema.is_ours(connection, self.name):
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn errors of the server and of libpq into ones that say what to do."""
        try:
            yield
        except psycopg.Error as error:
            said = " ".join(str(error).split())
            code = f" ({error.sqlstate})" if error.sqlstate else ""
            raise StoreError(f"store {self.name}: cannot {doing}: {said}{code}; {_advice(error, said)}") from error

    def _connect(self, application: str, settings: str) -> Connection:
        connection = psycopg.connect(**{"application_name": application, **self._given}, autocommit=True)  # type: ignore[arg-type]
        try:
            if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
                raise StoreError(
                    f"store {self.name}: found a database with encoding {encoding}, expected UTF8; create one with "
                    "ENCODING 'UTF8' and TEMPLATE template0"
                )
            connection.execute(_SESSION + settings)
        except BaseException:
            connection.close()
            raise
        return connection


class ReaderPool:
    """Connections for reading, lent to one thread at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: list[tuple[int, Connection]] = []
        self._guard = threading.Lock()
        self._places = threading.BoundedSemaphore(_CONNECTIONS)

    @contextmanager
    def lend(self, first: str) -> Iterator[tuple[Connection | None, list[tuple[Any, ...]]]]:
        """Lend a connection inside one read transaction, with the rows of its first statement; None while there is no store.

        A connection that broke while nobody used it (the server was started anew) is replaced before anybody notices.

        Raises:
            StoreError: the server cannot be read, or all connections are in use for too long.
        """
        if not self._places.acquire(timeout=_WAIT_SECONDS):
            raise StoreError(
                f"store {self._server.name}: found all {_CONNECTIONS} connections of this process in use for "
                f"{_WAIT_SECONDS:.0f} s; expected snapshots to be closed soon; look for one that is kept open"
            )
        try:
            with self._server.translated("read"):
                connection, rows = self._begun(first)
                if connection is None:
                    yield None, []
                    return
                try:
                    yield connection, rows
                except BaseException:
                    connection.close()
                    raise
                with suppress(psycopg.OperationalError):  # what was asked for is read
                    connection.execute("COMMIT")
                if not connection.closed:
                    with self._guard:
                        self._idle.append((os.getpid(), connection))
        finally:
            self._places.release()

    def close(self) -> None:
        """Close the connections that are not lent."""
        while (connection := self._take()) is not None:
            connection.close()

    def _begun(self, first: str) -> tuple[Connection | None, list[tuple[Any, ...]]]:
        """A connection in a transaction, with the rows of its first statement."""
        connection = self._take()
        if connection is not None:
            try:
                return connection, _begin(connection, first)
            except (psycopg.OperationalError, errors.UndefinedTable, errors.InvalidSchemaName):
                connection.close()
                self.close()  # the others are of before the same event
            except BaseException:
                connection.close()
                raise
        connection = self._server.open_reader()
        try:
            return connection, [] if connection is None else _begin(connection, first)
        except BaseException:
            if connection is not None:
                connection.close()
            raise

    def _take(self) -> Connection | None:
        with self._guard:
            # From before a fork: the parent's. Closing it here would end the parent's session.
            inherited = [entry for entry in self._idle if entry[0] != os.getpid()]
            _INHERITED.extend(inherited)
            for entry in inherited:
                self._idle.remove(entry)
            return self._idle.pop()[1] if self._idle else None


_INHERITED: list[tuple[int, Connection]] = []


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Do everything inside in one transaction, after all others that write and before the next."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCKS,))
        yield


@contextmanager
def alongside(connection: Connection) -> Iterator[None]:
    """Do everything inside in one transaction, beside others that load, while nobody changes the log.

    It need not be on the disk when it ends: the switch is, and with it what was written before.
    """
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        lock_beside(connection)
        yield


def lock_beside(connection: Connection) -> None:
    """Until the transaction ends nobody changes the log, but others may load."""
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s, 0)", (LOCKS,))


def _given(url: str) -> dict[str, Any]:
    """What a URL says.

    A password with a bare ``/`` or ``@`` ends too early, and the rest of it is taken for a port, a host or a database.

    Raises:
        StoreError: it cannot be read, or not as it was meant. Neither the URL nor libpq's message is shown: both may hold the
            password.
    """
    with suppress(psycopg.ProgrammingError):
        given = conninfo_to_dict(url)
        ports = str(given.get("port") or "").split(",")  # one for each host
        if all(port.isdecimal() for port in ports if port) and not any(
            "@" in str(given.get(name)) for name in ("host", "dbname")
        ):
            return dict(given)
    raise StoreError(
        "store postgresql://...: found a URL that libpq cannot read; expected postgresql://user@host:port/database; "
        "mend store.url or REELFLOW_STORE_URL, and percent-encode special characters"
    )


def _begin(connection: Connection, first: str) -> list[tuple[Any, ...]]:
    with connection.pipeline():  # both in one round trip
        connection.execute(_SNAPSHOT, prepare=True)
        cursor = connection.execute(first, prepare=True, binary=True)
    return cursor.fetchall()


def _name(given: dict[str, str]) -> str:
    """The server for an error: no password, and no file names."""
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "local socket"
    port = given.get("port") or os.environ.get("PGPORT")
    user = given.get("user") or os.environ.get("PGUSER")
    database = given.get("dbname") or os.environ.get("PGDATABASE") or user or ""
    return f"postgresql://{user + '@' if user else ''}{host}{':' + port if port else ''}/{database}"


def _advice(error: psycopg.Error, said: str) -> str:
    if isinstance(error, psycopg.DataError) and not error.sqlstate:  # found by psycopg, before the server is asked
        return _NUL
    if error.sqlstate:
        return next((text for code, text in _BY_CODE if error.sqlstate.startswith(code)), "see PostgreSQL's message")
    return next((text for word, text in _BY_WORD if word in said), _LOST)  # libpq's own errors have no code


_LOST = (
    "the server cannot be reached, or the connection was lost; look at the server and the network, then try again; "
    "what was live still is"
)
_NUL = "PostgreSQL holds no NUL in a text; nothing was changed: mend the text, or the stage that wrote it"
_LOGIN = "mend the user, or the password in PGPASSWORD, PGPASSFILE or the service file"
_RIGHTS = "expected the rights of reelflow_writer, or to read those of reelflow_reader; apply serving/postgres/roles.sql"
_BY_CODE = (
    ("08", _LOST),
    ("28", _LOGIN),
    ("3D000", "expected a database of that name; create it, or mend store.url"),
    ("42501", _RIGHTS),
    ("22021", _NUL),
    ("25006", "the server is a standby or read-only; expected the primary: name it in store.url"),
    ("53100", "the server's disk is full; free some space and publish again; what was live still is"),
    ("53300", "the server has no connection left; raise max_connections, or close some"),
    ("53", "the server is out of memory or another resource; free some and try again; what was live still is"),
    ("55P03", "another session held a lock for too long; look for it in pg_locks, then try again"),
    ("57014", "the statement was cancelled, or took longer than statement_timeout; raise that for this user, then try again"),
    ("57P", _LOST),
)
_BY_WORD = (
    ("password", _LOGIN),
    ("certificate", "mend sslrootcert, the host name, or the server's certificate"),
    ("SSL", "expected a server that speaks TLS as sslmode asks; mend the server or store.url"),
    ("does not exist", "expected a database and a user of that name; create them, or mend store.url"),
    ("pg_hba.conf", "the server does not let this user in from here; mend its pg_hba.conf, or store.url"),
)
