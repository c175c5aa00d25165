"""The study's answers as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


def share(answers: Sequence[dict[str, Any]], *, good: bool) -> tuple[int, int]:
    """How many good candidates were refused, or bad ones detected, and of how many."""
    some = [one for one in answers if one["kind"].startswith("good") == good]
    return sum(not one["passed"] for one in some), len(some)


def table(answers: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of text: candidates and refusals by kind, and which checks refused."""
    lines = [f"{'kind':<24}{'candidates':>11}{'refused':>9}  refused by"]
    kinds = sorted({one["kind"] for one in answers}, key=lambda kind: (not kind.startswith("good"), kind))
    for kind in kinds:
        some = [one for one in answers if one["kind"] == kind]
        refused = [one for one in some if not one["passed"]]
        by = Counter(name for one in refused for name in one["failed"])
        said = ", ".join(f"{name} {count}" for name, count in by.most_common(4))
        lines.append(f"{kind:<24}{len(some):>11}{len(refused):>9}  {said}")
    for words, good in (("detected of the bad", False), ("refused of the good", True)):
        refused_, all_ = share(answers, good=good)
        lines.append(f"{words}: {refused_} of {all_}" + (f" = {refused_ / all_:.1%}" if all_ else ""))
    return lines
