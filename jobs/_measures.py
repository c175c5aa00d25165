"""The numbers that expectations are about: measured on partitions and days from manifests alone, so in milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from statistics import median
from typing import Any

from jobs._judge import DUPLICATE, REFUSED
from jobs._profile import profile
from jobs._recipe import canonical
from jobs._tables import Lake, Manifest, Partition
from jobs._window import DAY, HOUR, Window, parse_time
from schemas import INTERACTIONS, REJECTED, REJECTED_SNAPSHOTS, USERS, VIDEOS, Table
from schemas import columns as col
from schemas.expectations import NULL_RISE, OF_THE_WINDOW, Expectation

READ = "read"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is measured: a table, within what a run reads, and the part of it that the run is for."""

    lake: Lake
    table: Table
    window: Window
    """All that the run reads; every partition in it is held to the value rules."""
    requested: Window
    """What the run is for; every day in it is held to the rate rules."""


@dataclass(frozen=True, slots=True)
class Trailing:
    """Which days before a day it is compared with."""

    days: int
    at_least: int
    """With fewer of them there is no comparison."""
    min_rows: int
    """A day with fewer rows, or whose trailing days have fewer, says nothing about rates."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One partition, or one day of a table of hours, and what was measured on it."""

    label: str
    partitions: tuple[Partition, ...]
    digest: str
    """Of those partitions."""
    numbers: Mapping[str, float]


def measure(scope: Scope, rules: Sequence[Expectation], trailing: Trailing) -> list[Measured]:
    """Measure what a table's suite is about: each partition, and each day that the run is for.

    Args:
        scope: what to measure.
        rules: the table's suite.
        trailing: how days are compared with those before them.
    """
    lake, table, requested = scope.lake, scope.table, scope.requested
    within = scope.window if table in OF_THE_WINDOW else requested
    earlier = Window(requested.start - trailing.days * DAY, requested.start)
    known = _Manifests(lake, table, [*lake.partitions(table, within), *lake.partitions(table, earlier)])
    found = {}
    for partition in lake.partitions(table, within):
        made = known[partition]
        found[partition.path] = Measured(partition.path, (partition,), made.digest, _of_partition(table, made))
    for day in requested.days():
        spots = _spots(table, requested, day)
        if not any(spot in known for spot in spots) and "hr" not in table.partitioned_by:
            continue  # a state is made for the last day of a run only
        numbers = _of_day(scope, known, day, rules, trailing)
        if table == INTERACTIONS and day == list(requested.days())[-1]:
            numbers["hours_since_newest_event"] = _silence(known, within)
        label = f"dt={day.isoformat()}"
        if label in found:
            found[label] = replace(found[label], numbers={**found[label].numbers, **numbers})
        elif numbers:
            found[label] = Measured(label, tuple(spots), lake.digest(table, spots), numbers)
    names = {rule.name for rule in rules}
    return [replace(row, numbers={name: row.numbers[name] for name in row.numbers if name in names}) for row in found.values()]


def digest(rows: Iterable[Measured]) -> str:
    """One digest of what was measured and of what it was measured on."""
    content = [(row.label, row.digest, dict(row.numbers)) for row in rows]
    return hashlib.sha256(canonical(content).encode()).hexdigest()


class _Manifests(dict[Partition, Manifest]):
    """The manifests of some partitions, each with a profile."""

    def __init__(self, lake: Lake, table: Table, partitions: Iterable[Partition]) -> None:
        super().__init__()
        for partition in partitions:
            found = None if partition in self else lake.manifest(table, partition)
            if found is not None:
                # Made before there were profiles; the files of an archived one are not at hand.
                if not found.profile and not lake.archived(table, partition):
                    found = replace(found, profile=profile(table, lake.files(table, [partition])))
                self[partition] = found

    def of(self, partitions: Iterable[Partition]) -> list[Manifest]:
        """Those of the given partitions that exist."""
        return [self[partition] for partition in partitions if partition in self]


