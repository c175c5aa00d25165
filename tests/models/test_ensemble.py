import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import conf
from models.ensemble import Ensemble, indexable, load_catalogue, save_catalogue
from models.recommend import RecommendConfig
from schemas import QUERY_TEXT, USER_FEATURES, VIDEO_FEATURES
from schemas.errors import ReelflowError
from tests.builders import NO_HISTORY, NO_TRENDS, arrow, moment
from tests.models.counted import popularity

AT = moment("2026-01-08T00:00")
COUNTERS = ("impressions", "views", "likes", "relevant", "popularity")


class Model:
    """Vectors that tell which ids they were asked for; ids from 50 on are not known."""

    def user_vectors(self, users, *_):
        return np.array([[i, 1] for i in self.ids(users, "user_id")], dtype=np.float32)

    def video_vectors(self, videos, *_):
        return np.array([[i, 2] for i in self.ids(videos, "video_id")], dtype=np.float32)

    def known_videos(self, ids):
        return ids < 50

    @staticmethod
    def ids(of, column):
        return of[column].to_pylist() if isinstance(of, pa.Table) else of


CONFIG = conf.load("recommend", RecommendConfig)
PLACES = popularity([10, 30], {"all": [9, 1], "language=de": [2, 6]})
MODELS = Ensemble(Model(), Model(), Model(), PLACES)
QUERIES = arrow(QUERY_TEXT, [])


def videos(*rows):
    basic = {"duration_seconds": 1.0, "uploaded_at": AT, "blocked_countries": [], "removed": False}
    counted = dict.fromkeys(COUNTERS, 0.0)
    return arrow(VIDEO_FEATURES, [{**basic, **counted, **NO_TRENDS, **row} for row in rows])


def users(*rows):
    return arrow(USER_FEATURES, [{"interaction_count": 0, "watched": [], **NO_HISTORY, **row} for row in rows])


@pytest.fixture
def catalogue():
    return MODELS.catalogue(
        CONFIG.catalogue,
        videos(
            {"video_id": 30, "blocked_countries": ["FR", "DE"], "popularity": 3.0},
            {"video_id": 10, "popularity": 1.0},
            {"video_id": 60, "popularity": 6.0},
            {"video_id": 20, "removed": True, "blocked_countries": ["FR"]},
        ),
        AT,
    )


def test_the_catalogue_is_in_order_of_the_id(catalogue):
    assert catalogue.video_ids.tolist() == [10, 20, 30, 60]
    assert catalogue.popularity.tolist() == [1, 0, 3, 6]
    assert catalogue.eligible.tolist() == [True, False, True, True]
    for vectors in (catalogue.retrieval_vectors, catalogue.wals_vectors, catalogue.ranker_vectors):
        assert vectors.tolist() == [[10, 2], [20, 2], [30, 2], [60, 2]]


def test_countries_that_block_nothing_are_not_there(catalogue):
    assert catalogue.countries == ("DE", "FR")
    assert catalogue.blocked.tolist() == [[False, False, True, False], [False, True, True, False]]
    free = MODELS.catalogue(CONFIG.catalogue, videos({"video_id": 1}), AT)
    assert (free.countries, free.blocked.shape) == ((), (0, 1))


def test_users_keep_their_order_and_know_positions(catalogue):
    batch = MODELS.users(
        CONFIG,
        users(
            {"user_id": 9, "country": "FR", "watched": [10, 60]},
            {"user_id": 2, "country": "US"},
            {"user_id": 5, "watched": [11, 30, 99]},  # 11 and 99 left the catalogue
            {"user_id": 7, "country": "DE"},
        ),
        QUERIES,
        catalogue,
        AT,
    )
    assert batch.user_ids.tolist() == [9, 2, 5, 7]
    assert batch.country.tolist() == [1, -1, -1, 0]
    assert batch.watched_indptr.tolist() == [0, 2, 2, 3, 3]
    assert batch.watched.tolist() == [0, 3, 2]
    assert batch.wals.tolist() == [[9, 1], [2, 1], [5, 1], [7, 1]]


