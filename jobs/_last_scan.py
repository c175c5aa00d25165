"""The last scan's result on disk: what ``publish`` obeys.

``runs/<as_of>/last_scan.json`` holds ``passed``; ``basis``, the digests and settings that it was made from;
``figures``; and ``checks``, each with ``name``, ``passed``, ``expected``, ``found``, the counts ``rows`` and ``lists`` and the
``first`` offenders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs._recipe import CURRENT, MISSING, State, Status, canonical
from jobs._stage import Context
from jobs._swap import read_json, replace_json
from jobs._tables import Partition
from jobs._window import compact, iso
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS
from schemas.errors import ReelflowError

FILE = "last_scan.json"
PUBLISHED = (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS)


def require_pass(context: Context) -> dict[str, Any]:
    """The scan of this ``as_of``, which must be a pass of the very tables that lie there.

    Raises:
        ReelflowError: there is none, it stopped the publication, or it looked at other tables.
    """
    found = read(context)
    if found is None:
        raise ReelflowError(f"last scan {_path(context)}: not found; run scan --as-of {iso(context.as_of)} first")
    for table in PUBLISHED:
        manifest = context.lists.manifest(table, Partition(context.last_day))
        if manifest is None or found["basis"].get(table.name) != manifest.digest:
            raise ReelflowError(
                f"last scan as of {iso(context.as_of)}: it looked at another {table.name} "
                f"({str(found['basis'].get(table.name))[:12]}), expected {manifest.digest[:12] if manifest else 'one at all'}; "
                f"run scan --as-of {iso(context.as_of)} again"
            )
    if not found["passed"]:
        raise ReelflowError(refusal(found))
    return found


def check(context: Context, basis: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Status]:
    """The scan of this ``as_of``, and whether it was made from exactly this basis."""
    found = read(context)
    if found is None:
        return None, MISSING
    before = found.get("basis", {})
    differ = [name for name in sorted({*basis, *before}) if canonical(before.get(name)) != canonical(basis.get(name))]
    return found, Status(State.STALE, f"scanned with another {', '.join(differ)}") if differ else CURRENT


def refusal(found: Mapping[str, Any]) -> str:
    """Every failed check of a scan with its first offenders, as one line."""
    failed = [check for check in found["checks"] if not check["passed"]]
    said = "; ".join(_sentence(check) for check in failed)
    return (
        f"last scan as of {found['basis']['as_of']}: {len(failed)} of {len(found['checks'])} checks failed, "
        f"nothing is published: {said}; mend what made them, run recommend again, then scan (docs/operations.md)"
    )


def read(context: Context, as_of: datetime | None = None) -> dict[str, Any] | None:
    """The scan of this ``as_of``, or of another, or None when there is none.

    Raises:
        ReelflowError: it cannot be read.
    """
    return read_json(_path(context, as_of), "last scan", "scan")


def write(context: Context, content: Mapping[str, Any]) -> None:
    """Replace the scan of this ``as_of``."""
    replace_json(_path(context), content)


def _sentence(check: Mapping[str, Any]) -> str:
    first = " | ".join(" ".join(_words(offender)) for offender in check["first"])
    return f"{check['name']}: found {check['found']}, expected {check['expected']}" + (f" (first: {first})" if first else "")


def _words(offender: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name}={value}" for name, value in offender.items())


def _path(context: Context, as_of: datetime | None = None) -> Path:
    return context.paths.runs / compact(as_of or context.as_of) / FILE
