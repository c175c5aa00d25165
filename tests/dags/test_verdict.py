import hashlib
import json
import logging

import pytest
from _gate import decide_on, question
from _verdict import VerdictError, basis_digest, read_verdict
from airflow.sdk.exceptions import AirflowFailException


@pytest.fixture
def verdict(tmp_path):
    def write(text):
        path = tmp_path / "verdict.json"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_passed(verdict):
    assert read_verdict(verdict('{"passed": true, "reason": "correlation 0.93", "more": 1}'))[:2] == (True, "correlation 0.93")


def test_refused(verdict):
    assert read_verdict(verdict('{"passed": false, "reason": "correlation 0.41 below 0.8"}'))[:2] == (
        False,
        "correlation 0.41 below 0.8",
    )


def test_missing_file(tmp_path):
    with pytest.raises(VerdictError, match="not found; expected the gate to write it"):
        read_verdict(tmp_path / "verdict.json")


@pytest.mark.parametrize("text", ["", "{", "[true]", "{}", '{"passed": "yes"}', '{"passed": 1}', '{"passed": null}'])
def test_nothing_but_true_or_false_is_a_verdict(verdict, text):
    with pytest.raises(VerdictError, match="clear the task `gate`"):
        read_verdict(verdict(text))


@pytest.mark.parametrize(
    ("passed", "line"),
    [
        ('true, "reason": "because"', "passed: because"),
        ('true, "reason": "passed: because"', "passed: because"),
        ('false, "reason": "refused: because"', "refused, nothing is published: because"),
        ("false", "refused, nothing is published: no reason given"),
    ],
)
def test_task_logs_the_reason(verdict, caplog, passed, line):
    logging.getLogger("airflow.task").propagate = True
    with caplog.at_level(logging.INFO):
        assert decide_on(verdict(f'{{"passed": {passed}}}')) is passed.startswith("true")
    assert f"reelflow | verdict | {line}" in caplog.messages


def test_task_without_a_verdict_fails_for_good(tmp_path):
    with pytest.raises(AirflowFailException, match="not found"):
        decide_on(tmp_path / "verdict.json")


BASIS = {"wals": "a", "towers": "b"}


def answered(*answers, basis=BASIS):
    content = {"passed": False, "reason": "refused: correlation 0.41", "basis": basis, "answers": list(answers)}
    return json.dumps({**content, "verdict": {"checks": [{"name": "floor", "detail": "0.1", "passed": False}]}})


def yes(approved=True, basis=None):
    given = {"approved": approved, "by": "ann", "at": "2026-01-08T05:00:00Z", "reason": "a new market"}
    return {**given, "basis": basis_digest(BASIS) if basis is None else basis}


def test_the_digest_is_that_of_the_stages():
    expected = hashlib.sha256(b'{"towers":"b","wals":"a"}').hexdigest()
    assert basis_digest(BASIS) == expected


def test_a_refusal_that_was_approved_counts_as_passed_and_names_the_person(verdict):
    found = read_verdict(verdict(answered(yes())))
    assert (found.passed, found.approved_by, found.failed) == (True, "ann", ("floor: 0.1",))
    assert found.reason == (
        "approved by ann at 2026-01-08T05:00:00Z, who said: a new market; the gate had refused: correlation 0.41"
    )


@pytest.mark.parametrize("answers", [[], [yes(approved=False)], [yes(), yes(approved=False)], [yes(basis="other")]])
def test_anything_else_does_not(verdict, answers):
    assert read_verdict(verdict(answered(*answers))).passed is False


def test_a_person_sees_what_failed_and_where_to_look(verdict, tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "index.html").touch()
    (tmp_path / "verdict.html").touch()
    subject, body = question(read_verdict(verdict(answered())), "2026-01-08T00:00:00Z", tmp_path)
    assert subject == "reelflow as of 2026-01-08T00:00:00Z: the gate refused. Publish all the same?"
    assert "- floor: 0.1" in body.splitlines()
    assert (
        f"- [the evaluation](file://{tmp_path}/evaluation/index.html): `{tmp_path}/evaluation/index.html`" in body.splitlines()
    )
    assert f"- [all that was asked](file://{tmp_path}/verdict.html): `{tmp_path}/verdict.html`" in body.splitlines()
    assert f"- the verdict: `{tmp_path}/verdict.json`" in body.splitlines()


def test_an_hour_with_nothing_to_do_has_no_verdict_and_publishes_nothing(tmp_path, verdict):
    assert decide_on(tmp_path / "verdict.json", may_be_missing=True) is False
    assert decide_on(verdict('{"passed": true}'), may_be_missing=True) is True
    with pytest.raises(AirflowFailException, match="not valid JSON"):
        decide_on(verdict("{"), may_be_missing=True)
