"""The ranker reaches the oracle on planted data, and its probabilities are those of the platform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import rankdata

from models.towers import FittedRanker, fit_ranker
from schemas.errors import ReelflowError
from tests.models.towers.planted import (
    AS_OF,
    CONFIG,
    INDIFFERENT,
    LIKES,
    N_USERS,
    N_VIDEOS,
    QUERIES,
    data,
    users,
    users_now,
    videos,
    videos_now,
    with_settings,
    with_watched,
)

pytestmark = pytest.mark.slow


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
    """The examples that are for neither mask, and the truth about them."""
    planted, probability = sampled
    rest = ~(planted.train | planted.validation)
    return rest, planted.examples.filter(pa.array(rest)), probability[rest]


def predict(fitted, planted, examples):
    """Probabilities of any examples on the planted users and videos."""
    everything = np.ones(examples.num_rows, dtype=bool)
    return fitted.predict(replace(planted, examples=examples, train=everything, validation=everything), everything)


def with_column(rows, name, values):
    place = rows.column_names.index(name)
    return rows.set_column(place, name, pa.array(values, rows.schema.field(place).type))


def sigmoid(logits):
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def test_order_is_near_the_oracle(fitted, sampled):
    rest, examples, truth = held_out(sampled)
    label = examples.column("label").to_numpy()

    assert auc(fitted.predict(sampled[0], rest), label) > auc(truth, label) - 0.02


@pytest.mark.parametrize(("loss", "tolerance"), [("bce", 0.07), ("focal", 0.07), ("class_balanced", 0.07)])
def test_probabilities_are_true_to_the_platform(sampled, loss, tolerance):
    rest, examples, truth = held_out(sampled)
    planted = sampled[0]
    config = with_settings(ranker={"loss": loss, "class_balanced_beta": 0.9999})
    predicted = fit_ranker(config, planted, 1).predict(planted, rest)
    weight = examples.column("weight").to_numpy()

    assert predicted.dtype == np.float64
    assert np.average(predicted, weights=weight) == pytest.approx(np.average(truth, weights=weight), rel=tolerance)
    own = truth == LIKES
    assert np.average(predicted[own], weights=weight[own]) == pytest.approx(LIKES, rel=tolerance)
    assert np.average(predicted[~own], weights=weight[~own]) == pytest.approx(INDIFFERENT, abs=0.02)


def test_vectors_carry_the_biases(fitted, planted):
    own, theirs = fitted.user_vectors(users_now(), QUERIES, AS_OF), fitted.video_vectors(videos_now(), AS_OF)
    probability = sigmoid(own @ theirs.T)

    n_languages = fitted.spec.coded("video")["video_language"]
    assert own.shape == (N_USERS, CONFIG.ranker.dim + fitted.module.content.dim + n_languages + 2)
    assert theirs.shape == (N_VIDEOS, own.shape[1])
    assert own.dtype == theirs.dtype == np.float32
    some = with_column(planted.examples.slice(0, 50), "occurred_at", [AS_OF] * 50)
    expected = probability[some.column("user_id").to_numpy(), some.column("video_id").to_numpy() - 1000]
    assert predict(fitted, planted, some) == pytest.approx(expected, rel=1e-4)


def test_new_users_and_videos_are_placed_by_their_features(fitted):
    table, fresh = users_now(range(10_000, 10_040)), videos_now(range(5000, 5040))
    probability = sigmoid(fitted.user_vectors(table, QUERIES, AS_OF) @ fitted.video_vectors(fresh, AS_OF).T)
    own = np.arange(40)[:, None] % 2 == np.arange(40) % 2

    assert probability[own].mean() > 3 * probability[~own].mean()


def test_predictions_are_of_the_examples_own_moment(fitted, planted):
    one = planted.examples.slice(0, 1)
    alone = np.arange(planted.examples.num_rows) == 0
    later = replace(
        planted,
        users=pa.concat_tables([users(), with_column(users(), "valid_from", [AS_OF] * N_USERS)]).sort_by(
            [("user_id", "ascending"), ("valid_from", "ascending")]
        ),
        videos=pa.concat_tables(
            [videos(), with_column(videos(language=("fr", "de")), "valid_from", [AS_OF] * N_VIDEOS)]
        ).sort_by([("video_id", "ascending"), ("valid_from", "ascending")]),
    )
    before = predict(fitted, planted, one)

    assert fitted.predict(planted, alone).tobytes() == fitted.predict(later, alone).tobytes() == before.tobytes()
    assert predict(fitted, later, with_column(one, "occurred_at", [AS_OF])) != predict(
        fitted, planted, with_column(one, "occurred_at", [AS_OF])
    )
    assert predict(fitted, planted, with_column(one, "relevant", [1e6])).tobytes() != before.tobytes()
    assert predict(fitted, planted, planted.examples.slice(0, 0)).shape == (0,)


def test_searches_change_nothing_where_training_knew_none(planted):
    fitted = fit_ranker(CONFIG, replace(planted, queries=QUERIES.slice(0, 0)), 1, epochs=1)
    searched = with_column(users_now(), "searched_history", [["a"]] * N_USERS)
    vectors = [fitted.user_vectors(table, QUERIES, AS_OF) for table in (searched, users_now())]

    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_history_tells_the_best_epoch(fitted):
    losses = [record["log_loss"] for record in fitted.history]

    assert fitted.best_epoch == 1 + int(np.argmin(losses))


def test_fixed_epochs_and_same_seed_give_the_same_arrays(planted):
    first, again, other = (fit_ranker(CONFIG, planted, seed, epochs=1) for seed in (3, 3, 4))

    assert [set(record) for record in first.history] == [{"epoch", "train_loss"}]
    for one, two, three in zip(*((model.module.state_dict().values()) for model in (first, again, other)), strict=True):
        assert one.numpy().tobytes() == two.numpy().tobytes()
        assert one.shape == three.shape
    assert (
        first.user_vectors(users_now(), QUERIES, AS_OF).tobytes() != other.user_vectors(users_now(), QUERIES, AS_OF).tobytes()
    )


def test_sparse_updates_learn_too(planted, sampled):
    fitted = fit_ranker(with_settings(sparse_rows=1), planted, 1, epochs=2)
    rest, examples, truth = held_out(sampled)
    label = examples.column("label").to_numpy()

    assert auc(fitted.predict(planted, rest), label) > auc(truth, label) - 0.03


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
    rest, _, _ = held_out(sampled)
    fitted.save(tmp_path / "a")
    again = FittedRanker.load(tmp_path / "a")
    again.save(tmp_path / "b")

    assert again.predict(sampled[0], rest).tobytes() == fitted.predict(sampled[0], rest).tobytes()
    assert again.video_vectors(videos_now(), AS_OF).tobytes() == fitted.video_vectors(videos_now(), AS_OF).tobytes()
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_all_null_attributes_and_one_user(planted):
    one = planted.examples.filter(pa.array(planted.examples.column("user_id").to_numpy() == 0))
    n = one.num_rows
    train = np.arange(n) < 0.8 * n
    alone = replace(planted, examples=one, users=users([]), videos=videos([]), train=train, validation=~train)
    predicted = fit_ranker(CONFIG, alone, 1).predict(alone, np.ones(n, dtype=bool))

    assert np.isfinite(predicted).all()
    assert auc(predicted, one.column("label").to_numpy()) > 0.7


class TestHistories:
    """Every user is shown once or twice and nothing is known of anyone: only what they watched tells the group."""

    @pytest.fixture(scope="class")
    def strangers(self):
        found, probability = data(n_impressions=24_000, n_users=12_000, seed=3)
        examples = with_watched(found.examples, found.examples.column("user_id").to_numpy())
        return replace(found, examples=examples, users=users(range(12_000), country=("DE", "DE"))), probability

    def test_the_taste_is_seen_in_them_and_in_nothing_else(self, strangers):
        rest, examples, truth = held_out(strangers)
        label = examples.column("label").to_numpy()
        blind = with_settings(leave_out=("watched", "liked", "seen"))
        seeing, without = (fit_ranker(config, strangers[0], 1).predict(strangers[0], rest) for config in (CONFIG, blind))

        assert auc(seeing, label) > auc(truth, label) - 0.03
        assert auc(seeing, label) > auc(without, label) + 0.2
        assert auc(without, label) < 0.6

    def test_inference_reads_them_too(self, strangers):
        fitted = fit_ranker(CONFIG, strangers[0], 1)
        half = np.arange(40) % 2
        table = with_watched(users_now(range(20_000, 20_040), country=("DE", "DE")), half)
        probability = sigmoid(fitted.user_vectors(table, QUERIES, AS_OF) @ fitted.video_vectors(videos_now(), AS_OF).T)
        own = half[:, None] == np.arange(N_VIDEOS) % 2

        assert probability[own].mean() > 3 * probability[~own].mean()


class TestTitles:
    """The half of a video is told by its title alone: language and creator say nothing."""

    @pytest.fixture(scope="class")
    def titled(self):
        found, probability = data(n_impressions=24_000, seed=4)
        return replace(found, videos=self.table(videos)), probability

    @staticmethod
    def table(make, ids=range(N_VIDEOS)):
        found = make(ids, language=("en", "en"), title=([1.0, 0.0], [0.0, 1.0]))
        return with_column(found, "creator_id", [1] * found.num_rows)

    def test_a_new_video_is_placed_by_its_title(self, titled):
        fresh = self.table(videos_now, range(5000, 5040))
        own = np.arange(N_USERS)[:, None] % 2 == np.arange(40) % 2
        means = []
        for out in ((), ("title",)):
            fitted = fit_ranker(with_settings(leave_out=out, ranker={"id_dropout": 0.3}), titled[0], 1)
            logits = fitted.user_vectors(users_now(), QUERIES, AS_OF) @ fitted.video_vectors(fresh, AS_OF).T
            means.append((sigmoid(logits)[own].mean(), sigmoid(logits)[~own].mean()))

        assert means[0][0] > 3 * means[0][1]
        assert means[1][0] == pytest.approx(means[1][1], rel=0.3)
