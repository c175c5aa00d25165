"""Replace a directory, or a small file, by another in one system call."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import ReelflowError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def swap(staged: Path, live: Path) -> None:
    """Put ``staged`` in the place of ``live`` so that at no instant there is neither; the old content is removed.

    Raises:
        ReelflowError: the file system cannot exchange directories.
    """
    live.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(staged, live)  # noqa: PTH104 - pathlib's rename hides the error number
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(staged, live)
        shutil.rmtree(staged)


def flush(path: Path) -> None:
    """Make a file, or the names in a folder, survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole: a reader, or a run after a kill, finds the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)


def replace_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole, as ``replace_text`` does."""
    replace_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path, what: str, again: str) -> dict[str, Any] | None:
    """What ``replace_json`` wrote, or None when there is nothing.

    Args:
        path: of the file.
        what: it is, for the error.
        again: what to run again when it cannot be read.

    Raises:
        ReelflowError: it is not valid JSON.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ReelflowError(f"{what} {path}: not valid JSON ({error}); delete it and run {again} again") from error
    return content


def _exchange(first: Path, second: Path) -> None:
    """Exchange two directories atomically (Linux ``renameat2(2)``)."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise ReelflowError(
            f"directory {second}: this file system cannot exchange directories ({reason}); put the workspace on a local Linux "
            "file system such as ext4 or xfs"
        )
