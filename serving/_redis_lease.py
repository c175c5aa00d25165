"""Leases in the Redis store: a key that a living publisher renews, and that ends by itself when its process does.

A publisher on another machine can only be known by what it does in time. The lease decides nothing but when others may take a
publisher for dead: they then mark its version as failed, and a publisher whose version is not loading any more is refused,
so one that was only slow does no harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import exceptions

from serving._protocol import StoreError
from serving._redis_keys import Keys
from serving._redis_server import Client

__all__ = ["Lease", "take"]

_RENEWALS = 4
"""So often a lease is renewed in the time that it lasts."""


def take(client: Client, key: str, seconds: float) -> None:
    """Let a lease begin, or go on; within a transaction where ``client`` is one."""
    client.set(key, "", px=int(seconds * 1000))


class Lease:
    """The lease of a version that is being loaded."""

    def __init__(self, client: Client, keys: Keys, version: int, seconds: float) -> None:
        self._client, self._version, self._seconds = client, version, seconds
        self._key = keys.lease(version)
        self._renewed_at = time.monotonic()

    @contextmanager
    def renewed(self) -> Iterator[Lease]:
        """Renew the lease from a thread for as long as the block runs, and give it up then."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._seconds / _RENEWALS):
                with suppress(exceptions.RedisError):  # the next renewal, or what the publisher does itself, will tell
                    at = time.monotonic()
                    take(self._client, self._key, self._seconds)
                    self._renewed_at = at

        thread = threading.Thread(target=renew, name="reelflow-lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()
            with suppress(exceptions.RedisError):
                self._client.delete(self._key)

    def require(self) -> None:
        """Stop a publisher that was held up for so long that others may have removed what it wrote.

        Raises:
            StoreError: the lease was not renewed in time.
        """
        if (late := time.monotonic() - self._renewed_at) > self._seconds:
            raise StoreError(
                f"publication {self._version}: found its lease {late:.0f} s old, at most {self._seconds:.0f} s expected; "
                "see what held it up, and publish again; what was live still is"
            )
