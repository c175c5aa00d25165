"""A route that is asked a thousand times a second: FastAPI's description of it, without what FastAPI does to call it.

FastAPI solves every request's dependencies anew and validates each parameter by itself, which took longer than to read the
list. Here one Pydantic model validates them all. What a caller sees is the same, and so is OpenAPI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError, create_model
from starlette.types import Receive, Scope, Send

__all__ = ["LeanRoute"]


class LeanRoute(APIRoute):
    """A route whose function takes the request, and parameters of path and query alone, and returns the response itself."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **known: Any) -> None:
        super().__init__(path, endpoint, **known)
        takes = self.dependant
        if takes.request_param_name is None or takes.body_params or takes.header_params or takes.dependencies:
            raise TypeError(f"route {path}: found something else than the request and parameters of path and query")
        self._request_name = takes.request_param_name
        self._places = {field.name: "path" for field in takes.path_params} | {
            field.name: "query" for field in takes.query_params
        }
        fields: Any = {
            field.name: (field.field_info.annotation, field.field_info) for field in (*takes.path_params, *takes.query_params)
        }
        self._parameters: type[BaseModel] = create_model("Parameters", **fields)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            RequestValidationError: a parameter is not what it should be.
        """
        if self.methods and scope["method"] not in self.methods:
            await super().handle(scope, receive, send)  # 405
            return
        request = Request(scope, receive)
        response = await self.endpoint(**{self._request_name: request}, **self._validated(request))
        await response(scope, receive, send)

    def _validated(self, request: Request) -> Mapping[str, Any]:
        """The parameters by name; of one that is given twice, the last."""
        given = {**request.query_params, **request.path_params}
        try:
            return self._parameters.model_validate(given).__dict__
        except ValidationError as error:
            raise RequestValidationError([self._as_fastapi(one) for one in error.errors(include_url=False)]) from error

    def _as_fastapi(self, error: Mapping[str, Any]) -> Mapping[str, Any]:
        """What Pydantic says of all parameters together, as of the one by itself."""
        missing = {"input": None} if error["type"] == "missing" else {}
        return {**error, "loc": (self._places[error["loc"][0]], *error["loc"]), **missing}
