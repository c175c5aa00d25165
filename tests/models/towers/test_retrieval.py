"""Retrieval finds the planted half of the videos, also for users it has never seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.towers import FittedRanker, FittedRetrieval, fit_retrieval
from models.towers._data import encode_users_at
from schemas.errors import ReelflowError
from tests.models.towers.planted import (
    AS_OF,
    CONFIG,
    N_USERS,
    N_VIDEOS,
    QUERIES,
    data,
    users,
    users_now,
    videos,
    watches_of,
    with_settings,
    with_watched,
)

pytestmark = pytest.mark.slow

VIDEO_IDS = 1000 + np.arange(N_VIDEOS)


@pytest.fixture(scope="module")
def planted():
    return data()[0]


@pytest.fixture(scope="module")
def fitted(planted):
    return fit_retrieval(CONFIG, planted, seed=1)


def own_half_share(fitted, table):
    """Of each user's first half of the videos, how many are of the own half."""
    scores = fitted.user_vectors(table, QUERIES, AS_OF) @ fitted.video_vectors(VIDEO_IDS).T
    first = np.argsort(-scores, axis=1)[:, : N_VIDEOS // 2]
    return (first % 2 == table.column("user_id").to_numpy()[:, None] % 2).mean()


def test_own_half_comes_first(fitted):
    assert own_half_share(fitted, users_now()) > 0.98


def test_new_users_are_placed_by_their_attributes(fitted):
    assert own_half_share(fitted, users_now(range(10_000, 10_040))) > 0.95


def test_vectors_are_unit_float32_in_order(fitted):
    own, theirs = fitted.user_vectors(users_now(), QUERIES, AS_OF), fitted.video_vectors(VIDEO_IDS)

    assert own.shape == (N_USERS, CONFIG.retrieval.dim + 2)
    assert own.dtype == theirs.dtype == np.float32
    assert np.linalg.norm(own, axis=1) == pytest.approx(np.ones(N_USERS), rel=1e-5)
    assert np.linalg.norm(theirs, axis=1) == pytest.approx(np.ones(N_VIDEOS), rel=1e-5)
    backwards = users_now().take(np.arange(N_USERS)[::-1])
    assert fitted.user_vectors(backwards, QUERIES, AS_OF)[::-1] == pytest.approx(own, abs=1e-6)


def test_unknown_videos_are_known_to_be_unknown(fitted):
    ids = np.array([1000, 5, 7, 1001])

    assert fitted.known_videos(ids).tolist() == [True, False, False, True]
    vectors = fitted.video_vectors(ids)
    assert vectors[1].tobytes() == vectors[2].tobytes()


def test_history_tells_the_best_epoch(fitted):
    scores = [record["score"] for record in fitted.history]

    assert [record["epoch"] for record in fitted.history] == list(range(1, len(scores) + 1))
    assert fitted.best_epoch == 1 + int(np.argmax(scores))
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]


def test_fixed_epochs_need_no_validation(planted):
    seen = []
    everything = replace(planted, train=planted.train | planted.validation, validation=np.zeros_like(planted.train))
    fitted = fit_retrieval(CONFIG, everything, 1, progress=seen.append, epochs=2)

    assert fitted.best_epoch == 2
    assert [set(record) for record in seen] == [{"epoch", "train_loss"}] * 2


@pytest.mark.parametrize("sparse_rows", [100_000, 1])
def test_same_seed_same_arrays(planted, sparse_rows):
    config = with_settings(sparse_rows=sparse_rows)
    first, again, other = (fit_retrieval(config, planted, seed, epochs=1) for seed in (3, 3, 4))

    assert (
        first.user_vectors(users_now(), QUERIES, AS_OF).tobytes() == again.user_vectors(users_now(), QUERIES, AS_OF).tobytes()
    )
    assert first.video_vectors(VIDEO_IDS).tobytes() == again.video_vectors(VIDEO_IDS).tobytes()
    assert first.video_vectors(VIDEO_IDS).tobytes() != other.video_vectors(VIDEO_IDS).tobytes()


def test_sparse_updates_learn_too(planted):
    assert (
        own_half_share(
            fit_retrieval(with_settings(sparse_rows=1, retrieval={"average": 0.0}), planted, 1, epochs=4), users_now()
        )
        > 0.95
    )


@pytest.mark.parametrize("drawn", [0, 32])
def test_sampled_candidates(planted, drawn):
    sampled = with_settings(retrieval={"full_softmax_videos": 0, "uniform_negatives": drawn})
    assert own_half_share(fit_retrieval(sampled, planted, 1, epochs=4), users_now()) > 0.95


