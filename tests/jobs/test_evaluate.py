import json
import re
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs import _bundles, _report, _training, evaluate, train_towers, train_wals
from jobs._tables import Partition
from jobs._tower_data import tower_data
from jobs._tracking import Tracker
from jobs._window import DAY, Window
from models import metrics
from models.ensemble import Ensemble
from schemas import EVALUATION, EXAMPLES
from tests.builders import MADE_BY_HAND, Workspace, arrow, stage_context, tree
from tests.jobs.planted import SECOND, SETTINGS, START, examples, planted, write_examples
from tests.jobs.test_report import check_page

pytestmark = pytest.mark.slow

ARGUMENTS = ("--as-of", "2026-01-08T00:00:00Z")
TODAY = Partition((SECOND - DAY).date())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models of three days, not judged yet."""
    space = planted(tmp_path_factory.mktemp("trained"))
    for stage in (train_wals, train_towers):
        space.run(stage, *ARGUMENTS)
    return space


@pytest.fixture(scope="module")
def judged(trained, tmp_path_factory):
    space = trained.copy_to(tmp_path_factory.mktemp("judged") / "home", SETTINGS)
    space.report = space.run(evaluate, *ARGUMENTS)
    return space


@pytest.fixture
def space(judged, tmp_path):
    return judged.copy_to(tmp_path / "home", SETTINGS)


def folder(space):
    return space.home / "runs" / "20260108T000000Z" / "evaluation"


def page(space):
    return (folder(space) / "index.html").read_text(encoding="utf-8")


def rows(space):
    return space.lake.read(EVALUATION, [TODAY]).to_pylist()


def value(space, model, metric, *, baseline="none", slice_kind="all", slice_value="all"):
    wanted = {"model": model, "metric": metric, "baseline": baseline, "slice_kind": slice_kind, "slice_value": slice_value}
    (found,) = [row for row in rows(space) if wanted.items() <= row.items()]
    return found


class TestFigures:
    def test_table_report_and_file_agree(self, judged):
        figures = json.loads((folder(judged) / "figures.json").read_text())
        assert figures["metrics"] == judged.report.facts
        assert figures["table"] == judged.lake.manifest(EVALUATION, TODAY).digest
        assert judged.report.read["users judged"] == figures["metrics"]["users"] > 20
        for prefix, model in (("", "final"), ("popularity_", "popularity"), ("wals_", "wals"), ("ranker_", "ranker")):
            for metric in ("ndcg@10", "recall@10", "coverage@100"):
                assert value(judged, model, metric)["value"] == figures["metrics"][prefix + metric]
        assert set(figures["weights"]) == {"new", "light", "heavy"}

    def test_the_models_that_learn_who_likes_what_beat_popularity(self, judged):
        # A user likes the videos of the own half: half of popularity's places are for others.
        more = value(judged, "final", "ndcg@10", baseline="popularity")
        assert more["value"] == pytest.approx(
            value(judged, "final", "ndcg@10")["value"] - value(judged, "popularity", "ndcg@10")["value"]
        )
        assert more["low"] < more["value"] < more["high"]
        assert value(judged, "wals", "recall@10")["value"] > value(judged, "popularity", "recall@10")["value"]

    def test_the_ranker_is_judged_on_the_impressions_of_the_test_split(self, judged):
        with judged.environment():
            context = stage_context("evaluate", *ARGUMENTS)
            data = _training.read(context)
            models = Ensemble.load(*_bundles.folders(_bundles.models(context), wals="holdout", towers="holdout"))
        mask = data.test & pc.equal(data.examples["exposure"], "impression").to_numpy()
        predicted = models.ranker.predict(tower_data(data), mask)
        test = data.examples.filter(pa.array(mask))
        labels, weights = test["label"].to_numpy(), test["weight"].to_numpy()
        found = value(judged, "ranker", "roc_auc")
        assert found["value"] == pytest.approx(metrics.roc_auc(labels, predicted, weights))
        assert (found["users"], found["examples"]) == (len(np.unique(test["user_id"])), int(mask.sum()))
        trained = data.examples.filter(pa.array(data.train))
        rate = np.average(trained["label"].to_numpy(), weights=trained["weight"].to_numpy())
        constant = np.full(int(mask.sum()), rate)
        assert value(judged, "base_rate", "log_loss")["value"] == pytest.approx(metrics.log_loss(labels, constant, weights))

    def test_predictors_have_slices_and_bins(self, judged):
        by_country = [value(judged, "ranker", "log_loss", slice_kind="country", slice_value=name) for name in ("DE", "FR")]
        whole = value(judged, "ranker", "log_loss")
        assert sum(row["examples"] for row in by_country) == whole["examples"]
        assert sum(row["users"] for row in by_country) == whole["users"]
        assert min(row["value"] for row in by_country) <= whole["value"] <= max(row["value"] for row in by_country)
        bins = [row for row in rows(judged) if row["slice_kind"] == "probability_bin" and row["model"] == "ranker"]
        assert {row["metric"] for row in bins} == {"predicted_rate", "observed_rate", "bin_weight"}
        assert sum(row["examples"] for row in bins if row["metric"] == "observed_rate") == whole["examples"]

    def test_popularity_by_country_is_judged_beside_popularity(self, judged):
        figures = judged.report.facts
        local = value(judged, "popularity_by_segment", "ndcg@10")
        assert local["value"] == figures["popularity_by_segment_ndcg@10"]
        assert local["users"] == value(judged, "popularity", "ndcg@10")["users"]
        assert value(judged, "popularity_by_segment", "ndcg@10", slice_kind="country", slice_value="DE")

    def test_slices_and_what_cannot_be_cut(self, judged):
        countries = {
            row["slice_value"]: row["users"]
            for row in rows(judged)
            if (row["slice_kind"], row["model"], row["metric"], row["baseline"]) == ("country", "final", "ndcg@10", "none")
        }
        assert set(countries) == {"DE", "FR"}
        assert sum(countries.values()) == value(judged, "final", "ndcg@10")["users"]
        assert "No slices by language: all judged users are 'en'." in judged.report.notes
        assert "No slices by language: all judged users are &#x27;en&#x27;." in page(judged)

    def test_no_figure_is_outside_its_interval_by_much_and_none_is_undefined(self, judged):
        found = rows(judged)
        assert len(found) > 250
        assert all(np.isfinite(row["value"]) for row in found)
        sure = [row for row in found if row["low"] is not None]
        assert len(sure) > 180
        assert all(row["low"] <= row["high"] for row in sure)
        assert sum(row["low"] <= row["value"] <= row["high"] for row in sure) > 0.95 * len(sure)


class TestPage:
    def test_headings_links_and_pictures(self, judged):
        check_page(page(judged), pictures=13)

    def test_it_is_logged_with_the_models(self, judged):
        with judged.environment():
            client = Tracker.open()._client
            for kind in ("wals", "towers"):
                digest = _bundles.open_at(stage_context("evaluate", *ARGUMENTS), kind).digest
                (version,) = client.search_model_versions(f"name='reelflow-{kind}' and tags.digest='{digest}'")
                run = client.get_run(version.run_id)
                logged = urlparse(run.info.artifact_uri).path + "/evaluation/index.html"
                assert open(logged, encoding="utf-8").read() == page(judged)  # noqa: PTH123, SIM115
                assert run.data.metrics["ndcg_at_10"] == judged.report.facts["ndcg@10"]


class TestAgain:
    def test_the_same_models_are_up_to_date_and_force_writes_the_same_bytes(self, space):
        before = tree(space.lake.root / "evaluation"), tree(folder(space))
        report = space.run(evaluate, *ARGUMENTS)
        assert (report.up_to_date, report.facts["users"]) == (True, json.loads(before[1]["figures.json"])["metrics"]["users"])
        assert not space.run(evaluate, *ARGUMENTS, "--force").up_to_date
        assert (tree(space.lake.root / "evaluation"), tree(folder(space))) == before

    def test_a_lost_page_is_made_again(self, space):
        (folder(space) / "index.html").unlink()
        assert states(space) == "stale: its page is not there"
        assert not space.run(evaluate, *ARGUMENTS).up_to_date
        assert states(space) == "up to date: "

    def test_another_setting_is_another_evaluation(self, space):
        other = Workspace(space.home, {**SETTINGS, "evaluation": {**SETTINGS["evaluation"], "max_users": 7}})
        assert states(other).startswith("stale: parameter evaluation: ")
        assert other.run(evaluate, *ARGUMENTS).facts["users"] <= 7

    def test_before_it_ran_it_is_missing(self, trained):
        assert states(trained) == "missing: never made"


def states(space):
    with space.environment():
        (unit,) = evaluate.plan(stage_context("evaluate", *ARGUMENTS), {})
    return f"{unit.status.state}: {unit.status.why}"


class TestEdges:
    """What cannot be judged is left out and named; nothing fails."""

    def changed(self, trained, tmp_path, change):
        """The same models, with other examples in the test split: what began in the last tenth."""
        space = trained.copy_to(tmp_path / "home", SETTINGS)
        known = examples()
        at = sorted(row["occurred_at"] for row in known)[int(0.9 * len(known))]
        write_examples(space, [change(row) if row["occurred_at"] >= at else row for row in known], Window(START, SECOND))
        return space, space.run(evaluate, *ARGUMENTS)

    def test_nobody_to_judge(self, trained, tmp_path):
        space, report = self.changed(trained, tmp_path, lambda row: row | {"label": 0, "clicked": False})
        assert report.facts == {"users": 0.0}
        assert "Nobody to judge: no user acted on a new relevant video in the test split." in report.notes
        assert "No ROC-AUC, PR-AUC and ranking loss: every impression of the test split is irrelevant." in report.notes
        bins = {"predicted_rate", "observed_rate", "bin_weight"}
        assert {row["metric"] for row in rows(space)} == {"log_loss", "expected_calibration_error", *bins}
        check_page(page(space), pictures=3)  # calibration and two learning curves

    def test_no_impressions(self, trained, tmp_path):
        space, report = self.changed(trained, tmp_path, lambda row: row | {"exposure": "organic"})
        assert "No ranker figures: the test split has no impressions, so nothing was shown and refused." in report.notes
        assert report.facts["users"] > 20
        assert not [row for row in rows(space) if row["metric"] == "log_loss"]
        check_page(page(space), pictures=10)

    def test_hardly_any_skipped_impressions(self, trained, tmp_path):
        space = trained.copy_to(tmp_path / "home", SETTINGS)
        seen = [row | {"missed": False} for row in examples()]
        write_examples(space, seen, Window(START, SECOND))
        report = space.run(evaluate, *ARGUMENTS)
        (note,) = [one for one in report.notes if one.startswith("Hardly any skipped impressions in the log: ")]
        added = int(re.search(r"([\d,]+) random", note)[1].replace(",", ""))
        test = report.read["examples predicted"] - added
        assert 0 < added <= 4 * test

    def test_bundles_that_are_not_there(self, workspace):
        status, _, error = workspace.command(evaluate, *ARGUMENTS)
        assert status == 2
        assert "found no bundle.json; expected a sealed wals bundle; run its training stage again" in error


def test_random_negatives_are_of_videos_that_the_user_has_no_example_of(trained):
    with trained.environment():
        context = stage_context("evaluate", *ARGUMENTS)
        data = _training.read(context)
        rated = pa.array(np.zeros(data.examples.num_rows, dtype=bool))
        place = data.examples.schema.get_field_index("missed")
        data = type(data)(
            **{name: getattr(data, name) for name in data.__slots__}
            | {"examples": data.examples.set_column(place, data.examples.schema.field(place), rated)}
        )
        test = evaluate._only(data, data.test)
        found = evaluate._with_random_negatives(context, data, test)
    added = found.examples.slice(test.examples.num_rows)
    assert added.num_rows > 0
    assert set(added["label"].to_pylist()) == {0}
    seen = set(zip(data.examples["user_id"].to_pylist(), data.examples["video_id"].to_pylist(), strict=True))
    assert not seen & set(zip(added["user_id"].to_pylist(), added["video_id"].to_pylist(), strict=True))
    assert found.examples.slice(0, test.examples.num_rows).equals(test.examples)


def test_the_partition_of_a_day_without_anything_is_empty(workspace):
    assert workspace.lake.write(EVALUATION, TODAY, arrow(EVALUATION, []), MADE_BY_HAND).rows == 0
    assert EXAMPLES.name in {table.name for table in evaluate_inputs()}


def evaluate_inputs():
    from schemas.expectations import READS

    return READS["evaluate"]


def test_every_section_is_named_in_the_module():
    assert len(set(_report.SECTIONS)) == len(_report.SECTIONS) == 9
