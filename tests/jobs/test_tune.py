import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import yaml
from mlflow.tracking import MlflowClient

from conf import repository
from jobs import _training, tune
from jobs._window import DAY, Window
from jobs.tuning import Place, place_of
from schemas.errors import ReelflowError
from tests.builders import moment, stage_context
from tests.jobs.planted import SECOND, SETTINGS, START, examples, planted, write_examples

pytestmark = pytest.mark.slow

AS_OF = "2026-01-08T00:00:00Z"
SPLIT = {"split": {"validation_fraction": 0.2, "test_fraction": 0.15}}
BAD = {"wals": {**SETTINGS["wals"], "factors": 1, "iterations": 1, "regularization": 10_000.0}}
"""Settings that learn nothing."""
HERE = Place(None, moment("2026-01-08T00:00"))


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("home") / "planted", SPLIT)


@pytest.fixture
def untracked(monkeypatch):
    """Without MLflow, which takes longer than these studies."""
    silent = SimpleNamespace(open=lambda: SimpleNamespace(record=lambda *_: None))
    monkeypatch.setattr(tune, "Tracker", silent)


def study(space, model, *, places=(HERE,), trials=3, **more):
    with space.environment():
        result, _ = tune.run(model, places, trials=trials, **more)
    return result.study


def tried(found):
    return [(dict(trial.values), trial.state, trial.gain, list(trial.figures), list(trial.learned)) for trial in found.trials]


@pytest.mark.usefixtures("untracked")
def test_settings_that_learn_nothing_are_beaten(space, tmp_path):
    bad = space.copy_to(tmp_path / "bad", {**SETTINGS, **SPLIT, **BAD})
    found = study(bad, "wals", trials=20)
    assert found.best.figures[0] > 1.3 * found.defaults.figures[0]


@pytest.mark.parametrize("model", ["wals", "retrieval", "ranker"])
@pytest.mark.usefixtures("untracked")
def test_nothing_of_the_test_split_matters(space, tmp_path, model):
    """With every example of the test split turned around and moved to other videos, the study is the same to the last bit."""
    with space.environment():
        start = _training.read(stage_context("tune", "--as-of", AS_OF)).test_start
    other = space.copy_to(tmp_path / "other", {**SETTINGS, **SPLIT})
    rows = [row if row["occurred_at"] <= start else turned(row) for row in examples()]
    assert sum(row["occurred_at"] > start for row in rows) > 100
    write_examples(other, rows, Window(START, SECOND))
    assert tried(study(other, model)) == tried(study(space, model))


def turned(row):
    liked = {"label": 1 - row["label"], "clicked": not row["clicked"], "liked": not row["liked"], "missed": not row["missed"]}
    return {**row, **liked, "video_id": 100 + (row["video_id"] + 7) % 60, "weight": 5.0, "sample_rate": 0.2}


@pytest.mark.usefixtures("untracked")
def test_what_is_turned_in_the_validation_split_does(space, tmp_path):
    with space.environment():
        data = _training.read(stage_context("tune", "--as-of", AS_OF))
    other = space.copy_to(tmp_path / "other", {**SETTINGS, **SPLIT})
    rows = [turned(row) if data.validation_start < row["occurred_at"] <= data.test_start else row for row in examples()]
    write_examples(other, rows, Window(START, SECOND))
    assert tried(study(other, "wals", trials=2)) != tried(study(space, "wals", trials=2))


@pytest.mark.usefixtures("untracked")
def test_a_study_of_several_workspaces_uses_the_settings_of_each(space, tmp_path):
    other = space.copy_to(tmp_path / "other")
    (other.home / "settings.yaml").unlink()
    (other.home / "conf.yaml").write_text(yaml.safe_dump({**SETTINGS, "split": {"test_fraction": 0.3}}), encoding="utf-8")
    both = study(space, "wals", places=(HERE, place_of(f"{other.home}@{AS_OF}")))
    alone = study(space, "wals")
    elsewhere = study(other, "wals", places=(place_of(f"{other.home}@{AS_OF}"),))
    assert both.defaults.figures == [*alone.defaults.figures, *elsewhere.defaults.figures]
    assert alone.defaults.figures != elsewhere.defaults.figures
    for one, two in zip(both.trials, alone.trials, strict=True):
        assert one.figures[0] == two.figures[0]  # the first proposals are drawn, whatever was found


@pytest.mark.usefixtures("untracked")
def test_broken_off_fits_go_on_as_if_nothing_had_happened(space, tmp_path, monkeypatch):
    whole = study(space, "ranker", trials=4)
    parts = space.copy_to(tmp_path / "parts", {**SETTINGS, **SPLIT})
    for left in (parts.home / "runs").rglob("*.journal"):
        left.unlink()
    fits = []
    fit = tune.MODELS["ranker"].judge.__globals__["fit_ranker"]

    def broken(*given):
        fits.append(given)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(tune.MODELS["ranker"].judge.__globals__, "fit_ranker", broken)
        study(parts, "ranker", trials=4)
    after = study(parts, "ranker", trials=4)
    assert (tried(after), after.new) == (tried(whole), 2)


