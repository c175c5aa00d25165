"""What every request passes: its id, who may ask and how often; and what every answer carries. Plain ASGI, for speed."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http._config import HttpConfig, is_loopback
from serving.http._errors import ProblemResponse
from serving.http._keys import ApiKeys
from serving.http._limits import RateLimit
from serving.http._metrics import Metrics

__all__ = ["OPEN", "REQUEST_ID", "Guard"]

_LOG = logging.getLogger(__name__)
OPEN = frozenset({"/health", "/ready"})
"""Asked by machines that look after the server: without a key, as often as they like."""
PAGE = ("/page/", "/page-data/")
"""The homepage and what it reads; the guard lets only this machine's own browser pass."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PORT = re.compile(r":\d*$")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
_ALWAYS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_LARGEST_BODY = 16 * 1024  # bytes: a hundred user ids are 2 KB
_PROXIED = ("forwarded", "x-forwarded-for", "via")


class Guard:
    """Lets a request through to the application, or refuses it; counts both."""

    def __init__(self, app: ASGIApp, config: HttpConfig, keys: ApiKeys, metrics: Metrics) -> None:
        self._app = app
        self._page = config.page
        self._seconds = config.request_seconds
        self._keys = keys
        self._metrics = metrics
        self._limit = RateLimit(config.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, begun, received = time.perf_counter(), 500, False, 0
        headers = Headers(scope=scope)
        given = headers.get("x-request-id")
        valid = given is None or REQUEST_ID.fullmatch(given) is not None
        request_id = given if given is not None and valid else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [*message["headers"], *_ALWAYS, (b"x-request-id", request_id.encode())]
            await send(message)

        async def bounded() -> Message:
            nonlocal received
            try:
                async with asyncio.timeout(started + self._seconds - time.perf_counter()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT, f"no whole body within {self._seconds:g} s", {"Connection": "close"}
                ) from None
            received += len(message.get("body", b""))
            if received > _LARGEST_BODY:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {_LARGEST_BODY:,} bytes")
            return message

        refusal = _unnamed(request_id) if not valid else self._refusal(scope, headers, request_id)
        try:
            await (refusal or self._app)(scope, bounded, answer)
        except Exception:
            _LOG.exception("request %s: %s %s failed", request_id, scope["method"], _route(scope))
            if not begun:
                await _defect(request_id)(scope, receive, answer)
        finally:
            self._metrics.answered(_route(scope), status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, headers: Headers, request_id: str) -> ProblemResponse | None:
        """Why a request is not let through; None where it is."""
        path = scope["path"]
        client = (scope.get("client") or ("local",))[0]
        page = self._page and (path == "/" or path.startswith(PAGE))
        host = _PORT.sub("", headers.get("host", ""))
        if (page or not self._keys) and path not in OPEN and not is_loopback(host):
            return ProblemResponse(
                request_id, HTTPStatus.MISDIRECTED_REQUEST, which="header Host", found=host[:100] or "none",
                expected="localhost, or its address" if page else "localhost, or its address, where there are no API keys",
                do="ask this machine by that name, or configure API keys (docs/http.md)",
            )  # fmt: skip
        if page and any(name in headers for name in _PROXIED):
            return ProblemResponse(
                request_id, HTTPStatus.FORBIDDEN, which=f"path {path[:100]}", found="a request that a proxy passed on",
                expected="a browser on this machine: the page shows what users watched", do="open it without a proxy",
            )  # fmt: skip
        if path in OPEN or page:
            return None
        if self._keys:
            kind, _, key = headers.get("authorization", "").partition(" ")
            owner = self._keys.owner(key.strip()) if kind.lower() == "bearer" else None
            if owner is None:
                return ProblemResponse(
                    request_id, HTTPStatus.UNAUTHORIZED, which="header Authorization", found="no key, or none that is known",
                    expected="Bearer, and an API key", do="ask who runs this server for a key",
                    headers={"WWW-Authenticate": 'Bearer realm="reelflow"'},
                )  # fmt: skip
            client = owner
        if wait := self._limit.wait_seconds(client):
            return ProblemResponse(
                request_id, HTTPStatus.TOO_MANY_REQUESTS, which="requests of this client", found="more than are allowed",
                expected="at most http.rate_limit a second", do=f"wait for {math.ceil(wait)} s; ask for many users at once",
                headers={"Retry-After": str(math.ceil(wait))},
            )  # fmt: skip
        return None


def _route(scope: Scope) -> str:
    """The route that answers, as ``/users/{user_id}/recommendations``: paths name users."""
    return getattr(scope.get("route"), "path", "other")


def _unnamed(request_id: str) -> ProblemResponse:
    return ProblemResponse(
        request_id, HTTPStatus.UNPROCESSABLE_ENTITY, which="header X-Request-Id", found="something else",
        expected="1 to 64 of the characters A-Z, a-z, 0-9, dot, underscore, hyphen", do="mend it, or leave it out",
    )  # fmt: skip


def _defect(request_id: str) -> ProblemResponse:
    return ProblemResponse(
        request_id, HTTPStatus.INTERNAL_SERVER_ERROR, which="the server", found="a defect of its own", expected="an answer",
        do="look at its log under this request's id, and report it",
    )  # fmt: skip
