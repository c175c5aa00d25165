"""Read what the gate decided. The gate itself succeeds also when it refuses: a refusal is a result, not a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class VerdictError(ValueError):
    """A verdict that is missing or cannot be read; without one nothing is published."""


class Verdict(NamedTuple):
    """The gate's decision on the models of one run, and why."""

    passed: bool
    reason: str


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
    return Verdict(passed, str(content.get("reason") or "no reason given"))
