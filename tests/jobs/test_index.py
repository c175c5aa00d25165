import numpy as np
import pytest

from jobs import _bundles, index
from jobs._tables import Partition
from jobs._window import DAY, iso
from models.ann import VectorIndex, _kinds
from models.ensemble import Ensemble
from models.hashing import hashed_pairs
from schemas import QUERY_TEXT, USER_FEATURES
from schemas.errors import ReelflowError
from tests.builders import stage_context
from tests.jobs.planted import SECOND, SETTINGS, planted, train

TODAY = Partition((SECOND - DAY).date())
LISTS = {"kind": "ivf_flat", "efforts": {"ivf_flat": [1]}}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    space = planted(tmp_path_factory.mktemp("judged"))
    train(space, SECOND)
    return space


@pytest.fixture
def tiny(monkeypatch):
    """Lets lists be made of some fifty videos."""
    monkeypatch.setattr(_kinds, "FEWEST", 10)
    monkeypatch.setattr(_kinds, "_TRAINED_PER_CENTROID", 4)


def configured(judged, folder, **given):
    return judged.copy_to(folder / "home", {**SETTINGS, "index": given})


def bundle(space):
    with space.environment():
        return _bundles.open_at(stage_context("index", "--as-of", iso(SECOND)), _bundles.SERVING)


def test_a_small_catalogue_has_an_exact_index_which_says_so(judged, tmp_path):
    space = configured(judged, tmp_path)
    report = space.run(index, "--as-of", iso(SECOND))
    found = bundle(space)
    videos = found.properties["indexed"]
    size = (found.path / "index.faiss").stat().st_size
    assert report.notes == ["flat index"]
    assert found.properties["index"] == {
        "kind": "flat", "effort": None, "recall": 1.0, "distances_per_query": videos, "bytes": size,
    }  # fmt: skip
    assert found.properties["recipe"]["inputs"].keys() == {
        "wals", "towers", "user_features", "video_features", "video_text", "query_text",
    }  # fmt: skip
    assert space.run(index, "--as-of", iso(SECOND)).up_to_date


def test_an_approximate_index_is_measured_on_users_and_bound_by_digest(judged, tmp_path, tiny):
    space = configured(judged, tmp_path, kind="ivf_flat", efforts={"ivf_flat": [100]})
    space.run(index, "--as-of", iso(SECOND))
    found = bundle(space)
    assert (found.properties["index"]["kind"], found.properties["index"]["recall"]) == ("ivf_flat", 1.0)
    again = VectorIndex.read(found.path / "index.faiss")
    assert (again.kind, len(again)) == ("ivf_flat", found.properties["indexed"])
    (found.path / "index.faiss").write_bytes(b"another index")
    with pytest.raises(ReelflowError, match=r"index\.faiss has sha256"):
        bundle(space)


def test_an_index_that_misses_too_much_is_refused(judged, tmp_path, tiny):
    space = configured(judged, tmp_path, **LISTS)
    with pytest.raises(
        ReelflowError, match=r"index: ivf_flat reached recall@\d+ 0\.\d+ with effort 1.*expected at least 0\.95"
    ):
        space.run(index, "--as-of", iso(SECOND))
    assert not (space.home / "bundles" / "serving").exists()


def test_auto_takes_exact_search_instead(judged, tmp_path, tiny):
    starts = {"flat": 0, "ivf_flat": 20}
    space = configured(judged, tmp_path, efforts=LISTS["efforts"], from_videos=starts)
    report = space.run(index, "--as-of", iso(SECOND))
    assert "flat index, because ivf_flat reached only recall@" in report.notes[0]
    assert bundle(space).properties["index"]["kind"] == "flat"


def test_the_queries_are_those_of_the_users_with_the_smallest_hashes(judged):
    with judged.environment():
        context = stage_context("index", "--as-of", iso(SECOND))
        ensemble = Ensemble.load(*_bundles.folders(_bundles.models(context)))
        config = index.load("index", index.IndexConfig).model_copy(update={"kind": "hnsw", "sample_users": 5})
        found = index._queries(context, config, ensemble, 10)
        users, queries = judged.lake.read(USER_FEATURES, [TODAY]), judged.lake.read(QUERY_TEXT, [TODAY])
        everyone = ensemble.retrieval.user_vectors(users, queries, SECOND)
    ids = users["user_id"].to_numpy()
    first = sorted(range(len(ids)), key=lambda row: hashed_pairs(ids[row : row + 1], np.array([index._SALT]))[0])[:5]
    np.testing.assert_allclose(found, everyone[first], atol=1e-6)
