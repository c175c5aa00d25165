"""What kind of run this is, and what its parameters ask for: plain functions of the run, used by every task."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from _verdict import published_as_of
from _window import DAY, Window, WindowError

STALE = "what is stale"
BY_KIND = "live and manual runs"
YES, NO = "yes", "no"


class Kind(StrEnum):
    """Who started a run."""

    LIVE = "live"
    """The schedule."""
    BACKFILL = "backfill"
    """A backfill; also of a day that the schedule ran before."""
    MANUAL = "manual"
    """A person, or a program, for one window."""


def kind_of(run_type: Any) -> Kind:
    """The kind of a run, from Airflow's run type."""
    match str(getattr(run_type, "value", run_type)):
        case "scheduled":
            return Kind.LIVE
        case "backfill":
            return Kind.BACKFILL
        case _:
            return Kind.MANUAL


def forced(stage: str, stages: Sequence[str], recompute: str, force: bool) -> bool:
    """Whether a stage redoes what is up to date: on ``force``, and from the stage ``recompute`` on.

    Args:
        stage: the stage.
        stages: all of them, in the order in which a single worker would run them.
        recompute: ``STALE``, or the first stage to redo.
        force: redo everything.
    """
    if force or recompute == STALE:
        return force
    return stage not in stages[: stages.index(recompute)]


def publishes(kind: Kind, wanted: str) -> bool:
    """Whether a run publishes: backfills only when asked."""
    return wanted == YES or (wanted == BY_KIND and kind is not Kind.BACKFILL)


def reason_for_no_shadow(kind: Kind, wanted: str, name: str | None) -> str | None:
    """Why a run does without the shadow; None: it has one. Backfills have one only when asked."""
    if name is None:
        return "nothing is tried: shadow.name is null"
    return None if publishes(kind, wanted) else f"a {kind} run with the parameter shadow = {wanted!r}"


def refuse_common_end(kind: Kind, as_of: str | None) -> None:
    """A backfill gives every run the same parameters, so it may not give them the same window.

    Raises:
        WindowError: it does.
    """
    if kind is Kind.BACKFILL and as_of:
        raise WindowError(
            f"as_of {as_of}: found in a backfill, where every run would be for that one window; leave as_of empty and choose "
            "the days by the dates of the backfill, or trigger a single run"
        )


def reason_not_to_ask(kind: Kind, window: Window, runs: Path, *, can_wait: bool) -> str | None:
    """Why nobody is asked to approve what the gate of a daily run refused; None: somebody is asked."""
    if not can_wait:
        return "airflow.approval_hours is 0"
    if kind is Kind.BACKFILL:
        return "a backfill never asks"
    newer = [as_of for as_of in published_as_of(runs) if as_of >= window.end + DAY]
    return f"an old run never asks: a run as of {max(newer):%Y-%m-%dT%H:%M:%SZ} was published" if newer else None
