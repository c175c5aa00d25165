import contextlib
import io
import json

import pytest

from jobs import _bundles, _verdict, approve, gate, index, summary, train_wals
from jobs._tracking import Tracker
from schemas.errors import ReelflowError
from tests.builders import Workspace, stage_context
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, publish_by_hand, train

pytestmark = pytest.mark.slow

ARGUMENTS = ("--as-of", "2026-01-08T00:00:00Z")
ANSWER = ("--by", "ann", "--at", "2026-01-08T07:00:00+02:00", "--reason", "a new market, see the plan")


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """A first day that is published, and a second that no gate would pass."""
    space = planted(tmp_path_factory.mktemp("refused"))
    train(space, FIRST)
    publish_by_hand(space, FIRST)
    train(space, SECOND)
    strict = Workspace(space.home, settings(min_correlation=1.0))
    assert strict.run(gate, *ARGUMENTS).facts["passed"] is False
    return strict


@pytest.fixture
def space(refused, tmp_path):
    return refused.copy_to(tmp_path / "home", settings(min_correlation=1.0))


def settings(**changes):
    return {**SETTINGS, "gate": SETTINGS["gate"] | changes}


def answered(space, *arguments):
    """Exit status, what was said, and the verdict afterwards."""
    out, status = io.StringIO(), 0
    with space.environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            approve.main([*ARGUMENTS, *arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), verdict(space)


def verdict(space):
    return json.loads((space.home / "runs" / "20260108T000000Z" / "verdict.json").read_text())


def require(space):
    with space.environment():
        return _verdict.require_pass(stage_context("index", *ARGUMENTS))


class TestYes:
    def test_it_lets_exactly_these_models_through_and_is_kept(self, space):
        with pytest.raises(ReelflowError, match="the gate refused"):
            require(space)
        status, said, found = answered(space, *ANSWER)
        assert (status, found["passed"]) == (0, False)
        told = "approved in spite of the gate by ann at 2026-01-08T05:00:00Z: a new market, see the plan"
        assert said == f"reelflow | approve | {told}\n"
        assert [(one["approved"], one["by"], one["at"]) for one in found["answers"]] == [(True, "ann", "2026-01-08T05:00:00Z")]
        assert require(space) == found
        assert not space.run(index, *ARGUMENTS).up_to_date
        with space.environment():
            client = Tracker.open()._client
            digest = _bundles.open_at(stage_context("gate", *ARGUMENTS), "wals").digest
        tags = client.search_model_versions(f"name='reelflow-wals' and tags.digest='{digest}'")[0].tags
        assert (tags["gate"], tags["gate.answer"]) == ("refused", told)
        space.run(summary, *ARGUMENTS)
        text = (space.home / "runs" / "20260108T000000Z" / "summary.txt").read_text()
        assert f"            {told}\n" in text
        assert "what was live before stays live" not in text

    def test_the_gate_that_judges_the_same_again_keeps_it(self, space):
        answered(space, *ANSWER)
        space.run(gate, *ARGUMENTS, "--force")
        assert require(space)["answers"][0]["by"] == "ann"

    def test_it_does_not_count_for_other_models(self, space):
        answered(space, *ANSWER)
        other = Workspace(space.home, {**settings(min_correlation=1.0), "wals": SETTINGS["wals"] | {"iterations": 2}})
        other.run(train_wals, *ARGUMENTS)
        with pytest.raises(ReelflowError, match="it judged another wals bundle"):
            require(other)

    def test_nor_once_the_gate_judged_by_other_thresholds(self, space):
        answered(space, *ANSWER)
        other = Workspace(space.home, settings(min_correlation=1.0, min_ratio_to_popularity=50.0))
        assert other.run(gate, *ARGUMENTS).facts["passed"] is False
        with pytest.raises(ReelflowError, match="the gate refused"):
            require(other)
        assert "answers" not in verdict(other)


class TestNo:
    def test_it_is_kept_and_changes_nothing(self, space):
        status, said, found = answered(space, *ANSWER, "--reject")
        assert (status, found["answers"][0]["approved"]) == (0, False)
        assert "not approved by ann" in said
        with pytest.raises(ReelflowError, match="the gate refused"):
            require(space)

    def test_it_can_be_reconsidered(self, space):
        answered(space, *ANSWER, "--reject")
        status, _, found = answered(space, *ANSWER)
        assert (status, [answer["approved"] for answer in found["answers"]]) == (0, [False, True])
        require(space)


class TestRefusals:
    def test_a_verdict_that_passed(self, refused, tmp_path):
        space = refused.copy_to(tmp_path / "home", SETTINGS)
        assert space.run(gate, *ARGUMENTS).facts["passed"] is True
        before = verdict(space)
        status, said, after = answered(space, *ANSWER)
        assert (status, after) == (2, before)
        assert "error: verdict as of 2026-01-08T00:00:00Z: the gate passed; there is nothing to approve" in said

    def test_models_that_changed_since(self, space):
        other = Workspace(space.home, {**settings(min_correlation=1.0), "gate": SETTINGS["gate"] | {"min_correlation": 0.99}})
        before = verdict(space)
        status, said, after = answered(other, *ANSWER)
        assert (status, after) == (2, before)
        assert "judged on another gate since; run gate --as-of 2026-01-08T00:00:00Z again" in said

    def test_an_answer_to_another_verdict(self, space):
        status, said, found = answered(space, *ANSWER, "--basis", "0" * 64)
        assert (status, "answers" in found) == (2, False)
        assert "the answer was given to another one (000000000000, this is" in said

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("--reason", " "), "found an empty --reason"),
            (("--by", ""), "found an empty --by"),
            (("--at", "noon"), "not ISO 8601"),
        ],
    )
    def test_answers_without_who_when_or_why(self, space, change, message):
        status, said, found = answered(space, *ANSWER, *change)
        assert (status, "answers" in found) == (2, False)
        assert message in said

    def test_no_verdict_at_all(self, tmp_path):
        space = Workspace(tmp_path / "home")
        out = io.StringIO()
        with space.environment(), contextlib.redirect_stderr(out), pytest.raises(SystemExit):
            approve.main([*ARGUMENTS, *ANSWER])
        assert "not found; run gate --as-of" in out.getvalue()
