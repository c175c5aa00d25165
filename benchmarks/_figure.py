"""One measured figure and its reference."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate, and the rate of a reference doing the same work in the same run; ``ratio`` above 1 means faster than it."""

    name: str
    unit: str
    value: float
    reference: float
    reference_name: str

    @property
    def ratio(self) -> float:
        """The figure over its reference."""
        return self.value / self.reference


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of several runs: what is left when other work on the machine disturbed least."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
