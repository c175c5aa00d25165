"""One question that the gate asked, and its answer as a whole."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import ReelflowError

FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One question that the gate asked.

    Attributes:
        name: which question.
        passed: the answer.
        value: the figure found; ``None`` where there is none or it is not finite.
        threshold: what it was held against; ``None`` where there is nothing.
        detail: the same in words, with what to do.
    """

    name: str
    passed: bool
    value: float | None
    threshold: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer: it passes when there are checks and each of them passed.

    Attributes:
        passed: whether the candidate may be deployed.
        checks: every check, in the order in which it was made.
    """

    passed: bool
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, checks: tuple[Check, ...]) -> Verdict:
        """The verdict that these checks add up to."""
        return cls(_all_passed(checks), checks)

    def to_json(self) -> str:
        """Write the verdict as JSON text; the same verdict gives the same text."""
        content = {"format_version": FORMAT_VERSION, "passed": self.passed, "checks": [asdict(check) for check in self.checks]}
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read what :meth:`to_json` wrote.

        Raises:
            ReelflowError: no verdict, one of another format, or one that claims a pass that its checks do not bear out.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            found = content["format_version"]
            verdict = cls(bool(content["passed"]), tuple(Check(**check) for check in content["checks"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ReelflowError(f"verdict: found text that is none ({error!r}), run the gate stage again") from error
        if found != FORMAT_VERSION:
            raise ReelflowError(f"verdict: found format {found}, expected {FORMAT_VERSION}; run the gate stage again")
        if verdict.passed != _all_passed(verdict.checks):
            raise ReelflowError(
                "verdict: found a result that its checks contradict, expected its own; run the gate stage again"
            )
        return verdict


def at_least(name: str, value: float, threshold: float, detail: str, advice: str = "") -> Check:
    """Whether a figure reaches a threshold; one that is not finite does not."""
    if not math.isfinite(value):
        return Check(name, False, None, threshold, f"{detail}; not a number")
    passed = value >= threshold
    said = f"{detail}; at least {threshold:g} is needed"
    return Check(name, passed, float(value), threshold, said if passed or not advice else f"{said}; {advice}")


def at_most(name: str, value: float, threshold: float, detail: str, advice: str = "") -> Check:
    """Whether a figure stays at or below a threshold; one that is not finite does not."""
    if not math.isfinite(value):
        return Check(name, False, None, threshold, f"{detail}; not a number")
    passed = value <= threshold
    said = f"{detail}; at most {threshold:g} is allowed"
    return Check(name, passed, float(value), threshold, said if passed or not advice else f"{said}; {advice}")


def absent(name: str, needed: bool, why: str) -> Check:
    """A check for which the data have nothing to check by: passes unless it is declared to be needed."""
    advice = "; it is declared as needed: mend the data, or set needed: false where the platform has no such thing"
    return Check(name, not needed, None, None, f"nothing to check by: {why}{advice if needed else ''}")


def _all_passed(checks: tuple[Check, ...]) -> bool:
    return bool(checks) and all(check.passed for check in checks)
