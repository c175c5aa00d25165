"""Flaws: which rows of a batch do not fit, and the first reason of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.reading._json import as_text
from schemas import RejectReason

Detail = Callable[[int], str]
"""What to say of a row, by its number within the batch."""

_SHOWN = 100
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Flaws:
    """The flawed rows of a batch, each with its first flaw."""

    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Row numbers within the batch, ascending, int64 (n_flaws,)."""
    reasons: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def add(self, mask: NDArray[np.bool_], reason: RejectReason, detail: Detail) -> Flaws:
        """These flaws, and one for each row in ``mask``, bool (n,), that has none yet; ``detail`` is asked for those only."""
        marked = np.flatnonzero(mask)
        fresh = np.setdiff1d(marked, self.rows, assume_unique=True) if len(marked) else marked
        if not len(fresh):
            return self
        rows = np.concatenate([self.rows, fresh])
        order = np.argsort(rows)
        return Flaws(
            rows[order],
            _ordered([*self.reasons, *[reason.value] * len(fresh)], order),
            _ordered([*self.details, *map(detail, fresh.tolist())], order),
        )


def shown(name: str, values: pa.Array, row: int) -> str:
    """``name = value`` for a flaw's detail, at most 100 characters of the value; never raises."""
    return f"{name} = {_value_text(values[row])[:_SHOWN]}"


def _value_text(value: pa.Scalar) -> str:
    kind = value.type
    try:
        if not pa.types.is_temporal(kind):
            found = value.as_py()
            return found.decode("utf-8", errors="replace") if isinstance(found, bytes) else as_text(found)
        # Python cannot hold each moment that Arrow can.
        plain = value.cast(pa.timestamp(kind.unit)) if pa.types.is_timestamp(kind) else value
        text: str = plain.cast(pa.string()).as_py() or "null"
    except (ValueError, OverflowError, pa.ArrowException):
        return str(kind)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ordered(values: Sequence[_T], order: NDArray[np.int64]) -> list[_T]:
    return [values[i] for i in order.tolist()]
