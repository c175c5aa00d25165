"""Score other settings beside the live ones without serving them, and report over some daily runs (G10).

Where ``shadow.name`` is set: trains a candidate with ``shadow.settings`` on what the day's models learned from, makes lists of
the same users by both, and keeps them in ``runs/<as_of>/shadow/``. Lists of earlier runs are judged by what users did in the
day after. Writes ``runs/<as_of>/shadow/report.json`` and ``index.html``. After ``shadow.runs`` runs it only judges. Nothing
of it reaches the store, the aliases of the models, or the lake.
"""

from __future__ import annotations

from typing import Any

from conf import load
from jobs import _lane, _shadow, _shadow_candidate, _shadow_page, _shadow_report, _stage, _verdict
from jobs._approval import stands
from jobs._recipe import canonical
from jobs._shadow import ShadowConfig
from jobs._stage import Context, Report
from jobs._swap import replace_json
from jobs._tables import Partition, Pending, Unit
from jobs._tracking import Tracker
from schemas.errors import ReelflowError

OFF = "nothing is tried: shadow.name is null"


def run(context: Context) -> Report:
    """Take the trial one run further, and say how it stands."""
    config = load("shadow", ShadowConfig)
    if context.lane == _lane.HOURLY:
        raise ReelflowError("shadow: found the lane hourly, expected the daily one: an hour trains nothing")
    if config.name is None:
        return Report(notes=[OFF])
    left_out = _why_left_out(context, config)
    made = left_out is None and _keep(context, config)
    over = _shadow_report.ended(context, config) if left_out else None
    runs = _shadow_report.kept_until(context, config)
    basis = _shadow_report.basis(context, config, runs, left_out) if over is None else _shadow_report.basis_after(over)
    found = _shadow.read_report(context)
    if not made and not context.force and found is not None and canonical(found["basis"]) == canonical(basis):
        return Report(up_to_date=True, notes=[found["said"]])
    again = over and _shadow_report.again(context, over)
    content = again or _shadow_report.content(context, config, runs, basis)
    page = _shadow_page.write(context, content)
    replace_json(context.run_folder / _shadow.REPORT, content)
    if over is None:
        _track(context, content)
    notes = [f"not counted: {content['left_out']}"] if left_out else []
    return Report(
        read={"users judged": content["figures"]["users"]},
        wrote={"lists": 2 * runs[-1].content["users"] if made else 0},
        notes=[*notes, content["said"], f"open {page}"],
        facts={"state": content["state"], **_shadow_report.metrics(content)},
    )


def plan(context: Context, _pending: Pending) -> list[Unit]:
    """How the lists of this run stand; nothing where none are to be kept."""
    config = load("shadow", ShadowConfig)
    if config.name is None or _why_left_out(context, config) is not None:
        return []
    status = _shadow.check(_shadow.read_kept(context, config.trial), _shadow_candidate.recipe(context, config))
    return [Unit(f"shadow {config.name}", Partition(context.last_day), status)]


def _why_left_out(context: Context, config: ShadowConfig) -> str | None:
    """Why this run keeps no lists: the gate refused what they would be compared with, or there are enough."""
    verdict = _verdict.read(context)
    if verdict is not None and not stands(verdict):
        return "the gate refused the day's own models"
    others = [kept for kept in _shadow.all_kept(context, config.trial) if kept.as_of != context.as_of]
    return f"{len(others)} of {config.runs} runs have been made" if len(others) >= config.runs else None


def _keep(context: Context, config: ShadowConfig) -> bool:
    """Keep the lists of this run unless that was done; returns whether there was something to do."""
    recipe = _shadow_candidate.recipe(context, config)
    if not context.force and _shadow.check(_shadow.read_kept(context, config.trial), recipe).current:
        _shadow_candidate.clear(context, config)  # a run that was killed may not have come to it
        return False
    _shadow_candidate.keep(context, config, recipe)
    return True


def _track(context: Context, content: dict[str, Any]) -> None:
    tags = {"as_of": content["as_of"], "shadow": content["trial"], "shadow.state": content["state"]}
    parameters = {f"{section}.{key}": value for section, own in content["settings"].items() for key, value in own.items()}
    name = f"shadow {content['name']} {content['as_of']}"
    Tracker.open().record(name, tags, parameters, _shadow_report.metrics(content), context.run_folder / _shadow.REPORT)


def main() -> None:
    """Command line: ``python -m jobs.shadow --as-of ISO``."""
    _stage.main("shadow", run, __doc__)


if __name__ == "__main__":
    main()
