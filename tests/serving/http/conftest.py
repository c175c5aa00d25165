"""A store whose lists are fresh, and one that is stale, by the clock of the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving import Publication, ServingStore, SqliteStore
from tests.serving.builders import fallback, rows

SEGMENTS = ("all", "country=DE", "country=DE|language=de", "language=de")


def published(store: ServingStore, *, hours_ago: float = 5, number: int = 8, base: int | None = None, users: int = 20) -> int:
    """Publish the lists of a day as if they were made lately, and return the version."""
    as_of = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours_ago)
    known = Publication(
        as_of=as_of,
        generation=store.next_generation(),
        model_version=f"model-{number}",
        expires_at=as_of + timedelta(hours=48),
        base=base,
    )
    return store.publish(known, rows(number, 1, users=users), fallback(number, 1, SEGMENTS), 3).version


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[], SqliteStore]:
    return lambda: SqliteStore(tmp_path / "store.sqlite")


@pytest.fixture
def store(new_store: Callable[[], SqliteStore]) -> SqliteStore:
    found = new_store()
    published(found)
    return found
