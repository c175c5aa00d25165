from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

import conf
from models.ids import IdMap
from models.recommend import FallbackConfig, fallback_lists
from models.recommend._catalogue import Catalogue, VideoFacts
from models.segments import FittedPopularity, PopularityConfig
from schemas import FALLBACK_RECOMMENDATIONS
from schemas.errors import ReelflowError

CHAINS = (("country", "language"), ("language", "device"))
CONFIG = FallbackConfig(chains=CHAINS, max_per_creator=9)


def catalogue(popularity, eligible=None, countries=(), blocked=None, *, creators=None, same_as=None):
    n = len(popularity)
    vectors = np.zeros((n, 2), dtype=np.float32)
    facts = VideoFacts.unknown(n)
    return Catalogue(
        video_ids=np.arange(n) + 100,
        popularity=np.array(popularity, dtype=float),
        retrieval_vectors=vectors,
        wals_vectors=vectors,
        ranker_vectors=vectors,
        eligible=np.ones(n, dtype=bool) if eligible is None else np.array(eligible, dtype=bool),
        countries=tuple(countries),
        blocked=np.zeros((len(countries), n), dtype=bool) if blocked is None else np.array(blocked, dtype=bool),
        languages=(),
        local_segments=("all",),
        local=np.zeros((1, n), dtype=np.float32),
        facts=replace(
            facts,
            creator=facts.creator if creators is None else np.array(creators),
            same_as=facts.same_as if same_as is None else np.array(same_as),
        ),
    )


def popular(counts, segments=("all",), parents=(0,), chains=CHAINS):
    """Of videos 100, 101, ...; the prior is 1 event."""
    return FittedPopularity(
        config=PopularityConfig(chains=chains, segment_prior_events=1.0, min_events=0.0),
        half_life_days=1.0,
        videos=IdMap(np.arange(len(counts[0])) + 100),
        segments=segments,
        parents=np.array(parents),
        counts=sp.csr_matrix(np.array(counts, dtype=float)),
    )


def lists(found):
    segments = {}
    for row in found.to_pylist():
        segments.setdefault(row["segment"], []).append((row["rank"], row["video_id"]))
    return segments


def videos(found):
    return {segment: [video for _, video in rows] for segment, rows in lists(found).items()}


def test_the_most_popular_come_first_and_ties_go_by_the_counters_and_then_by_id():
    found = fallback_lists(CONFIG, popular([[1, 5, 3, 5, 5]]), catalogue([0, 2, 9, 2, 8]), 4)
    assert lists(found) == {"all": [(1, 104), (2, 101), (3, 103), (4, 102)]}
    assert found["score"].to_pylist() == [5, 5, 5, 3]
    assert found["sources"].to_pylist() == ["popular:1", "popular:2", "popular:3", "popular:4"]
    assert set(found["reason"].to_pylist()) == {"popular now"}
    assert found["parent"].to_pylist() == [None] * 4
    assert FALLBACK_RECOMMENDATIONS.compare(found.schema) == []


def test_every_known_segment_of_the_chains_has_its_own_list():
    names = ("all", "country=DE", "country=DE|device=tv", "country=DE|language=de", "language=de", "language=de|device=tv")
    counts = [[10, 20, 30], [90, 0, 0], [0, 0, 900], [0, 900, 0], [0, 90, 0], [0, 0, 900]]
    chains = (*CHAINS, ("country", "device"))  # counted, and without lists
    found = fallback_lists(CONFIG, popular(counts, names, (0, 0, 1, 1, 0, 4), chains), catalogue([0, 0, 0]), 2)
    assert videos(found) == {
        "all": [102, 101],
        "country=DE": [100, 102],
        "country=DE|language=de": [101, 100],
        "language=de": [101, 102],
        "language=de|device=tv": [102, 101],
    }
    rows = {(row["segment"], row["parent"], row["reason"], row["sources"]) for row in found.to_pylist() if row["rank"] == 1}
    assert rows == {
        ("all", None, "popular now", "popular:1"),
        ("country=DE", "all", "popular in DE", "local:1"),
        ("country=DE|language=de", "country=DE", "popular in DE, in language de", "local:1"),
        ("language=de", "all", "popular in language de", "local:1"),
        ("language=de|device=tv", "language=de", "popular in language de, on tv", "local:1"),
    }
    # 60 examples in all; in Germany 90 of its own and one as everywhere.
    first = next(row for row in found.to_pylist() if row["segment"] == "country=DE")
    assert first["score"] == pytest.approx((90 * 60 + 10) / 91)


def test_a_country_misses_what_it_blocks_and_everyone_what_any_does():
    blocked = [[0, 1, 0, 0], [0, 0, 0, 1]]
    names, parents = ("all", "country=FR", "country=FR|language=fr", "country=JP", "language=fr"), (0, 0, 1, 0, 0)
    model = popular([[1, 5, 3, 4], [9, 1, 0, 9], [0, 9, 0, 9], [9, 8, 7, 6], [1, 5, 3, 4]], names, parents)
    found = fallback_lists(CONFIG, model, catalogue([1, 5, 3, 4], [1, 1, 0, 1], ("DE", "FR"), blocked), 10)
    assert videos(found) == {
        "all": [100],
        "country=DE": [103, 100],  # it has no segment: everybody's popularity
        "country=FR": [100, 101],
        "country=FR|language=fr": [101, 100],
        "country=JP": [100, 101, 103],  # blocks nothing
        "language=fr": [100],
    }
    german = next(row for row in found.to_pylist() if row["segment"] == "country=DE")
    assert (german["parent"], german["reason"], german["sources"], german["score"]) == ("all", "popular now", "popular:1", 4.0)


