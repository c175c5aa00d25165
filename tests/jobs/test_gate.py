import json
from pathlib import Path
from urllib.parse import urlparse

import pytest

from jobs import _bundles, _gate_material, _verdict, evaluate, gate
from jobs._tracking import Tracker
from models.bundle import open_bundle, seal
from models.ensemble import Ensemble
from models.gate import compare
from schemas.errors import ReelflowError
from tests.builders import Workspace, stage_context
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, publish_by_hand, train

pytestmark = pytest.mark.slow

ARGUMENTS = ("--as-of", "2026-01-08T00:00:00Z")
KINDS = ("wals", "towers")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """The first day is published, the second trained and judged."""
    space = planted(tmp_path_factory.mktemp("judged"))
    train(space, FIRST)
    publish_by_hand(space, FIRST)
    train(space, SECOND)
    return space


@pytest.fixture
def space(judged, tmp_path):
    """A copy of it, its logged bundles included, free to be changed."""
    return judged.copy_to(tmp_path / "home", SETTINGS)


def context_of(space, end=SECOND):
    with space.environment():
        return stage_context("gate", "--as-of", end.isoformat())


def bundle(space, kind, end=SECOND):
    return _bundles.open_at(context_of(space, end), kind)


def verdict(space, run="20260108T000000Z"):
    return json.loads((space.home / "runs" / run / "verdict.json").read_text())


def with_gate(space, **changes):
    return Workspace(space.home, {**SETTINGS, "gate": SETTINGS["gate"] | changes})


def require(space):
    with space.environment():
        return _verdict.require_pass(context_of(space))


class TestVerdict:
    def test_the_first_models_are_compared_with_nothing(self, judged):
        found = verdict(judged, "20260107T000000Z")
        assert (found["passed"], found["incumbent"], found["correlation"]) == (True, {}, None)
        assert found["as_of"] == "2026-01-07T00:00:00Z"

    def test_the_file_says_what_was_judged_and_how(self, judged):
        found = verdict(judged)
        assert found["passed"] is True
        assert found["reason"].startswith("passed 18 checks: correlation_with_incumbent: over ")
        assert found["incumbent"] == dict.fromkeys(KINDS, "2026-01-07T00:00:00Z")
        assert {kind: found["basis"][kind] for kind in KINDS} == {kind: bundle(judged, kind).digest for kind in KINDS}
        assert found["basis"]["incumbent"] == {kind: bundle(judged, kind, FIRST).digest for kind in KINDS}
        assert found["basis"]["gate"]["min_correlation"] == SETTINGS["gate"]["min_correlation"]
        assert 0.3 <= found["correlation"]["pooled_pearson"] <= 1
        assert found["correlation"]["users"] == 40
        assert [check["name"] for check in found["verdict"]["checks"]] == [
            "finite_predictions", "correlation_with_incumbent", "correlation_of_ranker", "correlation_of_retrieval",
            "correlation_of_wals", "kept_in_lists", "finite_metrics", "roc_auc_not_too_good", "blind_to_test_split",
            "ndcg@10_against_popularity",
            "ndcg@10_against_popularity_by_segment", "floor_of_slices", "not_worse_than_incumbent", "not_too_good",
            "functional:never_shown", "functional:knows_recent", "invariance:row_order", "invariance:draws",
        ]  # fmt: skip
        figures = json.loads((judged.home / "runs" / "20260108T000000Z" / "evaluation" / "figures.json").read_text())
        assert found["metrics"] == figures["metrics"]
        assert found["weights"] == figures["weights"]
        assert found["metrics"]["ndcg@10"] >= 0.2 * found["metrics"]["popularity_ndcg@10"] > 0

    def test_a_model_compared_with_itself_agrees_fully(self, judged):
        with judged.environment():
            data = gate._training.read(context_of(judged), features=False)
            config, ranking = gate.load("gate", gate.GateConfig), gate.load("recommend", gate.RecommendConfig)
            models = Ensemble.load(*_bundles.folders({kind: bundle(judged, kind) for kind in KINDS}))
            compared = compare(config, _gate_material.scene(context_of(judged), data, models, ranking), models)
        found = compared.pooled
        assert list(compared.components.values()) == pytest.approx([1.0, 1.0, 1.0])
        assert {name: one["mean"] for name, one in compared.overlap.items()} == pytest.approx(
            {"jaccard@5": 1, "rbo": 1, "kept@5": 1}
        )
        assert (found.pooled_pearson, found.pooled_spearman) == pytest.approx((1, 1))
        # 58 videos may be shown, and a pair with any example of the look-back does not count.
        rows = data.examples.to_pylist()
        shown = {(row["user_id"], row["video_id"]) for row in rows if row["video_id"] not in (103, 120)}
        assert found.pairs == 40 * 58 - len(shown)

    def test_bundles_are_tagged(self, judged):
        with judged.environment():
            client = Tracker.open()._client
        for kind in KINDS:
            tags = client.search_model_versions(f"name='reelflow-{kind}' and tags.digest='{bundle(judged, kind).digest}'")[
                0
            ].tags
            assert tags["gate"] == "passed"
            assert tags["gate.reason"] == verdict(judged)["reason"]

    def test_the_noise_floor_stands_beside_g1(self, judged):
        measured = json.loads((judged.home / "runs" / "20260108T000000Z" / "two_seeds.json").read_text())
        assert measured["measured_as_of"] == "2026-01-08T00:00:00Z"
        value = measured["figures"]["pooled"]["pooled_pearson"]
        assert -1 <= value < 1
        assert verdict(judged)["noise_floor"]["pooled"]["pooled_pearson"] == value
        assert f"(two seeds of the same data reach {value:.4f})" in verdict(judged)["reason"]

    def test_a_page_names_what_moved(self, judged):
        page = (judged.home / "runs" / "20260108T000000Z" / "verdict.html").read_text()
        moved = verdict(judged)["moved"]
        assert "Gate as of 2026-01-08T00:00:00Z: passed" in page
        assert len(moved["users"]) == 5
        assert all(f"<h3>User {user['user_id']}</h3>" in page for user in moved["users"])
        assert all(len(user["before"]) == len(user["after"]) == 5 for user in moved["users"])
        assert [video["mean_change"] for video in moved["risen"]] == sorted(
            (video["mean_change"] for video in moved["risen"]), reverse=True
        )

    def test_the_incumbent_is_judged_by_models_that_have_not_seen_the_test_split(self, judged):
        floors = [one for one in verdict(judged)["floors"] if one["against"] == "incumbent" and one["part"] == "all"]
        assert {one["metric"] for one in floors} == {"ndcg@10", "recall@100"}
        assert all(one["users"] >= 5 for one in floors)


