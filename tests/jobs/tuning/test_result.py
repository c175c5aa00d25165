import dataclasses
import json

import pytest
import yaml

from conf import load
from jobs._recipe import Recipe
from jobs.tuning import MODELS, DataSet, Result, Study, fragment, lines, summary
from jobs.tuning._study import Trial
from models.towers import TowersConfig
from models.tuning import values_of, with_values

MODEL = MODELS["ranker"]
BEST = {"ranker.dim": 16, "ranker.learning_rate": 0.00005, "ranker.hidden": (64, 32), "category_dim": 16}


def trial(number, values, gain, figures, state="complete"):
    return Trial(number, values, state, gain, figures, [{"epochs": 2}] * len(figures), 1.5)


@pytest.fixture
def result():
    configured = load("towers", TowersConfig)
    before = values_of(configured, [part for part in MODEL.space if part.field in BEST])
    trials = [
        trial(0, before, 0.0, [0.4, 0.08]),
        trial(1, BEST, 0.1, [0.36, 0.0725]),
        trial(2, BEST, None, [0.5], "pruned"),
    ]
    sets = [DataSet(name, configured, None, None, 50, Recipe({}, "", {})) for name in ("films", "clips")]
    return Result(MODEL, sets, Study(trials, {"category_dim": 0.75, "ranker.dim": 0.25}, 3), "abc", 1)


def test_the_fragment_reads_back_as_the_best_settings(result):
    text = fragment("towers", result.study.best.values)
    assert "    hidden: [64, 32]\n" in text
    overlay = yaml.safe_load(text)["towers"]
    assert overlay == {"ranker": {"dim": 16, "learning_rate": 0.00005, "hidden": [64, 32]}, "category_dim": 16}
    configured = load("towers", TowersConfig)
    merged = configured.model_dump() | {"category_dim": overlay["category_dim"]}
    merged["ranker"] |= overlay["ranker"]
    assert TowersConfig.model_validate(merged) == with_values(configured, BEST)


def test_the_table_has_settings_figures_and_what_was_spent(result):
    text = "\n".join(lines(result))
    rows = [row.split() for row in text.splitlines()]
    assert ["towers.ranker.dim", "32", "16", "25%"] in rows
    assert ["towers.ranker.hidden", "128,", "64", "64,", "32", "-"] in rows
    assert ["films", "0.4000", "0.3600", "+11.1%"] in rows  # 0.40 / 0.36
    assert ["clips", "0.0800", "0.0725", "+10.3%"] in rows
    assert "2 trials judged, 1 given up, 4 s in all; best: trial 2, +10.52% on average" in text
    assert "(what stands directly below towers holds for both towers)" in text
    assert text.endswith(fragment("towers", BEST).rstrip())


def test_where_nothing_was_better_nothing_is_to_be_pasted(result):
    study = dataclasses.replace(result.study, trials=result.study.trials[:1])
    text = "\n".join(lines(dataclasses.replace(result, study=study)))
    assert text.endswith("nothing that was tried beat the configured settings: leave them as they are")


def test_the_summary_is_json(result):
    told = json.loads(json.dumps(summary(result)))
    assert told["best"]["values"] == {**BEST, "ranker.hidden": [64, 32]}
    assert told["defaults"]["figures"] == [0.4, 0.08]
    assert told["spent"] == {"trials": 3, "complete": 2, "given_up": 1, "seconds": 4.5}
    assert told["data_sets"] == ["films", "clips"]
    assert told["conf"] == fragment("towers", BEST)
    assert [one["state"] for one in told["trials"]] == ["complete", "complete", "pruned"]
