"""The simulation: a platform's days, one after the other, written as raw logs beside the truth behind them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from jobs.importing import (
    SIMULATION_MARKER,
    Format,
    hour_path,
    read_marker,
    replaced,
    write_lines,
    write_marker,
    write_snapshot,
    write_table,
)
from jobs.simulation._behaviour import draw_outcomes, impression_events, search_events
from jobs.simulation._config import DAY_US, HOUR_US, SimulateConfig, midnight_us
from jobs.simulation._events import CODE, Events
from jobs.simulation._flaws import DUPLICATES, plant
from jobs.simulation._policy import Policy
from jobs.simulation._preference import calibrate, draw_preferences, sigmoid
from jobs.simulation._truth import write_impressions, write_truth
from jobs.simulation._users import draw_users
from jobs.simulation._videos import draw_videos
from jobs.simulation._words import TOPICS
from schemas import InteractionType

_SERIALS_A_DAY = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """What a simulation wrote."""

    up_to_date: bool
    """True when an earlier run had already written it."""
    events: int
    """Rows in the files, repeats and broken ones included."""
    impressions: int
    relevant: int
    """Impressions that turned out relevant."""
    active_users: int
    videos: int
    duplicates: int
    malformed: int


def simulate(config: SimulateConfig, *, out: Path, truth: Path, force: bool = False) -> SimulationReport:
    """Write the raw logs of a simulated platform, and the truth behind them.

    The same configuration gives the same bytes. A folder that already holds this simulation is left alone.

    Args:
        config: the platform.
        out: folder for ``interactions/``, ``videos/`` and ``users/``; replaced whole.
        truth: folder for the hidden truth; replaced whole.
        force: simulate again, and replace whatever is there.

    Raises:
        ReelflowError: a folder holds something that no simulation wrote.
    """
    identity = {"code": _code_digest(), "config": config.model_dump(mode="json")}
    done = [read_marker(folder, SIMULATION_MARKER) for folder in (out, truth)]
    if not force and all(marker is not None and marker["identity"] == identity for marker in done) and done[0] is not None:
        return SimulationReport(**(done[0]["report"] | {"up_to_date": True}))
    with ExitStack() as stack:
        raw_folder = stack.enter_context(replaced(out, force=force))
        truth_folder = stack.enter_context(replaced(truth, force=force))  # left, and so in place, before the logs are
        report = _Platform(config, raw_folder, truth_folder).run()
        for folder in (raw_folder, truth_folder):
            write_marker(folder, SIMULATION_MARKER, {"identity": identity, "report": asdict(report)})
    return report


class _Platform:
    """The state that passes from one simulated day to the next."""

    def __init__(self, config: SimulateConfig, out: Path, truth: Path) -> None:
        self._config, self._out, self._truth = config, out, truth
        users, videos, preferences, policy, self._daily = np.random.default_rng(config.seed).spawn(5)
        self._users = draw_users(config, users)
        self._videos = draw_videos(config, videos)
        self._preferences = draw_preferences(config, self._users, self._videos, preferences)
        self._policy = Policy(config, self._users, self._videos, self._preferences, policy)
        self._clicked: NDArray[np.int64] = np.empty(0, np.int64)
        self._views = np.zeros(len(self._videos.ids), np.int64)
        self._likes = np.zeros(len(self._videos.ids), np.int64)
        self._active = np.zeros(len(self._users.ids), bool)
        self._pending: list[Events] = []
        self._planted: dict[str, Mapping[str, int]] = {}
        self._offsets: dict[str, float] = {}
        self._events = self._impressions = self._relevant = 0

    def run(self) -> SimulationReport:
        """Simulate every day."""
        first = self._config.start
        self._write_snapshots(first)
        days = tqdm(range(self._config.days), desc="simulating", unit="day", leave=False, disable=None)
        for number, rng in zip(days, self._daily.spawn(self._config.days), strict=True):
            date = first + dt.timedelta(days=number)
            self._live_through(date, rng)
            self._write_day(date, rng)
            self._write_snapshots(date + dt.timedelta(days=1))
        totals = [sum(counts.values()) for counts in self._planted.values()]
        duplicates = sum(counts[DUPLICATES] for counts in self._planted.values())
        report = SimulationReport(
            up_to_date=False,
            events=self._events,
            impressions=self._impressions,
            relevant=self._relevant,
            active_users=int(self._active.sum()),
            videos=len(self._videos.ids),
            duplicates=duplicates,
            malformed=sum(totals) - duplicates,
        )
        facts: dict[str, Any] = {
            "config": self._config.model_dump(mode="json"),
            "offsets": self._offsets,
            "topics": TOPICS,
            "report": asdict(report),
        }
        write_truth(
            self._truth,
            users=self._users,
            videos=self._videos,
            preferences=self._preferences,
            planted=self._planted,
            facts=facts,
        )
        return report

    def _live_through(self, date: dt.date, rng: np.random.Generator) -> None:
        """What happens in the visits that begin on a day; some of it after midnight."""
        config, users, videos, midnight = self._config, self._users, self._videos, midnight_us(date)
        sessions = self._policy.sessions(midnight, rng)
        shown = self._policy.show(midnight, sessions, self._clicked, rng)
        user = sessions.user[shown.session]
        logits = self._preferences.pairs(user, shown.video, sessions.start_us[shown.session])
        position = shown.place % config.impressions_per_request
        logits += self._preferences.context(shown.video, position, sessions.device[shown.session])
        offset = calibrate(logits, config.relevant_rate)
        probability = sigmoid(logits + offset)
        outcome = draw_outcomes(probability, videos.duration_seconds[shown.video], videos.clickbait[shown.video], rng)
        serial = int(date.strftime("%Y%m%d")) * _SERIALS_A_DAY
        answers = impression_events(
            sessions, shown, outcome, users=users, videos=videos, per_request=config.impressions_per_request,
            first_serial=serial, rng=rng,
        )  # fmt: skip
        key = user * len(videos.ids) + shown.video
        searches = search_events(
            sessions, np.union1d(key, self._clicked), users=users, videos=videos, first_serial=serial + len(answers), rng=rng
        )
        organic = searches.take(searches.video >= 0)
        chosen = organic.user * len(videos.ids) + organic.video
        self._clicked = np.union1d(self._clicked, np.concatenate([key[outcome.engaged], chosen]))
        self._offsets[date.isoformat()] = offset
        impressions = answers.take(np.arange(len(key)))
        logged = impressions.at_us < config.end_us
        write_impressions(
            self._truth, date.isoformat(), impressions.take(logged), probability=probability[logged],
            relevant=outcome.relevant[logged], users=users, videos=videos,
        )  # fmt: skip
        self._impressions += int(logged.sum())
        self._relevant += int(outcome.relevant[logged].sum())
        self._pending += [answers, searches]

    def _write_day(self, date: dt.date, rng: np.random.Generator) -> None:
        """Write the hours of a day, and keep for later what happens after it."""
        end = midnight_us(date) + DAY_US
        pending = Events.concat(self._pending)
        today, later = pending.take(pending.at_us < end), pending.take(pending.at_us >= end)
        self._pending = [later]
        today = today.take(np.lexsort((today.serial, today.at_us)))
        self._active[today.user] = True
        videos = len(self._videos.ids)
        self._views += np.bincount(today.video[today.kind == CODE[InteractionType.WATCH]], minlength=videos)
        self._likes += np.bincount(today.video[today.kind == CODE[InteractionType.LIKE]], minlength=videos)
        hours, first = np.unique(today.at_us // HOUR_US, return_index=True)
        bounds = np.append(first, len(today)).tolist()
        for at, hour in enumerate(hours.tolist()):
            self._write_hour(hour, today.take(np.arange(bounds[at], bounds[at + 1])), rng)

    def _write_hour(self, hour: int, events: Events, rng: np.random.Generator) -> None:
        config = self._config
        form: Format = "jsonl" if hour % 24 in config.jsonl_hours else "csv" if hour % 24 in config.csv_hours else "parquet"
        rows, lines, counts = plant(
            events.to_table(self._users.ids, self._videos.ids), form, hour=hour, duplicate_fraction=config.duplicate_fraction,
            malformed_fraction=config.malformed_fraction, rng=rng,
        )  # fmt: skip
        path = hour_path(self._out, hour, f"part-0.{form}")
        if lines is None:
            write_table(path, rows)
        else:
            write_lines(path, lines)
        self._planted[np.datetime64(hour, "h").astype(str).replace("T", "/")] = dict(counts)
        self._events += len(events) + sum(counts.values())

    def _write_snapshots(self, date: dt.date) -> None:
        at = midnight_us(date)
        write_snapshot(self._out, "videos", date.isoformat(), self._videos.snapshot(at, self._views, self._likes))
        write_snapshot(self._out, "users", date.isoformat(), self._users.snapshot(at))


def _code_digest() -> str:
    """Digest of the modules that decide what is written."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for file in sorted([*folder.glob("*.py"), *(folder.parent / "importing").glob("*.py")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
