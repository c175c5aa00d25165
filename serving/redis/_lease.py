"""Leases in the Redis store: a key that a living publisher renews, and that ends by itself when its process does.

A publisher on another machine can only be known by what it does in time. The lease decides nothing but when others may take a
publisher for dead: they then take its attempt away and mark its version as failed, and a publisher whose attempt is gone is
refused, so one that was only slow does no harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis import exceptions

from serving._protocol import StoreError
from serving.redis._attempt import Attempt
from serving.redis._server import Pipeline, Server

__all__ = ["Lease", "take"]

_RENEWALS = 4
"""So often a lease is renewed in the time that it lasts."""


def take(pipe: Pipeline, key: str, seconds: float) -> None:
    """Let a lease begin, or go on, within a transaction."""
    pipe.set(key, "", px=int(seconds * 1000))


class Lease:
    """The lease of a version that is being loaded."""

    def __init__(self, server: Server, attempt: Attempt, seconds: float) -> None:
        self._server, self._attempt, self._seconds = server, attempt, seconds
        self._renewed_at = time.monotonic()

    @contextmanager
    def renewed(self) -> Iterator[Lease]:
        """Renew the lease from a thread while the block runs and the attempt is there; what ends that ends the lease."""
        done = threading.Event()

        def work(pipe: Pipeline) -> bool:
            own = bool(pipe.get(self._attempt.key) == self._attempt.token)
            pipe.multi()
            if own:
                take(pipe, self._attempt.keys.lease(self._attempt.version), self._seconds)
            return own

        def renew() -> None:
            while not done.wait(self._seconds / _RENEWALS):
                with suppress(exceptions.RedisError):  # the next renewal, or what the publisher does itself, will tell
                    at = time.monotonic()
                    if not self._server.transact([self._attempt.key], work):
                        return
                    self._renewed_at = at

        thread = threading.Thread(target=renew, name="reelflow-lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def require(self) -> None:
        """Stop a publisher that was held up for so long that others may have removed what it wrote.

        Raises:
            StoreError: the lease was not renewed in time.
        """
        if (late := time.monotonic() - self._renewed_at) > self._seconds:
            raise StoreError(
                f"publication {self._attempt.version}: found its lease {late:.0f} s old, at most {self._seconds:.0f} s "
                "expected; see what held it up, and publish again; what was live still is"
            )
