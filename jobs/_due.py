"""Whose lists an hour makes again, and over which version of the store they go.

A list is due when its user did anything since the time that it knows; when it expires soon; when it shows what was removed, or
blocked in the user's country, since; and when it is of the models before those that are live. It is compared list by list, so
an hour that failed or never ran is made up for by the next one, and a day that became live meanwhile too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conf import load
from jobs import _bundles, refresh
from jobs._lane import HourlyConfig
from jobs._stage import Context
from jobs._swap import read_json, replace_json
from jobs._tables import Partition
from jobs._window import Window, iso, last_day, micros, parse_time
from models.ids import IdMap
from schemas import INTERACTIONS, USER_FEATURES, VIDEO_FEATURES
from schemas import columns as col
from schemas.errors import ReelflowError
from serving import PublicationRecord, Snapshot, open_store

Ints = NDArray[np.int64]

FILE, FACTS, USERS_FILE = "due.npy", "due.json", "users.parquet"
REASONS = ("active", "expiring", "older models", "barred")


@dataclass(frozen=True, slots=True)
class Due:
    """What an hour has to make."""

    base: int
    """The version that the lists go over."""
    users: Ints
    """Whose lists are due, ascending ``(n,)``; all of them have features."""
    reasons: dict[str, int]
    """How many for each reason; a list may be due for several."""

    @property
    def digest(self) -> str:
        """Of the users."""
        return hashlib.sha256(self.users.tobytes()).hexdigest()

    def without(self, user_id: int) -> Due:
        """The same without a user."""
        return replace(self, users=self.users[self.users != user_id])


def find(context: Context) -> Due | str:
    """Find out whose lists are due and keep it beside the lists, or say why there is nothing to do.

    While this hour's own publication is live, it is what was due when that was made.

    Raises:
        ReelflowError: nothing is live.
    """
    kept = read(context)
    found = _look(context, kept)
    if isinstance(found, Due) and found is not kept:
        write_at(context.lists.root, found)
    return found


def look(context: Context) -> Due | str:
    """The same without keeping it.

    Raises:
        ReelflowError: nothing is live.
    """
    return _look(context, read(context))


def _look(context: Context, kept: Due | None) -> Due | str:
    with open_store(context.paths.store).snapshot() as snapshot:
        live, publications = _live(snapshot), snapshot.publications()
        if kept is not None and _is_of(kept, live, context) and not context.force:
            return kept
        return _nothing_to_do(context, live, publications) or _find(context, snapshot, live, publications)


def standing(context: Context) -> Due | str:
    """What was due when the lists of this hour were made, or why they are not to be published any more.

    Raises:
        ReelflowError: nothing is live, or the lists were never made.
    """
    kept = read(context)
    with open_store(context.paths.store).snapshot() as snapshot:
        live, publications = _live(snapshot), snapshot.publications()
    if kept is not None and (_is_of(kept, live, context) or live.version == kept.base):
        return kept
    if why := _nothing_to_do(context, live, publications):
        return why
    if kept is None:
        raise ReelflowError(f"lists as of {iso(context.as_of)}: not found; run recommend --lane hourly first")
    return (
        f"superseded: version {live.version} is live, these lists go over version {kept.base}; the next hour makes up for it, "
        "or recommend again"
    )


def _live(snapshot: Snapshot) -> PublicationRecord:
    if snapshot.live is None:
        raise ReelflowError("lists of an hour: found nothing live; expected a full publication; run the daily lane first")
    return snapshot.live


def _is_of(kept: Due, live: PublicationRecord, context: Context) -> bool:
    """Whether what is live is this hour's own publication."""
    return live.as_of == context.as_of and live.base == kept.base


def _nothing_to_do(context: Context, live: PublicationRecord, publications: Sequence[PublicationRecord]) -> str | None:
    """Why an hour cannot go over what is live: that knows more, or is of other models."""
    newest = max(live.root_as_of, *(one.as_of for one in publications))
    if newest > context.as_of:
        return f"superseded: what is live, as of {iso(newest)}, is newer; nothing changes"
    base = parse_time(_bundles.open_at(context, _bundles.WALS).properties[refresh.BASE]["as_of"])
    if base != live.root_as_of:
        return (
            f"superseded: what is live is of the models as of {iso(live.root_as_of)}, this hour went on from those as of "
            f"{iso(base)}; the next one goes on from the former"
        )
    return None


def read(context: Context) -> Due | None:
    """What was due when the lists of this hour were made; None where they never were."""
    return read_at(context.lists.root)


def read_at(folder: Path) -> Due | None:
    """What was due for the lists that lie in a folder; None where nothing says it."""
    facts = read_json(folder / FACTS, "what is due", "recommend")
    if facts is None:
        return None
    users = np.load(folder / FILE, allow_pickle=False)
    found = Due(int(facts["base"]), users, facts["reasons"])
    return found if found.digest == facts["digest"] else None


