"""Where a workspace still knows a user: every byte and every value of every file, the raw logs apart."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file


def mentions(home: Path, user_id: int, words: Collection[str] = (), leave_out: Collection[str] = ("raw",)) -> list[str]:
    """Files that hold a user's id as a number or as text, or one of some words.

    Args:
        home: the workspace.
        user_id: a number so large that nothing else has it.
        words: that only this user has: a name, a query.
        leave_out: folders and files of the workspace that are not looked at.
    """
    files = (path for path in sorted(home.rglob("*")) if path.is_file() and path.relative_to(home).parts[0] not in leave_out)
    return [path.relative_to(home).as_posix() for path in files if _knows(path, user_id, words)]


def _knows(path: Path, user_id: int, words: Collection[str]) -> bool:
    texts = [str(user_id), *words]
    content = path.read_bytes()
    if any(text.encode() in content for text in texts) or np.int64(user_id).tobytes() in content:
        return True
    return any(value == user_id or (isinstance(value, str) and any(text in value for text in texts)) for value in _values(path))


def _values(path: Path) -> Iterator[Any]:
    """The numbers and texts that a file holds in a form of its own."""
    if path.suffix == ".parquet":
        for column in pq.read_table(path, partitioning=None).itercolumns():
            yield from _flat(column.combine_chunks()).unique().to_pylist()
    elif path.suffix == ".npy":
        yield from np.unique(np.load(path, allow_pickle=False)).tolist()
    elif path.suffix == ".safetensors":
        for array in load_file(path).values():
            yield from np.unique(array).tolist() if array.dtype.kind in "iu" else ()
    elif path.suffix in (".sqlite", ".db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    yield from row


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return _flat(column.flatten()) if pa.types.is_list(column.type) else column
