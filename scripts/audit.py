"""Ask whether a locked package has a known vulnerability; ``make audit``.

Asks the advisories of PyPI, and OSV (https://osv.dev) where PyPI does not answer, by pip-audit. Exit status 1 for a
vulnerability that ``requirements/audit-ignore.txt`` does not name. Where neither can be asked, behind a mirror or without a
network, it says so in one line and exits with 0: that is no finding, and no clean bill either.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "requirements"
LOCKS = ("reelflow", "airflow")
IGNORED = FOLDER / "audit-ignore.txt"
SERVICES = ("pypi", "osv")
_SECONDS = 10
"""How long one answer may take."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """An advisory about a locked package."""

    package: str
    version: str
    ids: tuple[str, ...]
    """The advisory's own, then its other names."""
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed yet"
        return f"{self.package} {self.version}: {self.ids[0]}, {fixed}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said about a lock."""

    asked: int
    """Packages that it knows."""
    unknown: tuple[str, ...]
    """Packages that it does not know."""
    found: tuple[Vulnerability, ...]


Ask = Callable[[str, str], Answer | None]
"""(lock, service) -> what it said; None when it cannot be reached."""


def main(ask: Ask | None = None) -> int:
    """Audit every lock; returns the exit status."""
    ignored, answers = parse_ignored(IGNORED.read_text(encoding="utf-8")), {}
    for lock in LOCKS:
        answer = _first_answer(ask or _ask, lock)
        if answer is None:
            print(
                f"audit | {lock}.lock: advisories could not be asked, neither of PyPI nor of OSV; nothing is known to be "
                "wrong, nor to be right",
                flush=True,
            )
            break  # the next would wait for the same silence
        answers[lock] = answer
    for lock, answer in answers.items():
        for line in lines(lock, answer, ignored):
            print(f"audit | {line}", flush=True)
    stale = sorted(set(ignored) - {one for answer in answers.values() for found in answer.found for one in found.ids})
    if stale and len(answers) == len(LOCKS):
        print(f"audit | {IGNORED.name}: no longer needed: {', '.join(stale)}", flush=True)
    return int(any(open_ones(answer, ignored) for answer in answers.values()))


def lines(lock: str, answer: Answer, ignored: Mapping[str, str]) -> list[str]:
    """What there is to say of a lock."""
    bad = open_ones(answer, ignored)
    said = [f"{lock}.lock: {answer.asked} packages asked about, {len(bad)} known vulnerabilities"]
    if answer.unknown:
        more = f" and {len(answer.unknown) - _SHOWN} more" if len(answer.unknown) > _SHOWN else ""
        said.append(f"{lock}.lock: not known to the service: {', '.join(answer.unknown[:_SHOWN])}{more}")
    said += [f"{lock}.lock: VULNERABLE {one}; raise it by make lock, or name it in {IGNORED.name} with a reason" for one in bad]
    for one in answer.found:
        if one not in bad:
            said.append(f"{lock}.lock: ignored {one}: {next(ignored[name] for name in one.ids if name in ignored)}")
    return said


def open_ones(answer: Answer, ignored: Mapping[str, str]) -> list[Vulnerability]:
    """The vulnerabilities that nobody gave a reason to ignore."""
    return [one for one in answer.found if not set(one.ids) & set(ignored)]


def parse_ignored(text: str) -> dict[str, str]:
    """Reasons by advisory: lines such as ``GHSA-xxxx: the part that is affected is not used``; ``#`` begins a comment.

    Raises:
        SystemExit: a line has no reason.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, reason = (part.strip() for part in line.partition("#")[0].partition(":"))
        if name and not reason:
            sys.exit(
                f"audit | error: {IGNORED.name}, line {number}: found {name!r} without a reason; expected ADVISORY: REASON"
            )
        if name:
            found[name] = reason
    return found


def parse_report(report: Mapping[str, Any]) -> Answer:
    """What pip-audit's JSON says."""
    packages: Sequence[Mapping[str, Any]] = report["dependencies"]
    known = [one for one in packages if "skip_reason" not in one]
    found = [
        Vulnerability(one["name"], one["version"], (bad["id"], *sorted(bad.get("aliases", ()))), tuple(bad["fix_versions"]))
        for one in known
        for bad in one["vulns"]
    ]
    return Answer(len(known), tuple(one["name"] for one in packages if "skip_reason" in one), tuple(found))


def _first_answer(ask: Ask, lock: str) -> Answer | None:
    """The answer of the first service that knows any package at all: a mirror without advisories knows none."""
    answers = (ask(lock, service) for service in SERVICES)
    return next((answer for answer in answers if answer is not None and answer.asked), None)


def _ask(lock: str, service: str) -> Answer | None:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(FOLDER / f"{lock}.lock"), "--no-deps", "--disable-pip"]
    options = ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off", "--timeout", str(_SECONDS)]
    done = subprocess.run([*command, *options, "--aliases", "on", "--desc", "off"], capture_output=True, text=True, check=False)
    try:
        return parse_report(json.loads(done.stdout))
    except ValueError:
        return None


if __name__ == "__main__":
    sys.exit(main())
