"""What is scored when two generations of models are compared, on the planted platform."""

from dataclasses import replace

import numpy as np
import pytest

import conf
from models.gate import GateConfig, agreement, compare
from models.gate._predictions import Predictions
from schemas import columns as col
from tests.models.gate.planted import USERS, VIDEOS, all_of, scene


@pytest.fixture(scope="module")
def good():
    return scene()


def that_mix_up_videos(of):
    return all_of(of, videos=lambda vectors: np.random.default_rng(1).permutation(vectors)).models


def test_pairs_that_a_user_has_met_are_left_out(good):
    """Of the planted users each has watched eight videos; one more is an example of a user who never watched it."""
    stranger = good.examples.slice(0, 1).set_column(
        good.examples.schema.get_field_index(col.VIDEO_ID), good.examples.schema.field(col.VIDEO_ID), [[VIDEOS - 1]]
    )
    met = {(row["user_id"], video) for row in good.users.to_pylist() for video in row["watched"]}
    met.add((stranger[col.USER_ID][0].as_py(), VIDEOS - 1))
    drawn = Predictions.draw(replace(good, examples=stranger), good.models, users=USERS, videos=VIDEOS)
    assert drawn.users[col.USER_ID].to_pylist() == list(range(1, USERS + 1))
    assert drawn.positions.tolist() == list(range(VIDEOS))  # the planted videos' positions are their ids
    found = {(row + 1, int(video)) for row, unseen in enumerate(drawn.unseen) for video in np.flatnonzero(~unseen)}
    assert found == met


def test_so_many_users_and_videos_are_drawn_and_always_the_same(good):
    drawn, again = (Predictions.draw(good, good.models, users=7, videos=11) for _ in range(2))
    assert (drawn.users.num_rows, drawn.positions.shape, drawn.unseen.shape) == (7, (11,), (7, 11))
    assert drawn.users.equals(again.users)
    assert drawn.positions.tolist() == again.positions.tolist() == sorted(drawn.positions.tolist())
    assert [scores.shape for scores in drawn.scores()] == [(7, 11), (7, 11)]


def test_a_model_agrees_with_itself_and_not_with_one_that_mixes_up_videos(good):
    same = agreement(good, good.models, users=USERS, videos=VIDEOS)
    assert same.pooled_pearson == pytest.approx(1.0)
    assert same.pairs == USERS * (VIDEOS - 8)
    assert abs(agreement(good, that_mix_up_videos(good), users=USERS, videos=VIDEOS).pooled_pearson) < 0.2


def test_the_days_gate_and_the_hours_find_the_same_figure(good):
    other = that_mix_up_videos(good)
    config = conf.load("gate", GateConfig).model_copy(update={"correlation_users": 30, "correlation_videos": 100})
    assert compare(config, good, other).pooled == agreement(good, other, users=30, videos=100)


def test_counters_are_no_part_of_it(good):
    """Whatever popularity weighs: it says the same on both sides. All planted users are of the segment ``light``."""
    loud = good.with_models(good.models, good.ranking.weighed({"light": {"wals": 1.0, "popular": 100.0}}))
    quiet = good.with_models(good.models, good.ranking.weighed({"light": {"wals": 1.0}}))
    other = that_mix_up_videos(good)
    found = [agreement(one, other, users=30, videos=100) for one in (loud, quiet)]
    assert found[0] == found[1]
    heard = good.with_models(good.models, good.ranking.weighed({"light": {"ranker": 1.0}}))
    assert agreement(heard, other, users=30, videos=100) != found[0]
