"""Serve recommendations over HTTP: ``python -m serving.http [--page] [--host H] [--port N] [--store URL|FILE] [--at ISO]``.

Settings are those of section ``http`` (docs/http.md). SIGTERM and Ctrl-C end it once what was asked is answered.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

from conf import ConfigError, load, overlaid
from schemas.errors import ReelflowError
from serving._protocol import moment_of
from serving.http._config import HttpConfig, refuse_unsafe
from serving.http._keys import ApiKeys
from serving.http._server import Application, bind, serve

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end; returns the exit status, 2 for what the user can mend."""
    options = _parser().parse_args(arguments)
    given = {name: getattr(options, name) for name in ("host", "port", "page") if getattr(options, name) is not None}
    try:
        with overlaid({"http": given}, "the command line"):
            config = load("http", HttpConfig)
        keys = ApiKeys.configured(config.api_keys)
        refuse_unsafe(config, keys)
        application = Application(config, keys, options.store, moment_of(options.at))
        application()  # what is wrong with the store's setting is said here, once
        listening = bind(config)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | http | error: {error}", file=sys.stderr)
        return 2
    with listening:
        _say(config, keys, listening)
        serve(config, application, listening)
    return 0


def _say(config: HttpConfig, keys: ApiKeys, listening: socket.socket) -> None:
    """Print where it can be reached."""
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    who = f"{len(keys.digests)} API keys" if keys else "no API keys: this machine only"
    lines = [f"reelflow | http | {url}, {who}; Ctrl-C ends it"]
    if config.page:
        lines.append(f"reelflow | http | homepage: {url}/")
    print("\n".join(lines), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.http", description="Serve recommendations over HTTP.")
    parser.add_argument("--page", action="store_const", const=True, help="with the homepage (default: http.page)")
    parser.add_argument("--host", help="address to listen at (default: http.host)")
    parser.add_argument("--port", type=int, help="port; 0: one that is free (default: http.port)")
    parser.add_argument("--store", metavar="URL|FILE", help="the store, or its SQLite file (default: the configured one)")
    parser.add_argument("--at", metavar="ISO", help="judge freshness at this time, for a look at old data (default: now)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
