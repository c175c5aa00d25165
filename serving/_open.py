"""Which store: the one setting ``store.url`` chooses."""

from __future__ import annotations

import os
from pathlib import Path

from conf import Section, load
from conf.paths import paths
from serving._protocol import ServingStore, StoreError
from serving.sqlite import SqliteStore

__all__ = ["StoreConfig", "open_store", "store_at"]

URL_VARIABLE = "REELFLOW_STORE_URL"


class StoreConfig(Section):
    """Section ``store``."""

    url: str | None
    """``postgresql://...`` or ``redis://...``, without a password; null: the SQLite file ``paths.store``."""


def open_store(path: Path | None = None) -> ServingStore:
    """Return the configured store: the environment's ``REELFLOW_STORE_URL``, else ``store.url``, else a SQLite file.

    Args:
        path: where the SQLite file lies, ``paths.store`` by default.

    Raises:
        ConfigError: the configuration is not valid.
        StoreError: no store is known by that URL.
    """
    url = os.environ.get(URL_VARIABLE) or load("store", StoreConfig).url
    return store_at(url or path or paths().store)


def store_at(where: str | Path) -> ServingStore:
    """Return the store at a URL, or in a SQLite file.

    Raises:
        StoreError: no store is known by that URL.
    """
    scheme, separator, _ = str(where).partition("://")
    if not separator:
        return SqliteStore(where)
    if scheme in ("postgresql", "postgres"):
        from serving.postgres import PostgresStore  # its client library is not needed otherwise

        return PostgresStore(str(where))
    if scheme in ("redis", "rediss", "unix"):
        from serving.redis import RedisStore

        return RedisStore(str(where))
    raise StoreError(
        f"store {scheme}://...: found an unknown kind of store; expected postgresql://, redis:// or a "
        f"path; mend store.url or {URL_VARIABLE}"
    )
