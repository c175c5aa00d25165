"""Is what is live fresh? ``python -m serving.freshness`` asks the store alone, so that it also tells when the pipeline is dead.

It prints one JSON object and exits with 0 when what is live is fresh, 1 when it is stale, and 2 when nothing is live or the
store cannot be read. Run it by cron, on another machine's clock if you like, and let the exit status alert.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from conf import ConfigError
from schemas.errors import ReelflowError
from serving._open import open_store, store_at
from serving._protocol import PublicationRecord, ServingStore, moment_of, to_text

__all__ = ["Finding", "State", "check", "main"]

_HOUR = timedelta(hours=1)


class State(StrEnum):
    """How what is live stands."""

    FRESH = "fresh"
    STALE = "stale"
    NOTHING = "nothing is live"
    UNREADABLE = "unreadable"


_EXIT = {State.FRESH: 0, State.STALE: 1, State.NOTHING: 2, State.UNREADABLE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, as it is printed."""

    state: State
    text: str
    checked_at: str
    version: int | None = None
    as_of: str | None = None
    age_hours: float | None = None
    """From ``as_of`` to the check."""
    expires_at: str | None = None
    users: int | None = None


def check(store: ServingStore, now: datetime, max_age_hours: float | None = None) -> Finding:
    """Judge what is live.

    Args:
        store: the serving store.
        now: the time to judge at.
        max_age_hours: the most from ``as_of`` to ``now``; None: until ``expires_at``.
    """
    at = to_text(now.replace(microsecond=0))
    try:
        live = store.live()
    except ReelflowError as error:
        return Finding(state=State.UNREADABLE, text=str(error), checked_at=at)
    if live is None:
        return Finding(state=State.NOTHING, text="nothing has been published yet; run the pipeline once", checked_at=at)
    age = (now - live.as_of) / _HOUR
    stale = now >= live.expires_at if max_age_hours is None else age > max_age_hours
    limit = f"it expired at {to_text(live.expires_at)}" if max_age_hours is None else f"at most {max_age_hours:g} are allowed"
    return Finding(
        state=State.STALE if stale else State.FRESH,
        text=_told(live, age) + (f"; {limit}: see docs/operations.md, Nothing new is published" if stale else ""),
        checked_at=at,
        version=live.version,
        as_of=to_text(live.as_of),
        age_hours=round(age, 2),
        expires_at=to_text(live.expires_at),
        users=live.users,
    )


def _told(live: PublicationRecord, age: float) -> str:
    return f"version {live.version} knows everything before {to_text(live.as_of)}, {age:,.1f} hours ago"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the finding as JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.freshness", description="Say whether what is live is fresh.")
    parser.add_argument("--store", metavar="URL|FILE", help="the store, or its SQLite file (default: the configured one)")
    parser.add_argument("--max-age-hours", type=float, help="from as_of (default: until expires_at)")
    parser.add_argument("--at", metavar="ISO", help="judge at this time (default: now)")
    options = parser.parse_args(arguments)
    try:
        now = moment_of(options.at) or datetime.now(UTC)
        finding = check(store_at(options.store) if options.store else open_store(), now, options.max_age_hours)
    except (ReelflowError, ConfigError) as error:
        finding = Finding(state=State.UNREADABLE, text=str(error), checked_at=to_text(datetime.now(UTC).replace(microsecond=0)))
    print(json.dumps(asdict(finding)))
    return _EXIT[finding.state]


if __name__ == "__main__":
    sys.exit(main())
