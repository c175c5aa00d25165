"""Every vector ever made, so that no text is encoded twice.

One SQLite file (https://sqlite.org) of float32 vectors, found by what made them (the *space*: an encoder, or a training of the
tags) and the SHA-256 of the text; no text is in it. Each ``put`` is a transaction: a process that dies leaves whole chunks. The
file can be deleted at any time; what it held is then made again, bit for bit.
"""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ReelflowError

_KEYS_PER_QUERY = 500  # SQLite takes 999 parameters at least
_TABLE = "create table if not exists vectors (space text, key blob, vector blob not null, primary key (space, key))"
_PUT = "insert or ignore into vectors values (?, ?, ?)"


class VectorCache:
    """Vectors by space and text."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[VectorCache]:
        """The cache of that file, which is made if it does not exist.

        Raises:
            ReelflowError: the file cannot be written, or is no such cache.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=60.0)
        except (OSError, sqlite3.Error) as error:
            raise ReelflowError(f"text cache {path}: cannot be opened ({error}); mend that, or change text.cache") from error
        try:
            with connection:
                connection.execute(_TABLE)
            yield cls(path, connection)
        except sqlite3.Error as error:
            raise ReelflowError(
                f"text cache {path}: cannot be used ({error}); if it is damaged delete it, and its texts are encoded again"
            ) from error
        finally:
            connection.close()

    @contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Keep other runs from encoding as long as this lasts, so that no text is encoded by two.

        Args:
            waiting: called when another run has to be waited for. A run that dies is not waited for.
        """
        with self.path.with_name(f"{self.path.name}.lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def missing(self, space: str, texts: Sequence[str]) -> list[str]:
        """Those of the texts that have no vector yet, in their order."""
        found: set[bytes] = set()
        for part in _parts(texts):
            rows = self._connection.execute(
                f"select key from vectors where space = ? and key in ({_marks(part)})", (space, *map(_key, part))
            )
            found.update(key for (key,) in rows)
        return [text for text in texts if _key(text) not in found]

    def put(self, space: str, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors, float32 ``(n, dim)``, of ``n`` texts: all of them or, if the process dies, none."""
        content = np.ascontiguousarray(vectors, dtype="<f4")
        with self._connection:
            rows = ((space, _key(text), row.tobytes()) for text, row in zip(texts, content, strict=True))
            self._connection.executemany(_PUT, rows)

    def forget(self, texts: Collection[str]) -> int:
        """Remove the vectors of texts from every space, and from the file's free pages; returns how many those were."""
        self._connection.execute("pragma secure_delete = on")  # overwrites what is deleted
        with self._connection:
            asked = ("delete from vectors where key = ?", [(_key(text),) for text in texts])
            return max(self._connection.executemany(*asked).rowcount, 0)

    def get(self, space: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of the texts, float32 ``(n, dim)``; ``(0, 0)`` when there are no texts.

        Raises:
            ReelflowError: a text has no vector, or the vectors differ in length.
        """
        found: dict[bytes, bytes] = {}
        for part in _parts(texts):
            rows = self._connection.execute(
                f"select key, vector from vectors where space = ? and key in ({_marks(part)})", (space, *map(_key, part))
            )
            found.update(rows)
        vectors = [found.get(_key(text), b"") for text in texts]
        lengths = {len(vector) for vector in vectors}
        if len(lengths) > 1 or b"" in vectors:
            raise ReelflowError(
                f"text cache {self.path}: holds vectors of {sorted(lengths)} bytes, expected one length above 0; "
                "it is damaged: delete it and run again"
            )
        dim = next(iter(lengths), 0) // 4
        return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(texts), dim).astype(np.float32)


def space_of(parts: Iterable[str], libraries: Iterable[str]) -> str:
    """The space of vectors that were made by what ``parts`` say; the versions of the libraries decide the last bits."""
    digest = hashlib.sha256()
    for part in (*parts, *(f"{library} {_version(library)}" for library in libraries)):
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:16]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _marks(part: Sequence[str]) -> str:
    return ", ".join("?" * len(part))


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _KEYS_PER_QUERY] for start in range(0, len(texts), _KEYS_PER_QUERY))