def test_where_every_video_is_blocked_somewhere_all_still_exists():
    found = fallback_lists(CONFIG, popular([[1, 2]]), catalogue([1, 2], None, ("DE", "FR"), [[1, 0], [0, 1]]), 10)
    assert videos(found) == {"all": [101, 100], "country=DE": [101], "country=FR": [100]}


def test_a_country_that_blocks_everything_has_no_list():
    found = fallback_lists(CONFIG, popular([[1, 2]]), catalogue([1, 2], None, ("DE",), [[1, 1]]), 10)
    assert videos(found) == {"all": [101, 100]}


def test_only_the_best_of_near_duplicates_that_may_be_shown_stands_in_a_list():
    shown = catalogue([0] * 5, [1, 1, 1, 1, 0], ("DE",), [[0, 0, 1, 0, 0]], same_as=[0, 1, 0, 1, 1])
    found = fallback_lists(CONFIG, popular([[1, 2, 9, 4, 8]]), shown, 10)
    assert videos(found) == {"all": [103, 100], "country=DE": [103, 100]}
    found = fallback_lists(CONFIG, popular([[1, 2, 9, 4, 8]]), replace(shown, countries=(), blocked=shown.blocked[:0]), 10)
    assert videos(found) == {"all": [102, 103]}


def test_a_creator_has_few_videos_in_a_list_unless_it_would_be_too_short():
    model, config = popular([[9, 8, 7, 6, 5, 4]]), CONFIG.model_copy(update={"max_per_creator": 2})
    shown = catalogue([0] * 6, creators=[3, 3, 3, 3, 1, -1])
    assert videos(fallback_lists(config, model, shown, 4)) == {"all": [100, 101, 104, 105]}
    assert videos(fallback_lists(config, model, shown, 5)) == {"all": [100, 101, 102, 104, 105]}
    assert videos(fallback_lists(config, model, shown, 9)) == {"all": [100, 101, 102, 103, 104, 105]}
    nobody = catalogue([0] * 6, creators=[-1] * 6)
    assert videos(fallback_lists(config, model, nobody, 3)) == {"all": [100, 101, 102]}


def test_behind_many_near_duplicates_and_one_creators_videos_the_others_are_found():
    counts = np.arange(60, 0, -1)
    copies = catalogue([0] * 60, same_as=[0] * 58 + [58, 59])
    assert videos(fallback_lists(CONFIG, popular([counts]), copies, 2)) == {"all": [100, 158]}
    one = catalogue([0] * 60, creators=[7] * 58 + [8, -1])
    config = CONFIG.model_copy(update={"max_per_creator": 1})
    assert videos(fallback_lists(config, popular([counts]), one, 2)) == {"all": [100, 158]}
    assert videos(fallback_lists(config, popular([counts]), one, 3)) == {"all": [100, 158, 159]}


def test_loops_find_the_same_lists():
    rng = np.random.default_rng(3)
    n, k = 60, 12
    names = ("all", "country=DE", "country=FR", "language=de")
    model = popular(rng.integers(0, 9, (4, n)), names, (0, 0, 0, 0))
    shown = catalogue(
        rng.integers(0, 5, n),
        rng.random(n) < 0.8,
        ("DE", "IT"),
        rng.random((2, n)) < 0.2,
        creators=rng.integers(-1, 4, n),
        same_as=np.minimum(np.arange(n), rng.integers(0, 80, n)),
    )
    found = videos(fallback_lists(FallbackConfig(chains=CHAINS, max_per_creator=2), model, shown, k))
    assert set(found) == {*names, "country=IT"}
    for segment, own in found.items():
        row = names.index(segment) if segment in names else 0
        scores = model.scores(shown.video_ids)[row]
        order = sorted(range(n), key=lambda at: (-scores[at], -shown.popularity[at], at))
        rows = {"country=DE": [0], "country=IT": [1], "country=FR": []}.get(segment, [0, 1])
        groups, creators, good, spare = set(), {}, [], []
        for at in order:
            if not shown.eligible[at] or any(shown.blocked[one, at] for one in rows) or shown.facts.same_as[at] in groups:
                continue
            groups.add(shown.facts.same_as[at])
            creator = shown.facts.creator[at]
            creators[creator] = creators.get(creator, 0) + 1
            (good if creator < 0 or creators[creator] <= 2 else spare).append(at)
        chosen = set(good[:k] + spare[: max(0, k - len(good))])
        assert own == [100 + at for at in order if at in chosen]


def test_nothing_to_show_is_an_error():
    with pytest.raises(ReelflowError, match="no video may be shown"):
        fallback_lists(CONFIG, popular([[1, 2]]), catalogue([1, 2], [0, 0]), 10)


def test_a_chain_that_was_not_counted_is_an_error():
    with pytest.raises(ReelflowError, match=r"found the chain device, expected .* train WALS again"):
        fallback_lists(FallbackConfig(chains=(("device",),), max_per_creator=1), popular([[1, 2]]), catalogue([1, 2]), 10)


def test_the_sections_of_base_yaml_fit_each_other():
    counted = conf.load("popularity", PopularityConfig).chains
    for chain in conf.load("fallback", FallbackConfig).chains:
        assert any(whole[: len(chain)] == chain for whole in counted)
