"""What a partition or a bundle was made from, and whether what lies there is still what the same recipe would make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any


class State(StrEnum):
    """How a partition or bundle stands to its recipe."""

    CURRENT = "up to date"
    MISSING = "missing"
    STALE = "stale"
    ARCHIVED = "archived"
    """Up to date, its rows in the cold folder: a reader has to restore it first."""


@dataclass(frozen=True, slots=True)
class Status:
    """A state, and the reason for it unless all is well."""

    state: State
    why: str = ""

    @property
    def current(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in (State.CURRENT, State.ARCHIVED)


CURRENT = Status(State.CURRENT)
MISSING = Status(State.MISSING, "never made")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What determines a partition's content: inputs by digest, the code, and the parameters. Equal recipes, equal bytes."""

    inputs: Mapping[str, str]
    code_version: str
    parameters: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Short name of the recipe: equal recipes have the same."""
        return hashlib.sha256(canonical(asdict(self)).encode()).hexdigest()[:16]

    def status(self, made_by: Recipe) -> Status:
        """Compare with the recipe of what lies there, and name every difference."""
        differences = [f"input {name} changed" for name in _unequal(self.inputs, made_by.inputs)]
        if self.code_version != made_by.code_version:
            differences.append(f"code {made_by.code_version[:8]} -> {self.code_version[:8]}")
        for name in _unequal(self.parameters, made_by.parameters):
            before, now = made_by.parameters.get(name, "nothing"), self.parameters.get(name, "nothing")
            differences.append(f"parameter {name}: {_short(before)} -> {_short(now)}")
        return Status(State.STALE, "; ".join(differences)) if differences else CURRENT


@cache
def code_version(*modules: str) -> str:
    """Digest of the source of the named modules and packages of this project: what a recipe calls its code.

    Args:
        modules: paths below the repository, for example ``"jobs/ingest.py"`` or ``"schemas"``.
    """
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for module in modules:
        path = root / module
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def canonical(value: Any) -> str:
    """JSON text that equal values share."""
    return json.dumps(value, sort_keys=True, default=str)


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = sorted({*one, *other})
    return [name for name in names if name not in one or name not in other or canonical(one[name]) != canonical(other[name])]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
