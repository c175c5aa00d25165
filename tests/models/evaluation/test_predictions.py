import numpy as np
import pytest

from models import metrics
from models.evaluation import BINS, Labelled, Lookup, Shown, judge_predictions
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


class TestSlices:
    """Users 0 to 9 live in DE, the others in FR; whatever the user, every second example is of a new video."""

    cuts = (
        Shown("country", "DE", np.arange(100), whole_users=True),
        Shown("country", "FR", np.arange(100, 300), whole_users=True),
        Shown("videos", "new", np.arange(0, 300, 2), whole_users=False),
    )

    @pytest.fixture(scope="class")
    def rows(self):
        return Lookup.of(judge_predictions(CONFIG, EXAMPLES, ONE, self.cuts)[0].rows)

    def test_figures_are_those_of_the_examples_of_the_slice_alone(self, rows):
        for cut, users in zip(self.cuts, (10, 20, 30), strict=True):
            for name, found in ONE.items():
                for metric in ("roc_auc", "pr_auc", "log_loss", "expected_calibration_error", "calibration_ratio"):
                    row = rows.get(name, metric, slice_kind=cut.kind, slice_value=cut.value)
                    given = (LABELS[cut.rows], found[cut.rows], WEIGHTS[cut.rows])
                    assert row.value == getattr(metrics, metric)(*given)
                    assert (row.users, row.examples) == (users, len(cut.rows))

    def test_intervals_draw_the_users_of_the_slice(self, rows):
        draws = metrics.bootstrap_draws(30, CONFIG.bootstrap_samples, CONFIG.seed)[:, 10:]
        own = [
            metrics.roc_auc(LABELS[100:], CHANCE[100:], WEIGHTS[100:] * drawn[np.repeat(np.arange(20), 10)]) for drawn in draws
        ]
        row = rows.get("ranker", "roc_auc", slice_kind="country", slice_value="FR")
        assert (row.low, row.high) == pytest.approx(tuple(np.quantile(own, [0.05, 0.95])))

    def test_ranking_loss_is_a_mean_over_the_users_of_the_slice(self, rows):
        own = metrics.ranking_loss(LABELS[:100], CHANCE[:100], np.repeat(np.arange(10), 10), 10)
        row = rows.get("ranker", "ranking_loss", slice_kind="country", slice_value="DE")
        assert row.value == pytest.approx(np.nanmean(own))
        less = rows.get("ranker", "ranking_loss", baseline="base_rate", slice_kind="country", slice_value="DE")
        assert less.value == pytest.approx(np.nanmean(own) - 1.0)
        assert rows.get("ranker", "ranking_loss", slice_kind="videos", slice_value="new") is None  # not all of any user's

    def test_a_slice_of_one_label_is_named(self):
        cuts = (Shown("activity", "0", np.flatnonzero(LABELS == 0), True), Shown("country", "DE", np.flatnonzero(LABELS), True))
        judged, _ = judge_predictions(CONFIG, EXAMPLES, ONE, (*cuts, *self.cuts))
        rows = Lookup.of(judged.rows)
        for kind, value in (("activity", "0"), ("country", "DE")):
            assert rows.get("ranker", "log_loss", slice_kind=kind, slice_value=value)
        assert rows.get("ranker", "roc_auc", slice_kind="activity", slice_value="0") is None
        assert judged.notes == (
            "No ROC-AUC, PR-AUC and ranking loss: every impression of activity=0 is irrelevant.",
            "No ROC-AUC, PR-AUC and ranking loss: every impression of country=DE is relevant.",
        )

    def test_few_users_have_no_interval(self):
        cuts = (Shown("country", "DE", np.arange(10), True),)
        row = Lookup.of(judge_predictions(CONFIG, EXAMPLES, ONE, cuts)[0].rows).get(
            "ranker", "log_loss", slice_kind="country", slice_value="DE"
        )
        assert (row.users, row.low, row.high) == (1, None, None)


class TestBins:
    def test_they_are_those_of_the_diagram(self, judged):
        rows, diagram = Lookup.of(judged[0].rows), judged[1]["ranker"].reliability
        assert rows.slices(BINS, "observed_rate") == [f"{place:02d}" for place in range(1, 16)]
        for metric, of in (("predicted_rate", "predicted"), ("observed_rate", "observed"), ("bin_weight", "weight")):
            found = [rows.get("ranker", metric, slice_kind=BINS, slice_value=f"{place:02d}") for place in range(1, 16)]
            assert [row.value for row in found] == getattr(diagram, of).tolist()
            assert [row.examples for row in found] == diagram.examples.tolist()
            assert all(row.low <= row.value <= row.high for row in found if row.low is not None)
            assert all((row.low is None) == (metric != "observed_rate") for row in found)

    def test_by_hand(self):
        examples = Labelled(np.array([0, 1, 1, 1]), np.array([3.0, 1.0, 1.0, 1.0]), np.array([5, 5, 5, 9]))
        judged, _ = judge_predictions(CONFIG, examples, {"ranker": np.array([0.1, 0.1, 0.8, 0.8])})
        rows = Lookup.of(judged.rows)
        low, high = ({"slice_kind": BINS, "slice_value": value} for value in ("01", "02"))
        assert [rows.get("ranker", name, **low).value for name in ("observed_rate", "bin_weight")] == [0.25, 4.0]
        assert rows.get("ranker", "predicted_rate", **low).value == pytest.approx(0.1)
        assert [rows.get("ranker", "observed_rate", **one).users for one in (low, high)] == [1, 2]
        assert rows.get("ranker", "bin_weight", **high).value == 2.0

    def test_a_constant_has_one(self, judged):
        rows = Lookup.of(judged[0].rows)
        row = rows.get("base_rate", "observed_rate", slice_kind=BINS, slice_value="01")
        assert row.value == pytest.approx(np.average(LABELS, weights=WEIGHTS))
        assert rows.get("base_rate", "observed_rate", slice_kind=BINS, slice_value="02") is None
