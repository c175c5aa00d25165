"""Search spaces as data: which settings of a section are searched, between what, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from conf import Section
from schemas.errors import ReelflowError

Value = float | tuple[int, ...]
"""A number, or widths of layers."""

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two, both included."""

    field: str
    """Dotted name below the section."""
    low: float
    high: float
    why: str
    """The reason for these bounds."""
    log: bool = True
    """Whether equal ratios, not equal differences, are equally far."""
    whole: bool = False
    """Whether only whole numbers are tried."""


@dataclass(frozen=True, slots=True)
class Choices:
    """One of a few values, in order of their size."""

    field: str
    """Dotted name below the section."""
    values: tuple[Value, ...]
    why: str
    """The reason for these."""


Dimension = Range | Choices


def around(space: Sequence[Dimension], config: Section, most: Mapping[str, float] | None = None) -> tuple[Dimension, ...]:
    """The space, widened where a configured value lies outside.

    The configured values are the first trial, so the search has to know their place. A logarithmic range cannot hold a
    configured 0: it stays as it is.

    Args:
        space: what is searched.
        config: the section, as configured.
        most: by field, the largest choice that the data allow.
    """
    limits = most or {}
    return tuple(_around(part, _get(config, part.field), limits.get(part.field)) for part in space)


def values_of(config: Section, space: Sequence[Dimension]) -> dict[str, Value]:
    """The configured value of every field of a space.

    Raises:
        ReelflowError: the section has no such field.
    """
    return {part.field: _get(config, part.field) for part in space}


def with_values(config: SectionT, values: Mapping[str, Value]) -> SectionT:
    """The section with other values, checked as those of a configuration file are.

    Args:
        config: the section.
        values: by dotted field.

    Raises:
        ReelflowError: the section has no such field.
        pydantic.ValidationError: the section refuses a value.
    """
    content = config.model_dump(mode="json")
    for field, value in values.items():
        part, name = _place(type(config), content, field)
        part[name] = value
    return type(config).model_validate(content)


def _around(part: Dimension, configured: Value, most: float | None) -> Dimension:
    if isinstance(part, Choices):
        allowed = {value for value in part.values if most is None or _size(value)[0] <= most}
        return dataclasses.replace(part, values=tuple(sorted(allowed | {configured}, key=_size)))
    assert not isinstance(configured, tuple)
    if part.log and configured <= 0:
        return part
    return dataclasses.replace(part, low=min(part.low, configured), high=max(part.high, configured))


def _size(value: Value) -> tuple[float, int]:
    return (sum(value), len(value)) if isinstance(value, tuple) else (value, 0)


def _get(config: Section, field: str) -> Value:
    part, name = _place(type(config), config.model_dump(mode="json"), field)
    found = part[name]
    return tuple(found) if isinstance(found, list) else found


def _place(section: type[Section], content: dict[str, Any], field: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a field, and its name there."""
    *parents, name = field.split(".")
    part: Any = content
    for parent in parents:
        part = part.get(parent) if isinstance(part, dict) else None
    if not isinstance(part, dict) or name not in part:
        raise ReelflowError(
            f"search space: found no {field} in {section.__name__}, expected a setting that is configured; write it in "
            "conf, or mend models/tuning/_spaces.py"
        )
    return part, name
