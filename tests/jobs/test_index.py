import numpy as np
import pytest

from jobs import _bundles, index
from jobs._tables import Partition
from jobs._window import DAY, iso
from models.ann import _kinds
from models.ensemble import Ensemble, load_catalogue
from models.features import with_text
from models.hashing import hashed_pairs
from models.recommend import Indexes
from schemas import QUERY_TEXT, USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT
from schemas.errors import ReelflowError
from tests.builders import stage_context
from tests.jobs.planted import SECOND, SETTINGS, planted, train

pytestmark = pytest.mark.slow

TODAY = Partition((SECOND - DAY).date())
NAMES = ("retrieval", "wals", "similar")
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


def test_a_small_catalogue_has_exact_indexes_which_say_so(judged, tmp_path):
    space = configured(judged, tmp_path)
    report = space.run(index, "--as-of", iso(SECOND))
    found = bundle(space)
    assert report.notes == ["retrieval: flat index", "wals: flat index", "similar: flat index"]
    catalogue = load_catalogue(found.path / "catalogue")
    expected = {
        "retrieval": report.wrote["retrieval index"],
        "wals": int((catalogue.eligible & catalogue.wals_vectors.any(axis=1)).sum()),
        "similar": int((catalogue.eligible & catalogue.facts.content.any(axis=1)).sum()),
    }
    assert found.properties["indexes"] == {
        name: {
            "videos": videos,
            "kind": "flat",
            "effort": None,
            "recall": 1.0,
            "distances_per_query": videos,
            "bytes": (found.path / "indexes" / f"{name}.faiss").stat().st_size,
        }
        for name, videos in expected.items()
    }
    assert min(expected.values()) > 0
    assert found.properties["recipe"]["inputs"].keys() == {
        "wals", "towers", "user_features", "video_features", "video_text", "query_text",
    }  # fmt: skip
    assert space.run(index, "--as-of", iso(SECOND)).up_to_date


@pytest.mark.parametrize("damaged", NAMES)
def test_approximate_indexes_are_measured_on_users_and_bound_by_digest(judged, tmp_path, tiny, damaged):
    space = configured(judged, tmp_path, kind="ivf_flat", efforts={"ivf_flat": [100]})
    space.run(index, "--as-of", iso(SECOND))
    found = bundle(space)
    again = Indexes.read(found.path / "indexes")
    for name in NAMES:
        facts = found.properties["indexes"][name]
        assert (facts["kind"], facts["recall"]) == ("ivf_flat", 1.0)
        assert (getattr(again, name).kind, len(getattr(again, name))) == ("ivf_flat", facts["videos"])
    (found.path / "indexes" / f"{damaged}.faiss").write_bytes(b"another index")
    with pytest.raises(ReelflowError, match=rf"{damaged}\.faiss has sha256"):
        bundle(space)


def test_an_index_that_misses_too_much_is_refused(judged, tmp_path, tiny):
    space = configured(judged, tmp_path, **LISTS)
    with pytest.raises(
        ReelflowError, match=r"index retrieval: ivf_flat reached recall@\d+ 0\.\d+ with effort 1.*expected at least 0\.95"
    ):
        space.run(index, "--as-of", iso(SECOND))
    assert not (space.home / "bundles" / "serving").exists()


def test_auto_takes_exact_search_instead(judged, tmp_path, tiny):
    starts = {"flat": 0, "ivf_flat": 20}
    space = configured(judged, tmp_path, efforts=LISTS["efforts"], from_videos=starts)
    report = space.run(index, "--as-of", iso(SECOND))
    assert "retrieval: flat index, because ivf_flat reached only recall@" in report.notes[0]
    assert bundle(space).properties["indexes"]["retrieval"]["kind"] == "flat"


def test_the_queries_are_those_of_the_users_with_the_smallest_hashes(judged):
    with judged.environment():
        context = stage_context("index", "--as-of", iso(SECOND))
        ensemble = Ensemble.load(*_bundles.folders(_bundles.models(context)))
        config = index.load("index", index.IndexConfig).model_copy(update={"kind": "hnsw", "sample_users": 5})
        settings = index.load("recommend", index.RecommendConfig)
        videos = with_text(judged.lake.read(VIDEO_FEATURES, [TODAY]), judged.lake.read(VIDEO_TEXT, [TODAY]))
        catalogue = ensemble.catalogue(settings.catalogue, videos, SECOND)
        found = index._queries(context, config, ensemble, catalogue)
        users, queries = judged.lake.read(USER_FEATURES, [TODAY]), judged.lake.read(QUERY_TEXT, [TODAY])
        everyone = ensemble.users(settings, users, queries, catalogue, SECOND)
    ids = users["user_id"].to_numpy()
    first = sorted(range(len(ids)), key=lambda row: hashed_pairs(ids[row : row + 1], np.array([index._SALT]))[0])[:5]
    assert found.keys() == set(NAMES)
    for name, vectors in (("retrieval", everyone.retrieval), ("wals", everyone.wals), ("similar", everyone.content)):
        asked = [row for row in vectors[first] if row.any()]
        np.testing.assert_allclose(found[name], np.reshape(asked, (-1, vectors.shape[1])), atol=1e-6)
    assert len(found["retrieval"]) == 5
