import dataclasses
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from models.recommend import GENERATORS, VideoFacts, recommend_batch
from models.recommend._explore import explorable, explore
from models.recommend.rules import Creators, Diversity, NearDuplicates
from tests.models.recommend.worlds import config, indexes_of, world

TODAY = date(2026, 1, 8)
N, K = 12, 4
"""Twelve candidates of which four are listed; 0 to 7 are old and well known, 8 to 11 are new."""


def settings(**changes):
    return config().exploration.model_copy(
        update={"slots": (2,), "new_days": 2.0, "uncertain_impressions": 5.0, "temperature": 1.0, "salt": "t"} | changes
    )


@pytest.fixture
def catalogue():
    found, _ = world(0, N, 1)
    facts = dataclasses.replace(
        VideoFacts.unknown(N),
        age_days=np.array([9.0] * 8 + [1.0] * 4, dtype=np.float32),
        impressions=np.full(N, 100, dtype=np.float32),
    )
    return dataclasses.replace(found, facts=facts)


def drawn(chosen, catalogue, n_users, *, day=TODAY, scores=None, rules=(), k=K):
    n = len(catalogue.video_ids)
    everyone = np.tile(np.arange(n), (n_users, 1))
    scores = np.tile(np.linspace(3, -3, n), (n_users, 1)) if scores is None else scores
    return explore(
        chosen, catalogue, np.arange(n_users), day,
        k=k, columns=everyone, positions=everyone, scores=scores.astype(np.float32), rules=rules,
    )  # fmt: skip


def made_by(catalogue, creators):
    return dataclasses.replace(catalogue, facts=dataclasses.replace(catalogue.facts, creator=np.array(creators)))


def excess(creators, rule):
    """By window and creator what is above the limit, over the windows of a list that hold too many of one."""
    windows = [creators[start : start + rule.window] for start in range(max(1, len(creators) - rule.window + 1))]
    return [some.count(one) for some in windows for one in set(some) - {-1} if some.count(one) > rule.max_in_window]


def test_new_and_hardly_shown_videos_may_be_explored(catalogue):
    facts = dataclasses.replace(catalogue.facts, impressions=np.where(np.arange(N) == 3, 4, 100).astype(np.float32))
    found = explorable(settings(), dataclasses.replace(catalogue, facts=facts))
    assert np.flatnonzero(found).tolist() == [3, 8, 9, 10, 11]


def test_the_slot_shows_a_new_video_and_the_others_move_down(catalogue):
    final, explored, propensity = drawn(settings(), catalogue, 200)
    assert set(final[:, 1].tolist()) == {8, 9, 10, 11}
    assert (final[:, [0, 2, 3]] == [0, 1, 2]).all()
    assert explored.tolist() == [[False, True, False, False]] * 200
    assert (propensity[:, [0, 2, 3]] == 1).all()


def test_what_is_drawn_has_the_probability_that_is_written_down(catalogue):
    """The softmax by hand; and 20,000 users see each video as often as it says."""
    scores = np.zeros((20_000, N))
    scores[:, 8:] = np.log([1, 2, 3, 4])
    final, _, propensity = drawn(settings(), catalogue, 20_000, scores=scores)
    for video, expected in zip(range(8, 12), (0.1, 0.2, 0.3, 0.4), strict=True):
        shown = final[:, 1] == video
        assert shown.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20_000))
        assert propensity[shown, 1] == pytest.approx(expected, abs=1e-6)


def test_logged_propensities_give_unbiased_estimates(catalogue):
    """Horvitz-Thompson: a reward that depends on the video, weighted by 1 / propensity, has the mean of showing all evenly."""
    reward = np.zeros(N)
    reward[8:] = [1, 2, 3, 10]
    final, explored, propensity = drawn(settings(), catalogue, 50_000, scores=np.tile(np.linspace(1, -1, N), (50_000, 1)))
    estimate = (reward[final] * explored / propensity).sum(axis=1).mean() / 4
    assert estimate == pytest.approx(4.0, abs=0.1)


def test_no_video_is_drawn_twice_and_what_is_left_has_the_rest_of_the_mass(catalogue):
    final, explored, propensity = drawn(settings(slots=(1, 2, 3, 4)), catalogue, 500)
    assert explored.all()
    assert all(sorted(row) == [8, 9, 10, 11] for row in final.tolist())
    assert (propensity[:, 3] == 1).all()  # the last one is the only one left, and still explored
    weights = dict(zip(range(8, 12), np.exp(np.linspace(3, -3, N)[8:]), strict=True))
    for row, probabilities in zip(final[:20].tolist(), propensity[:20].tolist(), strict=True):
        left = sum(weights.values())
        for video, probability in zip(row, probabilities, strict=True):
            assert probability == pytest.approx(weights[video] / left, rel=1e-5)
            left -= weights[video]


