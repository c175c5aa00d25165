"""The lean route beside FastAPI's own, over the same function: whatever is asked, both say the same."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from serving.http._route import LeanRoute


async def _told(
    request: Request,
    *,
    user_id: Annotated[int, Path(ge=-5, le=1000)],
    k: Annotated[int, Query(ge=1, le=100)] = 20,
    country: Annotated[str | None, Query(max_length=4, pattern="^[^|]*$")] = None,
    device: Annotated[str, Query()],
) -> Response:
    return JSONResponse([request.url.path, user_id, k, country, device])


async def _errors(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse([[one["type"], one["loc"], one["msg"], one.get("input")] for one in error.errors()], 422)


def _client(kind: type[APIRoute]) -> TestClient:
    app = FastAPI()
    app.add_exception_handler(RequestValidationError, _errors)
    app.router.add_api_route("/users/{user_id}/list", _told, methods=["GET"], route_class_override=kind)
    return TestClient(app)


LEAN, ORDINARY = _client(LeanRoute), _client(APIRoute)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/users/7/list?device=tv", 200),
        ("/users/7/list?device=tv&k=3&country=DE", 200),
        ("/users/-5/list?device=", 200),
        ("/users/7/list?device=tv&device=web&k=1&k=2", 200),
        ("/users/7/list?device=tv&user_id=9&unknown=1", 200),
        ("/users/7.0/list?device=tv", 200),
        ("/users/7/list?device=%C3%A9%00", 200),
        ("/users/7/list?device=tv&country=", 200),
        ("/users/7/list", 422),
        ("/users/x/list?device=tv", 422),
        ("/users/x/list?k=y", 422),
        ("/users/1001/list?device=tv&k=0", 422),
        ("/users/7/list?device=tv&k=", 422),
        ("/users/7/list?device=tv&k=3.5", 422),
        ("/users/7/list?device=tv&country=%7C", 422),
        ("/users/7/list?device=tv&country=abcde", 422),
        ("/users/" + "9" * 5000 + "/list?device=tv", 422),
        ("/users/%20/list?device=tv", 422),
    ],
)
def test_answers_as_fastapi_does(target: str, status: int) -> None:
    lean, ordinary = LEAN.get(target), ORDINARY.get(target)
    assert (lean.status_code, lean.json()) == (ordinary.status_code, ordinary.json())
    assert lean.status_code == status


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
def test_refuses_other_methods_as_fastapi_does(method: str) -> None:
    target = "/users/7/list?device=tv"
    lean, ordinary = LEAN.request(method, target), ORDINARY.request(method, target)
    assert (lean.status_code, lean.headers["allow"]) == (ordinary.status_code, ordinary.headers["allow"]) == (405, "GET")


def test_is_described_as_fastapi_does() -> None:
    assert LEAN.get("/openapi.json").json() == ORDINARY.get("/openapi.json").json()


def test_refuses_a_function_that_it_could_not_call() -> None:
    async def _with_body(request: Request, body: dict[str, Any]) -> Response: ...

    with pytest.raises(TypeError, match="route /x: found something else"):
        LeanRoute("/x", _with_body)
