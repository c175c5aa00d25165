"""The token bucket."""

from __future__ import annotations

import pytest

from serving.http import _limits
from serving.http._limits import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_second_and_is_filled_at_its_rate() -> None:
    clock = Clock()
    limit = RateLimit(4, clock)
    assert [limit.wait_seconds("a") for _ in range(5)] == [0, 0, 0, 0, 0.25]
    clock.now += 0.25
    assert [limit.wait_seconds("a") for _ in range(2)] == [0, 0.25]
    clock.now += 60
    assert [limit.wait_seconds("a") for _ in range(5)] == [0, 0, 0, 0, 0.25]


def test_clients_do_not_share_one() -> None:
    limit = RateLimit(1, Clock())
    assert [limit.wait_seconds(client) for client in "abab"] == [0, 0, 1, 1]


def test_a_rate_below_one_still_lets_one_pass() -> None:
    clock = Clock()
    limit = RateLimit(0.1, clock)
    assert [limit.wait_seconds("a") for _ in range(2)] == [0, 10]
    clock.now += 10
    assert limit.wait_seconds("a") == 0


def test_zero_is_no_limit() -> None:
    limit = RateLimit(0, Clock())
    assert {limit.wait_seconds("a") for _ in range(1000)} == {0}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "_CLIENTS", 10)
    limit = RateLimit(1, Clock())
    for client in range(1000):
        limit.wait_seconds(str(client))
    assert len(limit._buckets) == 10
    assert limit.wait_seconds("999") == 1
