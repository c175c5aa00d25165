import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from conf import load
from models import shadow
from models.evaluation import EvaluationConfig
from models.shadow import CANDIDATE, CHAMPION, Outcome

USERS = np.array([10, 20, 30, 40])


def listed(*rows):
    width = max(map(len, rows))
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows], dtype=np.int64)


def watched(*rows):
    return pa.array(rows, type=pa.list_(pa.int64()))


def events(*pairs):
    users, videos = zip(*pairs, strict=True)
    return np.array(users), np.array(videos)


def config(**changes):
    return load("evaluation", EvaluationConfig).model_copy(update=changes)


class TestJudge:
    def test_by_hand(self):
        lists = {CHAMPION: listed([1, 2, 3], [1, 2], [5], [7]), CANDIDATE: listed([2, 1, 3], [9, 8], [5], [7])}
        # User 10 found 1 and 4 relevant, 20 found 2 twice; 30 only what was acted on before; 40 nothing; 50 has no list.
        positives = events((20, 2), (10, 1), (30, 5), (20, 2), (10, 4), (50, 1))
        found = shadow.judge(USERS, watched([], [77], [5, 6], []), lists, positives)
        assert found.user_ids.tolist() == [10, 20]
        assert found.relevant.tolist() == [2, 1]
        second, best = 1 / math.log2(3), 1 + 1 / math.log2(3)
        assert found.values[CHAMPION]["ndcg@10"] == pytest.approx([1 / best, second])
        assert found.values[CANDIDATE]["ndcg@10"] == pytest.approx([second / best, 0])
        assert found.values[CHAMPION]["recall@100"].tolist() == [0.5, 1.0]
        assert found.values[CANDIDATE]["recall@100"].tolist() == [0.5, 0.0]

    def test_nothing_relevant_is_nobody_judged(self):
        lists = {side: listed([1], [1], [1], [1]) for side in shadow.SIDES}
        found = shadow.judge(USERS, watched([], [], [], []), lists, (np.empty(0, np.int64), np.empty(0, np.int64)))
        assert found.user_ids.tolist() == []
        assert found.values[CHAMPION]["ndcg@10"].tolist() == []


class TestShown:
    def test_by_hand(self):
        # Six places. (10, 1) was shown and kept for sure; (20, 4) is one of five of its kind; (10, 9) is not in the list.
        lists = listed([1, 2], [3, 4], [5], [6])
        users, videos = events((10, 1), (20, 4), (10, 9), (10, 1), (60, 5))
        found = shadow.shown(USERS, lists, (users, videos, np.array([1.0, 5.0, 5.0, 5.0, 1.0])))
        assert found == pytest.approx((1.0 + 5.0) / 6)

    def test_only_the_first_ten_places_count(self):
        lists = listed(list(range(100, 120)))
        users, videos = events((10, 100), (10, 110))
        assert shadow.shown(USERS[:1], lists, (users, videos, np.ones(2))) == pytest.approx(0.1)

    def test_empty_lists_have_no_share(self):
        nothing = np.empty(0, np.int64)
        assert math.isnan(shadow.shown(USERS[:1], listed([]), (nothing, nothing, np.empty(0))))


def outcome(users, champion, candidate):
    values = {side: dict.fromkeys(shadow.METRICS, np.array(of)) for side, of in ((CHAMPION, champion), (CANDIDATE, candidate))}
    return Outcome(np.array(users), np.ones(len(users), dtype=np.int64), values)


class TestPooled:
    def test_means_are_over_days_of_users(self):
        found = shadow.pooled([outcome([1, 2], [0.2, 0.4], [0.5, 0.4]), outcome([2], [0.0], [0.6])], config())
        assert (found["days"], found["users"], found["relevant"]) == (2, 2, 3)
        assert found["ndcg@10"]["champion"] == pytest.approx(0.2)
        assert found["ndcg@10"]["candidate"] == pytest.approx(0.5)
        assert found["ndcg@10"]["difference"] == pytest.approx(0.3)
        assert (found["ndcg@10"]["low"], found["ndcg@10"]["high"]) == (None, None)

    def test_equal_lists_differ_by_nothing(self):
        values = np.linspace(0, 1, 50)
        found = shadow.pooled([outcome(range(50), values, values)], config(min_slice_users=20))
        assert [found["recall@100"][name] for name in ("difference", "low", "high")] == [0.0, 0.0, 0.0]

    def test_days_of_one_user_are_not_independent(self):
        rng = np.random.default_rng(3)
        champion, gain = rng.random(200), rng.normal(0.0, 0.1, 200)
        one = outcome(range(200), champion, champion + gain)

        def width(days):
            found = shadow.pooled([one] * days, config(bootstrap_samples=400))["ndcg@10"]
            return found["high"] - found["low"]

        # The same users with the same outcome once more tell nothing new; other users with it halve the variance.
        assert width(4) == pytest.approx(width(1))
        others = [replace(one, user_ids=np.arange(200) + 1000 * day) for day in range(4)]
        found = shadow.pooled(others, config(bootstrap_samples=400))["ndcg@10"]
        assert found["high"] - found["low"] == pytest.approx(width(1) / 2, rel=0.25)

    def test_no_day_has_no_figures(self):
        found = shadow.pooled([], config())
        assert (found["days"], found["users"], found["ndcg@10"]["difference"]) == (0, 0, None)
