"""Publishing against a bare bulk load, and reading against a bare key look-up."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks._figure import Figure, best_seconds
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from serving import Publication, RecommendationReader, SqliteStore

USERS, K, READS, HOURS = 5_000, 100, 2_000, 24
_AS_OF = datetime(2026, 1, 8, tzinfo=UTC)


def _rows() -> pa.Table:
    n = USERS * K
    rank = np.tile(np.arange(1, K + 1, dtype=np.int32), USERS)
    texts = pa.array(["retrieval:3|wals:17"] * n), pa.array(["close to your taste"] * n)
    parts = [pa.array([""] * n), np.ones(n), *(np.ones(n) for _ in SCORE_PARTS)]
    columns = [np.repeat(np.arange(USERS), K), rank, rank.astype(np.int64) * 7, 1.0 / rank, *texts, *parts]
    return pa.table(dict(zip(RECOMMENDATIONS.columns, columns, strict=True))).cast(RECOMMENDATIONS.arrow)


def _fallback() -> pa.Table:
    row = {"segment": "all", "rank": 1, "video_id": 7, "score": 1.0, "sources": "popular:1", "reason": "popular now"}
    return (
        pa.Table.from_pylist([{**row, "parent": None}])
        .select(FALLBACK_RECOMMENDATIONS.columns)
        .cast(FALLBACK_RECOMMENDATIONS.arrow)
    )


def measure() -> list[Figure]:
    rows, fallback = _rows(), _fallback()
    tuples = list(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        numbers: Iterator[int] = iter(range(1_000))

        def bare() -> None:
            connection = sqlite3.connect(Path(folder) / f"bare{next(numbers)}.sqlite", isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            more = [f"c{place}" for place in range(len(RECOMMENDATIONS.columns) - 6)]
            names = ", ".join(["u", "r", "v", "s", "a", "b", *more])
            connection.execute(f"CREATE TABLE t ({names}, PRIMARY KEY (u, r)) WITHOUT ROWID")
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(RECOMMENDATIONS.columns))})", tuples)
            connection.execute("COMMIT")
            connection.close()

        store = SqliteStore(Path(folder) / "store.sqlite")

        def publish() -> None:
            generation = store.next_generation()
            publication = Publication(
                as_of=_AS_OF, generation=generation, model_version=f"v{generation}", expires_at=_AS_OF + timedelta(days=2)
            )
            store.publish(publication, rows.to_batches(65_536), fallback, 1)

        reference, published = len(tuples) / best_seconds(bare), len(tuples) / best_seconds(publish)
        reader, wanted = RecommendationReader(store), np.random.default_rng(0).integers(USERS, size=READS)
        look_up = sqlite3.connect(Path(folder) / "bare0.sqlite")
        statement = "SELECT r, v, s, a, b FROM t WHERE u = ? ORDER BY r"
        read = READS / best_seconds(lambda: [reader.get(int(user), K) for user in wanted])
        bare_read = READS / best_seconds(lambda: [look_up.execute(statement, (int(u),)).fetchall() for u in wanted])
        of_hours = rows.slice(0, USERS * K // 100)
        delta_seconds = []
        for hour in range(1, HOURS + 1):
            live = store.live()
            assert live is not None
            known = Publication(
                as_of=_AS_OF + timedelta(hours=hour),
                generation=store.next_generation(),
                model_version=f"hour{hour}",
                expires_at=_AS_OF + timedelta(days=4),
                base=live.version,
            )
            delta_seconds.append(best_seconds(lambda known=known: store.publish(known, of_hours.to_batches(), fallback, 1), 1))
        over_deltas = READS / best_seconds(lambda: [reader.get(int(user), K) for user in wanted])
        look_up.close()
        store.close()
    return [
        Figure("publish, verified and switched", "rows/s", published, reference, "bare executemany"),
        Figure(
            "publish 1 % of the users over the others", "publications/s", 1 / min(delta_seconds), published / len(tuples), "all"
        ),
        Figure("reader, 100 videos a user", "reads/s", read, bare_read, "bare key look-up"),
        Figure(f"reader over {HOURS} deltas", "reads/s", over_deltas, read, "without deltas"),
    ]
