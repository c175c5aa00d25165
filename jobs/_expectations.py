"""When suites run, where their results lie, and how a failed one stops what comes after it.

``runs/<as_of>/expectations/<table>.json`` holds the result of a table's suite, bound to the digests of what was measured. While
measures and rules stay the same the result does, whether it is a pass or not, and Great Expectations is not even imported.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from conf import Section, load
from jobs._lane import HOURLY
from jobs._measures import Measured, Scope, Trailing, digest, measure
from jobs._recipe import canonical
from jobs._swap import read_json, replace_json
from jobs._tables import Partition
from jobs._window import Window, compact, iso
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, TABLES, Table
from schemas.errors import ReelflowError
from schemas.expectations import OF_THE_WINDOW, READS, WRITES, Expectation, suite

if TYPE_CHECKING:
    from jobs._stage import Context

FOLDER = "expectations"
_SHOWN = 3


class ExpectationsConfig(Section):
    """Section ``expectations``; null switches a limit off."""

    accept: tuple[str, ...]
    """Failures that a person accepts: ``table:expectation`` or ``table:expectation@dt=YYYY-MM-DD[/hr=HH]``."""
    min_rows: int = Field(ge=0)
    """A day with fewer rows says nothing about rates."""
    trailing_days: int = Field(ge=1)
    """Days before a day that it is compared with."""
    min_trailing_days: int = Field(ge=1)
    """With fewer of them there is no comparison."""
    max_rejected_share: float | None
    """Of the rows read."""
    max_duplicate_share: float | None
    """Of the rows read."""
    min_volume_ratio: float | None
    """Rows of a day over the median of its trailing days."""
    max_volume_ratio: float | None
    """The same, from above."""
    max_null_rise: float | None
    """Share of nulls of an optional column less its median of the trailing days."""
    max_hours_since_newest_event: float | None
    """Between the newest interaction and the end of the window."""
    min_label_rate: float | None
    """Weighted share of examples with label 1."""
    max_label_rate: float | None
    """The same, from above."""
    min_full_list_share: float | None
    """Recommendation lists as long as the longest one."""
    min_lists: float | None
    """Recommendation lists, and fallback lists."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that does not hold on a partition or day."""

    expectation: str
    where: str
    observed: float | None
    partitions: tuple[str, ...]
    digest: str
    """Of those partitions when it was found."""


def check_reads(context: Context) -> None:
    """Refuse to start while a table that the stage reads is known to break its suite.

    Any run's failure counts if it concerns partitions that this run reads, as they are now, and breaks the limits of now.

    Raises:
        ReelflowError: it is; the message says where and what to do.
    """
    if context.stage not in READS:
        return
    config = _config()
    for table in READS[context.stage]:
        for found in _failed_results(context, table):
            failures = [one for one in _failures(found) if _concerns(context, table, one)]
            _stop(table, _standing(table, failures, config), config, found["as_of"], f"{context.stage} does not read it")


def check_writes(context: Context) -> None:
    """Validate the tables that the stage writes, unless that was done for exactly these partitions and rules.

    Raises:
        ReelflowError: a suite failed, now or when these very partitions were validated.
    """
    tables = WRITES.get(context.stage, ())
    if context.lane == HOURLY:  # an hour's lists are no partition of the lake's, and too few to have rates
        tables = tuple(table for table in tables if table not in (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS))
    if not tables:
        return
    config = _config()
    failed: list[tuple[Table, list[Failure]]] = []
    fresh: dict[str, int] = {}
    for table in tables:
        rules = suite(table, config.model_dump())
        rows = measure(Scope(context.lake, table, context.window, context.requested), rules, _trailing(config))
        if not rows:
            continue
        found = read_json(_path(context, table), "result", "the stage")
        if found is None or (found["suite"], found["digest"]) != (_version(rules), digest(rows)):
            found = _validate(context, table, rules, rows, _failures(found or {"failures": ()}))
            fresh[table.name] = len(rules)
        failures = _failures(found)
        standing = _standing(table, failures, config)
        accepted = sorted({f"{one.expectation}@{one.where}" for one in failures if one not in standing})
        _write(_path(context, table), {**found, "passed": not standing, "accepted": accepted})
        for name in accepted:
            context.say(f"expectations: {table.name}:{name} fails and is accepted by the configuration")
        if standing:
            failed.append((table, standing))
    if fresh:
        context.say(f"expectations: {sum(fresh.values()):,} of {len(fresh)} tables validated")
    for table, standing in failed:
        _stop(table, standing, config, iso(context.as_of), f"nothing after {context.stage} reads it")


def results(context: Context) -> dict[str, dict[str, Any]]:
    """The stored results of this run by table, in the order in which data flows."""
    found = {table.name: read_json(_path(context, table), "result", "the stage") for table in TABLES}
    return {name: result for name, result in found.items() if result is not None}


def rules_of(result: Mapping[str, Any]) -> list[Expectation]:
    """The rules that a stored result was found with."""
    return [Expectation(**rule) for rule in result["rules"]]


