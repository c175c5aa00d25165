import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from models.evaluation._lists import segment_lists
from models.ids import IdMap
from models.recommend import Catalogue, UserBatch
from models.segments import FittedPopularity, PopularityConfig

VIDEOS = np.array([10, 20, 30, 40])
NOTHING = np.ones((4, 1), dtype=np.float32)
CATALOGUE = Catalogue(
    video_ids=VIDEOS,
    popularity=np.array([9.0, 9.0, 9.0, 9.0]),  # of no use here
    retrieval_vectors=NOTHING,
    wals_vectors=NOTHING,
    ranker_vectors=NOTHING,
    eligible=np.array([True, True, True, False]),
    countries=("FR",),
    blocked=np.array([[False, True, False, False]]),
)
# Everybody: 30, then 20, then 10; 40 may not be shown. In DE 10 leads, in FR 20; with the language fr 20 leads in DE by far.
POPULAR = FittedPopularity(
    config=PopularityConfig(chains=(("country", "language"), ("language",)), segment_prior_events=1.0, min_events=0.0),
    half_life_days=3.0,
    videos=IdMap(VIDEOS),
    segments=("all", "country=DE", "country=DE|language=fr", "country=FR", "language=fr"),
    parents=np.array([0, 0, 1, 0, 0]),
    counts=sp.csr_matrix(
        [[100.0, 200.0, 300.0, 900.0], [50.0, 0, 10.0, 0], [0, 9.0, 0, 0], [0.0, 50.0, 10.0, 0], [0, 900.0, 0, 0]]
    ),
)


def lists(countries, languages, watched=None, k=3):
    n = len(countries)
    watched = watched or [[]] * n
    users = UserBatch(
        user_ids=np.arange(n),
        retrieval=np.zeros((n, 1), dtype=np.float32),
        wals=np.zeros((n, 1), dtype=np.float32),
        ranker=np.zeros((n, 1), dtype=np.float32),
        country=CATALOGUE.country_index(countries),
        watched_indptr=np.cumsum([0, *map(len, watched)]),
        watched=np.array([one for own in watched for one in own], dtype=np.int64),
    )
    rows = pa.table({"country": pa.array(countries, pa.string()), "language": pa.array(languages, pa.string())})
    found = segment_lists(POPULAR, CATALOGUE, users, rows, k)
    return None if found is None else found.tolist()


def test_each_user_gets_the_list_of_the_own_segments():
    found = lists(["DE", None, "FR", "DE", "JP"], [None, "fr", None, "fr", "xx"])
    assert found[0] == [0, 2, 1]
    assert found[1] == [2, 1, 0]  # without a country nobody is of a segment of the first chain: everybody's
    assert found[2] == [2, 0, -1]  # 20 is blocked in France
    assert found[3] == [1, 0, 2]  # the nine examples with fr, and else as in DE
    assert found[4] == [2, 1, 0]  # neither is known


def test_what_was_watched_is_left_out():
    assert lists(["DE", "DE"], [None, None], watched=[[0], [0, 1, 2]], k=2) == [[2, 1], [-1, -1]]


def test_without_a_known_segment_there_is_no_list():
    assert lists([None, "JP"], ["xx", None]) is None
