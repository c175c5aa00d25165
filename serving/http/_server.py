"""How the application is run: uvicorn, one process or several on one socket."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import parent_process

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from conf.paths import paths
from schemas.errors import ReelflowError
from serving import open_store, store_at
from serving.http._app import create_app
from serving.http._config import HttpConfig
from serving.http._connection import TimedProtocol
from serving.http._keys import ApiKeys
from serving.http._metrics import WORKERS_VARIABLE

__all__ = ["Application", "bind", "serve"]


@dataclass(frozen=True, slots=True)
class Application:
    """What makes a worker's application, in the worker: connections do not survive the way there."""

    config: HttpConfig
    keys: ApiKeys
    store: str | None
    """A URL or a SQLite file; None: the configured store."""
    at: datetime | None
    """The time that freshness is judged at; None: always the present."""

    def __call__(self) -> FastAPI:
        """Make it.

        Raises:
            ReelflowError: there is no store of that kind.
        """
        store = store_at(self.store) if self.store else open_store()
        lake = paths().lake if self.config.page else None
        app = create_app(store, self.config, self.keys, lake, clock=lambda: self.at or datetime.now(UTC))
        _end_with_supervisor()
        gc.collect()
        gc.freeze()  # what is here stays: to go through it again would hold up an answer for 50 ms
        return app


def _end_with_supervisor() -> None:
    """Let a worker end, as if it were told to, when its supervisor is gone: it would hold the port for ever."""
    supervisor = parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def bind(config: HttpConfig) -> socket.socket:
    """A socket that listens at the configured address.

    Raises:
        ReelflowError: the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()  # who comes before the application is ready waits
    except OSError as error:
        raise ReelflowError(
            f"http: cannot listen at {config.host} port {config.port}: {error.strerror}; expected an address of this machine "
            "and a free port; mend http.host or http.port, or give --port"
        ) from error
    found.set_inheritable(True)
    return found


def serve(config: HttpConfig, application: Application, listening: socket.socket) -> None:
    """Answer until SIGTERM or SIGINT; then what was begun is finished."""
    settings = uvicorn.Config(
        application,
        factory=True,
        workers=config.workers,
        http=partial(TimedProtocol, request_seconds=config.request_seconds),  # type: ignore[arg-type]  # it is only called
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=list(config.trusted_proxies),
        server_header=False,
        access_log=False,  # paths name users
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=config.drain_seconds,
    )
    if config.workers == 1:
        uvicorn.Server(settings).run([listening])
        return
    with tempfile.TemporaryDirectory(prefix="reelflow-http-") as folder:
        os.environ[WORKERS_VARIABLE] = folder  # where workers count together
        Multiprocess(settings, [listening]).run()
