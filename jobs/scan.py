"""Look at every row that is about to be published, once more, and stop the publication if one breaks a promise.

Reads ``recommendations``, ``fallback_recommendations``, ``user_features``, ``video_features``, the near-duplicates of the
bundle ``serving``, and the lists of the day before; writes ``last_scan.json``, without which ``publish`` does nothing. Shares
no code with what made the lists: a fault there is not repeated here. A breach is an error that names the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, Field
from pyspark.sql import functions as f

from conf import Section, load
from jobs import _bundles, _due, _lane, _last_scan, _scan_lengths, _scan_lists, _stage, _verdict
from jobs._due import Due
from jobs._recipe import State, Status, code_version
from jobs._scan_figures import BEFORE, TODAY, Day, figures
from jobs._scan_videos import hard_limits, near_duplicates, video_facts
from jobs._session import read_files, spark_session
from jobs._stage import Context, Report
from jobs._tables import Manifest, Partition, Pending, TableError, Unit
from jobs._window import DAY, iso, midnight, parse_time
from models.bundle import Bundle
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, USER_FEATURES, VIDEO_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError

EVERYONE = "all"
_TABLES = (RECOMMENDATIONS, FALLBACK_RECOMMENDATIONS, USER_FEATURES, VIDEO_FEATURES)
_CATALOGUE = "catalogue"
_CODE = (
    "jobs/scan.py", "jobs/_scan_figures.py", "jobs/_scan_lengths.py", "jobs/_scan_lists.py", "jobs/_scan_videos.py", "schemas",
)  # fmt: skip


class ScanConfig(Section):
    """Section ``scan``."""

    near_duplicates: bool
    """Whether a list may hold one only of several videos that are nearly the same. False where no rule sees to that."""
    max_coverage_ratio: float | None = Field(ge=1)
    """Share of the catalogue that lists show: at most so many times yesterday's, at least yesterday's over this; null: any."""
    max_popularity_share_change: float | None = Field(ge=0, le=1)
    """Share of rows that show a popular video: at most so much above or below yesterday's; null: any."""
    head_fraction: float = Field(gt=0, le=1)
    """Most popular share of the videos that may be shown: these count as popular."""
    shown_rows: int = Field(ge=1)
    """Offending rows that each failed check names."""


class ListsConfig(Section):
    """What the scan has to know of section ``recommend``: how long lists are, and limits that no rule may exceed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    k: int = Field(ge=1)
    """Videos in a user's list."""
    rules: tuple[dict[str, Any], ...]
    """S6: what re-ranks; read for hard limits only."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    passed: bool
    expected: str
    found: str
    rows: int = 0
    """Offending rows; of ``coverage`` and ``length`` the lists."""
    lists: int = 0
    """Lists with offending rows."""
    first: tuple[Mapping[str, Any], ...] = ()
    """The first of them."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a scan looks at, and what it looks for."""

    config: ScanConfig
    k: int
    limits: Mapping[str, float]
    tables: Mapping[str, Manifest]
    serving: Bundle
    before: Partition | None
    """The newest earlier day whose lists may have been published; None for a delta, which is compared with none."""
    due: Due | None
    """Of a delta: whose lists it must hold, and nobody else's."""
    basis: Mapping[str, Any]


