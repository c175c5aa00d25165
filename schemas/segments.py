"""What segments of users are called: ``country=DE|language=de``, below ``country=DE``, below everybody, ``all``."""

from __future__ import annotations

from collections.abc import Sequence

ALL = "all"
"""The segment of everybody."""
SEPARATOR = "|"


def segment_name(values: Sequence[tuple[str, str | None]]) -> str | None:
    """What the segment of some values is called.

    Args:
        values: pairs of a kind (``country``) and a value (``DE``) in the order of a chain; none for everybody.

    Returns:
        None where a value is not known; one that holds a ``|`` counts as not known.
    """
    if any(value is None or SEPARATOR in value for _, value in values):
        return None
    return SEPARATOR.join(f"{kind}={value}" for kind, value in values) or ALL


def values_of(segment: str) -> tuple[tuple[str, str], ...]:
    """The pairs of a kind and a value that a segment's name is made of; none for everybody."""
    if segment == ALL:
        return ()
    pairs = (part.partition("=") for part in segment.split(SEPARATOR))
    return tuple((kind, value) for kind, _, value in pairs)


def parent_of(segment: str) -> str | None:
    """The segment to ask when this one is not known; None for everybody."""
    return None if segment == ALL else segment_name(values_of(segment)[:-1])
