"""The Redis server: how it is reached, what is asked of it, and what its errors mean to a person."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving._protocol import StoreError

__all__ = ["PASSWORD_VARIABLE", "Client", "Connection", "Pipeline", "Server"]

# Any: redis-py declares each reply as text or bytes, by an option that no type shows. Ours are bytes.
Client: TypeAlias = Any
"""A ``redis.Redis``."""
Pipeline: TypeAlias = Any
"""A ``redis.client.Pipeline``."""
Connection: TypeAlias = Any
"""A ``redis.Connection``."""

PASSWORD_VARIABLE = "REELFLOW_STORE_PASSWORD"
_T = TypeVar("_T")
_CONNECT_SECONDS = 5.0
_REPLY_SECONDS = 30.0
_LEAST_VERSION = (6, 2)
_DATABASE = re.compile(r"/?|/[0-9]+/?")


class Server:
    """A server by its URL, and connections to it that threads may share. Nothing is asked before the first use."""

    def __init__(self, url: str) -> None:
        """Take a URL apart.

        Raises:
            StoreError: it is not one of Redis.
        """
        password = os.environ.get(PASSWORD_VARIABLE)
        try:
            self.where = _told(url)
            self.client: Client = redis.Redis.from_url(
                url,
                **({"password": password} if password else {}),
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_REPLY_SECONDS,
                driver_info=None,  # not asked for: servers before 7.2 do not know the command, and its name in an ACL
                # A command that was sent may have been done: what to do again is decided above, by what is found then.
                retry=Retry(NoBackoff(), 0),
            )
            pool = self.client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # does not connect; refuses options that there are not
            if pool.connection_kwargs.get("decode_responses"):
                raise TypeError("unexpected option 'decode_responses'")
        except (ValueError, TypeError, exceptions.RedisError) as error:
            # Other texts may hold what was taken for a port, which may be half a password.
            found = str(error) if isinstance(error, TypeError) else "it cannot be taken apart"
            raise StoreError(
                f"store {url.partition('://')[0]}://...: not a URL of a Redis server: {found}; expected "
                f"redis://USER@HOST:PORT/DATABASE, rediss://... or unix://USER@/PATH, and the password in {PASSWORD_VARIABLE}; "
                "mend store.url or REELFLOW_STORE_URL"
            ) from None

    def require(self) -> None:
        """Refuse a server that a publication would not be safe on.

        Raises:
            StoreError: it is too old, is part of a cluster, or may evict lists.
        """
        found = self.client.info()
        version = str(found["redis_version"])
        if tuple(map(int, version.split(".")[:2])) < _LEAST_VERSION:
            raise StoreError(f"store {self.where}: found Redis {version}, expected 6.2 or later; install a newer server")
        if found.get("cluster_enabled"):
            raise StoreError(
                f"store {self.where}: found a Redis Cluster, expected one server, with replicas at most: a version is switched "
                "in one transaction over keys that a cluster spreads; turn cluster-enabled off"
            )
        policy = found.get("maxmemory_policy", "noeviction")
        if found.get("maxmemory") and policy != "noeviction":
            raise StoreError(
                f"store {self.where}: found maxmemory-policy {policy}, which removes lists when memory runs short; expected "
                "noeviction; give CONFIG SET maxmemory-policy noeviction, and write it into redis.conf"
            )

    def transact(self, keys: list[str], work: Callable[[Pipeline], _T]) -> _T:
        """Read and then write in one step: again from the start when one of the keys has changed meanwhile.

        Args:
            keys: what ``work`` reads.
            work: reads through the pipeline, calls its ``multi()``, and puts what is to be written into it.
        """
        while True:
            with self.client.pipeline(transaction=True) as pipe:
                try:
                    pipe.watch(*keys)
                    result = work(pipe)
                    pipe.execute()
                except exceptions.WatchError as error:
                    if isinstance(error.__context__, exceptions.ConnectionError | exceptions.TimeoutError):
                        raise error.__context__ from None  # whether it was done is not known: doing it again may be wrong
                else:
                    return result

    @contextmanager
    def guarded(self, require: Callable[[Connection], None]) -> Iterator[Client]:
        """Yield a client for writes that depend on what was found before.

        A server that was restarted without its data, or another one in its place, is reached by new connections only.

        Args:
            require: asked with each connection when it is opened, also again; refuses where what was found does not hold.
        """

        def connected(connection: Connection) -> None:
            connection.on_connect()
            try:
                require(connection)
            except BaseException:
                connection.disconnect()
                raise

        pool = self.client.connection_pool
        options = {**pool.connection_kwargs, "redis_connect_func": connected}
        client = redis.Redis(connection_pool=redis.ConnectionPool(pool.connection_class, **options))
        try:
            yield client
        finally:
            client.connection_pool.disconnect()

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn the errors of Redis into ones that say what to do."""
        try:
            yield
        except exceptions.RedisError as error:
            said = str(error).rpartition("caused error: ")[2] or type(error).__name__
            advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "see the server's message")
            if "CERTIFICATE_VERIFY_FAILED" in said:
                advice = "mend ssl_ca_certs in store.url, the host name, or the server's certificate"
            if said.startswith("MISCONF"):  # for which redis-py has no class
                advice = (
                    "the server cannot write its files, and until it can it refuses all writes, deletions too: free its disk, "
                    "or see its log, then try again; what was live still is"
                )
            raise StoreError(f"store {self.where}: cannot {doing}: {said}; {advice}") from error

    def close(self) -> None:
        """Close the connections; others are opened when they are needed."""
        self.client.connection_pool.disconnect()


_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        exceptions.AuthenticationError,
        f"expected a user that the server knows and its password; set {PASSWORD_VARIABLE}, and the user in the URL",
    ),
    (
        exceptions.AuthenticationWrongNumberOfArgsError,
        f"expected a user that the server knows and its password; set {PASSWORD_VARIABLE}, and the user in the URL",
    ),
    (
        exceptions.NoPermissionError,
        "expected a user who may do this: see serving/redis/users.acl; publishers need the writer",
    ),
    (
        exceptions.OutOfMemoryError,
        "its maxmemory is reached; raise it or lower publish.keep_versions, then try again; what was live still is",
    ),
    (exceptions.ReadOnlyError, "found a replica, expected the primary server; mend store.url; what was live still is"),
    (exceptions.BusyLoadingError, "the server reads its data from disk after a start; wait, then try again"),
    (
        exceptions.TimeoutError,
        "the server gave no answer in time; see what holds it up, then try again; what was live still is",
    ),
    (
        exceptions.ConnectionError,
        "expected a Redis server that answers there; start it or mend store.url, then try again; what was live still is",
    ),
)


def _told(url: str) -> str:
    """Say where a server is, without who logs in and how.

    Raises:
        ValueError: a part of it may be the rest of a password, whose ``/``, ``?``, ``#`` or ``@`` was not escaped.
    """
    parts = urlsplit(url)
    if parts.fragment or "@" in parts.path + parts.query or (parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path)):
        raise ValueError("unexpected path")
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path.rstrip('/')}"
