"""Which folder a run works in, and which days it runs. One workspace holds the tables of one source of logs, never of two."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

DAY = timedelta(days=1)
SIMULATOR = "the simulator"
KINDS = (".parquet", ".jsonl", ".csv")


class UsageError(ValueError):
    """Something that was asked for does not fit; the message says what to type instead."""


@dataclass(frozen=True, slots=True)
class Logs:
    """A folder of raw logs."""

    folder: Path
    first: date
    """Date of the earliest interactions."""
    last: date
    """Date of the latest."""


def choose(repository: Path, source: str, name: str, explicit: Path | None) -> tuple[Path, str]:
    """Choose the workspace for a source of logs, and mark it as holding that source.

    Args:
        repository: where the default workspaces lie.
        source: the simulator, or the absolute path of a folder of logs.
        name: what to call a workspace of its own, if ``var`` is taken.
        explicit: the workspace that the user asked for.

    Returns:
        The workspace, and why it was chosen.

    Raises:
        UsageError: the workspace that was asked for holds another source.
    """
    if explicit:
        holds = source_of(explicit)
        if holds not in (None, source):
            raise UsageError(
                f"workspace {explicit}: holds the logs of {holds}, not of {source}; choose another: make run WORKSPACE=DIR ..."
            )
        home, why = explicit, "as asked"
    else:
        default, own = repository / "var", repository / f"var-{name}"
        unique = repository / f"var-{name}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        home = next(folder for folder in (default, own, unique) if source_of(folder) in (None, source))
        why = "the default" if home == default else f"{default.name}/ holds the logs of {source_of(default)}"
    home.mkdir(parents=True, exist_ok=True)
    (home / "source.json").write_text(json.dumps({"source": source}) + "\n", encoding="utf-8")
    return home, why


def source_of(home: Path) -> str | None:
    """Which logs a workspace holds; None if it is unused."""
    record = home / "source.json"
    if record.exists():
        try:
            return str(json.loads(record.read_text(encoding="utf-8"))["source"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{record}: not readable ({error}); remove the workspace, or choose another with WORKSPACE=DIR"
            ) from error
    if (home / "raw").exists():
        return SIMULATOR
    return "an unknown source" if (home / "lake").exists() else None


def read_logs(folder: Path) -> Logs:
    """Check that a folder holds raw logs and find which days.

    Raises:
        UsageError: it does not.
    """
    if not folder.is_dir():
        raise UsageError(f"RAW={folder}: {'is a file' if folder.exists() else 'not found'}; expected a folder with raw logs")
    for table in ("interactions", "videos"):
        if not (folder / table).is_dir():
            found = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
            raise UsageError(f"RAW={folder}: no folder {table}/ in it; found {found}. The raw contract is in docs/")
    days = sorted(day for child in (folder / "interactions").glob("dt=*") if (day := _day(child)) and _has_files(child))
    if not days:
        raise UsageError(
            f"RAW={folder}: no logs below interactions/; expected dt=YYYY-MM-DD/hr=HH/ with {', '.join(KINDS)} files"
        )
    return Logs(folder, days[0], days[-1])


def check_as_of(logs: Logs, as_of: datetime) -> None:
    """Refuse an end of the window before which, or in whose day, there are no logs.

    Raises:
        UsageError: ``as_of`` lies outside the logs.
    """
    first, end = midnight(logs.first), midnight(logs.last) + DAY
    if as_of <= first:
        raise UsageError(
            f"AS_OF={iso(as_of)}: the logs in {logs.folder} begin at {iso(first)}; expected a time after that, up to {iso(end)}"
        )
    if as_of > end:
        raise UsageError(
            f"AS_OF={iso(as_of)}: the logs in {logs.folder} end before {iso(end)}; the latest day to run is AS_OF={iso(end)}"
        )


def lookback_days(logs: Logs, as_of: datetime) -> int:
    """How many days before ``as_of`` reach the earliest logs."""
    return math.ceil((as_of - midnight(logs.first)) / DAY)


def parse_as_of(text: str) -> datetime:
    """Read AS_OF as UTC.

    Raises:
        UsageError: it is no ISO 8601 time.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(f"AS_OF={text}: not an ISO 8601 time; expected for example AS_OF=2026-01-08T00:00:00Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_days(text: str) -> int:
    """Read LOOKBACK_DAYS.

    Raises:
        UsageError: it is no positive whole number.
    """
    if not re.fullmatch(r"[1-9]\d{0,4}", text.strip()):
        raise UsageError(f"LOOKBACK_DAYS={text}: expected a whole number of days, 1 or more")
    return int(text)


def midnight(day: date) -> datetime:
    """00:00 UTC of a date."""
    return datetime.combine(day, time(), UTC)


def iso(moment: datetime) -> str:
    """A time as ``2026-01-08T00:00:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(partition: Path) -> date | None:
    try:
        return date.fromisoformat(partition.name.removeprefix("dt="))
    except ValueError:
        return None


def _has_files(partition: Path) -> bool:
    return any(path.suffix in KINDS for path in partition.rglob("*"))
