"""The gate's verdict on disk: what the stages after it obey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import _approval, _bundles
from jobs._recipe import CURRENT, MISSING, State, Status
from jobs._stage import Context
from jobs._swap import read_json, replace_json
from jobs._window import iso
from schemas.errors import ReelflowError

FILE = "verdict.json"


def require_pass(context: Context) -> dict[str, Any]:
    """The verdict of this ``as_of``, which must be a pass on the very bundles that lie there, or a refusal that was approved.

    Raises:
        ReelflowError: there is no verdict, it refused and nobody approved, or it judged other bundles.
    """
    found = read(context)
    if found is None:
        raise ReelflowError(f"verdict {_path(context)}: not found; run gate --as-of {iso(context.as_of)} first")
    if not _approval.stands(found):
        raise ReelflowError(f"verdict as of {iso(context.as_of)}: the gate refused: {found['reason']}; what is live stays live")
    for kind, bundle in _bundles.models(context).items():
        if found["basis"][kind] != bundle.digest:
            raise ReelflowError(f"verdict as of {iso(context.as_of)}: it judged another {kind} bundle; run gate again")
    return found


def check(context: Context, basis: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Status]:
    """The verdict of this ``as_of``, and whether it was passed on exactly this basis."""
    found = read(context)
    if found is None:
        return None, MISSING
    before = found.get("basis", {})
    differ = [name for name in basis if before.get(name) != basis[name]]
    return found, Status(State.STALE, f"judged on another {', '.join(differ)}") if differ else CURRENT


def read(context: Context) -> dict[str, Any] | None:
    """The verdict of this ``as_of``, or None when there is none.

    Raises:
        ReelflowError: it cannot be read.
    """
    return read_json(_path(context), "verdict", "gate")


def write(context: Context, content: Mapping[str, Any]) -> None:
    """Replace the verdict of this ``as_of``; what people answered to exactly this one stays."""
    replace_json(_path(context), _approval.carried_over(read(context), content))


def _path(context: Context) -> Path:
    return context.run_folder / FILE
