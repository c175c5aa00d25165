"""Say what a run did, for a person: what was read, refused, trained and published, how good it is, and where it lies.

Reads the reports of the stages, the verdict, and the serving store; writes ``summary.txt`` beside them. Run by a
backfill (``REELFLOW_KIND=backfill``) it also sums up all days of it, in ``backfill.txt``. ``--start ISO --end ISO``
prints such a summary of any days.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import _approval, _evaluation, _expectations, _range_summary, _shadow, _stage, _verdict, data_docs
from jobs._stage import Context, Report
from jobs._tables import Partition
from jobs._window import DAY, HOUR, iso, midnight
from schemas import INTERACTIONS, RECOMMENDATIONS, REJECTED, USER_FEATURES, VIDEOS
from schemas import columns as col
from serving import RecommendationReader, open_store, titles
from serving.reader import render

FILE = "summary.txt"
STAGES = (
    "ingest", "examples", "text", "features", "train_wals", "train_towers", "evaluate", "noise_floor", "gate", "index",
    "recommend", "scan", "publish",
)  # fmt: skip
_FIGURES = ("ndcg@10", "recall@10", "precision@10", "recall@100", "coverage@100")
_LISTS = (
    ("popularity", "popularity_"),
    ("by segment", "popularity_by_segment_"),
    ("WALS", "wals_"),
    ("retrieval", "retrieval_"),
    ("ranker", "ranker_"),
    ("final list", ""),
)


def run(context: Context) -> Report:
    """Write the summary of this ``as_of``, or print that of a range of days."""
    publications = open_store(context.paths.store).publications()
    if context.window == context.requested and context.window.end - context.window.start > DAY:
        print(_range_summary.of_days(context.paths.runs, context.window, STAGES, publications), end="", flush=True)
        return Report(notes=["nothing is written"])
    reports = {stage: _json(context, f"{stage}.json") for stage in STAGES}
    verdict = _verdict.read(context) or {}
    blocks = [
        [f"reelflow as of {iso(context.as_of)}"],
        _data(context),
        _stages(context, reports),
        _expectations_block(context),
        _quality(verdict),
        _live(context, verdict),
        _shadow_block(context),
        _homepage(context),
        _places(context),
    ]
    text = "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
    context.run_folder.mkdir(parents=True, exist_ok=True)
    target = context.run_folder / FILE
    target.write_text(text, encoding="utf-8")
    notes = [f"written to {target}"]
    if context.as_of == midnight(context.as_of.date()):
        kind = os.environ.get("REELFLOW_KIND")
        whole = _range_summary.note_backfill(context.paths.runs, context.last_day, kind, STAGES, publications)
        notes += [f"all days of the backfill: {whole}"] if whole else []
    return Report(notes=notes)


def _json(context: Context, name: str) -> dict[str, Any]:
    path = context.run_folder / name
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


def _data(context: Context) -> list[str]:
    """Rows in and out of the look-back, from the manifests (E3)."""
    lake = context.lake
    hours = [Partition.hour(hour) for hour in context.window.hours()]
    refused = [found for hour in hours if (found := lake.manifest(REJECTED, hour))]
    counts: dict[str, int] = {}
    for manifest in refused:
        for name, value in manifest.counts.items():
            counts[name] = counts.get(name, 0) + value
    kept = sum(found.rows for hour in hours if (found := lake.manifest(INTERACTIONS, hour)))
    rejected = sum(manifest.rows for manifest in refused)
    read, duplicates = counts.get("read", 0), counts.get("duplicate", 0)
    balance = "balanced" if read == kept + duplicates + rejected else "NOT BALANCED"
    ours = ("read", "kept", "duplicate", "rejected")
    reasons = ", ".join(f"{name} {value:,}" for name, value in sorted(counts.items()) if name not in ours)
    today = Partition(context.last_day)
    users, videos = lake.manifest(USER_FEATURES, today), lake.manifest(VIDEOS, today)
    return [
        f"Data        {len(refused):,} hours: {read:,} rows in = "
        f"{kept:,} kept + {duplicates:,} duplicates + {rejected:,} rejected ({balance})",
        *([f"            rejected: {reasons}"] if reasons else []),
        f"            {users.rows if users else 0:,} users, {videos.rows if videos else 0:,} videos",
    ]


def _stages(context: Context, reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = ["Stages      " + f"{'stage':<14}{'seconds':>8}{'with start-up':>15}{'peak MB':>9}"]
    for stage, report in reports.items():
        if (context.run_folder / f"{stage}.error").exists():
            said = (context.run_folder / f"{stage}.error").read_text(encoding="utf-8").strip()
            lines.append(f"            {stage:<14}failed: {said}")
        elif not report:
            lines.append(f"            {stage:<14}did not run")
        else:
            figures = f"{report['seconds']:>8.1f}{report['process_seconds']:>15.1f}{report['peak_memory_mb']:>9,}"
            lines.append(f"            {stage:<14}{figures}{'  up to date' if report['up_to_date'] else ''}")
    return lines


def _expectations_block(context: Context) -> list[str]:
    """What the suites of this run's tables found, and what a person accepted (E7)."""
    results = _expectations.results(context)
    if not results:
        return []
    rules = sum(len(found["rules"]) for found in results.values())
    failed = [name for name, found in results.items() if not found["passed"]]
    accepted = [f"{name}:{rule}" for name, found in results.items() for rule in found["accepted"]]
    return [
        f"Suites      {rules:,} expectations on {len(results):,} tables: "
        + (f"failed on {', '.join(failed)}" if failed else "all tables passed"),
        *([f"            failing and accepted: {', '.join(accepted)}"] if accepted else []),
    ]