def _config() -> ExpectationsConfig:
    """Section ``expectations``.

    Raises:
        ReelflowError: ``accept`` names something that no suite has.
    """
    config = load("expectations", ExpectationsConfig)
    known = [f"{table.name}:{rule.name}" for table in TABLES for rule in suite(table, config.model_dump())]
    for name in config.accept:
        if name.partition("@")[0] not in known:
            close = difflib.get_close_matches(name.partition("@")[0], known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "docs/data.md lists them"
            raise ReelflowError(f"expectations.accept: {name!r} is no table:expectation of any suite; {hint}")
    return config


def _trailing(config: ExpectationsConfig) -> Trailing:
    return Trailing(config.trailing_days, config.min_trailing_days, config.min_rows)


def _version(rules: Sequence[Expectation]) -> str:
    return hashlib.sha256(canonical([asdict(rule) for rule in rules]).encode()).hexdigest()[:16]


def _validate(
    context: Context, table: Table, rules: Sequence[Expectation], rows: Sequence[Measured], before: Sequence[Failure]
) -> dict[str, Any]:
    """Run a suite; failures ``before`` on what is not measured now, such as the days of a longer window, stay."""
    from jobs import _quality  # 4 s: only when something has to be validated

    result = _quality.validate(table.name, rules, rows)
    by_label = {row.label: row for row in rows}
    failures = []
    for name, where, observed in _quality.broken(result):
        partitions = [p for row in ([by_label[where]] if where else rows) for p in row.partitions]
        paths = tuple(partition.path for partition in partitions)
        failures.append(Failure(name, where, observed, paths, context.lake.digest(table, partitions)))
    measured = {(name, row.label) for row in rows for name in row.numbers}
    failures += [one for one in before if (one.expectation, one.where) not in measured and _is_live(context, table, one)]
    return {
        "table": table.name,
        "as_of": iso(context.as_of),
        "passed": not failures,
        "accepted": [],
        "suite": _version(rules),
        "digest": digest(rows),
        "failures": [asdict(one) for one in failures],
        "rules": [asdict(rule) for rule in rules],
        "result": result,
    }


def _failures(found: Mapping[str, Any]) -> list[Failure]:
    return [Failure(**{**one, "partitions": tuple(one["partitions"])}) for one in found["failures"]]


def _standing(table: Table, failures: Sequence[Failure], config: ExpectationsConfig) -> list[Failure]:
    """The failures that break the limits of now and that nobody accepted."""
    rules = {rule.name: rule for rule in suite(table, config.model_dump())}
    return [
        one
        for one in failures
        if one.expectation in rules
        and (one.observed is None or not rules[one.expectation].holds(one.observed))
        and not {f"{table.name}:{one.expectation}", f"{table.name}:{one.expectation}@{one.where}"} & set(config.accept)
    ]


def _concerns(context: Context, table: Table, failure: Failure) -> bool:
    """Whether a failure is about partitions that this run reads, as they are now."""
    within = context.window if table in OF_THE_WINDOW else context.requested
    return any(_inside(one, within) for one in _partitions(failure)) and _is_live(context, table, failure)


def _is_live(context: Context, table: Table, failure: Failure) -> bool:
    """Whether the partitions of a failure are still what they were."""
    return context.lake.digest(table, _partitions(failure)) == failure.digest


def _partitions(failure: Failure) -> list[Partition]:
    return [Partition.parse(Path(path)) for path in failure.partitions]


def _inside(partition: Partition, window: Window) -> bool:
    return partition.dt in window.days() if partition.hr is None else window.start <= partition.start < window.end


def _failed_results(context: Context, table: Table) -> Iterator[Mapping[str, Any]]:
    """Results with failures, of any run that can have seen a partition of this window: one that ends after it starts."""
    first = compact(context.window.start)
    for path in sorted(context.paths.runs.glob(f"*/{FOLDER}/{table.name}.json")):
        if path.parent.parent.name > first and '"failures": []' not in path.read_text(encoding="utf-8"):
            found = read_json(path, "result", "the stage")
            if found is not None:
                yield found


def _stop(table: Table, failures: Sequence[Failure], config: ExpectationsConfig, as_of: str, consequence: str) -> None:
    if not failures:
        return
    rules = {rule.name: rule for rule in suite(table, config.model_dump())}
    said = [
        f"{one.where or 'all partitions'}: expectation {one.expectation}: found "
        f"{'no number' if one.observed is None else f'{one.observed:.6g}'}, expected {rules[one.expectation].expected}"
        for one in failures[:_SHOWN]
    ]
    more = [f"{len(failures) - _SHOWN:,} more failures"] if len(failures) > _SHOWN else []
    writer = next(stage for stage, tables in WRITES.items() if table in tables)
    first = failures[0]
    name = f"{table.name}:{first.expectation}" + (f"@{first.where}" if first.where else "")
    raise ReelflowError(
        f"table {table.name} failed its suite as of {as_of}: {'; '.join([*said, *more])}; {consequence}. Mend what it is made "
        f"from and run {writer} again, or accept it by adding {name!r} to expectations.accept (docs/operations.md, "
        f"a suite failed)"
    )


def _path(context: Context, table: Table) -> Path:
    return context.run_folder / FOLDER / f"{table.name}.json"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a result, if it changed."""
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != content:
        replace_json(path, content)
