"""The log of versions in the Redis store: what each is, which is live, what it shows, and where a rollback goes.

All of it is read, changed by the rules that hold in every store, and written back in one transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from serving import _rules
from serving._protocol import Action, Publication, PublicationRecord, Status, Switch, from_text, to_text
from serving.redis._keys import Keys
from serving.redis._server import Pipeline

__all__ = ["Entry", "Log", "entry_of", "switch_of", "to_json"]

_KEPT = (Status.LIVE, Status.RETIRED, Status.ROLLED_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A version as the log has it."""

    record: PublicationRecord
    shows: tuple[int, ...] = ()
    """The versions whose lists it shows, lowest first, since it first became live."""
    own_users: int = 0
    """Users whose lists it wrote; while it loads, less by those who were erased meanwhile."""
    own_rows: int = 0
    """As ``own_users``, of rows."""
    removed_at: int | None = None
    """When it was let go of, in seconds of the server's clock."""


class Log:
    """The versions that still matter, to be read and changed within a transaction: those that may have keys of their own.

    What failed, was superseded or removed, and is cleared, stays on record and is not looked at again, however many there are.
    """

    def __init__(self, pipe: Pipeline, keys: Keys) -> None:
        """Read it; the transaction watches ``Log.watched``."""
        self.held = sorted(map(int, pipe.smembers(keys.holding)))
        found = pipe.hmget(keys.publications, self.held) if self.held else []
        self._entries = {entry.record.version: entry for entry in map(entry_of, filter(None, found))}
        self._begun = int(pipe.hlen(keys.publications))
        self._changed: set[int] = set()
        self._switches: list[Switch] = []

    @staticmethod
    def watched(keys: Keys) -> list[str]:
        """What a transaction that reads it depends on."""
        return [keys.publications, keys.holding]

    def __getitem__(self, version: int) -> Entry:
        return self._entries[version]

    def status(self, version: int) -> Status | None:
        """Where a version stands; None where the server has lost the log."""
        return self._entries[version].record.status if version in self._entries else None

    @property
    def live(self) -> Entry | None:
        """The live version; None before the first publication."""
        return next((entry for entry in self._entries.values() if entry.record.status is Status.LIVE), None)

    @property
    def records(self) -> list[PublicationRecord]:
        """These versions, newest first."""
        return [self._entries[version].record for version in sorted(self._entries, reverse=True)]

    def with_status(self, *statuses: Status) -> list[int]:
        """The versions that stand there."""
        return [version for version, entry in self._entries.items() if entry.record.status in statuses]

    def shown(self, since: float) -> set[int]:
        """The versions whose lists somebody may read: those that kept ones show, and ones let go of after ``since``."""
        kept = (
            entry
            for entry in self._entries.values()
            if entry.record.status in _KEPT or (entry.removed_at is not None and entry.removed_at > since)
        )
        return {layer for entry in kept for layer in entry.shows}

    def is_newest(self, publication: Publication) -> bool:
        """Whether a publication may replace what is live."""
        live = self.live
        newest = max((self[layer].record.as_of for layer in live.shows), default=None) if live else None
        return _rules.is_newest(publication, live.record if live else None, newest)

    def change(self, entry: Entry, **record: Any) -> None:
        """Take in an entry, with other values of its record."""
        entry = replace(entry, record=replace(entry.record, **record))
        self._entries[entry.record.version] = entry
        self._changed.add(entry.record.version)

    def set_status(self, version: int, status: Status) -> None:
        """Change where a version stands."""
        self.change(self[version], status=status)

    def enter(self, publication: Publication, status: Status) -> int:
        """Add a publication and return its version."""
        version = self._begun + 1
        base = self._entries.get(publication.base or 0)
        self.change(
            Entry(
                record=PublicationRecord(
                    version=version,
                    as_of=publication.as_of,
                    generation=publication.generation,
                    model_version=publication.model_version,
                    expires_at=publication.expires_at,
                    status=status,
                    users=0,
                    rows=0,
                    published_at=None,
                    base=publication.base,
                    root=base.record.root if base else version,
                    root_as_of=base.record.root_as_of if base else publication.as_of,
                    root_generation=base.record.root_generation if base else publication.generation,
                    layers=1,
                )
            )
        )
        return version

    def activate(self, version: int, at: datetime) -> None:
        """Make a loaded version live, retire the one before it, and note the switch."""
        before = self.live
        if before is not None:
            self.set_status(before.record.version, Status.RETIRED)
        self.change(self[version], status=Status.LIVE, published_at=at)
        self._note(Action.PUBLISH, before, version, at=at, reason="")

    def retire_old(self, keep_versions: int, seconds: int) -> None:
        """Let go of what was rolled back, and of old versions; ``seconds`` is the server's clock."""
        live = self.live
        assert live is not None
        for version in _rules.removed(self.records, live.record, keep_versions):
            self.change(replace(self[version], removed_at=seconds), status=Status.REMOVED)

    def roll_back(self, to_version: int | None, *, at: datetime, reason: str) -> PublicationRecord:
        """Make a kept version live again and note the switch.

        Raises:
            StoreError: nothing is live, or the version is not kept.
        """
        before = self.live
        target = _rules.rollback_target(self.records, before.record if before else None, to_version)
        assert before is not None
        for version, status in _rules.passed_over(self.records, before.record, target).items():
            self.set_status(version, status)
        self.set_status(target.version, Status.LIVE)
        self._note(Action.ROLLBACK, before, target.version, at=at, reason=reason)
        return self[target.version].record

    def write(self, pipe: Pipeline, keys: Keys) -> None:
        """Put what has changed, and what readers are to see, into a transaction."""
        if self._changed:
            pipe.hset(keys.publications, mapping={str(version): to_json(self[version]) for version in sorted(self._changed)})
        if (live := self.live) is not None:
            seen = [json.loads(to_json(self[layer])) for layer in reversed(live.shows)]
            pipe.set(keys.live, _dumped({"version": live.record.version, "publications": seen}))
        for switch in self._switches:
            value = {"at": to_text(switch.at), "action": switch.action, "from_version": switch.from_version}
            pipe.lpush(keys.switches, _dumped({**value, "to_version": switch.to_version, "reason": switch.reason}))

    def _note(self, action: Action, before: Entry | None, version: int, *, at: datetime, reason: str) -> None:
        old = before.record.version if before else None
        self._switches.append(Switch(at=at, action=action, from_version=old, to_version=version, reason=reason))


