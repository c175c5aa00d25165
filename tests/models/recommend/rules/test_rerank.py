import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend.rules import (
    Age,
    Blocked,
    Clickbait,
    Creators,
    Diversity,
    Fairness,
    Language,
    Misinformation,
    NearDuplicates,
    Removed,
    Watched,
    decided,
    defer,
    drop,
    penalise,
    rerank,
    rule_text,
)
from tests.models.recommend.rules.pages import page_of, random_page, videos

RULES = (
    Removed(),
    Blocked(),
    Watched(),
    Misinformation(max_score=0.8, min_score=0.0, penalty=1.0),
    Clickbait(max_score=0.9, min_score=0.0, penalty=0.5),
    Age(max_days=300.0, half_life_days=30.0, penalty=1.0),
    NearDuplicates(),
    Fairness(max_share=0.2, penalty=1.0),
    Language(penalty=0.5),
    Diversity(weight=0.5, depth=4, pool=8),
    Creators(max_in_window=1, window=3),
)
SEEDS = st.integers(0, 10_000)
ALL = st.permutations(RULES).map(lambda rules: rules[:4])


class Without:
    """A rule that drops given positions."""

    rule = "without"

    def __init__(self, *positions):
        self.positions = positions

    def __call__(self, page, k):
        return drop(page, np.isin(page.positions, self.positions))


class Last:
    """A rule that defers given positions."""

    rule = "last"

    def __init__(self, *positions):
        self.positions = positions

    def __call__(self, page, k):
        return defer(page, np.isin(page.positions, self.positions))


def test_each_rule_sees_what_those_before_it_left_and_ranks_count_that():
    page = page_of([[10, 11, 12, 13], [12, 10]])
    found = rerank([Without(10), Last(11), Without(12)], page, k=3)
    assert found.rules == ("without", "last", "without")
    assert videos(page, found.order) == [[13, 11], []]
    assert found.before.tolist() == [[[1, 0, 0, 0], [0, 2, 0, 0]], [[0, 1, 0, 0], [0] * 4], [[0, 0, 1, 0], [1, 0, 0, 0]]]
    assert found.after.tolist() == [[[0] * 4, [0] * 4], [[0, 3, 0, 0], [0] * 4], [[0] * 4, [0] * 4]]


def test_penalties_add_up_in_the_columns_of_the_first_page():
    page = page_of([[0, 1, 2]], [[3.0, 2.0, 1.0]], misinformation=[0.5, 0, 0], language=[0, 0, 1])
    page.users.language[:] = 1
    found = rerank([Misinformation(max_score=1.0, min_score=0.0, penalty=3.0), Language(penalty=0.75)], page, k=3)
    assert found.scores.tolist() == [[0.75, 1.25, 1.0]]
    assert found.order.tolist() == [[1, 2, 0]]
    assert page.scores.tolist() == [[3.0, 2.0, 1.0]]


def test_without_rules_or_videos_nothing_happens():
    page = page_of([[4, 5], [6]])
    found = rerank([], page, k=2)
    assert videos(page, found.order) == [[4, 5], [6]]
    assert rule_text([], found.before, found.after).to_pylist() == [None] * 4
    for users in ([[]], [[], []]):
        assert rerank(RULES, page_of(users), k=2).order.shape == (len(users), 0)


def test_text_names_the_rules_that_moved_a_video_in_their_order():
    before = np.array([[[3, 0], [0, 9]], [[7, 0], [0, 0]]], dtype=np.int32)
    after = np.array([[[7, 0], [0, 10]], [[9, 0], [0, 0]]], dtype=np.int32)
    assert rule_text(["creators", "language"], before, after).to_pylist() == [
        "creators:3>7|language:7>9",
        None,
        None,
        "creators:9>10",
    ]
    assert rule_text(["creators"], np.zeros((1, 0), np.int32), np.zeros((1, 0), np.int32)).to_pylist() == []


