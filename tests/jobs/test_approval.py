import hashlib

import pytest

from jobs import _approval

BASIS = {"wals": "a", "towers": "b"}
DIGEST = hashlib.sha256(b'{"towers":"b","wals":"a"}').hexdigest()


def verdict(*answers, passed=False, basis=BASIS):
    return {"passed": passed, "basis": basis, "answers": list(answers)}


def answer(approved, basis=DIGEST, by="ann"):
    return {"approved": approved, "by": by, "at": "2026-01-08T05:00:00Z", "reason": "a new market", "basis": basis}


def test_the_digest_depends_on_content_alone():
    assert _approval.basis_digest(dict(reversed(BASIS.items()))) == DIGEST
    assert _approval.basis_digest({**BASIS, "wals": "c"}) != DIGEST


@pytest.mark.parametrize(
    ("found", "stands"),
    [
        pytest.param(verdict(passed=True), True, id="passed"),
        pytest.param(verdict(), False, id="refused"),
        pytest.param({"passed": False, "basis": BASIS}, False, id="written before answers were"),
        pytest.param(verdict(answer(True)), True, id="approved"),
        pytest.param(verdict(answer(False)), False, id="rejected"),
        pytest.param(verdict(answer(True), answer(False)), False, id="the last answer counts"),
        pytest.param(verdict(answer(False), answer(True)), True, id="a no can be reconsidered"),
        pytest.param(verdict(answer(True, basis="other")), False, id="approved something else"),
        pytest.param(verdict(answer(True), answer(False, basis="other")), True, id="a no to something else"),
    ],
)
def test_what_may_be_deployed(found, stands):
    assert _approval.stands(found) is stands


def test_who_when_and_why():
    assert _approval.said(verdict(answer(True))) == "approved in spite of the gate by ann at 2026-01-08T05:00:00Z: a new market"
    assert _approval.said(verdict(answer(False))) == "not approved by ann at 2026-01-08T05:00:00Z: a new market"
    assert _approval.said(verdict()) is None
    assert _approval.said(verdict(answer(True), passed=True)) is None


def test_answers_stay_with_what_they_were_given_to():
    before, after = verdict(answer(True)), {"passed": False, "basis": BASIS}
    assert _approval.carried_over(before, after) == before
    assert _approval.carried_over(None, after) == after
    more = verdict(answer(True), answer(False))
    assert _approval.carried_over(before, more) == more
    assert _approval.carried_over(before, {**after, "passed": True}) == {**after, "passed": True}
    other = {"passed": False, "basis": {**BASIS, "wals": "c"}}
    assert _approval.carried_over(before, other) == other
