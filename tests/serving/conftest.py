"""Servers that all tests of stores share: started once, empty for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.postgres import Server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def postgres(postgres_server: Server) -> Iterator[Server]:
    postgres_server.empty()
    yield postgres_server
    postgres_server.empty()
