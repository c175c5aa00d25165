import numpy as np
import pytest

from conf import load
from models.ann import IndexConfig, choose, recall_against_exact
from models.ann._kinds import set_effort
from schemas.errors import ReelflowError
from tests.models.ann.clusters import clusters, unit

VECTORS, QUERIES = clusters(4_000, 60)
LADDER = (1, 2, 4, 8, 16, 32)


def configured(kind, ladder=LADDER, **given):
    efforts = dict.fromkeys(("hnsw", "ivf_flat", "ivf_sq8", "ivf_pq"), ladder)
    update = {"kind": kind, "efforts": efforts, "from_videos": {"flat": 0, "ivf_flat": 2_000}, **given}
    return IndexConfig.model_validate({**load("index", IndexConfig).model_dump(), **update})


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_sq8", "ivf_pq"])
def test_the_least_effort_that_reaches_the_recall_is_taken(kind):
    found = choose(configured(kind), VECTORS, QUERIES)
    assert found.kind == found.index.kind == kind
    recalls = {}
    for effort in LADDER:
        set_effort(found.index, effort)
        recalls[effort] = recall_against_exact(found.index, VECTORS, QUERIES, 100)
    assert found.effort == min(effort for effort, recall in recalls.items() if recall >= 0.95) > 1
    assert found.recall == recalls[found.effort]
    assert found.facts()["recall"] == round(found.recall, 4)
    assert f"{kind} index, effort {found.effort}, recall@100 0.9" in found.note


def test_the_effort_is_that_of_the_index_returned():
    found = choose(configured("ivf_flat"), VECTORS, QUERIES)
    assert recall_against_exact(found.index, VECTORS, QUERIES, 100) == found.recall


def test_distances_are_counted():
    # All lists are scanned: every vector, and 95 centroids, 1.5 times the root of 4,000.
    whole = choose(configured("ivf_flat", (4_000,)), VECTORS, QUERIES)
    assert whole.distances_per_query == 4_000 + 95
    assert whole.recall == 1.0
    refined = choose(configured("ivf_pq", (4_000,)), VECTORS, QUERIES)
    assert refined.distances_per_query == 4_000 + 95 + 3 * 100
    walked = choose(configured("hnsw", (400,)), VECTORS, QUERIES)
    assert 400 < walked.distances_per_query < 4_000


def test_a_small_catalogue_is_searched_exactly_and_measures_nothing():
    found = choose(configured("auto"), VECTORS[:1_999], QUERIES)
    assert found.facts() == {
        "kind": "flat",
        "effort": None,
        "recall": 1.0,
        "distances_per_query": 1_999.0,
        "bytes": found.index.stored_bytes,
    }
    assert choose(configured("auto"), VECTORS, QUERIES).kind == "ivf_flat"


def test_what_no_effort_reaches_is_refused_or_searched_exactly():
    scattered = unit(np.random.default_rng(1).standard_normal((4_000, 16)))
    with pytest.raises(
        ReelflowError, match=r"ivf_flat reached recall@100 0\.\d+ with effort 2, its largest.*at least 0\.95.*efforts"
    ):
        choose(configured("ivf_flat", (1, 2)), scattered, QUERIES)
    found = choose(configured("auto", (1, 2)), scattered, QUERIES)
    assert (found.kind, found.index.kind, found.recall) == ("flat", "flat", 1.0)
    assert "because ivf_flat reached only" in found.note


def test_without_users_the_vectors_ask_for_themselves():
    config = configured("ivf_flat", sample_users=50)
    found = choose(config, VECTORS, np.zeros((0, 16), dtype=np.float32))
    expected = choose(config, VECTORS, VECTORS[:50])
    assert (found.effort, found.recall) == (expected.effort, expected.recall)
    assert found.effort is not None


def test_the_same_inputs_give_the_same_choice_and_bytes(tmp_path):
    for name in ("a", "b"):
        found = choose(configured("ivf_pq"), VECTORS, QUERIES)
        found.index.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
