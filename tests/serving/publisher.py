"""A publisher in a process of its own that can be made to die: ``-m tests.serving.publisher STORE DAY GENERATION HOW``.

With a number of users and the version that it is to lie over it publishes a delta.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from schemas.errors import ReelflowError
from serving import SqliteStore, store_at
from serving.postgres import PostgresStore
from serving.postgres import _layers as postgres_layers
from serving.postgres import _lists as postgres_lists
from serving.postgres import _log as postgres_log
from serving.sqlite import _layers as sqlite_layers
from serving.sqlite import _log as sqlite_log
from serving.sqlite import _rows as sqlite_rows
from tests.serving.builders import day, fallback, publication, rows

verified: list[bool] = []


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def batches(number: int, generation: int, how: str, users: int) -> Iterator[pa.RecordBatch]:
    for index, part in enumerate(rows(number, generation, users=users, k=100, per_batch=500)):
        yield part
        if index == 1 and how == "die-loading":
            die()
        if index == 1 and how == "wait":
            print("waiting", flush=True)
            sys.stdin.readline()
        if how == "slow":
            time.sleep(0.02)
    if how == "die-loaded":
        die()


def rig_sqlite(number: str, how: str) -> None:
    """Make the SQLite store's publisher die at a step."""
    if how == "die-before-switch":
        sqlite_rows.verify = die
    if how == "die-listing":
        sqlite_rows.refuse_unless_loading = lambda *_: die() if verified else None
        verify = sqlite_rows.verify
        sqlite_rows.verify = lambda *given: verified.append(True) or verify(*given)  # type: ignore[func-returns-value]
    if how == "die-laying":
        sqlite_layers._put_on_top = lambda connection, layer: (
            connection.execute("INSERT OR REPLACE INTO live_lists (user_id, layer) VALUES (1, ?)", (layer,)),
            die(),
        )
    if how == "die-in-switch":
        sqlite_log.retire_old = die  # within the transaction, after the new version was marked live
    if how == "die-clearing":
        SqliteStore._clear = lambda store, connection: (  # type: ignore[method-assign]
            die() if (live := store.live()) and live.as_of == day(int(number)) else None
        )
    if how == "die-deleting":
        sqlite_rows._delete = lambda connection, version: (
            connection.execute("DELETE FROM recommendation_rows WHERE version = ? AND user_id < 50", (version,)),
            die(),
        )


def rig_postgres(number: str, how: str) -> None:
    """Make the PostgreSQL store's publisher die at a step."""
    if how == "die-before-switch":
        PostgresStore._verify = die  # type: ignore[assignment, method-assign]
    if how == "die-laying":
        postgres_layers._put_on_top = lambda connection, layer: (
            connection.execute("INSERT INTO live_lists (user_id, layer) VALUES (1500, %s)", (layer,)),
            die(),
        )
    if how == "die-in-switch":
        postgres_log.retire_old = die
    if how == "die-clearing":
        PostgresStore._clear = lambda store, connection: (  # type: ignore[method-assign]
            die() if (live := store.live()) and live.as_of == day(int(number)) else None
        )
    if how == "die-deleting":
        postgres_lists._drop = die


def main(where: str, number: str, generation: str, how: str, *sizes: str) -> int:
    users, base = sizes if len(sizes) == 2 else ("1500", "0")
    (rig_postgres if "://" in where else rig_sqlite)(number, how)
    store = store_at(where)
    attempt = int(generation) or store.next_generation()
    try:
        result = store.publish(
            replace(publication(int(number), attempt), base=int(base) or None),
            batches(int(number), attempt, how, int(users)),
            fallback(int(number), attempt),
            keep_versions=0 if how == "die-deleting" else 2,
        )
    except ReelflowError as error:
        print(error, file=sys.stderr)
        return 2
    print(result.status, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