def users_of(files: Sequence[Path], due: Due, folder: Path) -> Path:
    """The rows of ``user_features`` of those who are due, in order, as a file of their own.

    Raises:
        ReelflowError: one of them has no row.
    """
    found = folder / USERS_FILE
    wanted, rows = pa.array(due.users), 0
    with pq.ParquetWriter(found, USER_FEATURES.arrow, compression="zstd") as written:
        for path in files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    part = batch.select(USER_FEATURES.columns).filter(pc.is_in(batch[col.USER_ID], wanted))
                    written.write_table(pa.Table.from_batches([part]).cast(USER_FEATURES.arrow))
                    rows += part.num_rows
    if rows != len(due.users):
        raise ReelflowError(
            f"table {USER_FEATURES.name}: found {rows:,} of the {len(due.users):,} users whose lists are due; it has changed "
            "since: run recommend again"
        )
    return found


def _find(context: Context, snapshot: Snapshot, live: PublicationRecord, publications: list[PublicationRecord]) -> Due:
    lake, today = context.lake, Partition(context.last_day)
    users = lake.read(USER_FEATURES, [today], [col.USER_ID, col.COUNTRY]).sort_by(col.USER_ID)
    ids = users[col.USER_ID].to_numpy()
    place = np.zeros(len(ids), dtype=np.int64)  # of each one's publication; the root's for who has no list
    everyone = IdMap(ids)
    for number, one in enumerate(publications[1:], start=1):
        found = everyone.lookup(np.array(snapshot.users_of(one.version), dtype=np.int64))
        place[found[found >= 0]] = number
    as_of = np.array([micros(one.as_of) for one in publications])[place]
    soon = context.as_of + timedelta(hours=load("hourly", HourlyConfig).renew_hours)
    expiring = np.array([one.expires_at <= soon for one in publications])[place]
    older = np.array([one.root != live.root for one in publications])[place]
    active = _last_event(context, live, everyone) >= as_of
    barred = np.zeros(len(ids), dtype=bool)
    barred[everyone.lookup(_shows_barred(context, snapshot, live, everyone, users[col.COUNTRY]))] = True
    reasons = dict(zip(REASONS, (active, expiring, older, barred), strict=True))
    return Due(
        live.version,
        ids[active | expiring | older | barred],
        {name: int(mask.sum()) for name, mask in reasons.items()},
    )


def _last_event(context: Context, live: PublicationRecord, users: IdMap) -> Ints:
    """When each user did something last, or was shown something, since the full publication; in microseconds, else -1 (n,)."""
    last = np.full(len(users), -1, dtype=np.int64)
    for hour in context.lake.partitions(INTERACTIONS, Window(live.root_as_of, context.as_of)):
        events = context.lake.read(INTERACTIONS, [hour], [col.USER_ID, col.OCCURRED_AT])
        at = users.lookup(events[col.USER_ID].to_numpy())
        np.maximum.at(last, at[at >= 0], events[col.OCCURRED_AT].cast(pa.int64()).to_numpy()[at >= 0])
    return last


def _shows_barred(
    context: Context, snapshot: Snapshot, live: PublicationRecord, users: IdMap, countries: pa.ChunkedArray
) -> Ints:
    """Users whose list shows what was removed, or blocked in their country, since the full publication."""
    columns = [col.VIDEO_ID, col.REMOVED, col.BLOCKED_COUNTRIES]
    today, then = (Partition(day) for day in (context.last_day, last_day(live.root_as_of)))
    now = context.lake.read(VIDEO_FEATURES, [today], columns)
    known = context.lake.read_if_made(VIDEO_FEATURES, then, columns) if then != today else now.slice(0, 0)
    removed = np.setdiff1d(_removed(now), _removed(known))
    blocked = set(_blocked(now)) - set(_blocked(known))
    if not len(removed) and not blocked:
        return np.zeros(0, dtype=np.int64)
    rows = snapshot.showing(sorted({*removed.tolist(), *(video for video, _ in blocked)}))
    shown = np.array(rows, dtype=np.int64).reshape(-1, 2)
    shown = shown[users.lookup(shown[:, 0]) >= 0]
    theirs = countries.take(pa.array(users.lookup(shown[:, 0]))).to_pylist()
    hit = [(video, country) in blocked for video, country in zip(shown[:, 1].tolist(), theirs, strict=True)]
    return np.unique(shown[np.isin(shown[:, 1], removed) | np.array(hit, dtype=bool), 0])


def _removed(videos: pa.Table) -> Ints:
    removed: Ints = videos.filter(videos[col.REMOVED])[col.VIDEO_ID].to_numpy()
    return removed


def _blocked(videos: pa.Table) -> Iterator[tuple[int, str]]:
    """Every pair of a video and a country that blocks it."""
    some = videos.filter(pc.greater(pc.list_value_length(videos[col.BLOCKED_COUNTRIES]), 0))
    for video, names in zip(some[col.VIDEO_ID].to_pylist(), some[col.BLOCKED_COUNTRIES].to_pylist(), strict=True):
        yield from ((video, name) for name in names)


def write_at(folder: Path, due: Due) -> None:
    """Keep what is due beside the lists: the users first, so that the facts are never of others."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("wb") as stream:
        np.save(stream, due.users, allow_pickle=False)
    replace_json(folder / FACTS, {"base": due.base, "digest": due.digest, "reasons": due.reasons})
