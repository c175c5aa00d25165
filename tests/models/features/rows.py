"""Examples, versions and queries by hand: few enough that every code and number follows by reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from models.features import FEATURES, Number
from schemas import EXAMPLE_FEATURES, EXAMPLES, QUERY_TEXT, USER_VERSIONS, VIDEO_TEXT, VIDEO_VERSIONS, Table

MONDAY = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
LONG_AGO = datetime(2025, 12, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LISTS = {field.name: [] for field in EXAMPLE_FEATURES.fields if field.type.startswith("list")}
COUNTED = {column: 0.0 for f in FEATURES if isinstance(f, Number) for column in f.columns} | {"popularity": 0.0}
FACTS = ("duration_seconds", "uploaded_at")


def table(*tables: Table, rows: Iterable[Mapping[str, Any]], **basic: Any) -> pa.Table:
    """Rows with the columns of some tables and those of ``basic``, whose value stands where a row gives none."""
    fields = {field.name: field for one in tables for field in one.arrow}
    fields |= {name: pa.field(name, pa.float64()) for name in basic if name not in fields}
    content = [{name: row.get(name, basic.get(name)) for name in fields} for row in rows]
    return pa.Table.from_pylist(content, schema=pa.schema([field.with_nullable(True) for field in fields.values()]))


def examples(*rows: Mapping[str, Any]) -> pa.Table:
    """Examples with their features and counters: no history, nothing counted, unless a row says so."""
    counted = {name: value for name, value in COUNTED.items() if name not in FACTS}
    return table(EXAMPLES, EXAMPLE_FEATURES, rows=rows, occurred_at=MONDAY, weight=1.0, label=0, **counted, **LISTS)


def users(*rows: Mapping[str, Any]) -> pa.Table:
    """Versions of users, from long ago unless a row says so."""
    return table(USER_VERSIONS, rows=rows, valid_from=LONG_AGO)


def videos(*rows: Mapping[str, Any]) -> pa.Table:
    """Versions of videos with their text, from long ago unless a row says so."""
    return table(VIDEO_VERSIONS, VIDEO_TEXT, rows=rows, valid_from=LONG_AGO, duration_seconds=60.0, uploaded_at=LONG_AGO)


def queries(**vectors: Any) -> pa.Table:
    """Query text."""
    return table(QUERY_TEXT, rows=[{"query": query, "vector": vector} for query, vector in vectors.items()])


def with_column(rows: pa.Table, name: str, values: Any) -> pa.Table:
    """Rows with other values in one column."""
    place = rows.column_names.index(name)
    return rows.set_column(place, name, pa.array(values, rows.schema.field(place).type))


USERS = users(
    {"user_id": 1, "age": 17, "gender": "f", "language": "de", "country": "DE"},
    {"user_id": 2, "gender": "f", "language": "en", "country": "GB"},
    {"user_id": 2, "valid_from": MONDAY + 5 * HOUR, "age": 18, "gender": "m", "language": "en", "country": "DE"},
    {"user_id": 3, "age": 55, "gender": "m", "language": "en", "country": "GB"},
)
VIDEOS = videos(
    {"video_id": 10, "creator_id": 7, "language": "de", "uploaded_at": MONDAY - 3 * DAY, "title_vector": [1.0, 0.0, 2.0]},
    {"video_id": 20, "language": "en", "duration_seconds": 0.0, "uploaded_at": MONDAY - DAY, "tags_vector": [0.5, -0.5]},
    {"video_id": 30, "creator_id": 7, "duration_seconds": 120.0, "uploaded_at": MONDAY + DAY, "title_vector": [0.0, 1.0, 0.0]},
)
QUERIES = queries(bread=[1.0, 2.0], nothing=None, soup=[3.0, 4.0])
COUNTS = {"impressions": 10, "views": 5, "relevant": 2}
SHOWN = examples(
    {"user_id": 2, "video_id": 10, "device": "web", "popularity": 1.5, **COUNTS},
    {
        "user_id": 1,
        "video_id": 10,
        "occurred_at": MONDAY + 3 * HOUR,
        "device": "web",
        "impressions": 10,
        "views": 5,
        "relevant": 2,
    },
    {"user_id": 2, "video_id": 20, "occurred_at": MONDAY + 6 * HOUR, "device": "tv", "impressions_last_hour": 4},
    {"user_id": 1, "video_id": 30, "occurred_at": MONDAY + 9 * HOUR, "impressions": 40, "views": 8, "relevant": 2},
    {"user_id": 9, "video_id": 99, "occurred_at": MONDAY + 12 * HOUR, "device": "web"},
)
