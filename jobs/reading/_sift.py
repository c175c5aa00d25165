"""Blocks of lines parsed whole by Arrow; only lines that Arrow would refuse or misread are parsed one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.reading._lines import Lines

_PIECES = 4
_SMALL = 32


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a batch that were read in the same way: their numbers, int64 (n,), and their raw columns, n rows."""

    rows: NDArray[np.int64]
    table: pa.Table


class LineFormat(Protocol):
    """How lines of one file become rows. Both ways must give the same values."""

    piece: ClassVar[int]
    """Lines given to ``fast`` at first: in a smaller piece each costs more, in a larger one a bad line spoils more."""

    def odd(self, lines: Lines) -> NDArray[np.bool_]:
        """The lines, bool (n_lines,), that must not be given to ``fast``."""

    def fast(self, lines: Lines) -> tuple[pa.Table, NDArray[np.bool_]] | int:
        """The rows of well-formed lines and which lines those are, bool (n_lines,).

        Where that cannot be told: the line that seems to be at fault, or -1.
        """

    def slow(self, texts: Sequence[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
        """The same, line by line."""


def sift(lines: Lines, how: LineFormat) -> list[Part]:
    """The rows of a block of lines, in at most two parts; a line that is in none of them is malformed."""
    odd = how.odd(lines)
    slow = [np.flatnonzero(odd)]
    fast: list[Part] = []
    even = np.flatnonzero(~odd)
    todo = [even[start : start + how.piece] for start in range(0, len(even), how.piece)]
    while todo:
        rows = todo.pop()
        found = how.fast(lines.take(rows))
        if not isinstance(found, int):
            fast.append(Part(rows[found[1]], found[0]))
        elif found >= _SMALL:  # a lone bad line; each one costs a call, so where they are many it is better to cut
            slow.append(rows[found : found + 1])
            todo.extend(rest for rest in (rows[found + 1 :], rows[:found]) if len(rest))
        elif len(rows) <= _SMALL:
            slow.append(rows)
        else:
            todo.extend(np.array_split(rows, _PIECES))
    parts = (
        [Part(np.concatenate([part.rows for part in fast]), pa.concat_tables([part.table for part in fast]))] if fast else []
    )
    rest = np.sort(np.concatenate(slow))
    if len(rest):
        table, sound = how.slow([lines.text(line) for line in rest.tolist()])
        parts.append(Part(rest[sound], table))
    return parts
