"""Read what the gate decided, and what a person said to it. A refusal is a result, not a failure: the gate itself succeeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple


class VerdictError(ValueError):
    """A verdict that is missing or cannot be read; without one nothing is published."""


class Verdict(NamedTuple):
    """The gate's decision on the models of one run, and why; approved, it counts as passed."""

    passed: bool
    reason: str
    failed: tuple[str, ...] = ()
    """What each failed check said."""
    basis: str = ""
    """Digest of all that the gate judged."""
    approved_by: str | None = None
    """Who said yes to exactly this refusal."""


def read_verdict(path: Path) -> Verdict:
    """Read a verdict file.

    Raises:
        VerdictError: the file is missing, is not JSON, or lacks a boolean ``passed``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VerdictError(
            f"verdict {path}: not found; expected the gate to write it: clear the task `gate` and run it again"
        ) from error
    except ValueError as error:
        raise VerdictError(f"verdict {path}: not valid JSON ({error}); clear the task `gate` and run it again") from error
    passed = content.get("passed") if isinstance(content, dict) else None
    if not isinstance(passed, bool):
        raise VerdictError(
            f"verdict {path}: found passed = {passed!r}, expected true or false; clear the task `gate` and run it again"
        )
    reason, basis = str(content.get("reason") or "no reason given"), basis_digest(content.get("basis") or {})
    checks = (content.get("verdict") or {}).get("checks") or []
    failed = tuple(f"{check['name']}: {check['detail']}" for check in checks if not check["passed"])
    answers = [answer for answer in content.get("answers") or [] if answer.get("basis") == basis]
    if not passed and answers and answers[-1].get("approved") is True:
        last = answers[-1]
        said = f"approved by {last['by']} at {last['at']}, who said: {last['reason']}; the gate had {reason}"
        return Verdict(True, said, failed, basis, str(last["by"]))
    return Verdict(passed, reason, failed, basis)


def basis_digest(basis: Mapping[str, Any]) -> str:
    """One digest of what a verdict rests on, as ``jobs._approval.basis_digest`` makes it."""
    return hashlib.sha256(json.dumps(basis, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def published_as_of(runs: Path) -> Iterator[datetime]:
    """The ends of the windows whose daily runs became live, by the reports of ``publish``."""
    for report in runs.glob("*T*Z/publish.json"):
        try:
            content = json.loads(report.read_text(encoding="utf-8"))
            moment = datetime.strptime(report.parent.name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except (OSError, ValueError):
            continue
        if content.get("facts", {}).get("status") == "live":
            yield moment