class TestCommand:
    """The command line, once, with all that it writes."""

    @pytest.fixture(scope="class")
    def ran(self, space, tmp_path_factory):
        made = space.copy_to(tmp_path_factory.mktemp("command") / "home", {**SETTINGS, **SPLIT, **BAD})
        before = (repository() / "conf" / "base.yaml").read_bytes(), (made.home / "settings.yaml").read_bytes()
        out = []
        for _ in range(2):
            stream = io.StringIO()
            with made.environment(), contextlib.redirect_stdout(stream):
                tune.main(["--model", "wals", "--as-of", AS_OF, "--trials", "5"])
            out.append(stream.getvalue())
        assert before == ((repository() / "conf" / "base.yaml").read_bytes(), (made.home / "settings.yaml").read_bytes())
        return made, out

    def test_it_prints_the_table_and_what_to_paste(self, ran):
        _, (out, again) = ran
        assert "reelflow | tune | trial 5 of 5: " in out
        assert "wals.regularization                     10000.0" in out
        pasted = out[out.index("\nwals:\n") : out.index("\n\nreelflow | tune | written to ")]
        assert yaml.safe_load(pasted)["wals"]["regularization"] < 10_000.0
        assert "5 trials of an earlier run: going on with them" in again
        assert out[out.index("\nsetting ") :] == again[again.index("\nsetting ") :]

    def test_the_report_says_what_the_table_says(self, ran):
        made, (out, _) = ran
        file = Path(out.split("written to ")[1].strip())
        assert file.parent == made.home / "runs" / "20260108T000000Z" / "tuning"
        told = json.loads(file.read_text(encoding="utf-8"))
        assert told["conf"].rstrip() in out
        assert told["spent"]["trials"] == 5
        assert told["data_sets"] == [f"home@{AS_OF}"]

    def test_mlflow_has_one_run_of_it(self, ran):
        made, _ = ran
        client = MlflowClient(tracking_uri=f"sqlite:///{made.home / 'mlflow' / 'mlflow.db'}")
        (run,) = client.search_runs([client.get_experiment_by_name("reelflow").experiment_id])
        assert run.info.run_name == f"tune wals {AS_OF}"
        assert run.data.metrics["best_ndcg_at_20_0"] > run.data.metrics["configured_ndcg_at_20_0"]
        assert "wals.regularization" in run.data.params


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--model", "als"], "--model: found 'als', expected one of wals, retrieval, ranker"),
            (
                ["--model", "wals", "--trials", "1"],
                "--trials: found 1, expected at least 2: the first",
            ),
            (["--model", "wals", "--also", "nowhere"], "--also nowhere: found no workspace 'nowhere', expected HOME@AS_OF"),
            (
                ["--model", "wals", "--also", f"nowhere@{AS_OF}"],
                f"--also nowhere@{AS_OF}: found no workspace 'nowhere', expected",
            ),
        ],
    )
    def test_one_line_says_what_is_wrong(self, space, capsys, arguments, expected):
        with space.environment(), pytest.raises(SystemExit) as end:
            tune.main([*arguments, "--as-of", AS_OF])
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(f"reelflow | tune | error: {expected}")

    @pytest.mark.parametrize("model", ["wals", "ranker"])
    def test_a_validation_split_that_asks_nothing_is_one(self, space, tmp_path, model):
        silent = space.copy_to(tmp_path / "silent", {**SETTINGS, **SPLIT})
        nothing = {"label": 0, "clicked": False, "liked": False, "missed": True}
        other = nothing if model == "wals" else {"exposure": "organic"}
        rows = [{**row, **other} if row["occurred_at"] >= START + 1.5 * DAY else row for row in examples()]
        write_examples(silent, rows, Window(START, SECOND))
        what = {"wals": "users who liked something new", "ranker": "impressions"}[model]
        with pytest.raises(ReelflowError, match=f"data set silent@{AS_OF}: found no {what} in the validation split, expected"):
            study(silent, model)

    def test_spark_is_not_tuned_with(self, space, tmp_path):
        spark = space.copy_to(tmp_path / "spark", {**SETTINGS, **SPLIT, "wals": {**SETTINGS["wals"], "engine": "spark"}})
        with pytest.raises(ReelflowError, match=r"wals\.engine: found spark, expected implicit for tuning"):
            study(spark, "wals")


def test_what_is_judged_knows_nothing_of_the_test_split(space):
    with space.environment():
        data = _training.read(stage_context("tune", "--as-of", AS_OF))
    kept = tune.opened.__globals__["without_test"](data)
    assert kept.test.sum() == 0
    assert (kept.train.sum(), kept.validation.sum()) == (data.train.sum(), data.validation.sum())
    assert max(kept.examples["known_at"].to_pylist()) <= data.test_start
    assert max(kept.counts["dt"].to_pylist()) < data.test_start.date()
    assert kept.examples.filter(pa.array(kept.validation)).equals(data.examples.filter(pa.array(data.validation)))
