"""Section ``http``, and what it refuses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from conf import Section
from schemas.errors import ReelflowError
from serving.http._keys import KEYS_VARIABLE, ApiKeys

__all__ = ["Clock", "HttpConfig", "is_loopback", "refuse_unsafe"]

Clock = Callable[[], datetime]
"""Tells the time that freshness is judged at."""


class HttpConfig(Section):
    """Section ``http``."""

    host: str
    """Address to listen at; one that other machines reach needs API keys."""
    port: int = Field(ge=0, le=65535)
    """0: one that is free."""
    workers: int = Field(ge=1)
    """Processes that answer."""
    api_keys: Path | None
    """File with a line ``NAME SHA256`` for each key; the environment's ``REELFLOW_API_KEYS`` holds keys themselves."""
    rate_limit: float = Field(ge=0)
    """Requests a second of one key, or of one address where there are no keys, for each worker; 0: no limit."""
    max_k: int = Field(ge=1)
    """Videos a list at most."""
    docs: bool
    """Whether ``/openapi.json`` is served."""
    page: bool
    """Whether the homepage is: for the team, on this machine only."""
    trusted_proxies: tuple[str, ...]
    """Addresses of proxies whose ``X-Forwarded-For`` names the client."""
    request_seconds: float = Field(gt=0)
    """How long a request's head may take to come, and then its body."""
    drain_seconds: int = Field(ge=0)
    """How long a server that was told to end waits for its answers to be read."""


@lru_cache(maxsize=128)
def is_loopback(host: str) -> bool:
    """Whether only this machine can mean or reach ``host``: a name or an address, without a port."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refuse_unsafe(config: HttpConfig, keys: ApiKeys) -> None:
    """Refuse to show strangers anything.

    Raises:
        ReelflowError: another machine could ask without a key, or see the page.
    """
    beyond = None if is_loopback(config.host) else f"at {config.host}, which other machines reach"
    if beyond and not keys:
        raise ReelflowError(
            f"http.host: found {config.host}, which other machines reach, and no API keys; expected keys, or 127.0.0.1; "
            f"set {KEYS_VARIABLE} or http.api_keys (docs/http.md)"
        )
    # A proxy on this machine need not say that it is one: keys and trusted proxies tell that others are served.
    others = beyond or ("with API keys" if keys else "with http.trusted_proxies" if config.trusted_proxies else None)
    if config.page and others:
        raise ReelflowError(
            f"http.page: found it on {others}; expected a server for this machine alone, because the page shows what users "
            "watched; switch http.page off, and run a second server for it, at 127.0.0.1 without keys and proxies"
        )
