"""What the runs of a trial found so far, judged by what users did after each: a function of what was kept and of the log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conf import load
from jobs import _shadow
from jobs._recipe import code_version
from jobs._shadow import Kept, ShadowConfig
from jobs._stage import Context
from jobs._swap import read_json
from jobs._tables import Partition
from jobs._window import DAY, Window, compact, iso
from models import shadow
from models.evaluation import EvaluationConfig
from models.ids import IdMap
from models.shadow import METRICS, SIDES, Outcome
from schemas import EXAMPLES, EXPOSURES, VIDEO_FEATURES
from schemas import columns as col

Ints = NDArray[np.int64]

RUNNING, BETTER, WORSE, EQUAL, UNTOLD = "running", "better", "worse", "no difference", "too few to tell"
NEXT = {
    RUNNING: "It goes on with the next daily run. To end it, set shadow.name to null.",
    BETTER: "To promote it, move shadow.settings to their sections and set shadow.name to null: the next daily run trains "
    "with them, and the gate judges that run as any other.",
    WORSE: "Set shadow.name to null to end it. Users only saw the champion's lists, which favours it: where the difference "
    "is small beside what was never shown, a test with users may still say otherwise.",
    EQUAL: "Promote it where something else speaks for it, such as cost; or raise shadow.runs and go on.",
    UNTOLD: "Raise shadow.users or shadow.runs and go on.",
}
"""What to do in each state."""

_FIRST = METRICS[0]
_CODE = ("jobs/_shadow.py", "jobs/_shadow_report.py", "jobs/_shadow_page.py", "jobs/_report_html.py", "models", "schemas")
_COLUMNS = (col.USER_ID, col.VIDEO_ID, col.LABEL, col.WEIGHT, col.EXPOSURE, col.OCCURRED_AT)


def kept_until(context: Context, config: ShadowConfig) -> list[Kept]:
    """What the runs of the trial kept, up to this one."""
    return [kept for kept in _shadow.all_kept(context, config.trial) if kept.as_of <= context.as_of]


def basis(context: Context, config: ShadowConfig, runs: Sequence[Kept], left_out: str | None) -> dict[str, Any]:
    """All that the report depends on."""
    judged = [kept for kept in runs if _why_not_judged(context, kept) is None]
    examples = {iso(kept.as_of): context.lake.digest(EXAMPLES, _hours(context, kept)) for kept in judged}
    return {
        "trial": config.trial,
        "runs": config.runs,
        "kept": {iso(kept.as_of): kept.digest for kept in runs},
        "left_out": left_out,
        "examples": examples,
        "videos": context.lake.digest(VIDEO_FEATURES, [Partition(context.last_day)]),
        "evaluated_by": load("evaluation", EvaluationConfig).model_dump(mode="json"),
        "code_version": code_version(*_CODE),
    }


def ended(context: Context, config: ShadowConfig) -> dict[str, Any] | None:
    """The report of the first earlier run that could say what came out of the trial, or None.

    From then on it stands: later events change nothing, and the days that were judged may go to the archive.
    """
    for path in sorted(context.paths.runs.glob(f"*/{_shadow.REPORT}")):
        if path.parents[1].name >= compact(context.as_of):
            return None
        found = read_json(path, "report", "shadow")
        if found is None or found["state"] == RUNNING:
            continue
        if (found["trial"], found["runs"]["of"]) == (config.trial, config.runs):
            return found
    return None


def basis_after(over: Mapping[str, Any]) -> dict[str, Any]:
    """What a report depends on that comes after the end of its trial."""
    kept = ("trial", "as_of", "runs", "figures", "days")
    return {**{name: over[name] for name in kept}, "code_version": code_version(*_CODE)}


def again(context: Context, over: Mapping[str, Any]) -> dict[str, Any]:
    """What a run says after its trial has ended: the same, and since when."""
    left_out = f"the trial ended with the run as of {over['as_of']}"
    return {**over, "as_of": iso(context.as_of), "left_out": left_out, "basis": basis_after(over)}


def content(context: Context, config: ShadowConfig, runs: Sequence[Kept], made_from: Mapping[str, Any]) -> dict[str, Any]:
    """The report as plain values.

    Args:
        context: of the run.
        config: section ``shadow``.
        runs: what was kept up to this run, in order of time.
        made_from: the ``basis`` of these runs.
    """
    judging = load("evaluation", EvaluationConfig)
    young = _uploads(context)
    rows, outcomes = [], []
    for kept in runs:
        row = _of_run(kept)
        why = _why_not_judged(context, kept)
        if why is None:
            outcome, shown = _judge(context, kept, young)
            outcomes.append(outcome)
            row["judged"] = {**_own_figures(outcome), "shown": shown}
        rows.append({**row, "waits": why})
    figures = shadow.pooled(outcomes, judging)
    state = _state(config, len(runs), figures)
    return {
        "as_of": iso(context.as_of),
        "name": config.name,
        "trial": config.trial,
        "settings": config.settings,
        "runs": {"of": config.runs, "kept": len(runs), "judged": len(outcomes)},
        "left_out": made_from["left_out"],
        "state": state,
        "said": said(config, state, len(runs), figures),
        "next": NEXT[state],
        "figures": figures,
        "days": rows,
        "basis": dict(made_from),
    }


def said(config: ShadowConfig, state: str, kept: int, figures: Mapping[str, Any]) -> str:
    """The trial in one line."""
    head = f"{config.name}: {state}, {kept} of {config.runs} runs"
    if not figures["users"]:
        return f"{head}, no day is judged yet"
    return f"{head}; over {figures['days']} judged: " + ", ".join(_difference(name, figures[name]) for name in METRICS)


def metrics(content: Mapping[str, Any]) -> dict[str, float]:
    """What MLflow is told of a report."""
    runs = content["runs"]
    found = {"shadow_runs": float(runs["kept"]), "shadow_judged": float(runs["judged"])}
    for name in METRICS:
        found |= {f"{name}_{key}": value for key, value in content["figures"][name].items() if value is not None}
    newest = content["days"][-1]["lists_alike"] if content["days"] else {}
    return found | {name: value for name, value in newest.items() if value is not None}


def _state(config: ShadowConfig, kept: int, figures: Mapping[str, Any]) -> str:
    if kept < config.runs or figures["days"] < config.runs:
        return RUNNING
    ends = [(figures[name]["low"], figures[name]["high"]) for name in METRICS]
    if any(low is None for low, _ in ends):
        return UNTOLD
    if any(high < 0 for _, high in ends):
        return WORSE
    return BETTER if figures[_FIRST]["low"] > 0 else EQUAL


def _of_run(kept: Kept) -> dict[str, Any]:
    found = kept.content
    return {
        "as_of": iso(kept.as_of),
        "users": found["users"],
        "trained": found["trained"],
        "stale": found["stale"],
        "lists_alike": found["lists_alike"],
        "pearson": found["models_alike"]["pooled"]["pooled_pearson"],
        "gate": found["gate"],
        "metrics": found["metrics"],
    }


def _own_figures(outcome: Outcome) -> dict[str, Any]:
    """Of one day: how many users and videos, and the mean of each metric on both sides."""
    means = {
        side: {name: float(values.mean()) if len(values) else None for name, values in own.items()}
        for side, own in outcome.values.items()
    }
    return {"users": len(outcome.user_ids), "relevant": int(outcome.relevant.sum()), **means}


def _hours(context: Context, kept: Kept) -> list[Partition]:
    return context.lake.partitions(EXAMPLES, Window(kept.as_of, kept.as_of + DAY))


def _why_not_judged(context: Context, kept: Kept) -> str | None:
    """Why it is too early for what a run kept: the day after it must be known, and lie in the lake."""
    end = kept.as_of + DAY
    if end > context.as_of:
        return f"the day after it is known at {iso(end)}"
    there = {partition.path for partition in _hours(context, kept)}
    missing = [hour for hour in Window(kept.as_of, end).hours() if Partition.hour(hour).path not in there]
    return f"examples of {iso(missing[0])} are not in the lake" if missing else None


def _judge(context: Context, kept: Kept, uploads: tuple[Ints, Ints]) -> tuple[Outcome, dict[str, float | None]]:
    """What users found relevant in the day after a run, of the videos that were there when the lists were made.

    Returns:
        How well both lists foresaw it, and how much of each list's top its users were shown.
    """
    lists = kept.lists()
    ids = lists[col.USER_ID].to_numpy()
    rows = context.lake.read(EXAMPLES, _hours(context, kept), _COLUMNS)
    since = pa.scalar(kept.as_of, rows.schema.field(col.OCCURRED_AT).type)
    rows = rows.filter(pc.and_(pc.greater_equal(rows[col.OCCURRED_AT], since), pc.is_in(rows[col.USER_ID], pa.array(ids))))
    video_ids, uploaded = uploads
    places = IdMap(video_ids).lookup(rows[col.VIDEO_ID].to_numpy())
    there = (places >= 0) & (uploaded[places] <= int(kept.as_of.timestamp() * 1e6))
    relevant = rows.filter(pc.and_(pa.array(there), pc.equal(rows[col.LABEL], 1)))
    both = {side: _shadow.padded(lists[side]) for side in SIDES}
    watched = lists[col.WATCHED].combine_chunks()
    outcome = shadow.judge(ids, watched, both, (relevant[col.USER_ID].to_numpy(), relevant[col.VIDEO_ID].to_numpy()))
    seen = rows.filter(pc.equal(rows[col.EXPOSURE], EXPOSURES[0]))
    impressions = tuple(seen[name].to_numpy() for name in (col.USER_ID, col.VIDEO_ID, col.WEIGHT))
    shares = {side: shadow.shown(ids, both[side], impressions) for side in SIDES}
    return outcome, {side: None if math.isnan(share) else share for side, share in shares.items()}


def _uploads(context: Context) -> tuple[Ints, Ints]:
    """Ids of all videos, ascending, and when each was uploaded, in microseconds since 1970."""
    videos = context.lake.read(VIDEO_FEATURES, [Partition(context.last_day)], (col.VIDEO_ID, col.UPLOADED_AT))
    videos = videos.sort_by(col.VIDEO_ID)
    return videos[col.VIDEO_ID].to_numpy(), videos[col.UPLOADED_AT].cast(pa.int64()).to_numpy()


def _difference(name: str, figures: Mapping[str, float | None]) -> str:
    sure = "too few users for an interval"
    if figures["low"] is not None:
        sure = f"{figures['low']:+.4f} to {figures['high']:+.4f}"
    return f"{name} {figures['difference']:+.4f} ({sure})"
