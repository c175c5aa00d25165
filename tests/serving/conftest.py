"""Servers that all tests of stores share: started once, empty for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.postgres import Server
from tests.serving.redis_server import RedisServer, running


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


@pytest.fixture(scope="module")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(running_redis: RedisServer) -> RedisServer:
    with running_redis.client as client:
        client.flushall()
    return running_redis