def to_json(entry: Entry) -> str:
    """Write an entry."""
    record = entry.record
    return _dumped(
        {
            "version": record.version,
            "as_of": to_text(record.as_of),
            "generation": record.generation,
            "model_version": record.model_version,
            "expires_at": to_text(record.expires_at),
            "status": record.status,
            "users": record.users,
            "rows": record.rows,
            "published_at": to_text(record.published_at) if record.published_at else None,
            "base": record.base,
            "root": record.root,
            "root_as_of": to_text(record.root_as_of),
            "root_generation": record.root_generation,
            "shows": entry.shows,
            "own_users": entry.own_users,
            "own_rows": entry.own_rows,
            "removed_at": entry.removed_at,
        }
    )


def entry_of(value: bytes | dict[str, Any]) -> Entry:
    """Read what :func:`to_json` wrote."""
    row = value if isinstance(value, dict) else json.loads(value)
    shows = tuple(row["shows"])
    return Entry(
        record=PublicationRecord(
            version=row["version"],
            as_of=from_text(row["as_of"]),
            generation=row["generation"],
            model_version=row["model_version"],
            expires_at=from_text(row["expires_at"]),
            status=Status(row["status"]),
            users=row["users"],
            rows=row["rows"],
            published_at=from_text(row["published_at"]) if row["published_at"] else None,
            base=row["base"],
            root=row["root"],
            root_as_of=from_text(row["root_as_of"]),
            root_generation=row["root_generation"],
            layers=len(shows) or 1,
        ),
        shows=shows,
        own_users=row["own_users"],
        own_rows=row["own_rows"],
        removed_at=row["removed_at"],
    )


def switch_of(value: bytes) -> Switch:
    """Read a change of the live version."""
    row = json.loads(value)
    return Switch(
        at=from_text(row["at"]),
        action=Action(row["action"]),
        from_version=row["from_version"],
        to_version=row["to_version"],
        reason=row["reason"],
    )


def _dumped(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
