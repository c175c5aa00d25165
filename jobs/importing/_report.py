"""What an import did, and what to type next."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The counts of an import; ``print`` it."""

    out: Path
    read: int
    events: int
    hours: int
    users: int
    videos: int
    rejected: int
    last_us: int
    """Instant of the last event, microseconds since 1970 UTC."""

    @property
    def as_of(self) -> str:
        """The first midnight after the last event."""
        day = dt.date(1970, 1, 1) + dt.timedelta(days=self.last_us // 86_400_000_000 + 1)
        return f"{day.isoformat()}T00:00:00Z"

    def text(self, seconds: float) -> str:
        """The counts in a line, and the command that uses them."""
        refused = f" (see {self.out / 'import_rejected.csv'})" if self.rejected else ""
        return (
            f"read {self.read:,} rows, wrote {self.events:,} events in {self.hours:,} hours, {self.users:,} users, "
            f"{self.videos:,} videos to {self.out}; rejected {self.rejected:,}{refused}; {seconds:.1f} s\n"
            f"AS_OF={self.as_of}\n"
            f"next: make run RAW={self.out} AS_OF={self.as_of}"
        )
