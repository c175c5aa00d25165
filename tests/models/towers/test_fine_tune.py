"""Fine-tuning takes in what is new, and leaves the model as it is where that does not help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from models.towers import FittedRetrieval, fine_tune, fit_ranker, fit_retrieval
from tests.models.towers.planted import AS_OF, CONFIG, N_VIDEOS, QUERIES, data, users_now, videos_now

pytestmark = pytest.mark.slow

FITS = {"retrieval": fit_retrieval, "ranker": fit_ranker}
BRISK = CONFIG.model_copy(update={"fine_tune": CONFIG.fine_tune.model_copy(update={"rate": 1.0, "max_epochs": 4})})
N_NEW = 10


@pytest.fixture(scope="module")
def planted():
    """The first half of the time without the newest videos, the second half with them."""
    found = data(n_impressions=12_000)[0]
    late = np.arange(found.examples.num_rows) >= found.examples.num_rows // 2
    old_video = pc.less(found.examples["video_id"], 1000 + N_VIDEOS - N_NEW).to_numpy()
    kept = late | old_video
    whole = np.ones(int(kept.sum()), dtype=bool)
    return replace(found, examples=found.examples.filter(pa.array(kept)), train=whole, validation=~whole), late[kept]


@pytest.fixture(scope="module", params=FITS)
def model(request, planted):
    found, late = planted
    return FITS[request.param](CONFIG, replace(found, train=~late), 1, epochs=3)


def scores_of_newest(model):
    """Of the newest videos for every user."""
    if hasattr(model, "known_videos"):
        return model.user_vectors(users_now(), QUERIES, AS_OF) @ model.video_vectors(1000 + np.arange(N_VIDEOS)).T[:, -N_NEW:]
    return model.user_vectors(users_now(), QUERIES, AS_OF) @ model.video_vectors(videos_now(), AS_OF).T[:, -N_NEW:]


def lift(model):
    """How much higher the newest videos of the own half score than those of the other."""
    scores = scores_of_newest(model)
    own = np.arange(len(scores))[:, None] % 2 == np.arange(N_VIDEOS)[-N_NEW:] % 2
    return scores[own].mean() - scores[~own].mean()


def test_what_is_new_is_taken_in(model, planted):
    found, late = planted
    tuned = fine_tune(model, BRISK, found, late, 1)

    assert tuned.best_epoch > 0
    assert lift(tuned) > lift(model) + 0.05
    assert len(tuned.spec.vocabularies["video_id"].values) == N_VIDEOS
    again = fine_tune(model, BRISK, found, late, 1)
    np.testing.assert_array_equal(scores_of_newest(tuned), scores_of_newest(again))


def test_nothing_new_changes_nothing(model, planted):
    found, late = planted
    assert fine_tune(model, BRISK, found, np.zeros_like(late), 1) is model
    without = found.examples.set_column(
        found.examples.column_names.index("label"), "label", pa.array(np.zeros(found.examples.num_rows, np.int32))
    )
    assert fine_tune(model, BRISK, replace(found, examples=without), late, 1) is model


def test_what_does_not_help_on_the_newest_is_left(planted):
    """New labels are the reverse of the old until the newest fifth: a ranker that learned them would be wrong there."""
    found, late = planted
    label = found.examples["label"].to_numpy()
    rows = np.flatnonzero(late)
    wrong = np.zeros_like(late)
    wrong[rows[: round(0.8 * len(rows))]] = True
    reversed_ = np.where(wrong, 1 - label, label).astype(np.int32)
    examples = found.examples.set_column(found.examples.column_names.index("label"), "label", pa.array(reversed_))
    model = fit_ranker(CONFIG, replace(found, train=~late), 1, epochs=3)

    assert fine_tune(model, BRISK, replace(found, examples=examples), late, 1) is model


def test_without_anything_to_check_by_the_model_stays(planted):
    """The newest fifth has nothing relevant, so nothing says whether going on helps retrieval."""
    found, late = planted
    rows = np.flatnonzero(late)
    label = found.examples["label"].to_numpy().copy()
    label[rows[round(0.7 * len(rows)) :]] = 0
    examples = found.examples.set_column(found.examples.column_names.index("label"), "label", pa.array(label))
    model = fit_retrieval(CONFIG, replace(found, train=~late), 1, epochs=1)

    assert fine_tune(model, BRISK, replace(found, examples=examples), late, 1) is model


def test_the_newest_are_so_by_their_time_wherever_they_stand(model, planted):
    found, late = planted
    order = np.random.default_rng(0).permutation(len(late))
    mixed = replace(found, examples=found.examples.take(order), train=found.train[order], validation=found.validation[order])
    one, two = fine_tune(model, BRISK, found, late, 1), fine_tune(model, BRISK, mixed, late[order], 1)

    assert one.best_epoch > 0
    assert two.best_epoch > 0


def test_a_model_that_is_not_named_stays(planted):
    found, late = planted
    only = BRISK.model_copy(update={"fine_tune": BRISK.fine_tune.model_copy(update={"models": ("retrieval",)})})
    model = fit_ranker(CONFIG, replace(found, train=~late), 1, epochs=1)

    assert fine_tune(model, only, found, late, 1) is model


def test_a_stored_model_goes_on_alike(planted, tmp_path):
    found, late = planted
    model = fit_retrieval(CONFIG, replace(found, train=~late), 1, epochs=3)
    model.save(tmp_path)

    np.testing.assert_array_equal(
        scores_of_newest(fine_tune(model, BRISK, found, late, 1)),
        scores_of_newest(fine_tune(FittedRetrieval.load(tmp_path), BRISK, found, late, 1)),
    )