def run(context: Context) -> Report:
    """Scan unless exactly this was scanned already.

    Raises:
        ReelflowError: a check failed, now or when exactly this was scanned.
    """
    due = _due.standing(context) if context.lane == _lane.HOURLY else None
    if isinstance(due, str):
        return Report(notes=[due], facts={"status": "superseded"})
    inputs = _inputs(context, due)
    found, status = _last_scan.check(context, inputs.basis)
    again = found is None or not status.current or context.force
    if found is None or again:
        found = _scan(context, inputs)
        _last_scan.write(context, found)
    if not found["passed"]:
        raise ReelflowError(_last_scan.refusal(found))
    seen = {name: int(found["figures"][name]) for name in ("rows", "lists", "fallback rows")}
    facts = {name: found["figures"][TODAY].get(name) for name in ("coverage", "popularity_share")}
    return Report(
        read=seen, notes=[f"passed {len(found['checks'])} checks", *found["skipped"]], facts=facts, up_to_date=not again
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the day's scan stands; one that stopped the publication has to be made again."""
    due = _due.standing(context) if context.lane == _lane.HOURLY else None
    if isinstance(due, str):
        return [Unit("last scan", Partition(context.last_day), Status(State.CURRENT, due))]
    found, status = _last_scan.check(context, _inputs(context, due).basis)
    if found is not None and status.current and not found["passed"]:
        failed = ", ".join(check["name"] for check in found["checks"] if not check["passed"])
        status = Status(State.STALE, f"it stopped the publication: {failed}")
    return [Unit("last scan", Partition(context.last_day), status)]


def _inputs(context: Context, due: Due | None = None) -> _Inputs:
    """What is to be scanned.

    Raises:
        ReelflowError: the gate did not pass the models, or something is not there.
    """
    _verdict.require_pass(context)
    today, tables = Partition(context.last_day), {}
    for table in _TABLES:
        manifest = (context.lists if table in _last_scan.PUBLISHED else context.lake).manifest(table, today)
        if manifest is None:
            raise TableError(f"table {table.name}: no partition {today.path}; run recommend --as-of {iso(context.as_of)} first")
        tables[table.name] = manifest
    config, lists = load("scan", ScanConfig), load("recommend", ListsConfig)
    serving = _bundles.open_at(context, _bundles.SERVING)
    limits, before = hard_limits(lists.rules), _day_before(context) if due is None else None
    earlier = {} if before is None else {t.name: context.lake.digest(t, [before]) for t in (RECOMMENDATIONS, VIDEO_FEATURES)}
    basis = {
        "as_of": iso(context.as_of),
        **{name: manifest.digest for name, manifest in tables.items()},
        _bundles.SERVING: serving.digest,
        BEFORE: {"partition": before.path if before else None, **earlier},
        "settings": {"k": lists.k, "limits": limits, **config.model_dump(mode="json")},
        "code": code_version(*_CODE),
        **({} if due is None else {"due": due.digest}),
    }
    return _Inputs(config, lists.k, limits, tables, serving, before, due, basis)


def _day_before(context: Context) -> Partition | None:
    """The newest earlier day whose lists lie in the lake with the videos of their time, and were not stopped by a scan."""
    lake = context.lake
    for day in reversed(lake.every(RECOMMENDATIONS)):
        if day.dt >= context.last_day or any(lake.archived(table, day) for table in (RECOMMENDATIONS, VIDEO_FEATURES)):
            continue
        lists, videos = (lake.manifest(table, day) for table in (RECOMMENDATIONS, VIDEO_FEATURES))
        if lists is None or videos is None:
            continue
        as_of = lists.parameters.get("as_of")
        scanned = _last_scan.read(context, parse_time(as_of)) if as_of else None
        if scanned is None or scanned["passed"] or scanned["basis"].get(RECOMMENDATIONS.name) != lists.digest:
            return day
    return None


def _scan(context: Context, inputs: _Inputs) -> dict[str, Any]:
    """Look at everything; the content of ``last_scan.json``."""
    spark, lake, today, config = spark_session("scan"), context.lake, Partition(context.last_day), inputs.config
    context.say(f"{inputs.tables[RECOMMENDATIONS.name].rows:,} rows")

    def facts(day: Partition, alike: pa.Table) -> Any:
        at = context.as_of if day == today else midnight(day.dt) + DAY
        return video_facts(spark, lake.files(VIDEO_FEATURES, [day]), at, inputs.limits, alike)

    alike = near_duplicates(inputs.serving.path / _CATALOGUE)
    users, shown, fallback = (
        read_files(spark, table, of.files(table, [today]))
        for of, table in ((lake, USER_FEATURES), *((context.lists, table) for table in _last_scan.PUBLISHED))
    )
    if inputs.due is not None:  # each of them must have a list, active or not, and nobody else
        due = spark.createDataFrame(pa.table({col.USER_ID: pa.array(inputs.due.users)}))  # unique
        users = users.join(due, on=col.USER_ID, how="left_semi").withColumn(col.INTERACTION_COUNT, f.lit(1))
    videos = facts(today, alike)
    lists = _scan_lists.judged(users, shown, fallback, videos, inputs.k, alike=config.near_duplicates)
    # Right lists are looked at once; of a copy of them nobody would read a row again.
    totals = _scan_lists.totals(lists)
    checks, named = list(_counted(inputs, totals)), _scan_lists.to_be_named(lists).persist()
    try:
        checks += [*_of_rows(named, totals, config.shown_rows), *_of_lengths(named, videos, totals, inputs)]
    finally:
        named.unpersist()
    checks += _of_segments(context)
    days = {TODAY: Day(shown, videos)}
    if inputs.before is not None:
        earlier = read_files(spark, RECOMMENDATIONS, lake.files(RECOMMENDATIONS, [inputs.before]))
        days[BEFORE] = Day(earlier, facts(inputs.before, alike.slice(0, 0)))
    measured = figures(days, config.head_fraction)
    compared, skipped = _bounds(measured, inputs)
    checks += compared
    return {
        "passed": all(check.passed for check in checks),
        "basis": inputs.basis,
        "figures": {
            **{name: totals[name] for name in ("rows", "lists", "active users", "fallback rows", "segments")},
            **measured,
        },
        "checks": [asdict(check) for check in checks],
        "skipped": skipped,
    }


def _counted(inputs: _Inputs, totals: _scan_lists.Totals) -> Iterator[Check]:
    """Whether every row was looked at."""
    for name, table in (("rows", RECOMMENDATIONS), ("fallback rows", FALLBACK_RECOMMENDATIONS)):
        found, expected = totals[name], inputs.tables[table.name].rows
        yield Check(name.replace(" ", "_"), found == expected, f"{expected:,}", f"{found:,} rows")


def _of_rows(lists: Any, totals: _scan_lists.Totals, shown: int) -> Iterator[Check]:
    """The checks that name rows."""
    offenders = _scan_lists.first_offenders(lists, [name for name in _scan_lists.CHECKS if totals[name]], shown)
    for name in _scan_lists.CHECKS:
        rows, bad = totals[name], totals[f"{name}.lists"]
        expected = _scan_lists.EXPECTED[name.removeprefix(_scan_lists.OF_SEGMENTS)]
        yield Check(
            name,
            not bad,
            expected,
            f"{rows:,} rows in {bad:,} lists" if bad else "none",
            rows,
            bad,
            tuple(offenders.get(name, ())),
        )


def _of_lengths(lists: Any, videos: Any, totals: _scan_lists.Totals, inputs: _Inputs) -> Iterator[Check]:
    """Whether every active user has a list, and every list its length."""
    k, alike, shown = inputs.k, inputs.config.near_duplicates, inputs.config.shown_rows
    found: Mapping[str, tuple[int, list[dict[str, Any]]]] = {"coverage": (0, []), "length": (0, [])}
    if totals["wanting"]:
        wrong = _scan_lengths.wrong_lengths(lists, videos, k, alike=alike)
        found = _scan_lengths.missing_and_misfits(wrong, shown)
    for name, expected, what in (
        ("coverage", "a list for every active user", "active users without a list"),
        ("length", f"{k} videos, or all that may be shown to the user", "lists of another length"),
    ):
        users, first = found[name]
        yield Check(name, not users, expected, f"{users:,} {what}" if users else "none", users, users, tuple(first))


def _of_segments(context: Context) -> Iterator[Check]:
    """Whether the list for everyone is there, and every list that another one falls back to."""
    columns = [col.SEGMENT, col.PARENT]
    table = context.lists.read(FALLBACK_RECOMMENDATIONS, [Partition(context.last_day)], columns).group_by(columns).aggregate([])
    segments = set(table[col.SEGMENT].to_pylist())
    there = EVERYONE in segments
    yield Check("fallback_all", there, f"a list of segment {EVERYONE}", f"{len(segments):,} others" if not there else "it")
    pairs = ((row[col.SEGMENT], row[col.PARENT]) for row in table.to_pylist())
    lost = sorted((segment, parent) for segment, parent in pairs if parent and parent not in segments)
    shown = lost[: load("scan", ScanConfig).shown_rows]
    first = tuple({col.SEGMENT: segment, col.PARENT: parent} for segment, parent in shown)
    found = f"{len(lost):,} segments whose parent has none" if lost else "none"
    yield Check("fallback_parents", not lost, "parents that have lists", found, len(lost), len(lost), first)


def _bounds(measured: Mapping[str, Mapping[str, float]], inputs: _Inputs) -> tuple[list[Check], list[str]]:
    """The day's figures against yesterday's; what was not compared, and why."""
    if inputs.due is not None:
        return [], []
    if inputs.before is None:
        return [], ["no earlier lists to compare with"]
    today, before, checks = measured.get(TODAY, {}), measured.get(BEFORE, {}), []
    if "coverage" not in today or "coverage" not in before:
        return [], [f"{inputs.before.path} not compared: one of the two days shows nothing"]
    ratio, change = inputs.config.max_coverage_ratio, inputs.config.max_popularity_share_change
    bounds = {
        "coverage": None if ratio is None else (before["coverage"] / ratio, before["coverage"] * ratio),
        "popularity_share": None
        if change is None
        else (before["popularity_share"] - change, before["popularity_share"] + change),
    }
    for name, limits in bounds.items():
        if limits is not None:
            low, high = max(0.0, limits[0]), min(1.0, limits[1])
            expected = f"{low:.4f} to {high:.4f}, by the {before[name]:.4f} of {inputs.before.path}"
            title = {"coverage": "catalogue_coverage"}.get(name, name)
            checks.append(Check(title, limits[0] <= today[name] <= limits[1], expected, f"{today[name]:.4f}"))
    off = [name for name, limits in bounds.items() if limits is None]
    return checks, [f"not compared: {', '.join(off)}"] if off else []


def main() -> None:
    """Command line: ``python -m jobs.scan --as-of ISO``."""
    _stage.main("scan", run, __doc__)


if __name__ == "__main__":
    main()