def test_draws_depend_on_user_day_and_salt_alone(catalogue):
    first = drawn(settings(), catalogue, 300)[0]
    assert (first == drawn(settings(), catalogue, 300)[0]).all()
    assert (first[:100] == drawn(settings(), catalogue, 100)[0]).all()
    for other in (drawn(settings(), catalogue, 300, day=date(2026, 1, 9)), drawn(settings(salt="u"), catalogue, 300)):
        assert 0.1 < (first[:, 1] == other[0][:, 1]).mean() < 0.9


def test_a_low_temperature_draws_the_best_one(catalogue):
    final, _, propensity = drawn(settings(temperature=0.001), catalogue, 50)
    assert (final[:, 1] == 8).all()
    assert (propensity == 1).all()


def test_without_slots_or_anything_new_the_list_stays(catalogue):
    known = dataclasses.replace(catalogue, facts=dataclasses.replace(catalogue.facts, age_days=np.full(N, 9, dtype=np.float32)))
    for chosen, videos in ((settings(slots=()), catalogue), (settings(slots=(9,)), catalogue), (settings(), known)):
        final, explored, propensity = drawn(chosen, videos, 5)
        assert final.tolist() == [[0, 1, 2, 3]] * 5
        assert not explored.any()
        assert (propensity == 1).all()


def test_a_short_list_keeps_its_end():
    """Someone with fewer videos than places has none left to draw."""
    catalogue, users = world(4, 20, 6, watched_share=0.5)
    chosen = config(k=20, exploration={**config().exploration.model_dump(), "slots": (3, 9)})
    found = recommend_batch(chosen, catalogue, users, indexes_of(catalogue), TODAY)
    assert not found.explored.any()
    shown = found.positions >= 0
    assert (np.sort(shown, axis=1)[:, ::-1] == shown).all()


def test_lists_of_a_batch_are_explored():
    catalogue, users = world(4, 300, 30, watched_share=0.1)
    explores = {**config().exploration.model_dump(), "slots": (3, 9), "new_days": 3, "uncertain_impressions": 0}
    chosen = config(k=10, generators=dict.fromkeys(GENERATORS, 40), exploration=explores)
    chosen = chosen.model_copy(update={"rules": ()})
    found = recommend_batch(chosen, catalogue, users, indexes_of(catalogue), TODAY)
    plain = recommend_batch(chosen.bare(), catalogue, users, indexes_of(catalogue), TODAY)
    assert found.explored[:, [2, 8]].all()
    assert found.explored.sum() == 60
    assert (catalogue.facts.age_days[found.positions[found.explored]] <= 3).all()
    for user in range(30):
        kept = found.positions[user][~found.explored[user]].tolist()
        assert kept == plain.positions[user][:8].tolist()
        assert not set(found.positions[user][found.explored[user]].tolist()) & set(plain.positions[user].tolist())


