"""The application: routes, errors, guard."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving import ServingStore
from serving.http._api import add_api
from serving.http._config import Clock, HttpConfig
from serving.http._errors import Problem, add_handlers, documented
from serving.http._guard import OPEN, Guard
from serving.http._keys import ApiKeys
from serving.http._metrics import Metrics
from serving.http._page import page

__all__ = ["create_app"]

_DESCRIPTION = """\
What a video homepage shows each user, published by reelflow once or several times a day. An answer is of one version, the one
that is live at that moment. Users without a list, or with an expired one, get a fallback list, and the answer says so."""


def create_app(
    store: ServingStore,
    config: HttpConfig,
    keys: ApiKeys | None = None,
    lake: Path | None = None,
    *,
    clock: Clock = lambda: datetime.now(UTC),
) -> FastAPI:
    """Make the ASGI application.

    Args:
        store: what is served; read only.
        config: section ``http``.
        keys: who may ask; none: everybody on this machine.
        lake: the tables that the page shows beside the lists; None: it does without.
        clock: tells the time that freshness is judged at.
    """
    known, metrics = keys or ApiKeys(), Metrics(store, clock)
    app = FastAPI(
        title="reelflow recommendations",
        version="1",
        description=_DESCRIPTION,
        openapi_url="/openapi.json" if config.docs else None,
        docs_url=None,  # FastAPI's pages of documentation load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},  # /metrics is ours
    )
    add_api(app.router, store, config, metrics, clock)
    if config.page:
        app.include_router(page(store, config, lake, clock))
    add_handlers(app)
    app.add_middleware(Guard, config=config, keys=known, metrics=metrics)
    app.openapi = lambda: _described(app, known)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def _described(app: FastAPI, keys: ApiKeys) -> dict[str, object]:
    """What FastAPI says of the routes, with our form of an error, the headers and the keys."""
    if app.openapi_schema:
        return app.openapi_schema
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = found["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    everywhere = {str(status): told for status, told in documented(*(() if keys else (421,)), 422).items()}
    found["components"]["parameters"] = {"RequestId": _REQUEST_ID}
    for path, methods in found["paths"].items():
        for operation in methods.values():
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/RequestId"})
            operation["responses"] = {**operation["responses"], **everywhere}
            if keys and path not in OPEN:
                operation["security"] = [{"key": []}]
            if not keys:
                operation["responses"].pop("401", None)
    if keys:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}}
    app.openapi_schema = found
    return found


_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "Names the request; made where it is missing, and in every answer.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
