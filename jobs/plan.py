"""List what a run would make, and why, without making it.

``python -m jobs.plan --as-of ISO`` goes through every stage of a day's run, ``--lane hourly --as-of ISO`` through those of an
hour's, ``--start ISO --end ISO`` through those that write the lake, which both lanes share. Each partition, bundle and the live
version is ``up to date``, ``stale`` or ``missing``, with the reason, or ``archived``: up to date, but a stage that reads it
needs a restore first (``python -m jobs.archive``). After the first stage with work to do, the stages that train and publish are
not looked at: what they would read is yet to come. For a day or a window, the hours that the hourly lane has run in it come
last: whether their log has changed since.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby

from conf import ConfigError
from jobs import _approval, _lane, _past_hours, _stage, _verdict
from jobs._recipe import State, Status
from jobs._stage import Context
from jobs._tables import Partition, Unit
from jobs._window import HOUR, iso
from schemas.errors import ReelflowError

LAKE_STAGES = ("ingest", "examples", "text", "features")
MODEL_STAGES = (
    "train_wals",
    "train_towers",
    "evaluate",
    "noise_floor",
    "gate",
    "index",
    "recommend",
    "scan",
    "publish",
    "shadow",
)
HOUR_STAGES = ("refresh", "gate", "index", "recommend", "scan", "publish")
PAST_HOURS = "hourly"


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage would find."""

    stage: str
    units: Sequence[Unit]
    waits_for: str | None = None
    """The stage with work to do that keeps this one from being looked at."""

    @property
    def to_do(self) -> list[Unit]:
        """The units that the stage would make."""
        return [unit for unit in self.units if not unit.status.current]


def plan(context: Context, stages: Sequence[str] = LAKE_STAGES + MODEL_STAGES) -> Iterator[Step]:
    """Look at one stage after the other; of an hour whose turn is over, at none.

    Raises:
        ReelflowError: a stage could not even start, for example because there are no raw logs.
    """
    if context.lane == _lane.HOURLY and (why := _lane.overtaken(context)):
        hour = Unit(_past_hours.NAME, Partition.hour(context.as_of - HOUR), Status(State.CURRENT, why))
        yield Step(PAST_HOURS, [hour])
        return
    pending: dict[str, list[Partition]] = {}
    busy: str | None = None
    for stage in stages:
        if busy is not None and stage not in LAKE_STAGES:
            yield Step(stage, (), busy)
            continue
        if stage == "index" and _refused(context):
            return
        step = Step(stage, import_module(f"jobs.{stage}").plan(context, pending))
        for unit in step.to_do:
            pending.setdefault(unit.name, []).append(unit.partition)
        busy = busy or (stage if step.to_do else None)
        yield step


def past_hours(context: Context, steps: Sequence[Step]) -> Step:
    """How the hours stand that the hourly lane has run, given what the stages before would find."""
    pending: dict[str, list[Partition]] = {}
    for unit in (unit for step in steps for unit in step.to_do):
        pending.setdefault(unit.name, []).append(unit.partition)
    return Step(PAST_HOURS, _past_hours.look(context, pending))


def nothing_to_do(context: Context) -> bool:
    """Whether a day's run would change nothing."""
    return all(not step.to_do for step in plan(context))


def _all(context: Context, whole: bool) -> Iterator[Step]:
    """Every stage of a run, or of an explicit window those that both lanes share; then the hours that ran in it."""
    stages = HOUR_STAGES if context.lane == _lane.HOURLY else MODEL_STAGES
    steps = []
    for step in plan(context, LAKE_STAGES + (stages if whole else ())):
        steps.append(step)
        yield step
    if context.lane == _lane.DAILY:
        yield past_hours(context, steps)


def _refused(context: Context) -> bool:
    verdict = _verdict.read(context)
    return verdict is not None and not _approval.stands(verdict)


def _ranges(units: Iterable[Unit]) -> Iterator[tuple[str, str, Status]]:
    """(name, partitions, status), neighbours that stand alike on one line."""
    for (name, status), group in groupby(units, key=lambda unit: (unit.name, unit.status)):
        members = list(group)
        first, last = members[0].partition.path, members[-1].partition.path
        yield name, first if first == last else f"{first} .. {last} ({len(members):,})", status


def _lines(step: Step) -> Iterator[str]:
    if step.waits_for is not None:
        yield f"{step.stage:<13} waits for {step.waits_for}"
    for name, partitions, status in _ranges(step.units):
        why = f": {status.why}" if status.why else ""
        yield f"{step.stage:<13} {status.state:<10} {name} {partitions}{why}"


def _json(step: Step) -> Iterator[str]:
    for unit in step.units:
        yield json.dumps(
            {
                "stage": step.stage,
                "name": unit.name,
                "partition": unit.partition.path,
                "state": unit.status.state,
                "why": unit.status.why,
            }
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: prints the plan and exits with 0; with 2 if it cannot be made."""
    parser = _stage.command_line("plan", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each unit")
    given = parser.parse_args(argv)
    try:
        context = _stage.context("plan", given)
        totals = dict.fromkeys(State, 0)
        for step in _all(context, given.as_of is not None):
            for line in _json(step) if given.json else _lines(step):
                print(line, flush=True)
            for unit in step.units:
                totals[unit.status.state] += 1
        if not given.json:
            said = ", ".join(f"{n:,} {state}" for state, n in totals.items() if n or state is not State.ARCHIVED)
            print(f"reelflow | plan | {iso(context.window.start)} to {iso(context.as_of)}: {said}", flush=True)
    except (ReelflowError, ConfigError) as error:
        print(f"reelflow | plan | error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
