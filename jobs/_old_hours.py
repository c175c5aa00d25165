"""Remove what hours before the present day left: their lists, bundles, and versions in MLflow with their artifacts.

Nothing reads them once a full publication lies over them: the store holds the rows that a rollback needs. Verdicts and reports
in ``runs/`` stay, they are small and tell what happened.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from conf import load
from jobs._lane import HOURLY, HourlyConfig
from jobs._registry import KINDS
from jobs._stage import Context
from jobs._tracking import LANE, Tracker
from jobs._window import from_compact
from models.bundle import BundleError, open_bundle


def remove(context: Context, tracker: Tracker, live_since: datetime) -> int:
    """Remove the hours that ended more than ``hourly.keep_hours`` before the day that is live.

    Args:
        context: of a stage.
        tracker: where they are registered.
        live_since: as of when the full publication is that is live.

    Returns:
        How many hours.
    """
    before = live_since - timedelta(hours=load("hourly", HourlyConfig).keep_hours)
    hours = {folder.name: [folder] for folder in _older(context.lake.root / "_hourly", before)}
    for kind in KINDS:
        for folder in _older(context.paths.bundles / kind, before):
            if _is_of_an_hour(folder, kind):
                hours.setdefault(folder.name, []).append(folder)
        tracker.forget(kind, HOURLY, before)
    for folders in hours.values():
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return len(hours)


def _older(root: Path, before: datetime) -> list[Path]:
    """The folders of ``root`` that are named by an ``as_of`` before a moment."""
    return [folder for folder in root.glob("*Z") if (at := from_compact(folder.name)) and at < before]


def _is_of_an_hour(folder: Path, kind: str) -> bool:
    try:
        return open_bundle(folder, kind=kind).properties.get(LANE) == HOURLY
    except BundleError:
        return False
