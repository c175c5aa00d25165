"""Workspaces in which the real stages run: one that trains on RAW, one that labels what came after the cut."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from conf import repository, workspace
from jobs import _stage
from jobs._stage import Context
from jobs._window import DAY, HOUR, Window, floor_day, iso, midnight
from jobs.reading import partition_files, snapshot_dates
from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS
from schemas.errors import ReelflowError

PREPARE = ("ingest", "examples", "text", "features")
"""The stages before any model."""
TRAIN = ("train_wals", "train_towers", "evaluate", "gate")
"""The stages that depend on a seed."""

_NO_DAY_BEFORE = {"min_volume_ratio": None, "max_volume_ratio": None, "max_hours_since_newest_event": None}
"""A holdout begins and ends within a day, and its last hour is empty: it is not compared with the days before."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder for stages, with the settings that are laid over the user's own."""

    home: Path
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def conf(self) -> Path:
        """The settings as a file for ``REELFLOW_CONF``."""
        return self.home / "conf.yaml"

    def write(self) -> Workspace:
        """Make the folder, with the settings merged over the file that ``REELFLOW_CONF`` names."""
        self.home.mkdir(parents=True, exist_ok=True)
        own = os.environ.get("REELFLOW_CONF")
        merged: dict[str, Any] = (yaml.safe_load(Path(own).read_text(encoding="utf-8")) or {}) if own else {}
        for section, values in self.settings.items():
            merged[section] = {**(merged.get(section) or {}), **values}
        self.conf.write_text(yaml.safe_dump(merged, sort_keys=True), encoding="utf-8")
        return self

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Let this process's configuration be that of the workspace."""
        with workspace(self.home, self.conf):
            yield

    def context(self, as_of: datetime) -> Context:
        """What a stage as of a moment is given; to be used within ``environment``."""
        return _stage.context("bench", argparse.Namespace(as_of=iso(as_of), start=None, end=None, force=False))

    def run(self, stage: str, *arguments: str) -> float:
        """Run a stage as its own process; returns its seconds.

        Raises:
            ReelflowError: it failed.
        """
        began = time.monotonic()
        command = [sys.executable, "-m", f"jobs.{stage}", *arguments]
        done = subprocess.run(command, cwd=repository(), env={**os.environ, **self._variables}, stdout=sys.stderr, check=False)
        if done.returncode:
            raise ReelflowError(
                f"stage {stage}: failed in {self.home} (above); mend what it says, or the settings in REELFLOW_CONF"
            )
        return time.monotonic() - began

    @property
    def _variables(self) -> dict[str, str]:
        return {"REELFLOW_HOME": str(self.home), "REELFLOW_CONF": str(self.conf)}


def training(home: Path, raw: Path, as_of: datetime, seed: int | None = None) -> Workspace:
    """A workspace whose look-back and histories reach all raw logs before ``as_of``.

    Args:
        home: its folder.
        raw: raw logs.
        as_of: the cut.
        seed: of every model; ``None`` for those of the configuration.
    """
    first, _ = days(raw)
    reach = max(1, math.ceil((as_of - midnight(first)) / DAY))
    settings: dict[str, dict[str, Any]] = {
        "paths": {"raw": str(raw.resolve())},
        "window": {"lookback_days": reach, "history_days": reach},
    }
    if seed is not None:
        settings |= {"wals": {"seed": seed}, "towers": {"seed": seed}}
    return Workspace(home.resolve(), settings)


def label_holdout(home: Path, raw: Path, holdout: Path, as_of: datetime) -> tuple[Workspace, Window]:
    """Label what came after the cut by the stages' own rules, over both logs; returns the workspace and what it covers.

    Raises:
        ReelflowError: a stage failed, or nothing came after the cut.
    """
    both = home / "raw"
    join([raw, holdout] if holdout != raw else [raw], both)
    _, last = days(both)
    window = Window(floor_day(as_of), midnight(last) + DAY + HOUR)  # an hour more: labels of the last minutes become known then
    if window.end <= as_of:
        raise ReelflowError(f"holdout {holdout}: found no events at or after {iso(as_of)}; expected what came after the cut")
    made = Workspace(home.resolve(), {"paths": {"raw": str(both.resolve())}, "expectations": _NO_DAY_BEFORE}).write()
    for stage in ("ingest", "examples"):
        made.run(stage, "--start", iso(window.start), "--end", iso(window.end))
    return made, window


def join(folders: list[Path], out: Path) -> None:
    """Let one folder of raw logs hold the files of several, as links; what it held before goes."""
    shutil.rmtree(out, ignore_errors=True)
    for number, folder in enumerate(folders):
        partitions = [*(folder / RAW_INTERACTIONS.name).glob("dt=*/hr=*")]
        partitions += [found for table in (RAW_VIDEOS, RAW_USERS) for found in (folder / table.name).glob("dt=*")]
        for partition in partitions:
            target = out / partition.relative_to(folder)
            target.mkdir(parents=True, exist_ok=True)
            for file in partition_files(partition):
                (target / f"{number}-{file.path.name}").symlink_to(file.path.resolve())


def days(raw: Path) -> tuple[date, date]:
    """The first and the last date of the interactions of raw logs.

    Raises:
        ReelflowError: there are none.
    """
    dates = snapshot_dates(raw / RAW_INTERACTIONS.name)
    if not dates:
        raise ReelflowError(f"raw logs {raw}: found no interactions/dt=YYYY-MM-DD/, expected logs in the raw contract")
    return date.fromisoformat(dates[0]), date.fromisoformat(dates[-1])
