"""Errors over HTTP: one form for all of them, RFC 9457's, that says which thing, what was found and expected, what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from schemas.errors import ReelflowError

__all__ = ["Problem", "ProblemResponse", "add_handlers", "documented"]

_LOG = logging.getLogger(__name__)
_SHOWN = 100  # characters of what was found


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it, in the four parts that every error of reelflow has."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "which": "query k",
                    "found": "500",
                    "expected": "Input should be less than or equal to 100",
                    "do": "mend the request; /openapi.json describes it",
                    "request_id": "0f8c1c5e6f9a4f5f8a52d6b9f1f3c2aa",
                }
            ]
        }
    )

    type: str = Field(description="Always `about:blank`: the status says which kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    which: str = Field(description="Which thing is wrong.")
    found: str = Field(description="What was found.")
    expected: str = Field(description="What was expected.")
    do: str = Field(description="What to do.")
    request_id: str = Field(description="Names the request, as the header `X-Request-Id` does.")


class ProblemResponse(Response):
    """A :class:`Problem` as a response."""

    media_type = "application/problem+json"

    def __init__(
        self,
        request_id: str,
        status: int,
        *,
        which: str,
        found: str,
        expected: str,
        do: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        problem = Problem(
            type="about:blank",
            title=HTTPStatus(status).phrase,
            status=status,
            which=_printable(which),
            found=_printable(found),
            expected=_printable(expected),
            do=do,
            request_id=request_id,
        )
        super().__init__(to_json(problem), status, {"Cache-Control": "no-store", **(headers or {})})


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses."""
    content = {ProblemResponse.media_type: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def add_handlers(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ReelflowError, _unreadable)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    more = len(error.errors()) - 1
    return ProblemResponse(
        request.state.request_id,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        which=_place(first["loc"]) + (f" (and {more} more)" if more else ""),
        found=_short(first.get("input")),
        expected=first["msg"],
        do="mend the request; /openapi.json describes it",
    )


def _refused(request: Request, error: Exception) -> Response:
    """What the framework refuses: an unknown path, another method, a body that is too large or no JSON."""
    assert isinstance(error, HTTPException)
    return ProblemResponse(
        request.state.request_id,
        error.status_code,
        which=f"{request.method} {_short(request.url.path)}",
        found=str(error.detail),
        expected="a request that /openapi.json describes",
        do="mend the method, the path or the body",
        headers=error.headers,
    )


def _unreadable(request: Request, error: Exception) -> Response:
    """A store that cannot be read, or that nothing was published to. What it says may name a server: it is for the log."""
    _LOG.error("request %s: %s", request.state.request_id, error)
    return ProblemResponse(
        request.state.request_id,
        HTTPStatus.SERVICE_UNAVAILABLE,
        which="the serving store",
        found="it cannot be read, or nothing is live in it",
        expected="a store in which a version is live",
        do="ask again later; /ready says which it is, and the server's log why, under this request's id",
        headers={"Retry-After": "5"},
    )


def _place(location: Sequence[Any]) -> str:
    kind, *names = location
    return f"{kind} {'.'.join(map(str, names))}".strip()


def _printable(text: str) -> str:
    """JSON may hold half a surrogate pair, which UTF-8 cannot."""
    return text.encode(errors="replace").decode()


def _short(value: Any) -> str:
    said = value if isinstance(value, str) else repr(value)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}…"
