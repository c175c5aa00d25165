"""The SQLite file: its tables, how it is opened, and what its errors mean to a person."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas import SCORE_PARTS
from serving._protocol import StoreError

__all__ = ["ReaderPool", "open_reader", "open_writer", "transaction", "translated"]

SCHEMA_VERSION = 3
APPLICATION_ID = 0x52464C57  # "RFLW": tells our file from any other SQLite file
WRITER_WAIT_SECONDS = 60.0  # writers take turns of about 0.1 s each
_READER_WAIT_SECONDS = 5.0  # readers never wait for a writer, only for recovery after a crash

_PROVENANCE = ("rules TEXT", "propensity REAL", *(f"{name} REAL" for name in SCORE_PARTS))
"""What led to a row; null in the rows of versions that an older file held."""

# New columns come last: apps that read `SELECT *` by position go on as before. Two arms, so that a user's rows come out of the
# primary key in order: SQLite merges them without sorting.
_ROW = "r.user_id, r.rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at, " + ", ".join(
    f"r.{column.split()[0]}" for column in _PROVENANCE
)
_VIEW = f"""
    CREATE VIEW recommendations AS
    SELECT {_ROW}
    FROM publication_log AS v CROSS JOIN publication_log AS p ON p.version = coalesce(v.root, v.version)
    CROSS JOIN recommendation_rows AS r ON r.version = coalesce(v.root, v.version)
    WHERE v.status = 'live' AND NOT EXISTS (SELECT 1 FROM live_lists AS d WHERE d.user_id = r.user_id)
    UNION ALL
    SELECT {_ROW}
    FROM live_lists AS d CROSS JOIN publication_log AS p ON p.version = d.layer
    CROSS JOIN recommendation_rows AS r ON r.version = d.layer AND r.user_id = d.user_id"""
_PUBLICATIONS_VIEW = """
    CREATE VIEW publications AS
    SELECT version, as_of, model_version, status, users, rows, published_at, base
    FROM publication_log ORDER BY version DESC"""
_FALLBACK_VIEW = """
    CREATE VIEW fallback_recommendations AS
    SELECT r.segment, r.rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at, r.parent
    FROM publication_log AS p CROSS JOIN fallback_rows AS r ON r.version = p.version
    WHERE p.status = 'live'"""

# serving/sqlite/_layers.py says what these are. The key's columns come first in each table: where they do not, SQLite 3.40's
# `integrity_check` finds nulls that are not there.
_LAYERS = (
    """
    CREATE TABLE version_layers (
        version  INTEGER NOT NULL,
        position INTEGER NOT NULL,
        layer    INTEGER NOT NULL,
        PRIMARY KEY (version, position)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE delta_lists (
        version INTEGER NOT NULL,
        user_id INTEGER NOT NULL,
        PRIMARY KEY (version, user_id)
    ) WITHOUT ROWID""",
    "CREATE TABLE live_lists (user_id INTEGER PRIMARY KEY, layer INTEGER NOT NULL)",
)

# Not STRICT: apps with SQLite before 3.37 must be able to read the file.
_TABLES = (
    """
    CREATE TABLE publication_log (
        version       INTEGER PRIMARY KEY AUTOINCREMENT,
        as_of         TEXT    NOT NULL,
        generation    INTEGER NOT NULL,
        model_version TEXT    NOT NULL,
        expires_at    TEXT    NOT NULL,
        status        TEXT    NOT NULL,
        users         INTEGER NOT NULL DEFAULT 0,
        rows          INTEGER NOT NULL DEFAULT 0,
        published_at  TEXT,
        has_rows      INTEGER NOT NULL DEFAULT 1,
        base            INTEGER,
        root            INTEGER,
        root_as_of      TEXT,
        root_generation INTEGER,
        layers          INTEGER NOT NULL DEFAULT 1
    )""",
    # At most one live version, whatever the code does; and the view below finds it in one step.
    "CREATE UNIQUE INDEX one_live ON publication_log (status) WHERE status = 'live'",
    f"""
    CREATE TABLE recommendation_rows (
        version  INTEGER NOT NULL,
        user_id  INTEGER NOT NULL,
        rank     INTEGER NOT NULL,
        video_id INTEGER NOT NULL,
        score    REAL    NOT NULL,
        sources  TEXT    NOT NULL,
        reason   TEXT    NOT NULL,
        {", ".join(_PROVENANCE)},
        PRIMARY KEY (version, user_id, rank)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE fallback_rows (
        version  INTEGER NOT NULL,
        segment  TEXT    NOT NULL,
        rank     INTEGER NOT NULL,
        video_id INTEGER NOT NULL,
        score    REAL    NOT NULL,
        sources  TEXT    NOT NULL,
        reason   TEXT    NOT NULL,
        parent   TEXT,
        PRIMARY KEY (version, segment, rank)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE switch_log (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        at           TEXT    NOT NULL,
        action       TEXT    NOT NULL,
        from_version INTEGER,
        to_version   INTEGER NOT NULL,
        reason       TEXT    NOT NULL
    )""",
    "CREATE TABLE generation_counter (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL)",
    "INSERT INTO generation_counter VALUES (1, 0)",
    *_LAYERS,
    _VIEW,
    _FALLBACK_VIEW,
    _PUBLICATIONS_VIEW,
)

# What makes a file of a version one of the next. Writers do it in one transaction when they open the file; this code reads
# every version that it can bring up to date.
_MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE fallback_rows ADD COLUMN parent TEXT",
        *(f"ALTER TABLE recommendation_rows ADD COLUMN {column}" for column in _PROVENANCE),
        "DROP VIEW fallback_recommendations",
        _FALLBACK_VIEW,
        "DROP VIEW recommendations",
    ),
    2: (
        "DROP VIEW IF EXISTS recommendations",
        "DROP VIEW publications",
        "ALTER TABLE publication_log ADD COLUMN base INTEGER",
        "ALTER TABLE publication_log ADD COLUMN root INTEGER",
        "ALTER TABLE publication_log ADD COLUMN root_as_of TEXT",
        "ALTER TABLE publication_log ADD COLUMN root_generation INTEGER",
        "ALTER TABLE publication_log ADD COLUMN layers INTEGER NOT NULL DEFAULT 1",
        "UPDATE publication_log SET root = version, root_as_of = as_of, root_generation = generation",
        *_LAYERS,
        "INSERT INTO version_layers (version, layer, position) SELECT version, version, 0 FROM publication_log"
        " WHERE status IN ('live', 'retired', 'rolled_back')",
        _VIEW,
        _PUBLICATIONS_VIEW,
    ),
}


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for writing; create it and its folder where they are missing, and bring an older one up to date.

    Raises:
        StoreError: it cannot be created, or is not a store that this code knows.
    """
    _refuse_folder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"store {path}: its folder cannot be made: {error.strerror}; mend paths.store or the folder's permissions"
        ) from error
    with translated(path, "open"):
        connection = _connect(path, "rwc", WRITER_WAIT_SECONDS)
        try:
            if not _is_ours(connection, path):
                _create(connection, path)
            _migrate(connection, path)
            # NORMAL: a power cut may undo loads, never break the file. The switch raises it to FULL for itself.
            connection.execute("PRAGMA synchronous = NORMAL")
            # What is deleted is overwritten: an erasure leaves nothing in free pages.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("PRAGMA journal_size_limit = 67108864")
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection | None:
    """Open the file for reading; None while nobody has created a store there.

    Raises:
        StoreError: it cannot be read, or is not a store that this code knows.
    """
    _refuse_folder(path)
    if not path.exists():
        return None
    connection = _connect(path, "ro", _READER_WAIT_SECONDS)
    try:
        if _is_ours(connection, path):
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


class ReaderPool:
    """Connections for reading, lent to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[tuple[_Origin, sqlite3.Connection]] = []
        self._guard = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection | None]:
        """Lend a connection inside one read transaction; None while there is no store."""
        with translated(self._path, "read"):
            origin = _origin(self._path)
            connection = self._take(origin)
            if connection is None:
                yield None
                return
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            with self._guard:
                self._idle.append((origin, connection))

    def close(self) -> None:
        """Close the connections that are not lent."""
        with self._guard:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take(self, origin: _Origin) -> sqlite3.Connection | None:
        while True:
            with self._guard:
                if not self._idle:
                    break
                found, connection = self._idle.pop()
            if found == origin:
                return connection
            connection.close()  # from before a fork, or of a file that was replaced since
        return open_reader(self._path)


_Origin = tuple[int, int, int]


def _origin(path: Path) -> _Origin:
    """Which process and which file a connection belongs to."""
    try:
        status = path.stat()
    except OSError:
        return (os.getpid(), 0, 0)
    return (os.getpid(), status.st_dev, status.st_ino)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do everything inside at once or not at all, with the write lock held from the start."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    connection.execute("COMMIT")


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors into ones that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        advice = next((text for prefix, text in _ADVICE if name.startswith(prefix)), "see SQLite's message")
        raise StoreError(f"store {path}: cannot {doing}: {error} ({name or type(error).__name__}); {advice}") from error


_ADVICE = (
    ("SQLITE_NOTADB", "found another kind of file, expected a SQLite store; mend paths.store or move the file away"),
    ("SQLITE_CORRUPT", "the file is damaged; move it and its -wal and -shm files away, then publish again"),
    ("SQLITE_CANTOPEN", "expected a file in a folder that may be written to: SQLite's readers too keep a -shm file there"),
    ("SQLITE_READONLY_DIRECTORY", "expected a folder that may be written to: SQLite's readers too keep a -shm file there"),
    ("SQLITE_READONLY", "expected a file and folder that may be written to; mend the permissions or paths.store"),
    ("SQLITE_FULL", "the disk is full; free some space and publish again; what was live still is"),
    ("SQLITE_IOERR", "the disk failed or is full; mend it and publish again; what was live still is"),
    ("SQLITE_BUSY", "another process held the write lock for too long; look for a hanging publisher, then try again"),
)


def _connect(path: Path, mode: str, wait_seconds: float) -> sqlite3.Connection:
    # isolation_level None: transactions are ours alone. The pool hands a connection to one thread at a time.
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=wait_seconds, check_same_thread=False
    )


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is a store of a version that can be read; False for a database without any table."""
    application, version, tables = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),"
        " (SELECT count(*) FROM sqlite_schema)"
    ).fetchone()
    if application == 0 and tables == 0:
        return False
    if application != APPLICATION_ID:
        raise StoreError(
            f"store {path}: found a SQLite database of another application, expected one that reelflow made; "
            "mend paths.store or move the file away"
        )
    if version not in (SCHEMA_VERSION, *_MIGRATIONS):
        raise StoreError(
            f"store {path}: found schema version {version}, expected {SCHEMA_VERSION}, or one from {min(_MIGRATIONS)} on; "
            f"{'an older' if version < SCHEMA_VERSION else 'a newer'} reelflow wrote it: use that one, or move the file away "
            "and publish again"
        )
    return True


def _create(connection: sqlite3.Connection, path: Path) -> None:
    _use_wal(connection, path)
    with transaction(connection):
        if _is_ours(connection, path):
            return  # another process was quicker
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file of an older version up to date, at once or not at all."""
    if _version(connection) == SCHEMA_VERSION:
        return
    with transaction(connection):
        _is_ours(connection, path)  # another process may have been quicker, and newer
        for version in range(_version(connection), SCHEMA_VERSION):
            for statement in _MIGRATIONS[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to write-ahead logging, so that readers never wait. SQLite does not queue for this one: try for a while."""
    deadline = time.monotonic() + WRITER_WAIT_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise StoreError(f"store {path}: found journal mode {mode}, expected wal; put it on a local disk, not a network one")


def _refuse_folder(path: Path) -> None:
    try:
        found = path.is_dir()
    except OSError as error:
        raise StoreError(f"store {path}: cannot be looked at: {error.strerror}; mend the permissions or paths.store") from error
    if found:
        raise StoreError(f"store {path}: found a folder, expected a SQLite file; mend paths.store")
