import numpy as np
import pytest
import torch

from benchmarks.quality._lists import ndcg20, popular_order
from benchmarks.quality.baselines import Popularity, SasRec
from benchmarks.quality.baselines._sasrec import Transformer, batches, sequences
from tests.benchmarks.quality.worlds import events, world

SMALL = {**SasRec.first, "width": 32, "layers": 1, "heads": 1, "max_length": 6, "dropout": 0.1, "learning_rate": 3e-3}
VIDEOS = 30


@pytest.fixture
def cycle():
    """Every user walks a part of one circle of videos; relevant is the next one. All videos are about as popular."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(VIDEOS, size=120), rng.integers(4, 12, size=120)
    pairs = [(user, (starts[user] + step) % VIDEOS) for step in range(12) for user in range(120) if step < lengths[user]]
    return world(
        pairs, n_users=121, n_videos=VIDEOS, relevant=[(user, (starts[user] + lengths[user]) % VIDEOS) for user in range(120)]
    )


def test_the_next_video_of_a_cycle_comes_first(cycle):
    order = np.arange(VIDEOS)
    popular = Popularity().fit(cycle, Popularity.first, 0).scores
    fitted = SasRec().fit(cycle, {**SMALL, "epochs": 40}, 1)
    assert ndcg20(fitted.scores, cycle, order) > 0.95
    assert ndcg20(popular, cycle, popular_order(popular(np.array([0]))[0])) < 0.4
    assert not fitted.scores(np.array([120])).any()  # nothing is known of the last user


def test_the_seed_decides_the_scores(cycle):
    found = [SasRec().fit(cycle, {**SMALL, "epochs": 1}, seed).scores(np.array([0])) for seed in (1, 1, 2)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_tuning_stops_where_the_judge_sees_no_progress(cycle):
    asked = []

    def judge(scores, epoch):
        asked.append(epoch)
        return 0.5 if epoch == 6 else 0.1

    fitted = SasRec().fit(cycle, SMALL, 1, judge)
    assert fitted.learned == {"epochs": 6}
    assert asked == [3, 6, 9, 12, 15, 18]


def test_sequences_are_in_order_of_time_from_1():
    found = sequences(events([(1, 4), (0, 2), (1, 0)]), 3)
    assert [row.tolist() for row in found] == [[3], [5, 1], []]


def test_an_epoch_asks_for_every_place_of_a_history_but_the_first_once():
    histories = [np.arange(1, 24), np.array([30]), np.array([40, 41]), np.array([], dtype=np.int64)]
    for seed in range(5):
        found = list(batches(histories, 5, np.random.default_rng(seed)))
        targets = sorted(value for batch in found for value in batch[:, 1:].ravel().tolist() if value)
        assert targets == [*range(2, 24), 41]
        assert all(batch.shape[1] <= 6 for batch in found)


def test_a_state_knows_nothing_of_what_comes_after_it():
    torch.manual_seed(0)
    net = Transformer(n_videos=9, width=8, layers=2, heads=2, max_length=6, dropout=0.5).eval()
    with torch.no_grad():
        short, long = net(torch.tensor([[3, 1, 0, 0]])), net(torch.tensor([[3, 1, 7, 9]]))
    np.testing.assert_allclose(short[0, :2], long[0, :2], atol=1e-6)
    assert not np.allclose(short[0, 2], long[0, 2])
