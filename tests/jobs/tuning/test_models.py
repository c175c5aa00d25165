"""Towers on planted data of two halves: what a setting is worth is plain, and settings that learn nothing are beaten."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from jobs._recipe import Recipe
from jobs._training import TrainingSet
from jobs.tuning import MODELS, DataSet, search
from models.evaluation import Holdout
from schemas.errors import ReelflowError
from tests.models.towers.planted import (
    AS_OF,
    CONFIG,
    N_USERS,
    N_VIDEOS,
    QUERIES,
    START,
    data,
    users_now,
    videos_now,
    with_settings,
)

pytestmark = pytest.mark.slow

SMALL = {"learning_rate": 1e-6, "max_epochs": 3}
NOTHING = with_settings(retrieval=SMALL, ranker=SMALL)


def data_set(config=CONFIG, n=4_000):
    given, _ = data(n)
    training = TrainingSet(
        examples=given.examples, users=users_now(), videos=videos_now(), user_versions=given.users,
        video_versions=given.videos, queries=given.queries, watches=given.watches, counts=pa.table({}), train=given.train,
        validation=given.validation, test=np.zeros_like(given.train), validation_start=START, test_start=AS_OF,
        half_life_days=1.0,
    )  # fmt: skip
    own_half = np.arange(N_USERS)[:, None] % 2 == np.arange(N_VIDEOS) % 2
    nothing = pa.array([[]] * N_USERS, pa.list_(pa.int64()))
    world = Holdout(users_now().append_column("watched", nothing), videos_now(), QUERIES, sp.csr_matrix(own_half), AS_OF)
    return DataSet("halves", config, training, world, 50, Recipe({}, "", {}))


def judged(model, config):
    epochs = []
    found = MODELS[model].judge(config, data_set(config), epochs.append)
    return found, epochs


def test_retrieval_is_judged_by_lists_of_the_whole_catalogue():
    good, epochs = judged("retrieval", CONFIG)
    bad, _ = judged("retrieval", NOTHING)
    assert good.figure > 0.9
    assert bad.figure == pytest.approx(0.5, abs=0.15)  # half of any list is of the own half
    assert max(epochs, key=lambda record: record["score"])["epoch"] == good.learned["epochs"]


def test_the_ranker_is_judged_by_the_log_loss_of_the_best_epoch():
    good, epochs = judged("ranker", CONFIG)
    assert good.figure == min(record["log_loss"] for record in epochs)
    assert good.figure < 0.55 < judged("ranker", NOTHING)[0].figure


@pytest.mark.parametrize("model", ["retrieval", "ranker"])
def test_settings_that_learn_nothing_are_beaten(model, tmp_path):
    found = search(MODELS[model], [data_set(NOTHING)], tmp_path / "study", trials=4, minutes=None, seed=1, say=lambda _: None)
    assert found.best.gain > np.log(1.1)


def test_a_width_that_heads_do_not_divide_is_an_error_of_the_setting():
    config = with_settings(retrieval={"dim": 10, "heads": 4})
    with pytest.raises(ReelflowError, match=r"towers\.retrieval\.heads: found 4, expected a divisor of dim 10; change either"):
        judged("retrieval", config)