def test_users_know_their_place_language_segment_and_taste():
    titles = {10: [1.0, 0.0], 20: [0.0, 1.0], 30: None}
    rows = videos(*({"video_id": n, "language": language} for n, language in ((10, "de"), (20, "en"), (30, None))))
    rows = rows.append_column("title_vector", pa.array(titles.values(), pa.list_(pa.float32())))
    found = MODELS.catalogue(CONFIG.catalogue, rows, AT)
    assert (found.languages, found.facts.language.tolist()) == (("de", "en"), [0, 1, -1])
    assert found.local_segments == ("all", "language=de")
    share = (2 * 10 / 208 + 200 / 208 * 9, 6 * 10 / 208 + 200 / 208 * 1)  # by hand: 8 events against a prior of 200
    np.testing.assert_allclose(found.local, [[9, 0, 1], [share[0], 0, share[1]]], rtol=1e-6)
    batch = MODELS.users(
        CONFIG,
        users(
            {"user_id": 1, "language": "de", "watched": [10], "liked_history": [20], "watched_history": [10, 20]},
            {"user_id": 2, "language": "fr", "watched_history": [30, 10]},
            {"user_id": 3},
        ),
        QUERIES,
        found,
        AT,
    )
    assert batch.language.tolist() == [0, -1, -1]
    assert batch.local.tolist() == [1, 0, 0]
    assert [CONFIG.segments[place].name for place in batch.segment] == ["light", "new", "new"]
    likes = batch.content @ found.facts.content.T
    np.testing.assert_allclose(likes, [[0, 1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-6)


def test_models_are_asked_with_the_queries_and_the_moment(catalogue):
    asked = []

    class Curious(Model):
        def user_vectors(self, users, *more):
            asked.append(more)
            return super().user_vectors(users)

    Ensemble(Model(), Curious(), Curious(), PLACES).users(CONFIG, users({"user_id": 1}), QUERIES, catalogue, AT)
    assert asked == [(QUERIES, AT)] * 2


def test_no_users_are_no_trouble(catalogue):
    empty = users({"user_id": 1}).slice(0, 0)
    indptr = MODELS.users(CONFIG, empty, QUERIES, catalogue, AT).watched_indptr
    assert indptr.tolist() == [0]


def test_a_slice_of_users_is_those_users(catalogue):
    all_of_them = users(*({"user_id": n, "watched": [10] * (n % 2) + [30] * (n % 3)} for n in range(1, 9)))
    batch = MODELS.users(CONFIG, all_of_them.slice(3, 4), QUERIES, catalogue, AT)
    assert batch.user_ids.tolist() == [4, 5, 6, 7]
    found = [batch.watched[a:b].tolist() for a, b in zip(batch.watched_indptr, batch.watched_indptr[1:], strict=False)]
    assert found == [[0] * (n % 2) + [2] * (n % 3) for n in (4, 5, 6, 7)]


def test_the_index_holds_what_may_be_shown_and_is_known(catalogue):
    assert indexable(catalogue, MODELS.retrieval).tolist() == [0, 2]


def test_a_catalogue_survives_the_disk(catalogue, tmp_path):
    save_catalogue(catalogue, tmp_path / "catalogue")
    found = load_catalogue(tmp_path / "catalogue")
    for before, after in ((catalogue, found), (catalogue.facts, found.facts)):
        for field in dataclasses.fields(after):
            if field.name != "facts":
                assert np.array_equal(getattr(before, field.name), getattr(after, field.name)), field.name
    assert isinstance(found.video_ids, np.memmap)


@pytest.mark.parametrize("name", ["blocked.npy", "names.json"])
def test_a_missing_file_is_named(catalogue, tmp_path, name):
    save_catalogue(catalogue, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ReelflowError, match=rf"found no .*{name}; run the index stage again"):
        load_catalogue(tmp_path)
