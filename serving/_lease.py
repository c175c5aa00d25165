"""Leases: proof that a publisher is still alive, which ends by itself when its process does.

A publisher holds an advisory lock (``flock``) on a file of its own for as long as its version is loading. The kernel drops
the lock when the process ends, however it ends. So there is no timeout to tune, no clock to trust, no process id that
another process may have taken over, and it works between containers that share the disk.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from serving._protocol import StoreError

__all__ = ["Lease", "held"]


class Lease:
    """A lock file that this publisher holds until :meth:`release` or its death."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Lease:
        """Create the file and lock it.

        Raises:
            StoreError: the file cannot be created or locked.
        """
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise StoreError(
                f"lock file {path}: {error.strerror}; expected a folder on a local disk that may be written to"
            ) from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Remove the file, then let go of it."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def held(path: Path) -> bool:
    """Say whether a living process holds the lease; also when that cannot be found out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
