"""What Prometheus is told: requests, how long they took, fallbacks, and at each scrape how fresh the store is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from schemas.errors import ReelflowError
from serving import Homepage, ServingStore
from serving.http._config import Clock

__all__ = ["WORKERS_VARIABLE", "Metrics"]

WORKERS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where several workers count together; set before this module is imported, by ``serving.http.__main__``."""
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)  # seconds


class Metrics:
    """The counters of one application."""

    def __init__(self, store: ServingStore, clock: Clock) -> None:
        self._own = CollectorRegistry()
        self._freshness = _Freshness(store, clock)
        self._requests = Counter(
            "reelflow_http_requests", "Requests by route and status.", ["route", "status"], registry=self._own
        )
        self._seconds = Histogram(
            "reelflow_http_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            registry=self._own,
            buckets=_BUCKETS,
        )
        self._fallbacks = Counter(
            "reelflow_http_fallbacks",
            "Fallback lists shown: the user's own is missing or expired.",
            ["why"],
            registry=self._own,
        )
        self._stale = Counter("reelflow_http_stale_lists", "Lists shown past their expiry.", registry=self._own)
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        for why in ("missing", "expired"):
            self._fallbacks.labels(why)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        if (route, status) not in self._children:
            self._children[route, status] = self._requests.labels(route, str(status)), self._seconds.labels(route)
        counter, histogram = self._children[route, status]
        counter.inc()
        histogram.observe(seconds)

    def shown(self, page: Homepage) -> None:
        """Count what a list was."""
        if page.fallback:
            self._fallbacks.labels(page.why).inc()
        if page.stale:
            self._stale.inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text form. Reads the store."""
        counted, asked = self._own, CollectorRegistry()
        if os.environ.get(WORKERS_VARIABLE):
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        asked.register(self._freshness)
        return generate_latest(counted) + generate_latest(asked)


class _Freshness(Collector):
    """How fresh what is live is, asked of the store."""

    def __init__(self, store: ServingStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        started = time.perf_counter()
        try:
            live, readable = self._store.live(), True
        except ReelflowError:
            live, readable = None, False
        yield _gauge("reelflow_store_readable", "1 where the store can be read.", float(readable))
        yield _gauge("reelflow_store_seconds", "How long the store took to say what is live.", time.perf_counter() - started)
        if live is None:
            return
        now = self._clock()
        yield _gauge("reelflow_live_version", "The version that is live.", live.version)
        yield _gauge("reelflow_live_users", "Users who have a list of their own in it.", live.users)
        yield _gauge("reelflow_live_as_of_seconds", "What it knows until, in seconds since 1970.", live.as_of.timestamp())
        yield _gauge("reelflow_live_expires_at_seconds", "When it expires, in seconds since 1970.", live.expires_at.timestamp())
        yield _gauge("reelflow_staleness_seconds", "Age of what it knows.", (now - live.as_of).total_seconds())
        yield _gauge("reelflow_stale", "1 where it has expired.", float(now >= live.expires_at))


def _gauge(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)
