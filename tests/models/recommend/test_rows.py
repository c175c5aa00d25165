import dataclasses
from datetime import date

import numpy as np
import pytest

from models.recommend import COMPONENTS, recommend_batch, rows, sources_text
from models.recommend._config import GENERATORS
from schemas import RECOMMENDATIONS, SCORE_PARTS
from tests.models.recommend.worlds import config, indexes_of, segments, world

TODAY = date(2026, 1, 8)


def test_parts_are_columns_in_the_order_of_the_components():
    assert tuple(f"score_{name}" for name in COMPONENTS) == SCORE_PARTS


def test_the_table_is_the_declared_one():
    catalogue, users = world(4, 90, 3)
    chosen = config(k=8, exploration={**config().exploration.model_dump(), "slots": [4]})
    found = recommend_batch(chosen, catalogue, users, indexes_of(catalogue), TODAY)
    table = rows(found, chosen, catalogue, users)
    assert RECOMMENDATIONS.compare(table.schema) == []
    read = table.to_pylist()
    assert [row["rank"] for row in read] == list(range(1, 9)) * 3
    assert [row["user_id"] for row in read] == [500] * 8 + [501] * 8 + [502] * 8
    assert [row["video_id"] for row in read] == catalogue.video_ids[found.positions.reshape(-1)].tolist()
    assert all(row["sources"] and row["reason"] for row in read)
    explored = [row["rank"] == 4 for row in read]
    assert [row["rules"].endswith("exploration>4") for row in read] == explored
    assert [row["propensity"] < 1 for row in read] == explored
    assert {row["reason"] for row, drawn in zip(read, explored, strict=True) if drawn} == {"new to you and to us"}


def test_parts_add_up_to_the_score_and_the_largest_is_the_reason():
    catalogue, users = world(4, 90, 3)
    chosen = config(k=8, segments=segments(wals=1.0, local=0.5, sponsored=0.2)).bare()
    found = recommend_batch(chosen, catalogue, users, indexes_of(catalogue), TODAY)
    reasons = {"score_wals": "watched by people like you", "score_local": "popular near you", "score_sponsored": "sponsored"}
    for row in rows(found, chosen, catalogue, users).to_pylist():
        parts = {name: row[name] for name in SCORE_PARTS}
        assert sum(parts.values()) == pytest.approx(row["score"], abs=1e-5)
        assert {name for name, part in parts.items() if part} <= reasons.keys()
        most = max(parts, key=parts.get)
        assert row["reason"] == reasons.get(most, row["reason"])


def test_an_empty_batch_gives_no_rows():
    catalogue, users = world(4, 90, 3)
    nobody = users.rows(0, 0)
    found = recommend_batch(config(), catalogue, nobody, indexes_of(catalogue), TODAY)
    assert rows(found, config(), catalogue, nobody).num_rows == 0
    hidden = dataclasses.replace(catalogue, eligible=np.zeros(90, dtype=bool))
    found = recommend_batch(config(), hidden, users, indexes_of(catalogue), TODAY)
    assert rows(found, config(), hidden, users).num_rows == 0


def test_sources_name_generators_with_their_ranks():
    ranks = np.zeros((2, 2, len(GENERATORS)), dtype=np.int32)
    for (row, place), proposed in {
        (0, 0): {"retrieval": 3, "wals": 17, "popular": 2},
        (1, 0): {"wals": 5},
        (1, 1): {"retrieval": 1, "fresh": 9, "popular": 200},
    }.items():
        for name, rank in proposed.items():
            ranks[row, place, GENERATORS.index(name)] = rank
    assert sources_text(ranks).to_pylist() == [
        "retrieval:3|wals:17|popular:2", "fill", "wals:5", "retrieval:1|fresh:9|popular:200",
    ]  # fmt: skip
    assert sources_text(ranks[:0]).to_pylist() == []
