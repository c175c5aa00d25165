"""Schemathesis asks what OpenAPI allows, and what it does not, and holds every answer against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema

from serving import SqliteStore
from tests.serving.http.clients import Server, serving
from tests.serving.http.conftest import published

pytestmark = pytest.mark.slow

EXAMPLES = 40
"""Requests of an operation and a mode."""
OPERATIONS = (
    ("GET", "/users/{user_id}/recommendations"),
    ("POST", "/recommendations:batch"),
    ("GET", "/fallback/{segment}"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home: Path = tmp_path_factory.mktemp("home")
    store = SqliteStore(home / "store.sqlite")
    published(store)
    with serving(home, store.path) as server:
        yield server


@pytest.fixture(scope="module")
def described(server: Server) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_operation_is_tried(described: BaseSchema) -> None:
    found = [one.ok() for one in described.get_all_operations()]
    assert {(one.method.upper(), one.path) for one in found} == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_as_described(described: BaseSchema, method: str, path: str, mode: GenerationMode) -> None:
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def holds(case: schemathesis.Case) -> None:
        case.call_and_validate()

    holds()
