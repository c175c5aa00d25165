import pytest
from pydantic import ValidationError

from conf import load
from models.ann import IndexConfig


def configured(**given):
    return IndexConfig.model_validate({**load("index", IndexConfig).model_dump(), **given})


def test_the_kind_is_that_of_the_largest_size_reached():
    config = configured(kind="auto", from_videos={"flat": 0, "hnsw": None, "ivf_flat": 100, "ivf_pq": 1000})
    assert [config.kind_for(n) for n in (0, 99, 100, 999, 1000, 10**9)] == [
        "flat",
        "flat",
        "ivf_flat",
        "ivf_flat",
        "ivf_pq",
        "ivf_pq",
    ]
    assert configured(kind="hnsw").kind_for(10) == "hnsw"


def test_settings_that_leave_a_size_or_a_ladder_open_are_refused():
    with pytest.raises(ValidationError, match="from 0 vectors on"):
        configured(from_videos={"flat": 5})
    with pytest.raises(ValidationError, match="another number"):
        configured(from_videos={"flat": 0, "hnsw": 9, "ivf_pq": 9})
    with pytest.raises(ValidationError, match="hnsw: found"):
        configured(efforts={"hnsw": [4, 2], "ivf_flat": [1], "ivf_sq8": [1], "ivf_pq": [1]})
    with pytest.raises(ValidationError, match="ivf_pq: found"):
        configured(efforts={"hnsw": [4], "ivf_flat": [1], "ivf_sq8": [1]})
