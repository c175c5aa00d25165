"""The search itself, with models that cost nothing: a figure is a function of the settings."""

import dataclasses
import math

import optuna
import pytest

from jobs._recipe import Recipe
from jobs.tuning import MODELS, DataSet, Judged, digest, search
from models.tuning import Choices
from schemas.errors import ReelflowError
from tests.models.towers.planted import CONFIG
from tests.models.wals.contract import config

GOAL = math.log(3.0)


def data_set(name="one", configured=None, kept_watches=50, **recipe):
    configured = config(regularization=100.0) if configured is None else configured
    return DataSet(name, configured, None, None, kept_watches, Recipe({"examples": name}, "c0de", recipe))


def closeness(configured):
    """At most 1, the nearer the penalty is to 3 the higher."""
    return math.exp(-abs(math.log(configured.regularization) - GOAL))


class Fake:
    """A model whose fits are counted; ``judge`` tells a setting's figure on a data set, and what it reports."""

    def __init__(self, figure=closeness, name="wals", sign=1):
        self.calls = []

        def judge(configured, of, progress):
            self.calls.append((of.name, configured))
            return Judged(figure(configured, of, progress) if figure is not closeness else closeness(configured), {"epochs": 3})

        self.model = dataclasses.replace(MODELS[name], judge=judge, sign=sign)


@pytest.fixture
def run(tmp_path):
    def call(fake, sets=None, *, file="study", trials=20, minutes=None, seed=1, say=lambda _: None):
        sets = sets or [data_set()]
        return search(fake.model, sets, tmp_path / file, trials=trials, minutes=minutes, seed=seed, say=say)

    return call


def tried(study):
    return [(dict(trial.values), trial.state, trial.gain, list(trial.figures)) for trial in study.trials]


def test_the_configured_settings_come_first_and_are_beaten(run):
    fake = Fake()
    study = run(fake, trials=30)
    assert fake.calls[0] == ("one", config(regularization=100.0))
    assert study.defaults.values["regularization"] == 100.0
    assert (study.defaults.gain, study.defaults.figures) == (0.0, [pytest.approx(0.03)])
    assert len(study.trials) == len(fake.calls) == study.new == 30
    assert study.best.gain == max(trial.gain for trial in study.trials) > math.log(10)
    assert study.best.learned == [{"epochs": 3}]
    assert max(study.importances, key=study.importances.get) == "regularization"


def test_settings_are_tried_as_they_are_written_down(run):
    fake = Fake()
    study = run(fake, trials=8)
    for trial, (_, configured) in zip(study.trials, fake.calls, strict=True):
        assert trial.values["regularization"] == configured.regularization
        assert trial.values["feedback_weights.like"] == configured.feedback_weights["like"]
    for trial in study.trials[1:]:
        assert float(f"{trial.values['regularization']:.3g}") == trial.values["regularization"]
        assert isinstance(trial.values["factors"], int)


def test_every_data_set_counts_the_same_whatever_its_scale(run):
    scales = {"one": 1.0, "two": 0.01}
    fake = Fake(lambda configured, of, _: scales[of.name] * configured.regularization ** (1 if of.name == "one" else 2))
    study = run(fake, [data_set("one"), data_set("two")], trials=4)
    assert [name for name, _ in fake.calls] == ["one", "two"] * 4
    for trial in study.trials:
        change = math.log(trial.values["regularization"] / 100.0)
        assert trial.gain == pytest.approx(max((max(change, math.log(1e-3)) + max(2 * change, math.log(1e-3))) / 2, -7))


def test_a_loss_is_made_smaller(run):
    study = run(Fake(lambda configured, *_: 1 / closeness(configured), sign=-1), trials=20)
    assert study.best.figures[0] == min(trial.figures[0] for trial in study.trials) < study.defaults.figures[0] / 5


def test_the_same_seed_tries_the_same(run):
    one, same, other = (run(Fake(), file=f"study{n}", trials=14, seed=seed) for n, seed in enumerate((5, 5, 6)))
    assert tried(one) == tried(same) != tried(other)


class TestGoingOn:
    def test_two_runs_end_as_one_does(self, run):
        whole = run(Fake(), trials=16)
        fake = Fake()
        run(Fake(), file="parts", trials=6)
        said = []
        parts = run(fake, file="parts", trials=16, say=said.append)
        assert tried(parts) == tried(whole)
        assert (len(fake.calls), parts.new) == (10, 10)
        assert said[0] == "6 trials of an earlier run: going on with them"

    @pytest.mark.parametrize("at", [1, 2, 13], ids=["the configured settings", "the first proposal", "a later one"])
    def test_a_trial_that_was_broken_off_is_none(self, run, at):
        def broken(configured, *_):
            if len(fake.calls) == at:
                raise KeyboardInterrupt
            return closeness(configured)

        whole = run(Fake(), trials=16)
        fake = Fake(broken)
        with pytest.raises(KeyboardInterrupt):
            run(fake, file="broken", trials=16)
        assert tried(run(Fake(), file="broken", trials=16)) == tried(whole)

    def test_nothing_is_done_when_the_budget_is_spent(self, run):
        whole = run(Fake(), trials=5)
        fake = Fake()
        again = run(fake, trials=5)
        assert (tried(again), fake.calls, again.new) == (tried(whole), [], 0)

    def test_no_trial_begins_after_the_minutes_but_the_first(self, run):
        assert len(run(Fake(), minutes=0).trials) == 1
        assert len(run(Fake(), minutes=0).trials) == 1
        assert len(run(Fake(), minutes=1, trials=3).trials) == 3

    def test_two_at_once_are_refused(self, run):
        def nested(configured, *_):
            run(Fake(), trials=2)
            return closeness(configured)

        with pytest.raises(ReelflowError, match=r"study .*: another process is at work on it"):
            run(Fake(nested), trials=2)