class TestAgain:
    def test_the_same_verdict_is_up_to_date_and_force_writes_the_same_bytes(self, space):
        file = space.home / "runs" / "20260108T000000Z" / "verdict.json"
        before = file.read_bytes()
        report = space.run(gate, *ARGUMENTS)
        assert (report.up_to_date, report.facts, report.notes) == (True, {"passed": True}, [verdict(space)["reason"]])
        assert not space.run(gate, *ARGUMENTS, "--force").up_to_date
        assert file.read_bytes() == before

    def test_another_threshold_is_another_verdict(self, space):
        strict = with_gate(space, min_correlation=1.0)
        report = strict.run(gate, *ARGUMENTS)
        assert (report.up_to_date, report.facts["passed"]) == (False, False)
        assert report.notes[0].startswith("refused: correlation_with_incumbent: over ")
        assert "popularity" not in report.notes[0]  # only what failed
        assert strict.run(gate, *ARGUMENTS).facts == {"passed": False}
        assert with_gate(space).run(gate, *ARGUMENTS).facts["passed"] is True


class TestEvaluation:
    """The gate decides by figures of exactly these bundles, or not at all."""

    def test_there_is_none(self, space):
        (space.home / "runs" / "20260108T000000Z" / "evaluation" / "figures.json").unlink()
        with pytest.raises(ReelflowError, match=r"evaluation .*figures\.json: not found; run evaluate --as-of 2026-01-08"):
            space.run(gate, *ARGUMENTS)

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_of_other_bundles(self, space, kind):
        found = bundle(space, kind)
        seal(found.path, kind=kind, properties={**found.properties, "trained": "again"})
        with pytest.raises(
            ReelflowError, match=rf"not that of these bundles, .*input bundle {kind} changed.*run evaluate again"
        ):
            space.run(gate, *ARGUMENTS)
        space.run(evaluate, *ARGUMENTS)
        assert space.run(gate, *ARGUMENTS).facts["passed"] is True

    def test_it_is_of_other_settings(self, space):
        other = Workspace(space.home, {**SETTINGS, "evaluation": {**SETTINGS["evaluation"], "max_users": 7}})
        with pytest.raises(ReelflowError, match=r"parameter evaluation: .*run evaluate again"):
            other.run(gate, *ARGUMENTS)

    def test_its_table_is_another(self, space):
        manifest = next((space.home / "lake" / "evaluation" / "dt=2026-01-07").glob("_manifest.json"))
        manifest.write_text(manifest.read_text().replace('"digest": "', '"digest": "0', 1))
        with pytest.raises(ReelflowError, match="the table is not that of the page"):
            space.run(gate, *ARGUMENTS)

    def test_it_cannot_be_read(self, space):
        (space.home / "runs" / "20260108T000000Z" / "evaluation" / "figures.json").write_text("{")
        with pytest.raises(ReelflowError, match=r"not valid JSON .*; delete it and run evaluate again"):
            space.run(gate, *ARGUMENTS)