def test_dropped_and_deferred_leave_the_order_of_the_others():
    page = page_of([[3, 4, 5], [6, 7]])
    later = np.array([[True, False, False], [False, True, True]])
    assert videos(page, drop(page, later).order) == [[4, 5], [6]]
    assert drop(page, later).touched.tolist() == [[True, False, False], [False, True, False]]
    assert videos(page, defer(page, later).order) == [[4, 5, 3], [6, 7]]
    assert defer(page, later).touched.tolist() == [[True, False, False], [False, False, False]]  # 7 was the last already


def test_a_penalty_of_nothing_keeps_an_order_that_is_not_that_of_the_scores():
    page = page_of([[0, 1, 2]], [[1.0, 3.0, 2.0]])
    nothing = np.zeros((1, 3), dtype=np.float32)
    assert penalise(page, nothing).order.tolist() == [[0, 1, 2]]
    assert not penalise(page, nothing).touched.any()


def test_touched_is_what_goes_down_among_those_that_stay():
    page = page_of([[0, 1, 2, 3]])
    assert decided(page, np.array([[2, 1, 3, -1]])).touched.tolist() == [[True, True, False, False]]


@settings(max_examples=40, deadline=None)
@given(SEEDS, ALL)
def test_no_rule_invents_or_repeats_a_video_and_what_left_is_accounted_for(seed, rules):
    page = random_page(seed)
    found = rerank(rules, page, k=6)
    for row, order in enumerate(found.order):
        kept = order[order >= 0].tolist()
        assert (order[len(kept) :] == -1).all()
        assert len(set(kept)) == len(kept)
        gone = np.flatnonzero(((found.before[:, row] > 0) & (found.after[:, row] == 0)).any(axis=0)).tolist()
        assert sorted([*kept, *gone]) == np.flatnonzero(page.present[row]).tolist()


@settings(max_examples=40, deadline=None)
@given(SEEDS, ALL)
def test_users_do_not_depend_on_their_batch(seed, rules):
    page = random_page(seed)
    together = rerank(rules, page, k=6)
    for row in range(len(page.users)):
        some = slice(row, row + 1)
        alone = rerank(
            rules, type(page)(page.positions[some], page.scores[some], page.catalogue, page.users.rows(row, row + 1)), k=6
        )
        assert alone.order.tolist() == together.order[some].tolist()
        assert alone.before[:, 0].tolist() == together.before[:, row].tolist()


def gone_by_loop(rule, page, row):
    """Positions that a rule must drop from a row."""
    facts, users, catalogue = page.catalogue.facts, page.users, page.catalogue
    watched = set(users.watched[users.watched_indptr[row] : users.watched_indptr[row + 1]].tolist())
    country, seen, gone = users.country[row], set(), set()
    for video in page.positions[row][page.present[row]].tolist():
        copy = facts.same_as[video] in seen
        seen.add(facts.same_as[video])
        if {
            "removed": not catalogue.eligible[video],
            "blocked": country >= 0 and catalogue.blocked[country, video],
            "watched": video in watched,
            "misinformation": facts.misinformation[video] > 0.8,
            "clickbait": facts.clickbait[video] > 0.9,
            "age": facts.age_days[video] > 300,
            "near_duplicates": copy,
        }.get(rule.rule, False):
            gone.add(video)
    return gone


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_rule_drops_exactly_what_it_says(rule, seed):
    page = random_page(seed)
    for row, kept in enumerate(videos(page, rule(page, 6).order)):
        assert set(page.positions[row][page.present[row]].tolist()) - set(kept) == gone_by_loop(rule, page, row)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rule)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_rule_that_changes_no_score_upwards_sorts_by_what_is_left(rule, seed):
    page = random_page(seed)
    decision = rule(page, 6)
    assert (decision.scores <= page.scores).all()
    if rule.rule in ("misinformation", "clickbait", "age", "fairness", "language"):
        for row, order in enumerate(decision.order):
            left = decision.scores[row, order[order >= 0]]
            assert (np.diff(left) <= 0).all()
