"""What a range of daily runs did, a line a day, from the reports that their stages left."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jobs import _approval
from jobs._swap import replace_json
from jobs._window import DAY, Window, compact, iso, midnight
from serving import PublicationRecord

FILE = "backfill.txt"
"""Below ``paths.runs``: the days around the last backfilled one that were backfilled too."""
_KIND = "kind.json"
_BACKFILL = "backfill"


def of_days(runs: Path, window: Window, stages: Sequence[str], publications: Iterable[PublicationRecord]) -> str:
    """The summary of every day of a window.

    Args:
        runs: where the stages' reports lie, a folder a run.
        window: the days of data.
        stages: in the order in which they run.
        publications: of the store, the newest first.
    """
    statuses: dict[str, str] = {}
    for record in publications:
        statuses.setdefault(iso(record.as_of), f"version {record.version} {record.status}")
    days = list(window.days())
    rows = [_day(runs / compact(midnight(day) + DAY), day, stages, statuses) for day in days]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (_HEAD, *rows)]
    return "\n".join([f"reelflow, days {days[0]} to {days[-1]}", "", *lines, "", _totals(rows)]) + "\n"


_HEAD = ("day", "raw rows", "made", "gate", "published")


def note_backfill(
    runs: Path, as_of_day: date, kind: str | None, stages: Sequence[str], publications: Iterable[PublicationRecord]
) -> Path | None:
    """Note what kind of run a day had last; of a backfill, sum up all neighbouring days that were backfilled.

    Runs of one backfill may end at the same time: each notes its day first, and the last one to sum up finds all of them.

    Returns:
        The summary of the range, None where this was no backfill.
    """
    replace_json(_folder(runs, as_of_day) / _KIND, {"kind": kind})
    if kind != _BACKFILL:
        return None
    with (runs / f"{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first, last = as_of_day, as_of_day
        while _was_backfilled(_folder(runs, first - DAY)):
            first -= DAY
        while _was_backfilled(_folder(runs, last + DAY)):
            last += DAY
        window = Window(midnight(first), midnight(last) + DAY)
        draft = runs / f"{FILE}.new"
        draft.write_text(of_days(runs, window, stages, publications), encoding="utf-8")
        return draft.replace(runs / FILE)


def _folder(runs: Path, day: date) -> Path:
    return runs / compact(midnight(day) + DAY)


def _was_backfilled(folder: Path) -> bool:
    """Whether a day's last run was a backfill, or failed before it could say."""
    return folder.is_dir() and (_read(folder / _KIND).get("kind") == _BACKFILL or any(_errors(folder)))


def _errors(folder: Path) -> Iterator[Path]:
    """Of the stages of the run itself: what is only tried is no part of it."""
    return (path for path in folder.glob("*.error") if path.stem != "shadow")


def _day(folder: Path, day: date, stages: Sequence[str], statuses: Mapping[str, str]) -> tuple[str, ...]:
    reports = {stage: found for stage in stages if (found := _read(folder / f"{stage}.json"))}
    failed = [stage for stage in stages if (folder / f"{stage}.error").exists()]
    if not reports and not failed:
        return (str(day), "", "did not run", "", "")
    made = [stage for stage, report in reports.items() if not report["up_to_date"]]
    said = "all" if made == list(stages) else f"{len(made)} of {len(stages)} stages" if made else "nothing: up to date"
    rows = reports.get("ingest", {}).get("read", {}).get("raw rows")
    if failed:
        error = (folder / f"{failed[0]}.error").read_text(encoding="utf-8").strip()
        return (str(day), f"{rows:,}" if rows else "", f"FAILED in {failed[0]}: {error}", "", "")
    as_of = iso(midnight(day) + DAY)
    return (str(day), f"{rows:,}" if rows else "", said, _gate(_read(folder / "verdict.json")), statuses.get(as_of, "no"))


def _gate(verdict: Mapping[str, Any]) -> str:
    if not verdict:
        return "none"
    if verdict["passed"]:
        return "passed"
    answer = _approval.said(verdict)
    return f"refused, {answer}" if answer else "refused"


def _totals(rows: Sequence[tuple[str, ...]]) -> str:
    """How many days of each outcome."""
    counts = {
        "passed": sum(row[3] == "passed" for row in rows),
        "refused": sum(row[3].startswith("refused") for row in rows),
        "failed": sum(row[2].startswith("FAILED") for row in rows),
        "not run": sum(row[2] == "did not run" for row in rows),
    }
    return f"{len(rows)} days: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content
