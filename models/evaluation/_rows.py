"""Figures in long form: one row a figure, and means with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import metrics
from models.evaluation._config import EvaluationConfig
from schemas import EVALUATION
from schemas import columns as col

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ALL = "all"
NOTHING = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: the columns of EVALUATION but ``as_of``."""

    model: str
    metric: str
    value: float
    baseline: str = NOTHING
    slice_kind: str = ALL
    slice_value: str = ALL
    low: float | None = None
    high: float | None = None
    users: int = 0
    examples: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found, and in sentences what could not be found and why."""

    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Judged) -> Judged:
        return Judged((*self.rows, *other.rows), (*self.notes, *other.notes))


@dataclass(frozen=True, slots=True)
class Sample:
    """Users with their bootstrap draws.

    Attributes:
        config: section ``evaluation``.
        draws: float64 ``(bootstrap_samples, n_users)``.
        examples: what each user brings, such as relevant videos, int64 ``(n_users,)``.
    """

    config: EvaluationConfig
    draws: Floats
    examples: Ints

    @classmethod
    def of(cls, config: EvaluationConfig, examples: Ints) -> Sample:
        """Draw the replicates of so many users."""
        return cls(config, metrics.bootstrap_draws(len(examples), config.bootstrap_samples, config.seed), examples)

    def means(self, values: Mapping[tuple[str, str, str], Floats], like: Row, members: Ints | None = None) -> list[Row]:
        """Means over some users with their intervals.

        Args:
            values: figures of every user, float64 ``(n_users,)``, NaN for none, by model, baseline and metric.
            like: gives the slice.
            members: rows of the users of the slice; None for all.
        """
        if not values:
            return []
        columns = np.stack(list(values.values()), axis=1)
        own, draws, examples = columns, self.draws, self.examples
        if members is not None:
            own, draws, examples = columns[members], self.draws[:, members], self.examples[members]
        low, high = metrics.percentile_interval(metrics.bootstrap_means(own, draws), self.config.confidence)
        rows = []
        for place, (model, baseline, metric) in enumerate(values):
            known = ~np.isnan(own[:, place])
            users = int(known.sum())
            if not users:
                continue
            found = replace(like, model=model, baseline=baseline, metric=metric, value=float(own[known, place].mean()))
            found = replace(found, users=users, examples=int(examples[known].sum()))
            rows.append(with_interval(self.config, found, low[place], high[place]))
        return rows


def with_interval(config: EvaluationConfig, row: Row, low: float, high: float) -> Row:
    """The row with its interval, if enough users are behind it."""
    sure = row.users >= config.min_slice_users and math.isfinite(low) and math.isfinite(high)
    return replace(row, low=float(low), high=float(high)) if sure else row


def table(rows: Iterable[Row], as_of: datetime) -> pa.Table:
    """EVALUATION in its own order; figures that are not numbers are left out."""
    found = [{col.AS_OF: as_of, **asdict(row)} for row in rows if math.isfinite(row.value)]
    found.sort(key=lambda row: tuple(row[name] for name in EVALUATION.key))
    return pa.Table.from_pylist(found, schema=EVALUATION.arrow)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows by what they say."""

    rows: Mapping[tuple[str, str, str, str, str], Row] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Lookup:
        """Index the rows."""
        return cls({(row.model, row.metric, row.baseline, row.slice_kind, row.slice_value): row for row in rows})

    def get(
        self, model: str, metric: str, *, baseline: str = NOTHING, slice_kind: str = ALL, slice_value: str = ALL
    ) -> Row | None:
        """The row of a figure, or None."""
        return self.rows.get((model, metric, baseline, slice_kind, slice_value))

    def slices(self, kind: str, metric: str) -> list[str]:
        """The values of a kind of slice that have a figure, in the order of the rows."""
        found = (row.slice_value for row in self.rows.values() if row.slice_kind == kind and row.metric == metric)
        return list(dict.fromkeys(found))

    def models(self, metric: str) -> list[str]:
        """Which models have a figure over all, in the order of the rows."""
        whole = (row for row in self.rows.values() if row.slice_kind == ALL == row.slice_value and row.baseline == NOTHING)
        return [row.model for row in whole if row.metric == metric]
