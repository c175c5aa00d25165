"""A lake whose lists are written by hand, and a store that publishes them by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from jobs import _erased, _served
from jobs._loading import batches
from jobs._tables import Lake, Partition
from jobs._window import HOUR, last_day
from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, SCORE_PARTS
from serving import Publication, PublishResult, SqliteStore
from tests.builders import MADE_BY_HAND, arrow, moment

Lists = Mapping[int, Sequence[int]]
"""Videos by user, the best first."""

FIRST, SECOND, THIRD = (moment(f"2026-01-{day:02d}T00:00") for day in (7, 8, 9))


class Platform:
    """What ``publish`` and ``rollback`` do, without models; ``valid`` is how long lists are from their ``as_of`` on."""

    def __init__(self, home: Path) -> None:
        self.lake, self.erased, self.now = Lake(home / "lake"), home / "erased", FIRST + 6 * HOUR
        self.valid = timedelta(hours=48)
        self.store = SqliteStore(home / "store" / "recommendations.sqlite", clock=lambda: self.now)

    def day(self, as_of: datetime, lists: Lists, *, followed: bool = True) -> PublishResult:
        """Make and publish everybody's lists."""
        return self._publish(self.lake, as_of, lists, None, followed=followed)

    def hour(self, as_of: datetime, lists: Lists, *, followed: bool = True) -> PublishResult:
        """Make and publish some users' lists over what is live."""
        live = self.store.live()
        assert live is not None
        return self._publish(self.lake.of_hour(as_of), as_of, lists, live.version, followed=followed)

    def rollback(self) -> None:
        """Go back to the version before."""
        self.now += timedelta(minutes=7)
        self.store.rollback(reason="a test")
        self.follow()

    def follow(self) -> list[str]:
        """Let the lake know."""
        return _served.follow(self.store, self.lake, _erased.read(self.erased))

    def _publish(self, lists: Lake, as_of: datetime, wanted: Lists, base: int | None, *, followed: bool) -> PublishResult:
        today = Partition(last_day(as_of))
        made = lists.write(RECOMMENDATIONS, today, rows_of(wanted), MADE_BY_HAND)
        fallback = [{"segment": "all", "rank": 1, "video_id": 1, "score": 0.0, "sources": "popular:1", "reason": "popular"}]
        lists.write(FALLBACK_RECOMMENDATIONS, today, arrow(FALLBACK_RECOMMENDATIONS, fallback), MADE_BY_HAND)
        publication = Publication(
            as_of=as_of,
            generation=self.store.next_generation(),
            model_version=_served.model_version(lists, made, as_of),
            expires_at=as_of + self.valid,
            base=base,
        )
        self.now += timedelta(minutes=11)
        rows = batches(lists.files(RECOMMENDATIONS, [today]), _erased.read(self.erased))
        done = self.store.publish(publication, rows, lists.read(FALLBACK_RECOMMENDATIONS, [today]), 5)
        if followed:
            assert self.follow() == []
        return done


def rows_of(lists: Lists) -> pa.Table:
    """Rows of ``recommendations``: the propensity of rank 3 is one half, as if exploration had drawn it."""
    parts = {"rules": "", "reason": "by hand", **dict.fromkeys(SCORE_PARTS, 0.0)}
    rows = [
        {"user_id": user, "rank": rank, "video_id": video, "score": 1 / rank, "sources": f"retrieval:{rank}|wals:12", **parts}
        | {"propensity": 0.5 if rank == 3 else 1.0}
        for user, videos in sorted(lists.items())
        for rank, video in enumerate(videos, start=1)
    ]
    return arrow(RECOMMENDATIONS, rows)
