"""What a worker allocates, and that lists do not depend on what bounds it."""

import dataclasses
import gc
import tracemalloc
from datetime import date

import numpy as np
import pytest

from models.recommend import _candidates, _catalogue, recommend_batch
from models.recommend._config import GENERATORS
from tests.models.recommend.worlds import config, indexes_of, world

TODAY = date(2026, 1, 8)


def peak_bytes(catalogue, users):
    """Of the lists of a batch, by a worker that has just mapped the catalogue."""
    chosen, fresh, index = config(k=20), dataclasses.replace(catalogue), indexes_of(catalogue)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        recommend_batch(chosen, fresh, users, index, TODAY)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def with_places(catalogue, n):
    """The same with so many local segments; the first three are those that there were."""
    return dataclasses.replace(
        catalogue,
        local_segments=tuple(f"place={place}" for place in range(n)),
        local=np.resize(catalogue.local, (n, len(catalogue.video_ids))),
    )


def test_memory_does_not_grow_with_segments_times_videos():
    catalogue, users = world(2, 2000, 64)
    few, many = (peak_bytes(with_places(catalogue, n), users) for n in (3, 1000))
    assert abs(many - few) < 100_000  # local is 24 KB with three segments, and 8 MB with a thousand


@pytest.mark.parametrize("kept", [1, 40])
def test_who_looks_deeper_than_a_segments_kept_list_gets_the_same(monkeypatch, kept):
    catalogue, users = world(7, 300, 40, watched_share=0.6)
    chosen = config(k=20, generators=dict.fromkeys(GENERATORS, 30))
    whole = recommend_batch(chosen, catalogue, users, indexes_of(catalogue), TODAY)
    monkeypatch.setattr(_catalogue, "KEPT_OF_SEGMENT", kept)
    found = recommend_batch(chosen, dataclasses.replace(catalogue), users, indexes_of(catalogue), TODAY)
    for field in dataclasses.fields(whole):
        assert getattr(found, field.name).tobytes() == getattr(whole, field.name).tobytes()


def test_users_who_look_deep_do_so_in_small_groups(monkeypatch):
    largest = []

    def generate(rows, depth):
        largest.append(len(rows) * depth)
        return np.broadcast_to(np.arange(depth), (len(rows), depth))

    rows = np.arange(50)
    nothing, watched = np.zeros((0, 1000), dtype=bool), np.tile(np.arange(900), 50)
    may = _candidates.Filter(np.ones(1000, dtype=bool), nothing, np.full(50, -1), np.arange(51) * 900, watched)
    monkeypatch.setattr(_candidates, "_PROPOSALS_AT_ONCE", 3000)
    found, kept = _candidates.propose(generate, 5, 1000, may, rows)
    assert max(largest) <= 3000
    assert (found.tolist(), kept.tolist()) == (rows.tolist(), [[900, 901, 902, 903, 904]] * 50)


def test_the_best_of_a_segment_are_eligible_and_ties_go_to_the_lower_position():
    catalogue, _ = world(1, 6, 1)
    local = np.array([[3, 1, 3, 9, 0, 1], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]], dtype=np.float32)
    catalogue = dataclasses.replace(catalogue, local=local, eligible=np.array([True, True, True, False, True, True]))
    found = catalogue.local_best(np.array([2, 0, 1, 0]), 4)
    assert found.tolist() == [[5, 4, 2, 1], [0, 2, 1, 5], [0, 1, 2, 4], [0, 2, 1, 5]]
