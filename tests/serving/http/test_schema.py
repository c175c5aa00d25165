"""Schemathesis asks what OpenAPI allows, and what it does not, and holds every answer against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error

from serving import SqliteStore
from tests.serving.http.clients import Server, serving
from tests.serving.http.conftest import published

EXAMPLES = 40  # an operation


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home: Path = tmp_path_factory.mktemp("home")
    store = SqliteStore(home / "store.sqlite")
    published(store)
    with serving(home, store.path) as server:
        yield server


@pytest.fixture(scope="module")
def described(server: Server) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"X-Request-Id": "schemathesis"} if case.headers is None else None)


def test_the_checks_do_fail(server: Server) -> None:
    """That the server is asked at all: a check that is never met would hide it."""
    assert not_a_server_error.__name__ == "not_a_server_error"
    assert server.process.poll() is None
