"""Versions switch a thousand times while the library and HTTP read: no error, no mixture, nothing older than what is live."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from serving import Publication, RecommendationReader, SqliteStore
from tests.serving.builders import USERS, expected, fallback, rows
from tests.serving.http.clients import serving

Page = tuple[int, str, list[int]]  # version, model, videos


class Readers:
    """Threads that read until told to stop, and note what must never happen."""

    def __init__(self) -> None:
        self.live = 0
        """The newest version of which the publisher has said that it is live."""
        self.stop = threading.Event()
        self.seen: dict[str, set[int]] = {}
        self.wrong: list[str] = []
        self._threads: list[threading.Thread] = []

    def add(self, name: str, ask: Callable[[int], list[Page]]) -> None:
        self.seen[name] = set()
        thread = threading.Thread(target=self._read, args=(name, ask, random.Random(name)))
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _read(self, name: str, ask: Callable[[int], list[Page]], chance: random.Random) -> None:
        try:
            while not self.stop.is_set() and not self.wrong:
                at_least = self.live
                for version, model, videos in ask(chance.randint(1, USERS)):
                    generation = int(model.removeprefix("model-"))
                    self.seen[name].add(version)
                    if videos != expected(8, generation):
                        self.wrong.append(f"{name}: {videos} of {model}")
                    if version < at_least:
                        self.wrong.append(f"{name}: version {version} after {at_least} was live")
        except Exception as error:  # whatever it is, it must not happen
            self.wrong.append(f"{name}: {error!r}")


def switch(store: SqliteStore, readers: Readers, times: int) -> None:
    as_of = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    for _ in range(times):
        generation = store.next_generation()
        known = Publication(
            as_of=as_of, generation=generation, model_version=f"model-{generation}", expires_at=as_of + timedelta(hours=48)
        )
        result = store.publish(known, rows(8, generation), fallback(8, generation), 1)
        readers.live = result.version


def over_http(browser: httpx.Client, user: int) -> list[Page]:
    body = browser.get(f"/users/{user}/recommendations").raise_for_status().json()
    assert body["why"] == "own"
    return [(body["version"], body["model_version"], [item["video_id"] for item in body["items"]])]


def in_batches(browser: httpx.Client, user: int) -> list[Page]:
    users = {"user_ids": [user, user % USERS + 1]}
    pages = browser.post("/recommendations:batch", json=users).raise_for_status().json()["homepages"]
    assert len({page["version"] for page in pages}) == 1
    return [(page["version"], page["model_version"], [item["video_id"] for item in page["items"]]) for page in pages]


def by_library(reader: RecommendationReader, user: int) -> list[Page]:
    page = reader.get(user)
    return [(page.version, page.model_version, [row.video_id for row in page.rows])]


@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_readers_never_notice(tmp_path: Path, times: int) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    readers = Readers()
    switch(store, readers, 1)
    other = RecommendationReader(SqliteStore(store.path))
    with (
        serving(tmp_path, store.path) as server,
        httpx.Client(base_url=server.url) as first,
        httpx.Client(base_url=server.url) as second,
    ):
        readers.add("library", lambda user: by_library(other, user))
        readers.add("http", lambda user: over_http(first, user))
        readers.add("batch", lambda user: in_batches(second, user))
        try:
            switch(store, readers, times)
        finally:
            readers.end()
    assert readers.wrong == []
    assert {name: len(versions) > times // 20 for name, versions in readers.seen.items()} == dict.fromkeys(readers.seen, True)
