"""What people answered to a refusing gate: kept in the verdict, and good for exactly the basis that they answered to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ANSWERS = "answers"


def basis_digest(basis: Mapping[str, Any]) -> str:
    """One digest of what a verdict rests on: bundles, incumbent, evaluation, inputs, code and settings."""
    return hashlib.sha256(json.dumps(basis, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def answer_to(verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last answer to exactly this verdict: approved, by, at, reason; None where nobody answered."""
    basis = basis_digest(verdict.get("basis", {}))
    answers = [answer for answer in verdict.get(ANSWERS, ()) if answer.get("basis") == basis]
    return dict(answers[-1]) if answers else None


def stands(verdict: Mapping[str, Any]) -> bool:
    """Whether the models may be deployed: the gate passed them, or a person did so in spite of it."""
    if verdict["passed"]:
        return True
    answer = answer_to(verdict)
    return answer is not None and answer["approved"] is True


def said(verdict: Mapping[str, Any]) -> str | None:
    """The answer to a refusal in one line, who, when and why; None where there is none."""
    answer = None if verdict["passed"] else answer_to(verdict)
    if answer is None:
        return None
    outcome = "approved in spite of the gate" if answer["approved"] else "not approved"
    return f"{outcome} by {answer['by']} at {answer['at']}: {answer['reason']}"


def carried_over(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict as it is to be written: answers stay as long as it rests on what they were given to."""
    if before is None or ANSWERS in after or after["passed"] or before.get("basis") != after["basis"] or ANSWERS not in before:
        return dict(after)
    return {**after, ANSWERS: before[ANSWERS]}