class TestGivingUp:
    def test_a_trial_behind_the_others_sees_no_further_epoch_or_data_set(self, run):
        def learns(configured, of, progress):
            end = closeness(configured)
            for epoch in range(1, 11):
                progress({"epoch": epoch, "train_loss": 0.0, "score": end * epoch / 10})
                epochs.append((len(fake.calls), epoch))
            return end

        epochs = []
        fake = Fake(learns)
        study = run(fake, [data_set("one"), data_set("two")], trials=25)
        pruned = [trial for trial in study.trials if trial.state == "pruned"]
        complete = [trial for trial in study.trials if trial.state == "complete"]
        assert pruned
        assert all(trial.gain is None and len(trial.figures) < 2 for trial in pruned)
        assert len(fake.calls) < 2 * len(study.trials)
        assert max(trial.figures[0] for trial in complete) == study.best.figures[0]
        assert len(epochs) < 10 * len(fake.calls)
        worst = sorted(complete, key=lambda trial: trial.gain)[0]
        assert all(closeness(config(regularization=p.values["regularization"])) < study.best.figures[0] for p in pruned)
        assert worst.number <= 6 or worst.gain > study.defaults.gain

    def test_a_setting_of_which_no_model_comes_is_given_up_and_the_search_goes_on(self, run):
        def fails(configured, *_):
            if configured.regularization < 5.0:
                raise ReelflowError("the loss is infinite")
            return closeness(configured)

        study = run(Fake(fails), trials=20)
        failed = [trial for trial in study.trials if trial.values["regularization"] < 5.0]
        assert {(trial.state, trial.error) for trial in failed} == {("pruned", "the loss is infinite")}
        assert study.best.values["regularization"] >= 5.0
        assert study.best.gain > 0

    def test_a_defect_is_not_hidden(self, run):
        def broken(*_):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run(Fake(broken))


class TestErrors:
    def test_settings_that_find_nothing_cannot_be_compared_with(self, run):
        with pytest.raises(ReelflowError, match=r"data set one: found ndcg@20 0\.0 with the configured settings"):
            run(Fake(lambda *_: 0.0))

    def test_an_error_of_the_configured_settings_is_one_of_the_search(self, run):
        def fails(*_):
            raise ReelflowError("wals.engine: found spark")

        with pytest.raises(ReelflowError, match=r"^wals\.engine: found spark$"):
            run(Fake(fails))

    def test_data_sets_share_one_default(self, run):
        sets = [data_set("one"), data_set("two", config(regularization=99.0))]
        with pytest.raises(ReelflowError, match=r"data set two: found wals\.regularization 99\.0, expected 100\.0 as in one"):
            run(Fake(), sets)
        sets = [data_set("one"), data_set("two", config(regularization=100.0, num_threads=2))]
        assert len(run(Fake(), sets, trials=2).trials) == 2  # what is not searched may differ


def test_no_encoder_reads_more_than_every_data_set_keeps(run):
    fake = Fake(lambda configured, *_: 0.5, name="retrieval")
    run(fake, [data_set("one", CONFIG), data_set("two", CONFIG, kept_watches=20)], trials=25)
    allowed = next(p.values for p in MODELS["retrieval"].space if p.field == "retrieval.history" and isinstance(p, Choices))
    assert max(allowed) == 50
    assert {configured.retrieval.history for _, configured in fake.calls} == {8, 10, 20}


def test_other_data_code_settings_or_seeds_are_another_study():
    model = MODELS["wals"]
    found = [
        digest(model, [data_set()], 1),
        digest(model, [data_set()], 2),
        digest(model, [data_set(), data_set()], 1),
        digest(model, [data_set("two")], 1),
        digest(model, [data_set(wals={"factors": 3})], 1),
        digest(MODELS["ranker"], [data_set()], 1),
    ]
    assert len(set(found)) == len(found)
    assert found[0] == digest(model, [data_set()], 1)


def test_optuna_stays_quiet(run, capsys):
    before = optuna.logging.get_verbosity()
    run(Fake(), trials=12)
    assert optuna.logging.get_verbosity() == before
    assert capsys.readouterr() == ("", "")
