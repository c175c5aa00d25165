"""The serving store in PostgreSQL: the same relations as in SQLite, for apps on many machines."""

from serving.postgres._store import PostgresStore

__all__ = ["PostgresStore"]
