import numpy as np
import optuna
import pytest

from benchmarks.quality._tuning import refit, tune
from benchmarks.quality.baselines import Fitted
from tests.benchmarks.quality.worlds import world


class Guess:
    """Puts the one relevant video at place ``10 * |x|``: the closer to 0, the better."""

    name = "guess"
    trials = 0.5
    first = {"x": 1.0}  # noqa: RUF012

    def __init__(self):
        self.fits = []

    def suggest(self, trial):
        return {"x": trial.suggest_float("x", -1, 1)}

    def fit(self, world, params, seed, judge=None):
        self.fits.append((params["x"], seed, params.get("epochs"), judge is not None))
        scores = np.linspace(1, 0, world.shape[1])
        scores[world.shape[1] - 1] = 1.001 - abs(params["x"]) * 10 / (world.shape[1] - 1)

        def of_users(users):
            return np.tile(scores, (len(users), 1))

        if judge is not None:
            judge(of_users, 1)
        return Fitted(of_users, {"epochs": 4})


@pytest.fixture
def asked():
    return world([(0, 0)], n_users=2, n_videos=30, relevant=[(1, 29)])


def test_the_best_of_the_budget_is_kept_with_what_the_fit_learned(asked):
    guess = Guess()
    tuned = tune(guess, asked, np.arange(30), trials=30, seed=5)
    tried = [abs(x) for x, *_ in guess.fits]
    assert len(tried) == tuned.trials == 15
    assert tried[0] == 1.0
    assert abs(tuned.params["x"]) * 10 < np.floor(min(tried) * 10) + 1
    assert tuned.params["epochs"] == 4
    assert {seed for _, seed, *_ in guess.fits} == {5}
    assert tuned.report()["validation_ndcg@20"] == tuned.validation > 0


def test_the_same_seed_tries_the_same(asked):
    tries = []
    for seed in (5, 5, 6):
        guess = Guess()
        tune(guess, asked, np.arange(30), trials=8, seed=seed)
        tries.append([x for x, *_ in guess.fits])
    assert tries[0] == tries[1] != tries[2]


def test_a_refit_takes_what_was_found_and_asks_no_judge(asked):
    guess = Guess()
    tuned = tune(guess, asked, np.arange(30), trials=4, seed=1)
    refit(guess, asked, tuned, 8)
    assert guess.fits[-1] == (tuned.params["x"], 8, 4, False)


def test_optuna_stays_quiet(asked, capsys):
    tune(Guess(), asked, np.arange(30), trials=2, seed=1)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
    assert capsys.readouterr().err == ""
