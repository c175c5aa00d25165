"""What a table's partitions and days must look like, as data; ``jobs`` measures them and renders the rules to Great Expectations.

Value rules follow from the fields of a table and hold for each partition. Rate rules are listed here and hold for each day that a
run is for; their limits are the section ``expectations`` of the configuration. See ``docs/adr/0017-expectations-on-profiles.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas import columns as col
from schemas._table import Field, Table
from schemas.evaluation import EVALUATION
from schemas.lake import (
    EXAMPLES,
    FALLBACK_RECOMMENDATIONS,
    INTERACTIONS,
    RECOMMENDATIONS,
    REJECTED,
    REJECTED_SNAPSHOTS,
    TABLES,
    USER_FEATURES,
    USER_VERSIONS,
    USERS,
    VIDEO_COUNTS,
    VIDEO_FEATURES,
    VIDEO_VERSIONS,
    VIDEOS,
)
from schemas.point_in_time import EXAMPLE_FEATURES, USER_HISTORY, VIDEO_HOURS
from schemas.served import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY
from schemas.text import QUERY_TEXT, VIDEO_TEXT

WRITES: Mapping[str, tuple[Table, ...]] = {
    "ingest": (INTERACTIONS, REJECTED, VIDEOS, USERS, VIDEO_VERSIONS, USER_VERSIONS, REJECTED_SNAPSHOTS),
    "examples": (EXAMPLES,),
    "text": (VIDEO_TEXT, QUERY_TEXT),
    "features": (VIDEO_HOURS, USER_HISTORY, EXAMPLE_FEATURES, VIDEO_COUNTS, USER_FEATURES, VIDEO_FEATURES),
    "evaluate": (EVALUATION,),
    "recommend": (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS),
    "publish": (RECOMMENDATION_HISTORY, PUBLICATION_SWITCHES),
}
"""Which stage writes which table: every table once."""

_EVENTS = (INTERACTIONS, REJECTED)  # a suite of what was refused speaks about what was kept
_SNAPSHOTS = (VIDEOS, USERS, VIDEO_VERSIONS, USER_VERSIONS, REJECTED_SNAPSHOTS)
_TRAINING = (
    *_EVENTS,
    EXAMPLES,
    VIDEO_HOURS,
    USER_HISTORY,
    EXAMPLE_FEATURES,
    VIDEO_COUNTS,
    USER_FEATURES,
    VIDEO_FEATURES,
    VIDEO_VERSIONS,
    USER_VERSIONS,
    VIDEO_TEXT,
    QUERY_TEXT,
)
READS: Mapping[str, tuple[Table, ...]] = {
    "examples": _EVENTS,
    "text": (*_EVENTS, *_SNAPSHOTS),
    "features": (EXAMPLES, *_EVENTS, *_SNAPSHOTS),
    "train_wals": _TRAINING,
    "train_towers": _TRAINING,
    "evaluate": _TRAINING,
    "noise_floor": (*_TRAINING, EVALUATION),
    "gate": (*_TRAINING, EVALUATION),
    "index": (USER_FEATURES, VIDEO_FEATURES, VIDEO_TEXT, QUERY_TEXT),
    "recommend": (INTERACTIONS, USER_FEATURES, VIDEO_FEATURES, QUERY_TEXT),
    "scan": (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS, INTERACTIONS, USER_FEATURES, VIDEO_FEATURES),
    "publish": (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS, INTERACTIONS, USER_FEATURES, VIDEO_FEATURES),
}
"""Which tables of other stages a stage may read: it refuses to start while one of them is known to be bad."""

OF_THE_WINDOW = (
    INTERACTIONS,
    REJECTED,
    EXAMPLES,
    VIDEO_HOURS,
    USER_HISTORY,
    EXAMPLE_FEATURES,
    VIDEO_COUNTS,
    RECOMMENDATION_HISTORY,
)
"""Tables of which a run reads every partition of its window; of the others, states at the end of a day, only the last day's."""

WEIGHTED: Mapping[str, tuple[str, str]] = {EXAMPLES.name: (col.LABEL, col.WEIGHT)}
"""By table: the column whose weighted mean is watched, and its weights."""

