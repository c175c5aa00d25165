"""What the lake of this machine knows beside the lists, for people who look at the page. Read only; it may not be there."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from schemas import FALLBACK_RECOMMENDATIONS, RECOMMENDATIONS, USER_FEATURES, Table
from schemas import columns as col
from schemas.errors import ReelflowError
from schemas.segments import values_of
from serving._videos import facts, files

__all__ = ["TeamLake"]


class TeamLake:
    """Reads tables of the lake. Every method raises a ``ReelflowError`` that says why there is nothing to show."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def videos(self, video_ids: set[int]) -> dict[int, dict[str, Any]]:
        """What is known of videos: the columns of :data:`serving._videos.FACTS`."""
        found, remark = facts(self._lake(), video_ids)
        if remark:
            raise ReelflowError(remark)
        for fact in found.values():
            fact[col.UPLOADED_AT] = _utc(fact[col.UPLOADED_AT])
        return found

    def busy(self, n: int) -> list[tuple[int, int]]:
        """Up to ``n`` users from the busiest to the quietest, with how often they did something. Reads one file."""
        table = _read(files(self._newest(USER_FEATURES))[:1], [col.USER_ID, col.INTERACTION_COUNT])
        users = table.sort_by([(col.INTERACTION_COUNT, "descending"), (col.USER_ID, "ascending")])
        places = sorted({place * (len(users) - 1) // max(1, n - 1) for place in range(n)}) if len(users) else []
        chosen = users.take(pa.array(places, pa.int64()))
        return list(zip(chosen[col.USER_ID].to_pylist(), chosen[col.INTERACTION_COUNT].to_pylist(), strict=True))

    def segments(self) -> dict[str, list[str]]:
        """The countries, languages and devices that there are fallback lists of."""
        names = _read(files(self._newest(FALLBACK_RECOMMENDATIONS)), [col.SEGMENT])[col.SEGMENT].unique().to_pylist()
        found: dict[str, set[str]] = {}
        for kind, value in (pair for name in names for pair in values_of(name)):
            found.setdefault(kind, set()).add(value)
        return {kind: sorted(values) for kind, values in found.items()}

    def watched(self, user_id: int, as_of: datetime) -> list[tuple[int, datetime]]:
        """What a user watched last, newest first, and when, as known at the end of the last whole day before ``as_of``."""
        whole = [day for day in self._days(USER_FEATURES) if _end(day) <= as_of]
        if not whole:
            raise ReelflowError(f"the lake has no {USER_FEATURES.name} of a day before {as_of:%Y-%m-%d %H:%M}")
        partition = max(whole)
        columns = [col.WATCHED_HISTORY, col.WATCHED_AGES]
        rows = _read(files(partition), columns, ds.field(col.USER_ID) == user_id).to_pylist()
        if not rows:
            raise ReelflowError(f"user {user_id} is not in {USER_FEATURES.name}, {partition.name}")
        pairs = zip(rows[0][col.WATCHED_HISTORY], rows[0][col.WATCHED_AGES], strict=True)
        return [(video, _end(partition) - timedelta(seconds=seconds)) for video, seconds in pairs]

    def listed(self, day: date, user_id: int | None, segment: str | None) -> list[int]:
        """The videos that the run of a day listed for a user, or for a segment, by rank."""
        table = RECOMMENDATIONS if segment is None else FALLBACK_RECOMMENDATIONS
        partition = self._lake() / table.name / f"{col.DT}={day}"
        if not partition.is_dir():
            raise ReelflowError(f"the lake has no {table.name} of {day}")
        whose = ds.field(col.USER_ID) == user_id if segment is None else ds.field(col.SEGMENT) == segment
        rows = _read(files(partition), [col.RANK, col.VIDEO_ID], whose).sort_by(col.RANK)
        if not len(rows):
            raise ReelflowError(f"there was no such list on {day}")
        return [int(video) for video in rows[col.VIDEO_ID].to_pylist()]

    def _lake(self) -> Path:
        if self._folder is None:
            raise ReelflowError("this server knows no lake")
        return self._folder

    def _days(self, table: Table) -> list[Path]:
        found = list((self._lake() / table.name).glob(f"{col.DT}=*"))
        if not found:
            raise ReelflowError(f"found no {table.name} table below {self._folder}")
        return found

    def _newest(self, table: Table) -> Path:
        return max(self._days(table))


def _read(paths: list[str], columns: list[str], wanted: ds.Expression | None = None) -> pa.Table:
    try:
        return ds.dataset(paths, format="parquet").to_table(columns=columns, filter=wanted)
    except (pa.ArrowException, OSError) as error:
        raise ReelflowError(f"the lake cannot be read: {error}") from error


def _end(partition: Path) -> datetime:
    """The end of a partition's day."""
    return datetime.combine(date.fromisoformat(partition.name.partition("=")[2]) + timedelta(days=1), time(), UTC)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
