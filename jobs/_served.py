"""What went live, kept in the lake: whose lists of which models, and from when on (P5).

``recommendation_history`` has the rows of every list that went live, ``publication_switches`` says which lists were live from
when on. Only this module writes them, each time from the store's own log, so it does not matter who switched, or who died in
between: a switch that the lake does not know yet is entered after the rows of its lists. Rows depend on the lists alone, so the
same lists give the same bytes, however often they are published; what the clock said is in the switches. Whoever is on the list
of the erased is left out, as the store leaves them out: a lake may come out of a backup. See
``docs/adr/0035-recommendation-history.md``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from conf import Section
from jobs._cold import remove
from jobs._erased import Erased
from jobs._lane import DAILY, HOURLY
from jobs._recipe import Recipe, code_version
from jobs._tables import Lake, Manifest, Partition
from jobs._window import DAY, compact, last_day
from schemas import FALLBACK_RECOMMENDATIONS, PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY, RECOMMENDATIONS
from schemas import columns as col
from serving import PublicationRecord, ServingStore, Switch

Row = dict[str, Any]

_ROWS_PER_GROUP = 2**18
"""At least: lists of some thousand users. Who looks one of them up reads no more, and a dictionary of videos is worth it."""
_OF_THE_LISTS = (col.USER_ID, col.RANK, col.VIDEO_ID, col.SCORE, col.PROPENSITY)


class HistoryConfig(Section):
    """Section ``history``."""

    keep_days: int | None = Field(ge=1)
    """Lists that went live longer than this before the day that is published are forgotten; null: none ever are."""


def model_version(lists: Lake, made: Manifest, as_of: datetime) -> str:
    """What lists are published as: their ``as_of``, and a digest of their rows and of the fallback lists beside them."""
    fallback = lists.digest(FALLBACK_RECOMMENDATIONS, [Partition(last_day(as_of))])
    return f"{compact(as_of)}-{hashlib.sha256(f'{made.digest} {fallback}'.encode()).hexdigest()[:12]}"


def partition_of(as_of: datetime) -> Partition:
    """The partition of the history that holds lists of this ``as_of``: the last hour that they know."""
    return Partition.hour(as_of - timedelta(microseconds=1))


def follow(store: ServingStore, lake: Lake, erased: Erased) -> list[str]:
    """Enter every switch of the store that the lake does not know, and the lists that went live by it.

    Args:
        store: whose log is followed.
        lake: that is to know.
        erased: whose lists did not go live, though the lake has them.

    Returns:
        What could not be kept, for a person: lists that were replaced or removed before they could be.
    """
    with _alone(lake):
        fresh = _unknown(store, lake)
        lost = [version for version, row in _each_once(fresh) if not _keep(lake, row, erased)]
        for day, rows in groupby(sorted(fresh, key=_day), key=_day):
            _enter(lake, Partition(day), list(rows))
    return [f"not in the history, their lists are gone: {', '.join(lost)}"] if lost else []


def behind(store: ServingStore, lake: Lake) -> bool:
    """Whether the store switched and the lake does not know."""
    return bool(_unknown(store, lake))


def forget(lakes: Iterable[Lake], as_of: datetime, keep_days: int | None) -> int:
    """Remove the lists that are older than so many days; returns how many partitions.

    Args:
        lakes: the cold one first, so that no archived partition loses what says where it lies.
        as_of: of the day that is published.
        keep_days: section ``history``; None removes nothing.
    """
    if keep_days is None:
        return 0
    first = as_of - keep_days * DAY
    old = [(lake, found) for lake in lakes for found in lake.every(RECOMMENDATION_HISTORY) if found.start < first]
    for lake, partition in old:
        remove(lake, RECOMMENDATION_HISTORY, partition)
    return len(old)


def holds(lake: Lake, partition: Partition, version: str) -> bool:
    """Whether the history has the lists of this ``model_version``."""
    made = lake.manifest(RECOMMENDATION_HISTORY, partition)
    return made is not None and version in made.inputs


def read_switches(lake: Lake, partitions: Iterable[Partition]) -> pa.Table:
    """The rows of ``publication_switches``; columns that an older file lacks are null."""
    parts = [PUBLICATION_SWITCHES.arrow.empty_table()]
    for file in lake.files(PUBLICATION_SWITCHES, partitions):
        with pq.ParquetFile(file) as source:
            names = [name for name in PUBLICATION_SWITCHES.columns if name in source.schema_arrow.names]
            schema = pa.schema([PUBLICATION_SWITCHES.field(name).arrow for name in names])
            parts.append(source.read(columns=names).select(names).cast(schema))
    return pa.concat_tables(parts, promote_options="default")


def switches(publications: Sequence[PublicationRecord], changes: Sequence[Switch]) -> list[Row]:
    """The rows of ``publication_switches``.

    Args:
        publications: of the store, in any order.
        changes: of the store, newest first.

    Returns:
        A row a change, oldest first. A version's layers are found as the store lays them: a delta over all that was live, a
        full publication under the deltas that know more.
    """
    records, layers = {record.version: record for record in publications}, dict[int, list[PublicationRecord]]()
    rows = []
    for number, change in enumerate(reversed(changes), start=1):
        record = records[change.to_version]
        if record.version not in layers:
            below = layers.get(change.from_version or 0, [])
            later = [one for one in below if one.base is not None and one.as_of > record.as_of]
            layers[record.version] = [record, *later] if record.base is None else [*below, record]
        rows.append(
            {
                col.SWITCHED_AT: change.at,
                col.SWITCH: number,
                col.ACTION: str(change.action),
                col.VERSION: record.version,
                col.MODEL_VERSION: record.model_version,
                col.AS_OF: record.as_of,
                col.LANE: DAILY if record.base is None else HOURLY,
                col.EXPIRES_AT: record.expires_at,
                col.LAYERS: [one.model_version for one in layers[record.version]],
                col.LAYERS_EXPIRE_AT: [one.expires_at for one in layers[record.version]],
            }
        )
    return rows


def _unknown(store: ServingStore, lake: Lake) -> list[Row]:
    """The switches of the store that the lake does not know, oldest first."""
    columns = (col.SWITCHED_AT, col.SWITCH, col.MODEL_VERSION)
    known = lake.read(PUBLICATION_SWITCHES, lake.every(PUBLICATION_SWITCHES), columns).to_pylist()
    seen = {tuple(row[name] for name in columns) for row in known}
    changes = store.switches()  # before the publications, so that there is one for each
    return [row for row in switches(store.publications(), changes) if tuple(row[name] for name in columns) not in seen]


def _each_once(rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """One row for each ``model_version``."""
    yield from {row[col.MODEL_VERSION]: row for row in rows}.items()


def _day(row: Row) -> date:
    """Of the partition of a switch."""
    return last_day(row[col.AS_OF])


def _enter(lake: Lake, partition: Partition, rows: list[Row]) -> None:
    """Add switches to those of a day."""
    table = pa.Table.from_pylist(rows, schema=PUBLICATION_SWITCHES.arrow)
    there = [] if lake.manifest(PUBLICATION_SWITCHES, partition) is None else [partition]
    both = pa.concat_tables([read_switches(lake, there), table])
    in_order = both.sort_by([(name, "ascending") for name in PUBLICATION_SWITCHES.key])
    lake.write(PUBLICATION_SWITCHES, partition, in_order, Recipe({}, _code(), {}))


def _keep(lake: Lake, row: Row, erased: Erased) -> bool:
    """Add lists to the history, beside others of the same hour; False where they are no longer what went live."""
    version, partition = row[col.MODEL_VERSION], partition_of(row[col.AS_OF])
    if holds(lake, partition, version):
        return True
    lists = lake if row[col.LANE] == DAILY else lake.of_hour(row[col.AS_OF])
    today = Partition(last_day(row[col.AS_OF]))
    made = lists.manifest(RECOMMENDATIONS, today)
    archived = lists.archived(RECOMMENDATIONS, today) is not None
    if made is None or archived or model_version(lists, made, row[col.AS_OF]) != version:
        return False
    before = lake.manifest(RECOMMENDATION_HISTORY, partition)
    files = [] if before is None else lake.files(RECOMMENDATION_HISTORY, [partition])
    staged = lake.staging(RECOMMENDATION_HISTORY)
    staged.mkdir(parents=True)
    for number, file in enumerate(files):
        shutil.copyfile(file, staged / f"{_first(file)}.{number}.parquet")  # names in order, so keys in order
    _write(staged / f"{version}.parquet", lists.files(RECOMMENDATIONS, [today]), row, erased)
    inputs = {**({} if before is None else before.inputs), version: made.digest}
    lake.commit(RECOMMENDATION_HISTORY, partition, staged, Recipe(inputs, _code(), {}), by_spark=False)
    return True


def _first(file: Path) -> str:
    """The first ``model_version`` in a file; of one without rows, some text."""
    with pq.ParquetFile(file) as source:
        found = next(source.iter_batches(batch_size=1, columns=[col.MODEL_VERSION]), None)
    return "none" if found is None else str(found.column(0)[0])


def _write(target: Path, files: Sequence[Path], row: Row, erased: Erased) -> None:
    """Write the rows of lists as rows of the history, in order, some users at a time, and none of erased users.

    Scores hardly repeat, so no dictionary is made of them, and their bytes are stored by place, which zstd likes better: 3.6
    bytes a row for 5.6.
    """
    schema = RECOMMENDATION_HISTORY.arrow
    dictionaries = [name for name in schema.names if name != col.SCORE]
    with pq.ParquetWriter(
        target, schema, compression="zstd", use_dictionary=dictionaries, use_byte_stream_split=[col.SCORE]
    ) as out:
        for part in _gathered(files, erased):
            out.write_table(_history(part, row), row_group_size=part.num_rows)


def _gathered(files: Sequence[Path], erased: Erased) -> Iterator[pa.Table]:
    """The rows of files in order, without those of erased users, a row group's worth at a time."""
    held: list[pa.RecordBatch] = []
    for file in files:
        with pq.ParquetFile(file) as source:
            for batch in source.iter_batches(batch_size=_ROWS_PER_GROUP, columns=[*_OF_THE_LISTS, col.SOURCES]):
                kept = erased.taken_from(batch)
                held += [kept] if kept.num_rows else []
                if sum(one.num_rows for one in held) >= _ROWS_PER_GROUP:
                    yield pa.Table.from_batches(held)
                    held = []
    if held:
        yield pa.Table.from_batches(held)


def _history(lists: pa.Table, row: Mapping[str, Any]) -> pa.Table:
    """Rows of the history of some rows of lists."""
    columns = {name: lists[name] for name in _OF_THE_LISTS}
    columns[col.GENERATORS] = pc.replace_substring_regex(lists[col.SOURCES], r":\d+", "")
    for name in (col.MODEL_VERSION, col.AS_OF, col.LANE):
        columns[name] = pa.repeat(pa.scalar(row[name], RECOMMENDATION_HISTORY.field(name).arrow.type), lists.num_rows)
    return pa.table({name: columns[name] for name in RECOMMENDATION_HISTORY.columns}).cast(RECOMMENDATION_HISTORY.arrow)


def _code() -> str:
    return code_version("jobs/_served.py", "schemas/served.py")


@contextmanager
def _alone(lake: Lake) -> Iterator[None]:
    """Let publishers and rollbacks enter their switches one after the other."""
    folder = lake.root / PUBLICATION_SWITCHES.name
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
