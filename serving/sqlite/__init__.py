"""The serving store in one SQLite file, the default: nothing to install, plain SQL for every app of the machine."""

from serving.sqlite._store import SqliteStore

__all__ = ["SqliteStore"]