def _quality(verdict: Mapping[str, Any]) -> list[str]:
    if not verdict:
        return ["Verdict     none"]
    metrics = verdict["metrics"]
    lines = [f"Quality     on the held-out end of time, {int(metrics['users']):,} users, all videos"]
    if "ndcg@10" in metrics:
        lines.append("            " + f"{'list':<12}" + "".join(f"{name:>14}" for name in _FIGURES))
        for title, prefix in _LISTS:
            if prefix + "ndcg@10" not in metrics:  # a verdict from before this list was judged
                continue
            lines.append(f"            {title:<12}" + "".join(f"{metrics[prefix + name]:>14.4f}" for name in _FIGURES))
    lines.append(f"Verdict     {verdict['reason']}")
    if answer := _approval.said(verdict):
        lines.append(f"            {answer}")
    return lines


def _live(context: Context, verdict: Mapping[str, Any]) -> list[str]:
    live = open_store(context.paths.store).live()
    if live is None:
        return ["Live        nothing is published yet"]
    fresh = "this run" if live.as_of == context.as_of else "another run"
    said = [
        f"Live        version {live.version} ({live.model_version}) as of {iso(live.as_of)}, from {fresh}: "
        f"{live.users:,} users, {live.rows:,} rows, expires {iso(live.expires_at)}"
    ]
    if verdict and not _approval.stands(verdict):
        said.append("            the gate refused this run's models; what was live before stays live")
    return said


def _shadow_block(context: Context) -> list[str]:
    """How what is tried stands (G10); nothing where nothing is, or this run did without."""
    error = context.run_folder / "shadow.error"
    if error.exists():
        return [f"Shadow      failed: {error.read_text(encoding='utf-8').strip()}"]
    found = _shadow.read_report(context)
    if found is None:
        return []
    left_out = [f"            this run is not counted: {found['left_out']}"] if found["left_out"] else []
    return [f"Shadow      {found['said']}", *left_out, f"            {found['next']}"]


def _homepage(context: Context) -> list[str]:
    """The first rows of one active user's homepage."""
    today = Partition(context.last_day)
    if context.lake.manifest(RECOMMENDATIONS, today) is None or open_store(context.paths.store).live() is None:
        return []
    users = context.lake.read(USER_FEATURES, [today], [col.USER_ID, col.INTERACTION_COUNT])
    busiest = users.sort_by([(col.INTERACTION_COUNT, "descending"), (col.USER_ID, "ascending")])
    user_id = busiest[col.USER_ID][min(len(busiest) // 4, len(busiest) - 1)].as_py()
    page = RecommendationReader(open_store(context.paths.store)).get(user_id, 10, now=context.as_of + HOUR)
    names, _ = titles(context.paths.lake, [row.video_id for row in page.rows])
    return ["Homepage    of one user", *(f"            {line}" for line in render(page, names).splitlines())]


def _places(context: Context) -> list[str]:
    where = context.paths
    places: Sequence[tuple[str, object]] = (
        ("table", f"sqlite3 {where.store} 'SELECT * FROM recommendations LIMIT 5'"),
        ("homepage", f"{sys.executable} -m serving.reader USER_ID --store {where.store}"),
        ("lake", where.lake),
        ("models", where.bundles),
        ("reports", context.run_folder),
        *([("quality", page)] if (page := context.run_folder / _evaluation.PAGE).exists() else []),
        *([("shadow", page)] if (page := context.run_folder / _shadow.PAGE).exists() else []),
        *([("data docs", docs)] if (docs := context.run_folder / data_docs.PAGE).exists() else []),
        ("MLflow", f"{Path(sys.executable).with_name('mlflow')} ui --backend-store-uri sqlite:///{where.mlflow / 'mlflow.db'}"),
    )
    return [f"{title:<12}{place}" for title, place in (("Where", ""), *((f"  {name}", place) for name, place in places))]


def main() -> None:
    """Command line: ``python -m jobs.summary --as-of ISO``."""
    _stage.main("summary", run, __doc__)


if __name__ == "__main__":
    main()
