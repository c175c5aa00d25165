import logging

import pytest
from _stages import decide_on
from _verdict import VerdictError, read_verdict
from airflow.sdk.exceptions import AirflowFailException


@pytest.fixture
def verdict(tmp_path):
    def write(text):
        path = tmp_path / "verdict.json"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_passed(verdict):
    assert read_verdict(verdict('{"passed": true, "reason": "correlation 0.93", "more": 1}')) == (True, "correlation 0.93")


def test_refused(verdict):
    assert read_verdict(verdict('{"passed": false, "reason": "correlation 0.41 below 0.8"}')) == (
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
