"""Each check passes models that are right by construction, and fails the planted ones that it is there for."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import conf
from models.gate import GateConfig
from models.ids import IdMap
from schemas import columns as col
from tests.models.gate.planted import VIDEOS, Changed, Ranker, Retrieval, all_of, declared, scene, with_models


@pytest.fixture(scope="module")
def good():
    return scene()


def blind_to_text(of):
    return with_models(of, ranker=Changed(of.models.ranker, videos=lambda v: np.random.default_rng(1).permutation(v)))


def of_the_other_language(of):
    return all_of(of, videos=lambda v: v[:, [*range(5), 6, 5, *range(7, v.shape[1])]])


def that_mix_up_videos(of):
    return all_of(of, videos=lambda v: np.random.default_rng(1).permutation(v))


def that_hates_likes(of):
    return with_models(of, ranker=Ranker(love=-2.0))


def without_rules(of):
    """Shows what is removed: as if the catalogue called everything eligible, and nothing blocked or watched."""
    models = of.models

    class Careless(type(models)):
        __slots__ = ()

        def catalogue(self, config, videos, at):
            found = super().catalogue(config, videos, at)
            return replace(found, eligible=np.ones_like(found.eligible), blocked=np.zeros_like(found.blocked))

    return of.with_models(
        Careless(models.wals, models.retrieval, models.ranker, models.popularity), of.ranking.model_copy(update={"rules": ()})
    )


def of_yesterday(of):
    wals = of.models.wals
    kept = np.arange(len(wals.users)) % 10 != 0
    return with_models(of, wals=replace(wals, users=IdMap(wals.users.ids[kept].copy()), user_factors=wals.user_factors[kept]))


def that_mix_up_users(of):
    return all_of(of, users=lambda v: np.roll(v, 1, axis=0))


BAD = {
    "same_content": blind_to_text,
    "one_language": of_the_other_language,
    "one_topic": that_mix_up_videos,
    "unloved": that_hates_likes,
    "never_shown": without_rules,
    "knows_recent": of_yesterday,
    "own_likes": that_mix_up_users,
}


def test_every_declared_check_has_a_bad_model_that_it_catches():
    assert {one.check for one in conf.load("gate", GateConfig).functional} == set(BAD)


@pytest.mark.parametrize("check", BAD)
def test_good_models_pass(good, check):
    found = declared("functional", check)(good)
    assert found.passed, found.detail
    assert found.value is not None


@pytest.mark.parametrize("check", BAD)
def test_bad_models_do_not(good, check):
    found = declared("functional", check)(BAD[check](good))
    assert not found.passed, found.detail
    assert found.value is not None


@pytest.mark.parametrize("check", ["same_content", "one_language", "one_topic", "unloved"])
def test_nothing_to_check_by_passes_only_where_it_is_not_needed(good, check):
    bare = replace(good, videos=good.videos.drop_columns([col.TITLE_VECTOR, col.TAGS_VECTOR, col.TITLE, col.TAGS]))
    nobody = bare.with_videos(
        language=pa.nulls(VIDEOS, pa.string()), likes=np.zeros(VIDEOS), likes_last_week=np.zeros(VIDEOS, dtype=np.int64)
    )
    assert declared("functional", check, needed=False)(nobody).passed
    found = declared("functional", check, needed=True)(nobody)
    assert not found.passed
    assert "nothing to check by" in found.detail


def test_a_catalogue_that_retrieval_does_not_know_is_not_recent(good):
    found = declared("functional", "knows_recent")(with_models(good, retrieval=Retrieval(last=VIDEOS // 2)))
    assert not found.passed


class TestOwnLikesBesideAnIncumbent:
    """How well users can be known differs from platform to platform: the incumbent shows it."""

    check = declared("functional", "own_likes")

    @staticmethod
    def knowing_little(of):
        """Users under so much noise that the ranker tells their likes from others' in 58 of 100 pairs."""
        return all_of(
            of, users=lambda v: v + 5 * np.abs(v).mean() * np.random.default_rng(1).normal(size=v.shape).astype(np.float32)
        )

    def test_one_as_good_as_the_incumbent_passes(self, good):
        weak = self.knowing_little(good)
        alone = self.check(weak)
        assert not alone.passed
        assert 0.5 < alone.value < 0.6
        beside = self.check(replace(weak, incumbent=weak.models))
        assert beside.passed
        assert beside.value == alone.value
        assert beside.threshold == pytest.approx(0.5 + 0.6 * (alone.value - 0.5))

    def test_one_that_knows_far_less_does_not_whatever_the_threshold(self, good):
        weak = self.knowing_little(good)
        assert not self.check(replace(weak, incumbent=good.models)).passed
        assert not self.check(replace(that_mix_up_users(weak), incumbent=weak.models)).passed
