"""The ranker reaches the oracle on planted data, and its probabilities are those of the platform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import rankdata

from models.towers import FittedRanker, fit_ranker
from schemas.errors import ReelflowError
from tests.models.towers.planted import AS_OF, CONFIG, INDIFFERENT, LIKES, N_USERS, N_VIDEOS, data, users, videos


@pytest.fixture(scope="module")
def sampled():
    """A quarter of the negatives, each with weight 4."""
    return data(n_impressions=60_000, keep_negatives=0.25)


@pytest.fixture(scope="module")
def planted(sampled):
    return sampled[0]


@pytest.fixture(scope="module")
def fitted(planted):
    return fit_ranker(CONFIG, planted, seed=1)


def auc(score, label):
    ranks, relevant = rankdata(score), label.sum()
    return (ranks[label == 1].sum() - relevant * (relevant + 1) / 2) / (relevant * (len(label) - relevant))


def held_out(sampled):
    planted, probability = sampled
    rest = ~(planted.train | planted.validation)
    return planted.examples.filter(pa.array(rest)), probability[rest]


def sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def test_order_is_near_the_oracle(fitted, sampled):
    examples, truth = held_out(sampled)
    label = examples.column("label").to_numpy()

    assert auc(fitted.predict(examples, users(), videos()), label) > auc(truth, label) - 0.02


@pytest.mark.parametrize(("loss", "tolerance"), [("bce", 0.07), ("focal", 0.07), ("class_balanced", 0.07)])
def test_probabilities_are_true_to_the_platform(sampled, loss, tolerance):
    examples, truth = held_out(sampled)
    planted = sampled[0]
    config = CONFIG.model_copy(update={"loss": loss, "class_balanced_beta": 0.9999})
    predicted = fit_ranker(config, planted, 1).predict(examples, users(), videos())
    weight = examples.column("weight").to_numpy()

    assert predicted.dtype == np.float64
    assert np.average(predicted, weights=weight) == pytest.approx(np.average(truth, weights=weight), rel=tolerance)
    own = truth == LIKES
    assert np.average(predicted[own], weights=weight[own]) == pytest.approx(LIKES, rel=tolerance)
    assert np.average(predicted[~own], weights=weight[~own]) == pytest.approx(INDIFFERENT, abs=0.02)


def test_vectors_carry_the_biases(fitted, planted):
    own, theirs = fitted.user_vectors(users(), AS_OF), fitted.video_vectors(videos(), AS_OF)
    probability = sigmoid(own @ theirs.T)

    assert own.shape == (N_USERS, CONFIG.ranker_dim + 2)
    assert theirs.shape == (N_VIDEOS, CONFIG.ranker_dim + 2)
    assert own.dtype == theirs.dtype == np.float32
    moment = pa.array([AS_OF] * 50, pa.timestamp("us", tz="UTC"))
    some = planted.examples.slice(0, 50)
    some = some.set_column(some.column_names.index("occurred_at"), "occurred_at", moment)
    expected = probability[some.column("user_id").to_numpy(), some.column("video_id").to_numpy() - 1000]
    assert fitted.predict(some, users(), videos()) == pytest.approx(expected, rel=1e-4)


def test_new_users_and_videos_are_placed_by_their_features(fitted):
    table, fresh = users(range(10_000, 10_040)), videos(range(5000, 5040))
    probability = sigmoid(fitted.user_vectors(table, AS_OF) @ fitted.video_vectors(fresh, AS_OF).T)
    own = np.arange(40)[:, None] % 2 == np.arange(40) % 2

    assert probability[own].mean() > 3 * probability[~own].mean()


def test_predictions_are_of_the_examples_own_moment(fitted, planted):
    one = planted.examples.slice(0, 1)
    grown = one.set_column(one.column_names.index("relevant"), "relevant", pa.array([1e6]))

    later = videos().set_column(videos().column_names.index("relevant"), "relevant", pa.array(np.full(N_VIDEOS, 1e6)))

    assert fitted.predict(one, users(), later).tobytes() == fitted.predict(one, users(), videos()).tobytes()
    assert fitted.predict(grown, users(), videos()).tobytes() != fitted.predict(one, users(), videos()).tobytes()
    assert fitted.predict(planted.examples.slice(0, 0), users(), videos()).shape == (0,)


def test_history_tells_the_best_epoch(fitted):
    losses = [record["log_loss"] for record in fitted.history]

    assert fitted.best_epoch == 1 + int(np.argmin(losses))


def test_fixed_epochs_and_same_seed_give_the_same_arrays(planted):
    first, again, other = (fit_ranker(CONFIG, planted, seed, epochs=1) for seed in (3, 3, 4))

    assert [set(record) for record in first.history] == [{"epoch", "train_loss"}]
    for one, two, three in zip(*((model.module.state_dict().values()) for model in (first, again, other)), strict=True):
        assert one.numpy().tobytes() == two.numpy().tobytes()
        assert one.shape == three.shape
    assert first.user_vectors(users(), AS_OF).tobytes() != other.user_vectors(users(), AS_OF).tobytes()


def test_sparse_updates_learn_too(planted, sampled):
    fitted = fit_ranker(CONFIG.model_copy(update={"sparse_rows": 1}), planted, 1, epochs=2)
    examples, truth = held_out(sampled)
    label = examples.column("label").to_numpy()

    assert auc(fitted.predict(examples, users(), videos()), label) > auc(truth, label) - 0.03


def test_organic_examples_are_left_out_unless_there_is_nothing_else(planted):
    place = planted.examples.column_names.index("exposure")
    n = planted.examples.num_rows
    organic = replace(planted, examples=planted.examples.set_column(place, "exposure", pa.array(["organic"] * n)))
    assert fit_ranker(CONFIG, organic, 1, epochs=1).best_epoch == 1

    label = planted.examples.column("label").to_numpy()
    mixed = planted.examples.set_column(place, "exposure", pa.array(np.where(label == 1, "organic", "impression")))
    with pytest.raises(ReelflowError, match="of which 0 are relevant"):
        fit_ranker(CONFIG, replace(planted, examples=mixed), 1)


def test_save_and_load_are_exact(fitted, sampled, tmp_path):
    examples, _ = held_out(sampled)
    fitted.save(tmp_path / "a")
    again = FittedRanker.load(tmp_path / "a")
    again.save(tmp_path / "b")

    assert again.predict(examples, users(), videos()).tobytes() == fitted.predict(examples, users(), videos()).tobytes()
    assert again.video_vectors(videos(), AS_OF).tobytes() == fitted.video_vectors(videos(), AS_OF).tobytes()
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_all_null_attributes_and_one_user(planted):
    one = planted.examples.filter(pa.array(planted.examples.column("user_id").to_numpy() == 0))
    n = one.num_rows
    train = np.arange(n) < 0.8 * n
    alone = replace(planted, examples=one, users=users([]), videos=videos([]), train=train, validation=~train)
    predicted = fit_ranker(CONFIG, alone, 1).predict(one, users([]), videos([]))

    assert np.isfinite(predicted).all()
    assert auc(predicted, one.column("label").to_numpy()) > 0.7