Limits = Mapping[str, float | None]
"""The numbers of section ``expectations`` by name; None switches a limit off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A number measured on each partition or each day of a table lies between two limits, which are inclusive."""

    name: str
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    daily: bool = False
    """Whether it is measured on days instead of partitions."""

    def holds(self, observed: float) -> bool:
        """Whether a measured number lies between the limits."""
        return (self.minimum is None or observed >= self.minimum) and (self.maximum is None or observed <= self.maximum)

    @property
    def expected(self) -> str:
        """The limits in words."""
        if self.minimum is None:
            return f"at most {self.maximum:g}"
        return f"at least {self.minimum:g}" if self.maximum is None else f"{self.minimum:g} to {self.maximum:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate rule: what it measures, on which tables, and which settings limit it."""

    name: str
    doc: str
    tables: tuple[Table, ...]
    minimum: str | None = None
    maximum: str | None = None


_QUARANTINE = (REJECTED, REJECTED_SNAPSHOTS)
_LISTS = (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS)
_SERVED = (RECOMMENDATION_HISTORY, PUBLICATION_SWITCHES)  # as much as was published that day
_STEADY = tuple(table for table in TABLES if table not in (*_QUARANTINE, *_LISTS, *_SERVED, EVALUATION))

RATES = (
    Rate(name="rejected_share", tables=_QUARANTINE, maximum="max_rejected_share", doc="Rejected rows over rows read."),
    Rate(name="duplicate_share", tables=(INTERACTIONS,), maximum="max_duplicate_share", doc="Duplicates over rows read."),
    Rate(
        name="volume_ratio",
        tables=_STEADY,
        minimum="min_volume_ratio",
        maximum="max_volume_ratio",
        doc="Rows over the median of the trailing days, the same hours of each.",
    ),
    Rate(
        name="hours_since_newest_event",
        tables=(INTERACTIONS,),
        maximum="max_hours_since_newest_event",
        doc="Hours from the newest event of the window to its end.",
    ),
    # Homepages lie near 2 %, rating logs at 30 to 50 %: conf/prod.yaml narrows what base.yaml has to let pass.
    Rate(
        name="label_rate",
        tables=(EXAMPLES,),
        minimum="min_label_rate",
        maximum="max_label_rate",
        doc="Weighted share of examples with label 1.",
    ),
    Rate(
        name="full_list_share",
        tables=(RECOMMENDATIONS,),
        minimum="min_full_list_share",
        doc="Lists as long as the longest one, over all lists.",
    ),
    Rate(name="lists", tables=_LISTS, minimum="min_lists", doc="Lists in the table."),
)
NULL_RISE = Rate(
    name="null_rise",
    tables=_STEADY,
    maximum="max_null_rise",
    doc="Share of nulls less its median of the trailing days, the same hours of each.",
)
"""Measured on each column that may be null."""


def suite(table: Table, limits: Limits) -> tuple[Expectation, ...]:
    """Every expectation of a table, value rules first.

    Args:
        table: whose suite.
        limits: section ``expectations``; a rate rule without any limit is left out.
    """
    values = [rule for field in table.fields for rule in _of_field(field)]
    if table.key:
        values.append(
            Expectation(
                name="repeated_keys",
                maximum=0,
                doc=f"Rows whose {', '.join(f'`{name}`' for name in table.key)} another row has.",
            )
        )
    rates = [_limited(rate.name, rate, limits) for rate in RATES if table in rate.tables]
    optional = [field.name for field in table.fields if field.nullable] if table in NULL_RISE.tables else []
    rises = [_limited(f"{name}_{NULL_RISE.name}", NULL_RISE, limits) for name in optional]
    return (*values, *(rule for rule in (*rates, *rises) if rule.minimum is not None or rule.maximum is not None))


def _of_field(field: Field) -> list[Expectation]:
    name, rules = field.name, []
    if not field.nullable:
        rules.append(Expectation(name=f"{name}_nulls", maximum=0, doc=f"Nulls in `{name}`."))
    if field.minimum is not None:
        rules.append(Expectation(name=f"{name}_minimum", minimum=field.minimum, doc=f"Smallest `{name}`."))
    if field.maximum is not None:
        rules.append(Expectation(name=f"{name}_maximum", maximum=field.maximum, doc=f"Largest `{name}`."))
    if field.allowed is not None:
        known = ", ".join(field.allowed)
        rules.append(Expectation(name=f"{name}_strangers", maximum=0, doc=f"Values of `{name}` that are none of {known}."))
    return rules


def _limited(name: str, rate: Rate, limits: Limits) -> Expectation:
    low, high = (limits[key] if key else None for key in (rate.minimum, rate.maximum))
    return Expectation(name=name, doc=rate.doc, minimum=low, maximum=high, daily=True)
