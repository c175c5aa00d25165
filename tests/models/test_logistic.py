import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import conf
from models import logistic
from models.logistic import FittedLogistic, LogisticConfig, fit_logistic
from models.metrics import log_loss, roc_auc
from schemas.errors import ReelflowError
from tests.models.towers.planted import INDIFFERENT, LIKES, N_USERS, data, videos, with_watched

CROSS = (("country", "video_language"),)


def config(**changes):
    settings = {"regularizations": (100.0, 1.0), "min_count": 3, "leave_out": (), "crosses": (), "max_iterations": 300}
    return LogisticConfig.model_validate(settings | changes)


@pytest.fixture(scope="module")
def sampled():
    """A quarter of the negatives, each with weight 4, and the true probabilities."""
    return data(n_impressions=12_000, keep_negatives=0.25)


def held_out(found):
    return ~(found.train | found.validation)


def test_a_cross_learns_which_group_likes_which_half(sampled):
    planted, truth = sampled
    rest = held_out(planted)
    model = fit_logistic(config(crosses=CROSS), planted)
    labels, weights = (planted.examples[name].to_numpy()[planted.train] for name in ("label", "weight"))
    fitted = model.predict(planted, planted.train)
    for chance in (LIKES, INDIFFERENT):
        # What a logistic regression with a weight for each value must do: residuals of every value sum to nothing.
        same = truth[planted.train] == chance
        rate = np.average(labels[same], weights=weights[same])
        assert np.average(fitted[same], weights=weights[same]) == pytest.approx(rate, abs=0.005)
        assert rate == pytest.approx(chance, abs=0.07)
    predicted, blind = model.predict(planted, rest), fit_logistic(config(), planted).predict(planted, rest)
    labels = planted.examples["label"].to_numpy()[rest]
    assert roc_auc(labels, predicted) > 0.8
    assert roc_auc(labels, blind) < 0.6  # the halves are equally liked: without a cross there is nothing to learn


def test_likeness_to_what_was_watched_learns_it_from_the_titles_alone(sampled):
    planted, _ = sampled
    group = planted.examples["user_id"].to_numpy() % 2
    watched = dataclasses.replace(
        planted, examples=with_watched(planted.examples, group), videos=videos(title=([1.0, 0.0], [0.0, 1.0]))
    )
    model = fit_logistic(config(leave_out=("country", "video_language")), watched)
    rest = held_out(watched)
    assert roc_auc(watched.examples["label"].to_numpy()[rest], model.predict(watched, rest)) > 0.8


def test_it_finds_the_minimum_that_scikit_learn_finds(sampled):
    planted, _ = sampled
    model = fit_logistic(config(crosses=CROSS), planted, regularization=5.0)
    design = logistic._Design.of(model.config, model.spec, planted, planted.train)
    dense = np.concatenate(
        [
            design.users.toarray()[design.user],
            design.videos.toarray()[design.video],
            design.vectors[design.video],
            design.context.toarray(),
            design.numbers,
        ],
        axis=1,
    )
    reference = LogisticRegression(C=1 / 5.0, tol=1e-8, max_iter=5000).fit(dense, design.label, design.weight)
    expected = reference.predict_proba(dense)[:, 1]
    np.testing.assert_allclose(model.predict(planted, planted.train), expected, atol=5e-3)
    ours, theirs = (log_loss(design.label, found, design.weight) for found in (model.predict(planted, planted.train), expected))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_penalty_with_the_least_validation_loss_is_chosen(sampled):
    planted, _ = sampled
    model = fit_logistic(config(crosses=CROSS, regularizations=(1e5, 1.0, 1e4)), planted)
    assert model.regularization == 1.0
    shown = planted.validation
    labels, weights = (planted.examples[name].to_numpy()[shown] for name in ("label", "weight"))
    assert model.losses[1] == pytest.approx(log_loss(labels, model.predict(planted, shown), weights))
    assert model.losses[0] > model.losses[2] > model.losses[1]


def test_the_same_data_give_the_same_bytes_and_survive_the_disk(sampled, tmp_path):
    planted, _ = sampled
    model, again = (fit_logistic(config(crosses=CROSS, regularizations=(10.0,)), planted) for _ in range(2))
    assert model.weights.tobytes() == again.weights.tobytes()
    model.save(tmp_path)
    loaded = FittedLogistic.load(tmp_path)
    assert (loaded.config, loaded.regularization, loaded.losses) == (model.config, 10.0, model.losses)
    rest = held_out(planted)
    assert loaded.predict(planted, rest).tobytes() == model.predict(planted, rest).tobytes()
    np.save(tmp_path / "weights.npy", model.weights[1:])
    with pytest.raises(ReelflowError, match="found weights of shape"):
        FittedLogistic.load(tmp_path)
    (tmp_path / "logistic.json").write_text('{"format_version": 9}')
    with pytest.raises(ReelflowError, match="found format 9"):
        FittedLogistic.load(tmp_path)
    (tmp_path / "weights.npy").unlink()
    with pytest.raises(ReelflowError, match="cannot be read"):
        FittedLogistic.load(tmp_path)


def test_new_users_and_videos_get_a_probability():
    planted, _ = data(n_impressions=4_000)
    model = fit_logistic(config(regularizations=(10.0,)), planted)
    ids = pa.array(planted.examples["user_id"].to_numpy() + N_USERS)
    strangers = dataclasses.replace(planted, examples=planted.examples.set_column(0, "user_id", ids))
    predicted = model.predict(strangers, planted.validation)
    assert np.isfinite(predicted).all()
    assert ((predicted > 0) & (predicted < 1)).all()


def test_what_cannot_be_fitted_is_refused(sampled):
    planted, _ = sampled
    liked = planted.examples["label"].to_numpy() == 1
    with pytest.raises(ReelflowError, match="expected both labels"):
        fit_logistic(config(), dataclasses.replace(planted, train=planted.train & liked))
    with pytest.raises(ReelflowError, match="found no validation examples"):
        fit_logistic(config(), dataclasses.replace(planted, validation=np.zeros_like(planted.validation)))
    with pytest.raises(ReelflowError, match=r"found contry in logistic.crosses"):
        fit_logistic(config(crosses=(("contry", "video_language"),)), planted)


def test_the_section_of_base_yaml_names_features():
    section = conf.load("logistic", LogisticConfig)
    planted, _ = data(n_impressions=2_000)
    fit_logistic(section.model_copy(update={"regularizations": (100.0,)}), planted)


def test_without_a_user_only_that_user_is_predicted_as_a_stranger(sampled):
    planted, _ = sampled
    model = fit_logistic(config(crosses=(*CROSS, ("user_id", "video_language"))), planted)
    rest = held_out(planted)
    ids = planted.examples["user_id"].to_numpy()[rest]
    user = int(ids[0])
    less = model.without_user(user)
    before, after = model.predict(planted, rest), less.predict(planted, rest)
    assert np.array_equal(before[ids != user], after[ids != user])
    assert not np.isclose(before[ids == user], after[ids == user]).any()
    width = sum(model.spec.coded("video")[name] for name in ("video_language",))
    assert len(less.weights) == len(model.weights) - 1 - width
    assert user not in less.spec.vocabularies["user_id"].values.to_pylist()
    assert less.without_user(user) is None
