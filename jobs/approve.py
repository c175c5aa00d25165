"""Keep a person's answer to a gate that refused: with a yes, exactly these models may be published all the same.

``python -m jobs.approve --as-of ISO --by WHO --at ISO --reason TEXT [--reject]`` adds who, when and why to ``verdict.json``. It
refuses where there is nothing to approve: the gate passed, the models or anything else that it judged changed since, or the
answer was given to another verdict (``--basis``). The last answer counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from conf import ConfigError
from jobs import _approval, _bundles, _quiet, _stage, _verdict, gate
from jobs._stage import Context
from jobs._tracking import Tracker
from jobs._window import iso, parse_time
from schemas.errors import ReelflowError


def run(context: Context, *, by: str, at: str, reason: str, approved: bool, basis: str | None = None) -> str:
    """Keep an answer, and return it in one line.

    Args:
        context: of the run whose gate refused.
        by: who answered.
        at: when, ISO 8601.
        reason: why; needed.
        approved: yes or no.
        basis: digest of the basis that was shown, where it is known.

    Raises:
        ReelflowError: there is no such refusal, or an answer without a person, time or reason.
    """
    for name, given in (("--by", by), ("--reason", reason)):
        if not given.strip():
            raise ReelflowError(f"answer to the gate: found an empty {name}; expected who answers and why, they are kept")
    found = _refused(context)
    digest = _approval.basis_digest(found["basis"])
    if basis and basis != digest:
        raise ReelflowError(
            f"verdict as of {iso(context.as_of)}: the answer was given to another one ({basis[:12]}, this is {digest[:12]}); "
            "look at this one, and answer again"
        )
    if approved:
        _require_current(context)
    answer = {"approved": approved, "by": by.strip(), "at": iso(parse_time(at)), "reason": reason.strip(), "basis": digest}
    content = {**found, _approval.ANSWERS: [*found.get(_approval.ANSWERS, []), answer]}
    _verdict.write(context, content)
    line = _approval.said(content) or ""
    tracker = Tracker.open()
    for bundle in _bundles.models(context).values():
        tracker.annotate(bundle, {}, {"gate.answer": line})
    return line


def _refused(context: Context) -> Mapping[str, Any]:
    found = _verdict.read(context)
    if found is None:
        raise ReelflowError(f"verdict as of {iso(context.as_of)}: not found; run gate --as-of {iso(context.as_of)} first")
    if found["passed"]:
        raise ReelflowError(f"verdict as of {iso(context.as_of)}: the gate passed; there is nothing to approve")
    return found


def _require_current(context: Context) -> None:
    """Refuse where the gate would not say today what it said."""
    stale = [unit.status for unit in gate.plan(context, {}) if not unit.status.current]
    if stale:
        raise ReelflowError(
            f"verdict as of {iso(context.as_of)}: {stale[0].why or stale[0].state} since; "
            f"run gate --as-of {iso(context.as_of)} again, and look at what it says"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; exits with 2 for what its user can mend."""
    parser: argparse.ArgumentParser = _stage.command_line("approve", __doc__)
    parser.add_argument("--by", required=True, metavar="WHO", help="who answers")
    parser.add_argument("--at", required=True, metavar="ISO", help="when they did")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why")
    parser.add_argument("--basis", metavar="DIGEST", help="of the verdict that they saw")
    parser.add_argument("--reject", action="store_true", help="a no, which changes nothing and is kept")
    given = parser.parse_args(argv)
    try:
        context = _stage.context("approve", given)
        with _quiet.at_work(context.paths.runs):
            line = run(context, by=given.by, at=given.at, reason=given.reason, approved=not given.reject, basis=given.basis)
        context.say(line)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | approve | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