def test_vectors_order_videos_as_the_scores_do(fitted):
    """Unit vectors keep the order of dot product plus bias, which the module computes."""
    inputs = encode_users_at(fitted.spec, users_now(), QUERIES, AS_OF)
    codes = torch.from_numpy(fitted.spec.vocabularies["video_id"].encode(pa.array(VIDEO_IDS)))
    states = fitted.module.states(torch.zeros((len(inputs), 1), dtype=torch.int64))[:, 0]
    scores = fitted.module.scores(fitted.module.users(inputs, states), codes).detach().numpy()
    cosines = fitted.user_vectors(users_now(), QUERIES, AS_OF) @ fitted.video_vectors(VIDEO_IDS).T

    for own, theirs in zip(scores, cosines, strict=True):
        assert np.corrcoef(own, theirs)[0, 1] == pytest.approx(1.0, abs=1e-5)


def test_save_and_load_are_exact(fitted, tmp_path):
    fitted.save(tmp_path / "a")
    again = FittedRetrieval.load(tmp_path / "a")
    again.save(tmp_path / "b")

    assert (
        again.user_vectors(users_now(), QUERIES, AS_OF).tobytes() == fitted.user_vectors(users_now(), QUERIES, AS_OF).tobytes()
    )
    assert again.video_vectors(VIDEO_IDS).tobytes() == fitted.video_vectors(VIDEO_IDS).tobytes()
    assert (again.config, again.spec, again.best_epoch) == (fitted.config, fitted.spec, fitted.best_epoch)
    assert again.history == fitted.history
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_load_refuses_what_is_not_a_retrieval_model(fitted, tmp_path):
    with pytest.raises(ReelflowError, match="train it again"):
        FittedRetrieval.load(tmp_path)
    fitted.save(tmp_path)
    with pytest.raises(ReelflowError, match="retrieval"):
        FittedRanker.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"{")
    with pytest.raises(ReelflowError, match="train it again"):
        FittedRetrieval.load(tmp_path)


def test_no_positives_is_an_error(planted):
    place = planted.examples.column_names.index("label")
    nothing = planted.examples.set_column(place, "label", pa.array(np.zeros(planted.examples.num_rows, np.int32)))
    with pytest.raises(ReelflowError, match="no relevant example"):
        fit_retrieval(CONFIG, replace(planted, examples=nothing), 1)


def test_a_single_user_without_attributes_and_absent_tables(planted):
    one = planted.examples.filter(pa.array(planted.examples.column("user_id").to_numpy() == 0))
    n = one.num_rows
    alone = replace(
        planted, examples=one, users=users([]), videos=videos([]), train=np.ones(n, bool), validation=np.zeros(n, bool)
    )
    fitted = fit_retrieval(CONFIG, alone, 1, epochs=6)

    assert own_half_share(fitted, users_now([0])) > 0.8


def test_data_with_columns_missing_is_refused(planted):
    with pytest.raises(
        ReelflowError, match="examples: missing column views; users: missing column age; videos: missing column language"
    ):
        replace(
            planted,
            examples=planted.examples.drop_columns("views"),
            users=planted.users.drop_columns("age"),
            videos=planted.videos.drop_columns("language"),
        )
    with pytest.raises(ReelflowError, match="examples: missing column seen_history"):
        replace(planted, examples=planted.examples.drop_columns("seen_history"))
    with pytest.raises(ReelflowError, match="validation: found"):
        replace(planted, validation=np.zeros(3, bool))


def test_strangers_are_placed_by_what_they_watched():
    found, _ = data(n_impressions=48_000, n_users=48_000, seed=3)
    examples = with_watched(found.examples, found.examples.column("user_id").to_numpy())
    at = examples.column("occurred_at").cast(pa.int64()).to_numpy()
    users_alike = users(range(48_000), country=("DE", "DE"))
    strangers = replace(found, examples=examples, watches=watches_of(examples, at), users=users_alike)
    ids = np.arange(100_000, 100_040)
    table = with_watched(users_now(ids, country=("DE", "DE")), ids)
    seeing, blind = (fit_retrieval(with_settings(leave_out=out), strangers, 1) for out in ((), ("watched", "liked", "seen")))

    assert own_half_share(seeing, table) > 0.95
    assert own_half_share(blind, table) == pytest.approx(0.5, abs=0.1)
