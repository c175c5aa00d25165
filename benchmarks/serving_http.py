"""A homepage by the library and over HTTP, under load, against a bare key look-up: all of one SQLite store.

The load is *open*: requests are due at fixed times, whatever became of those before, and a time counts from when its request
was due. So a server that stalls is charged for everyone who waited.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import uvloop

from benchmarks._figure import Figure
from benchmarks._measure import Stolen, processor_seconds
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from serving import Publication, RecommendationReader, SqliteStore

USERS = int(os.environ.get("REELFLOW_BENCH_USERS", "50000"))
ROWS = 20
"""Videos a user has in the store, and is answered."""
RATE, SECONDS, CONNECTIONS = 1_000, 20, 32
WORKERS = os.cpu_count() or 1
_BATCH_USERS = 5_000
_REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class _Load:
    """What became of all requests."""

    seconds: list[float]
    """From when each was due to its answer."""
    processor_seconds: float
    """Of the processes that answered."""


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        _fill(SqliteStore(path))
        os.sync()  # what is still to be written would be written meanwhile
        chance = random.Random(1)
        users = [chance.randrange(USERS) for _ in range(RATE * SECONDS)]
        bare = _due(_bare(path), users)
        reader = RecommendationReader(SqliteStore(path))
        library = _due(lambda user: reader.get(user, ROWS), users)
        idle, over_http = (
            uvloop.run(_over_http(path, users, asked)) for asked in ("/health", "/users/{}/recommendations?k={}")
        )
    measured = (("library", library), ("HTTP", over_http), ("HTTP that reads nothing (/health)", idle))
    return [figure for name, load in measured for figure in _figures(name, load, bare)]


def _figures(name: str, load: _Load, bare: _Load) -> list[Figure]:
    """Percentiles of both, and what a request took of the processor, in microseconds."""
    against = "bare key look-up"
    percentiles = (
        (percent, *(float(np.percentile(one.seconds, percent)) * 1e6 for one in (load, bare))) for percent in (50, 99)
    )
    processor = (one.processor_seconds / len(one.seconds) * 1e6 for one in (load, bare))
    return [
        *(Figure(f"{name}, p{percent}", f"us at {RATE:,}/s", value, other, against) for percent, value, other in percentiles),
        Figure(f"{name}, processor", "us a request", *processor, against),
    ]


def _fill(store: SqliteStore) -> None:
    """Publish ``ROWS`` videos for each of ``USERS`` users."""
    as_of = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    known = Publication(as_of=as_of, generation=1, model_version="bench", expires_at=as_of + timedelta(days=30))
    row = {
        "segment": "all",
        "parent": None,
        "rank": 1,
        "video_id": 7,
        "score": 1.0,
        "sources": "popular:1",
        "reason": "popular now",
    }
    fallback = pa.Table.from_pylist([row]).select(FALLBACK_RECOMMENDATIONS.columns).cast(FALLBACK_RECOMMENDATIONS.arrow)
    store.publish(known, _batches(), fallback, 1)
    store.close()


def _batches() -> Iterator[pa.RecordBatch]:
    for first in range(0, USERS, _BATCH_USERS):
        n = min(_BATCH_USERS, USERS - first)
        rank = np.tile(np.arange(1, ROWS + 1, dtype=np.int32), n)
        texts = pa.array(["retrieval:3|wals:17"] * n * ROWS), pa.array(["close to your taste"] * n * ROWS)
        parts = [pa.array([""] * n * ROWS), np.ones(n * ROWS), *(np.ones(n * ROWS) for _ in SCORE_PARTS)]
        columns = [np.repeat(np.arange(first, first + n), ROWS), rank, rank.astype(np.int64) * 7, 1.0 / rank, *texts, *parts]
        yield from pa.table(dict(zip(RECOMMENDATIONS.columns, columns, strict=True))).cast(RECOMMENDATIONS.arrow).to_batches()


def _bare(path: Path) -> Callable[[int], object]:
    """The least that a reader could do: one statement by the primary key."""
    connection = sqlite3.connect(path)
    statement = (
        "SELECT rank, video_id, score, sources, reason FROM recommendation_rows"
        " WHERE version = 1 AND user_id = ? ORDER BY rank LIMIT ?"
    )
    return lambda user: connection.execute(statement, (user, ROWS)).fetchall()


def _due(ask: Callable[[int], object], users: list[int]) -> _Load:
    """Ask at the rate, one after the other."""
    processor, begun, times = time.process_time(), time.perf_counter(), []
    for place, user in enumerate(users):
        due = begun + place / RATE
        if (rest := due - time.perf_counter()) > 0:
            time.sleep(rest)
        ask(user)
        times.append(time.perf_counter() - due)
    return _Load(times, time.process_time() - processor)


class _Connection(asyncio.Protocol):
    """A keep-alive connection that pairs answers with when their requests were due: the least a client can do."""

    def __init__(self, times: list[float]) -> None:
        self._times = times
        self._due: deque[float] = deque()
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name

    @property
    def waiting(self) -> int:
        return len(self._due)

    def ask(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due.append(due)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, separator, rest = self._data.partition(b"\r\n\r\n")
            if not separator:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            self._times.append(time.perf_counter() - self._due.popleft())
            self._data = rest[length:]


async def _over_http(path: Path, users: list[int], asked: str) -> _Load:
    """Ask a server with a worker a core."""
    settings = path.with_name("http.yaml")
    settings.write_text(f"http: {{workers: {WORKERS}}}\n", encoding="utf-8")
    environment = {**os.environ, "REELFLOW_CONF": str(settings)}
    command = [sys.executable, "-m", "serving.http", "--port", "0", "--store", str(path)]
    with subprocess.Popen(command, cwd=_REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().partition(",")[0].rpartition(":")[2])
        try:
            stolen = Stolen()
            load = await _load(process.pid, port, [_request(asked.format(user, ROWS)) for user in users])
            print(
                f"GET {asked}: meanwhile {stolen.percent():.1f} % of the processors' time went to other machines",
                file=sys.stderr,
            )
            return load
        finally:
            process.terminate()


def _request(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


async def _load(pid: int, port: int, requests: list[bytes]) -> _Load:
    loop, times = asyncio.get_running_loop(), list[float]()
    connections = [(await loop.create_connection(lambda: _Connection(times), "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    for connection in connections:  # what is made once is made before the clock runs
        connection.ask(requests[0], time.perf_counter())
    while len(times) < CONNECTIONS:
        await asyncio.sleep(0.01)
    await _settled(pid)
    times.clear()
    processor, begun = processor_seconds(pid), time.perf_counter()
    for place, request in enumerate(requests):
        due = begun + place / RATE
        if (rest := due - time.perf_counter()) > 0:
            await asyncio.sleep(rest)
        elif place % 16 == 0:
            await asyncio.sleep(0)  # late: let answers in
        min(connections[place % CONNECTIONS], connections[(place + 7) % CONNECTIONS], key=lambda one: one.waiting).ask(
            request, due
        )
    while len(times) < len(requests):
        await asyncio.sleep(0.01)
    return _Load(times, processor_seconds(pid) - processor)


async def _settled(pid: int) -> None:
    """Wait until all workers have started: the first answers while others still import."""
    before = -1.0
    while (now := processor_seconds(pid)) - before > 0.05:
        before = now
        await asyncio.sleep(1.0)
