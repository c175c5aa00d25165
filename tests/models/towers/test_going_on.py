"""Training that goes on: after an interruption to the same arrays, and from another model without losing what it knew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from models.towers import fit_ranker, fit_retrieval
from schemas.errors import ReelflowError
from tests.models.towers.planted import AS_OF, CONFIG, N_VIDEOS, QUERIES, data, users_now, videos_now, with_settings

pytestmark = pytest.mark.slow

FITS = {"retrieval": fit_retrieval, "ranker": fit_ranker}
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0, "average": 0.0}


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def planted():
    return data(n_impressions=6_000)[0]


@pytest.fixture(scope="module")
def without_the_last(planted):
    """The same before the last ten videos and the last twenty users came."""
    examples = planted.examples
    old = pc.and_(pc.less(examples["video_id"], 1000 + N_VIDEOS - 10), pc.less(examples["user_id"], 60))
    kept = old.to_numpy(zero_copy_only=False)
    return replace(planted, examples=examples.filter(old), train=planted.train[kept], validation=planted.validation[kept])


def weights(fitted):
    return {name: value.numpy().tobytes() for name, value in fitted.module.state_dict().items()}


def vectors(name, fitted):
    """Of all users and videos."""
    video_ids = 1000 + np.arange(N_VIDEOS)
    users = fitted.user_vectors(users_now(), QUERIES, AS_OF)
    return users, fitted.video_vectors(video_ids) if name == "retrieval" else fitted.video_vectors(videos_now(), AS_OF)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("sparse_rows", [100_000, 1])
def test_an_interrupted_training_ends_with_the_same_arrays(planted, tmp_path, name, sparse_rows):
    config, path = with_settings(sparse_rows=sparse_rows, **{name: {"average": 0.9, "max_epochs": 4}}), tmp_path / "run"
    fit, epochs = FITS[name], []

    def kill(record):
        epochs.append(record["epoch"])
        if record["epoch"] == 3:
            raise KilledError

    with pytest.raises(KilledError):
        fit(config, planted, 1, kill, checkpoint=path)
    resumed = fit(config, planted, 1, lambda record: epochs.append(record["epoch"]), checkpoint=path)
    whole = fit(config, planted, 1)

    assert epochs[:4] == [1, 2, 3, 3]
    assert weights(resumed) == weights(whole)
    assert (resumed.history, resumed.best_epoch) == (whole.history, whole.best_epoch)
    assert weights(fit(config, planted, 1, epochs.append, checkpoint=path)) == weights(whole)
    assert all(isinstance(epoch, int) for epoch in epochs), "a training that had ended ran another epoch"


def test_a_damaged_checkpoint_is_begun_anew(planted, tmp_path):
    path = tmp_path / "run"
    path.write_bytes(b"half of a file")

    assert weights(fit_ranker(CONFIG, planted, 1, epochs=1, checkpoint=path)) == weights(
        fit_ranker(CONFIG, planted, 1, epochs=1)
    )


@pytest.mark.parametrize("name", FITS)
def test_going_on_loses_nothing_and_takes_in_what_is_new(planted, without_the_last, name):
    before = FITS[name](CONFIG, without_the_last, 1, epochs=2)
    still = FITS[name](with_settings(**{name: STILL}), planted, 2, epochs=1, start=before)

    known_users, known_videos = slice(0, 60), slice(0, N_VIDEOS - 10)
    for (then, now), kept in zip(
        zip(vectors(name, before), vectors(name, still), strict=True), (known_users, known_videos), strict=True
    ):
        np.testing.assert_allclose(now[kept], then[kept], atol=1e-5)
    assert len(before.spec.vocabularies["video_id"].values) == N_VIDEOS - 10
    assert len(still.spec.vocabularies["video_id"].values) == N_VIDEOS


@pytest.mark.parametrize("name", FITS)
def test_going_on_learns(planted, without_the_last, name):
    before = FITS[name](CONFIG, without_the_last, 1, epochs=2)
    after = FITS[name](CONFIG, planted, 1, epochs=2, start=before)
    new = slice(N_VIDEOS - 10, N_VIDEOS)

    def lift(fitted):
        """How much nearer the newest videos of the own half are than those of the other."""
        users, of_videos = vectors(name, fitted)
        scores = (users @ of_videos[new].T)[:60]
        own = (np.arange(60)[:, None] % 2) == (np.arange(N_VIDEOS)[new] % 2)
        return scores[own].mean() - scores[~own].mean()

    assert lift(after) > lift(before) + 0.05


@pytest.mark.parametrize(("name", "field"), [("retrieval", {"dim": 8}), ("ranker", {"hidden": (16,)})])
def test_a_start_of_another_shape_is_refused(planted, name, field):
    other = FITS[name](with_settings(**{name: field}), planted, 1, epochs=1)

    with pytest.raises(ReelflowError, match="expected one of the same features and widths"):
        FITS[name](CONFIG, planted, 1, epochs=1, start=other)


def test_a_start_with_other_features_is_refused(planted):
    other = fit_ranker(with_settings(leave_out=("age",)), planted, 1, epochs=1)

    with pytest.raises(ReelflowError, match="other declarations"):
        fit_ranker(CONFIG, planted, 1, epochs=1, start=other)


@pytest.mark.parametrize(("name", "field"), [("crosses", {"crosses": ()}), ("objectives", {"objectives": {"clicked": 0.5}})])
def test_a_start_with_other_pairs_or_objectives_is_refused(planted, name, field):
    clicked = replace(planted, examples=planted.examples.append_column("clicked", planted.examples["label"]))
    other = fit_ranker(with_settings(ranker=field), clicked, 1, epochs=1)

    with pytest.raises(ReelflowError, match=rf"has other towers\.ranker\.{name}: "):
        fit_ranker(CONFIG, planted, 1, epochs=1, start=other)


def test_a_tower_without_categories_goes_on(planted):
    config = with_settings(leave_out=("video_language",), ranker={"crosses": ()})
    before = fit_ranker(config, planted, 1, epochs=1)
    still = fit_ranker(with_settings(config, ranker=STILL), planted, 2, epochs=1, start=before)

    for then, now in zip(vectors("ranker", before), vectors("ranker", still), strict=True):
        np.testing.assert_allclose(now, then, atol=1e-5)


def test_going_on_with_a_distorting_loss_stays_calibrated(planted):
    config = with_settings(ranker={"loss": "focal"})
    before = fit_ranker(config, planted, 1, epochs=2)
    after = fit_ranker(config, planted, 2, epochs=1, start=before)

    predicted, label = after.predict(planted, planted.train), planted.examples["label"].to_numpy()[planted.train]
    assert predicted.mean() == pytest.approx(label.mean(), rel=0.02)


@pytest.mark.parametrize("name", FITS)
def test_a_training_of_fixed_epochs_is_resumed_too(planted, tmp_path, name):
    def kill(record):
        if record["epoch"] == 2:
            raise KilledError

    start = FITS[name](CONFIG, planted, 3, epochs=1)
    with pytest.raises(KilledError):
        FITS[name](CONFIG, planted, 1, kill, epochs=3, start=start, checkpoint=tmp_path / "run")
    resumed = FITS[name](CONFIG, planted, 1, epochs=3, start=start, checkpoint=tmp_path / "run")

    assert weights(resumed) == weights(FITS[name](CONFIG, planted, 1, epochs=3, start=start))
