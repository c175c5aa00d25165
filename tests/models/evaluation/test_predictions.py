import numpy as np
import pytest

from models import metrics
from models.evaluation import Labelled, Lookup, judge_predictions
from tests.models.evaluation.planted import CONFIG

RNG = np.random.default_rng(11)
USERS = np.repeat(np.arange(30) * 7, 10)
CHANCE = RNG.random(300) * 0.6
LABELS = (RNG.random(300) < CHANCE).astype(np.int64)
WEIGHTS = np.where(LABELS == 1, 1.0, 5.0)
EXAMPLES = Labelled(LABELS, WEIGHTS, USERS)
ONE = {"ranker": CHANCE, "base_rate": np.full(300, 0.1)}


@pytest.fixture(scope="module")
def judged():
    return judge_predictions(CONFIG, EXAMPLES, ONE)


def test_figures_are_those_of_the_metrics(judged):
    rows = Lookup.of(judged[0].rows)
    for name, found in ONE.items():
        for metric in ("roc_auc", "pr_auc", "log_loss", "expected_calibration_error", "calibration_ratio"):
            row = rows.get(name, metric)
            assert row.value == getattr(metrics, metric)(LABELS, found, WEIGHTS)
            assert (row.users, row.examples) == (30, 300)
            # What no example changes, such as the AUC of a constant, has no spread.
            assert row.low <= row.high
    assert rows.get("base_rate", "roc_auc").value == 0.5
    assert rows.get("ranker", "roc_auc").low < rows.get("ranker", "roc_auc").value < rows.get("ranker", "roc_auc").high


def test_ranking_loss_is_a_mean_over_users_with_both_labels(judged):
    rows = Lookup.of(judged[0].rows)
    own = [
        metrics.roc_auc(LABELS[user == USERS], CHANCE[user == USERS])
        for user in np.unique(USERS)
        if len(np.unique(LABELS[user == USERS])) == 2
    ]
    found = rows.get("ranker", "ranking_loss")
    assert found.value == pytest.approx(1 - np.mean(own))  # without ties, and weights that are equal within a label
    assert found.users == len(own)
    assert rows.get("base_rate", "ranking_loss").value == 1.0  # a tie is an error
    less = rows.get("ranker", "ranking_loss", baseline="base_rate")
    assert less.value == pytest.approx(found.value - 1.0)
    assert less.high < 0


def test_any_number_of_predictors_and_their_curves(judged):
    _, curves = judge_predictions(CONFIG, EXAMPLES, {**ONE, "logistic": CHANCE**2})
    assert list(curves) == ["ranker", "base_rate", "logistic"]
    assert all(one.roc[0][0] == 0.0 == one.roc[1][0] and one.roc[0][-1] == 1.0 == one.roc[1][-1] for one in curves.values())
    assert len(curves["ranker"].roc[0]) <= 202
    assert len(curves["base_rate"].reliability.predicted) == 1
    assert judged[0].notes == ()


def test_one_label_only_keeps_what_can_be_said():
    nothing = Labelled(np.zeros(300, dtype=np.int64), WEIGHTS, USERS)
    judged, curves = judge_predictions(CONFIG, nothing, ONE)
    rows = Lookup.of(judged.rows)
    assert rows.get("ranker", "roc_auc") is rows.get("ranker", "pr_auc") is rows.get("ranker", "ranking_loss") is None
    assert rows.get("ranker", "calibration_ratio") is None
    assert rows.get("ranker", "log_loss").value == metrics.log_loss(nothing.labels, CHANCE, WEIGHTS)
    assert curves["ranker"].roc is curves["ranker"].pr is None
    assert judged.notes == ("No ROC-AUC, PR-AUC and ranking loss: every impression of the test split is irrelevant.",)


def test_no_impressions_at_all():
    empty = Labelled(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=np.int64))
    judged, curves = judge_predictions(CONFIG, empty, {})
    assert (judged.rows, curves) == ((), {})
    assert judged.notes == ("No ranker figures: the test split has no impressions, so nothing was shown and refused.",)