class TestCreators:
    """The rule ``creators`` holds for what is drawn as well."""

    ONE_OF_THREE = Creators(max_in_window=1, window=3)

    @pytest.mark.parametrize(
        ("slot", "listed", "open_"),
        [
            (1, [1, 2, 3, 4], {3, 4, 5}),  # 1 and 2 would follow within three places
            (2, [1, 2, 3, 4], {4, 5}),  # between 1 and 2, 3
            (3, [1, 2, 3, 4], {4, 5}),  # below 1, 2; 3 would follow, and 4 falls out
            (4, [1, 2, 3, 4], {1, 4, 5}),  # the last place: below 2, 3
            (2, [-1, -1, -1, -1], {1, 2, 3, 4, 5}),
        ],
    )
    def test_what_stands_near_above_and_below_is_not_drawn(self, catalogue, slot, listed, open_):
        """Candidates 7 to 11 are new, of the creators 1 to 5."""
        facts = dataclasses.replace(catalogue.facts, age_days=np.array([9.0] * 7 + [1.0] * 5, dtype=np.float32))
        videos = made_by(dataclasses.replace(catalogue, facts=facts), [*listed, 6, 6, 6, 1, 2, 3, 4, 5])
        final, _, propensity = drawn(
            settings(slots=(slot,)), videos, 20_000, scores=np.zeros((20_000, N)), rules=(self.ONE_OF_THREE,)
        )
        assert {int(video) - 6 for video in final[:, slot - 1]} == open_
        assert propensity[:, slot - 1] == pytest.approx(1 / len(open_))
        for creator in open_:  # as often as the propensity says
            share = 1 / len(open_)
            spread = 4 * np.sqrt(share * (1 - share) / 20_000)
            assert (final[:, slot - 1] == creator + 6).mean() == pytest.approx(share, abs=spread)

    def test_what_is_left_shares_the_mass_by_its_scores(self, catalogue):
        scores = np.zeros((20_000, N))
        scores[:, 8:] = np.log([1, 2, 3, 4])
        videos = made_by(catalogue, [1, 2, 3, 4, 9, 9, 9, 9, 1, 5, 6, 2])
        final, _, propensity = drawn(settings(), videos, 20_000, scores=scores, rules=(self.ONE_OF_THREE,))
        for video, expected in ((9, 0.4), (10, 0.6)):
            shown = final[:, 1] == video
            assert shown.mean() == pytest.approx(expected, abs=0.015)
            assert propensity[shown, 1] == pytest.approx(expected, abs=1e-6)

    def test_estimates_over_what_may_be_drawn_are_unbiased(self, catalogue):
        videos = made_by(catalogue, [1, 2, 3, 4, 9, 9, 9, 9, 1, 5, 6, 7])
        reward = np.zeros(N)
        reward[8:] = [100, 2, 3, 10]
        final, explored, propensity = drawn(settings(), videos, 50_000, rules=(self.ONE_OF_THREE,))
        estimate = (reward[final] * explored / propensity).sum(axis=1).mean() / 3
        assert estimate == pytest.approx(5.0, abs=0.15)

    def test_a_place_for_which_nothing_is_left_is_not_explored_and_the_next_one_is(self, catalogue):
        videos = made_by(catalogue, [1, 2, 3, 4, 9, 9, 9, 9, 1, 1, 1, 1])
        final, explored, propensity = drawn(settings(slots=(2, 4)), videos, 50, rules=(self.ONE_OF_THREE,))
        assert (final[:, :3] == [0, 1, 2]).all()
        assert explored.tolist() == [[False, False, False, True]] * 50
        assert propensity[:, :3].min() == 1

    @trials(max_examples=150, deadline=None)
    @given(
        st.lists(st.integers(-1, 4), min_size=12, max_size=40),
        st.integers(1, 3), st.integers(2, 7), st.sets(st.integers(1, 12), min_size=1), st.integers(2, 12), st.integers(0, 9),
    )  # fmt: skip
    def test_no_window_holds_too_many_that_did_not_before(self, creators, most, window, slots, k, day):  # noqa: PLR0917
        """Any order at all, so windows may be broken before: exploration breaks none, and mends some."""
        rule, n = Creators(max_in_window=most, window=window), len(creators)
        found, _ = world(0, n, 1)
        facts = dataclasses.replace(VideoFacts.unknown(n), creator=np.array(creators))
        videos = dataclasses.replace(found, facts=facts)
        chosen = settings(slots=tuple(sorted(slots)))
        final, explored, _ = drawn(chosen, videos, 3, day=date(2026, 1, 1 + day), rules=(rule,), k=k)
        before = excess(creators[:k], rule)
        for row, new in zip(final.tolist(), explored.tolist(), strict=True):
            assert len(set(row)) == k
            shown = [creators[video] for video in row]
            assert sorted(excess(shown, rule)) == [] or before
            for place in np.flatnonzero(new):
                around = [shown[start : start + window] for start in range(max(0, place - window + 1), place + 1)]
                assert shown[place] < 0 or max(some.count(shown[place]) for some in around) <= most

    @pytest.mark.parametrize("seed", range(6))
    def test_no_list_of_a_batch_breaks_the_rule_or_repeats_a_near_duplicate(self, seed):
        """Few creators, many slots. Seven creators fill any window of seven with one each, unless the pool runs out of one."""
        catalogue, users = world(seed, 400, 40, watched_share=0.1)
        rng, rule = np.random.default_rng(seed), Creators(max_in_window=2, window=8)
        same_as = np.arange(400) // 2 * 2
        facts = dataclasses.replace(catalogue.facts, creator=rng.integers(0, 9, 400), same_as=same_as)
        catalogue = dataclasses.replace(catalogue, facts=facts)
        explores = {**config().exploration.model_dump(), "slots": (2, 3, 5, 8, 13, 20), "new_days": 4}
        chosen = config(k=20, rerank_pool=120, generators=dict.fromkeys(GENERATORS, 40), exploration=explores)
        rules = (NearDuplicates(), Diversity(weight=0.2, depth=10, pool=30), rule)
        found = recommend_batch(chosen.model_copy(update={"rules": rules}), catalogue, users, indexes_of(catalogue), TODAY)
        assert found.explored.any(axis=0)[[1, 2, 4, 7, 12, 19]].all()
        for row in found.positions.tolist():
            assert -1 not in row
            assert not excess(facts.creator[row].tolist(), rule)
            assert len(set(same_as[row])) == 20