def _of_partition(table: Table, made: Manifest) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for field in table.fields:
        seen: Mapping[str, Any] = made.profile.get("columns", {}).get(field.name, {})
        if "nulls" in seen:
            numbers[f"{field.name}_nulls"] = seen["nulls"]
        if field.minimum is not None and "min" in seen:
            numbers[f"{field.name}_minimum"] = seen["min"]
        if field.maximum is not None and "max" in seen:
            numbers[f"{field.name}_maximum"] = seen["max"]
        if field.allowed is not None and "values" in seen:
            numbers[f"{field.name}_strangers"] = len(set(seen["values"]) - set(field.allowed))
    if "keys" in made.profile:
        numbers["repeated_keys"] = made.rows - made.profile["keys"]
    return numbers


def _of_day(scope: Scope, known: _Manifests, day: date, rules: Sequence[Expectation], trailing: Trailing) -> dict[str, float]:
    """Rates of one day, and how it compares with the same hours of the days before it."""
    table, spots = scope.table, _spots(scope.table, scope.requested, day)
    made = known.of(spots)
    numbers = _shares(scope.lake, table, made, day, trailing.min_rows)
    rows = sum(one.rows for one in made)
    earlier = [known.of(Partition(day - back * DAY, spot.hr) for spot in spots) for back in range(1, trailing.days + 1)]
    earlier = [one for one in earlier if one]
    usual = median(sum(one.rows for one in day_made) for day_made in earlier) if earlier else 0
    if len(earlier) < trailing.at_least or usual < trailing.min_rows:
        return numbers
    numbers["volume_ratio"] = rows / usual
    if rows >= trailing.min_rows:
        for field in table.fields:
            name = f"{field.name}_{NULL_RISE.name}"
            if any(rule.name == name for rule in rules):
                before = [share for one in earlier if (share := _null_share(one, field.name)) is not None]
                now = _null_share(made, field.name)
                if now is not None and len(before) >= trailing.at_least:
                    numbers[name] = now - median(before)
    return numbers


def _shares(lake: Lake, table: Table, made: Sequence[Manifest], day: date, min_rows: int) -> dict[str, float]:
    """Rates of one day that need no other day; those of few rows are left out."""
    numbers: dict[str, float] = {}
    read = sum(one.counts.get(READ, 0) for one in made)
    if table in (REJECTED, INTERACTIONS) and read >= max(min_rows, 1):
        name, count = ("rejected_share", REFUSED) if table == REJECTED else ("duplicate_share", DUPLICATE)
        numbers[name] = sum(one.counts.get(count, 0) for one in made) / read
    if table == REJECTED_SNAPSHOTS and made:
        good = [lake.manifest(other, Partition(day)) for other in (VIDEOS, USERS)]
        rows = made[0].rows + sum(one.rows for one in good if one)
        if rows >= max(min_rows, 1):
            numbers["rejected_share"] = made[0].rows / rows
    weighted = [one.profile["weighted"] for one in made if "weighted" in one.profile]
    total = sum(weight for _, weight in weighted)
    if total and sum(one.rows for one in made) >= min_rows:
        numbers["label_rate"] = sum(value for value, _ in weighted) / total
    lists = [one.profile["lists"] for one in made if "lists" in one.profile]
    if lists:
        numbers["lists"] = sum(one["lists"] for one in lists)
        if numbers["lists"]:
            numbers["full_list_share"] = sum(one["full"] for one in lists) / numbers["lists"]
    return numbers


def _silence(known: _Manifests, window: Window) -> float:
    """Hours from the newest event of the window to its end; all of the window's when there is none."""
    inside = (made for partition, made in known.items() if window.start <= partition.start < window.end)
    newest: list[datetime] = []
    for made in inside:
        seen = made.profile.get("columns", {}).get(col.OCCURRED_AT, {})
        newest += [parse_time(seen["max"])] if "max" in seen else []
    return (window.end - max(newest, default=window.start)) / HOUR


def _null_share(made: Sequence[Manifest], column: str) -> float | None:
    rows = sum(one.rows for one in made)
    seen = [one.profile.get("columns", {}).get(column, {}) for one in made]
    if not rows or any("nulls" not in one for one in seen):
        return None
    return float(sum(one["nulls"] for one in seen) / rows)


def _spots(table: Table, requested: Window, day: date) -> list[Partition]:
    """The partitions that a table may have on a day, as far as the run is for them."""
    if "hr" not in table.partitioned_by:
        return [Partition(day)]
    return [Partition.hour(hour) for hour in requested.hours() if hour.date() == day]