class TestUnreadableIncumbent:
    @pytest.fixture
    def unreadable(self, space):
        """The first day's WALS as it was logged, written by another version of the code."""
        with space.environment():
            published = Tracker.open().incumbent("wals", SECOND)
        folder = Path(urlparse(published.source).path)
        kept = folder / "final" / "wals.json"
        text = kept.read_text()
        kept.write_text(text.replace('"format_version": 2', '"format_version": 99'))
        found = open_bundle(bundle(space, "wals", FIRST).path, kind="wals")
        manifest = (folder / "bundle.json").read_text()
        seal(folder, kind="wals", properties=found.properties)
        yield space
        kept.write_text(text)
        (folder / "bundle.json").write_text(manifest)

    def test_it_refuses_and_says_what_to_set(self, unreadable):
        report = unreadable.run(gate, *ARGUMENTS, "--force")
        assert report.facts["passed"] is False
        assert "correlation_with_incumbent: the incumbent cannot be read: " in report.notes[0]
        assert "set gate.accept_unreadable_incumbent for one run" in report.notes[0]
        assert verdict(unreadable)["correlation"] is None

    def test_it_counts_as_none_where_that_is_meant(self, unreadable):
        accepting = with_gate(unreadable, accept_unreadable_incumbent=True)
        assert accepting.run(gate, *ARGUMENTS).facts["passed"] is True
        assert verdict(accepting)["correlation"] is None
        assert require(accepting)["passed"] is True


class TestRequirePass:
    def test_a_pass_on_these_bundles_is_given_back(self, judged):
        assert require(judged) == verdict(judged)

    def test_no_verdict(self, space):
        (space.home / "runs" / "20260108T000000Z" / "verdict.json").unlink()
        with pytest.raises(ReelflowError, match=r"verdict\.json: not found; run gate --as-of 2026-01-08T00:00:00Z first"):
            require(space)

    def test_a_refusal(self, space):
        strict = with_gate(space, min_correlation=1.0)
        strict.run(gate, *ARGUMENTS)
        with pytest.raises(ReelflowError, match=r"the gate refused: refused: correlation.*; what is live stays live"):
            require(strict)

    @pytest.mark.parametrize("kind", KINDS)
    def test_other_bundles_than_those_judged(self, space, kind):
        found = bundle(space, kind)
        seal(found.path, kind=kind, properties={**found.properties, "trained": "again"})
        with pytest.raises(ReelflowError, match=f"it judged another {kind} bundle; run gate again"):
            require(space)

    def test_a_verdict_that_is_no_json(self, space):
        (space.home / "runs" / "20260108T000000Z" / "verdict.json").write_text('{"passed": tr')
        with pytest.raises(ReelflowError, match=r"not valid JSON .*; delete it and run gate again"):
            require(space)


def test_candidates_must_have_been_trained(workspace):
    status, _, error = workspace.command(gate, *ARGUMENTS)
    assert status == 2
    assert "found no bundle.json; expected a sealed wals bundle; run its training stage again" in error
