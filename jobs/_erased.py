"""Who was erased, as keyed hashes: what ingest and publish look at, so that raw logs taken in again bring nobody back.

``paths.erased`` holds ``key``, 32 random bytes that only the workspace's user can read, and ``users``, one HMAC-SHA256 of a
user's id a line. Without the key the list tells nothing; a plain hash would, since ids are few enough to try them all. Keep the
folder as long as the raw logs, whatever becomes of the lake. See ``docs/adr/0034-erasure.md``.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import columns as col
from schemas.errors import ReelflowError

_KEY, _USERS = "key", "users"
_KEY_BYTES = 32
_HASH_BYTES = 32
_WHOLE_NUMBER = re.compile(r"(?<![\w.-])-?\d{1,19}(?![\w.:-])")
_AN_ID = re.compile(r"\s*(-?\d{1,19})(\.0+)?\s*")


@dataclass(frozen=True, slots=True)
class Erased:
    """The users who were erased."""

    key: bytes
    hashes: frozenset[bytes]

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def holds(self, user_ids: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.bool_]:
        """Which of these ids, int64 ``(n,)`` without nulls, are of erased users; each distinct one is hashed once."""
        if not self.hashes:
            return np.zeros(len(user_ids), dtype=bool)
        distinct, places = np.unique(user_ids.to_numpy(zero_copy_only=False), return_inverse=True)
        found = np.fromiter((self._is(user) for user in distinct.tolist()), dtype=bool, count=len(distinct))
        return np.asarray(found[places], dtype=bool)

    def taken_from(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows with a ``user_id``, without those of erased users."""
        return rows.filter(pa.array(~self.holds(rows[col.USER_ID]))) if self else rows

    def in_record(self, record: str | None) -> bool:
        """Whether a refused raw row may be of an erased user; see :func:`users_in`."""
        return bool(self.hashes) and any(self._is(user) for user in users_in(record))

    def _is(self, user_id: int) -> bool:
        return _hash(self.key, user_id) in self.hashes


NOBODY = Erased(b"", frozenset())


def read(folder: Path) -> Erased:
    """Who was erased in a workspace; nobody where nobody ever was.

    Raises:
        ReelflowError: the key of a list is missing or damaged.
    """
    try:
        lines = (folder / _USERS).read_text(encoding="ascii").split("\n")
    except FileNotFoundError:
        return NOBODY
    hashes = frozenset(bytes.fromhex(line) for line in lines if len(line) == 2 * _HASH_BYTES)  # a torn last line is nobody's
    return Erased(_read_key(folder), hashes)


def add(folder: Path, user_id: int) -> bool:
    """Put a user on the list, and make it survive a crash; returns whether the user was new to it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _KEY).exists():
            _write_key(folder)
        wanted, known = bytes.fromhex(name_of(folder, user_id)), read(folder)
        if wanted in known.hashes:
            return False
        with (folder / _USERS).open("a", encoding="ascii") as stream:
            torn = stream.tell() % (2 * _HASH_BYTES + 1)
            stream.write(("\n" * bool(torn)) + wanted.hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    return True


def name_of(folder: Path, user_id: int) -> str:
    """What receipts call a user: the keyed hash, in hexadecimal."""
    return _hash(_read_key(folder), user_id).hex()


def users_in(record: str | None) -> set[int]:
    """Whom a refused raw row may be of.

    Args:
        record: as ``rejected`` holds it.

    Returns:
        The ``user_id`` of a record that is a JSON object; of any other, a line of CSV or one that cannot be parsed, every whole
        number in it: rather one refused row too many goes than one too few.
    """
    if record is None:
        return set()
    try:
        content = json.loads(record)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict):
        said = _AN_ID.fullmatch(str(content.get(col.USER_ID)))
        return {int(said[1])} if said else set()
    return {int(number) for number in _WHOLE_NUMBER.findall(record)}


def _hash(key: bytes, user_id: int) -> bytes:
    return hmac.digest(key, str(user_id).encode(), "sha256")


def _read_key(folder: Path) -> bytes:
    try:
        key = bytes.fromhex((folder / _KEY).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ReelflowError(
            f"erased users {folder / _KEY}: found no key of {_KEY_BYTES} bytes, expected the one that {folder / _USERS} was "
            "made with; put it back from a backup, or erased users would come back"
        )
    return key


def _write_key(folder: Path) -> None:
    if (folder / _USERS).exists():
        _read_key(folder)  # says what is wrong: another key would let everybody on the list come back
    staged = folder / f"{_KEY}.new"
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(_KEY_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(folder / _KEY)
