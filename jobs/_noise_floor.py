"""The noise floor on disk: ``runs/<as_of>/two_seeds.json``, what it was measured on, and how long it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs._recipe import CURRENT, MISSING, State, Status, canonical
from jobs._stage import Context
from jobs._swap import read_json, replace_json
from jobs._window import DAY, compact, parse_time

FILE = "two_seeds.json"
_REGIME = "regime"
_VOLUME = 2.0
"""A floor holds while there are at most so many times more or fewer examples."""


def read(context: Context) -> dict[str, Any] | None:
    """What was found for this ``as_of``, or None.

    Raises:
        ReelflowError: it cannot be read.
    """
    return read_json(_path(context), "noise floor", "noise_floor")


def figures(context: Context, bundles: Mapping[str, str]) -> dict[str, Any] | None:
    """The figures that hold for bundles of these digests, with the ``as_of`` of their measurement; None for none."""
    found = read(context)
    if found is None or found["figures"] is None or found["basis"]["bundles"] != bundles:
        return None
    return {**found["figures"], "measured_as_of": found["measured_as_of"]}


def digest(found: Mapping[str, Any] | None) -> str | None:
    """Of the figures that the gate takes up."""
    return None if found is None else hashlib.sha256(canonical(found).encode()).hexdigest()


def check(context: Context, basis: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Status]:
    """The floor of this ``as_of``, and whether it is on exactly this basis."""
    found = read(context)
    if found is None:
        return None, MISSING
    before = found["basis"]
    differ = [name for name in basis if name != _REGIME and before.get(name) != _plain(basis[name])]
    # The bundles say exactly which examples: their number may have been lessened by an erasure since.
    differ += [] if _REGIME in before and _alike(before[_REGIME], _plain(basis[_REGIME])) else [_REGIME]
    return found, Status(State.STALE, f"measured on another {', '.join(differ)}") if differ else CURRENT


def recent(context: Context, regime: Mapping[str, Any], days: int) -> dict[str, Any] | None:
    """The newest floor that was measured at most so many days before, in the same regime; None where there is none."""
    candidates = []
    for path in context.paths.runs.glob(f"*/{FILE}"):
        found = read_json(path, "noise floor", "noise_floor")
        if not found or found["figures"] is None or path.parent.name >= compact(context.as_of):
            continue
        measured = parse_time(found["measured_as_of"])
        if measured >= context.as_of - days * DAY and _alike(found["basis"][_REGIME], _plain(regime)):
            candidates.append((measured, found))
    if not candidates:
        return None
    _, found = max(candidates, key=lambda item: item[0])
    return {"figures": found["figures"], "measured_as_of": found["measured_as_of"]}


def write(context: Context, basis: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Replace the floor of this ``as_of``."""
    replace_json(_path(context), {**content, "basis": _plain(basis)})


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    a, b = (dict(regime) for regime in (one, other))
    few, many = sorted((max(a.pop("examples"), 1), max(b.pop("examples"), 1)))
    return a == b and many <= _VOLUME * few


def _plain(value: Any) -> Any:
    """The same as it reads back from JSON."""
    return json.loads(json.dumps(value))


def _path(context: Context) -> Path:
    return context.run_folder / FILE
