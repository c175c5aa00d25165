"""The lists of a day, part by part, so that a run that was killed goes on with the parts that are missing.

A part is a range of the rows of ``user_features``, whole batches of users, and one Parquet file that the worker which made it
writes, syncs and then gives its name: a file of that name is whole. The files lie in a folder that the recipe's digest names,
so lists of other models, users, settings or code are never gone on from; ``commit`` links them into the lake's staging area,
and they stay until the table is live. See ``docs/operations.md``.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs._swap import flush
from jobs._worker import Model, recommend_batches
from schemas import RECOMMENDATIONS, USER_FEATURES

_ROWS_PER_GROUP = 2**18
_UNFINISHED = ".tmp"


@dataclass(frozen=True, slots=True)
class Part:
    """The users of some rows of ``user_features``, from ``start`` up to ``stop``."""

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What its file is called: in order of the parts."""
        return f"part-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs to make any part.

    Attributes:
        folder: where the parts of one recipe lie.
        model: to recommend with.
        users: the files of ``user_features``, in order.
        users_per_batch: users that are recommended to at a time.
    """

    folder: Path
    model: Model
    users: tuple[Path, ...]
    users_per_batch: int

    def missing(self, parts: Sequence[Part]) -> list[Part]:
        """Those of some parts that are yet to be made."""
        return [part for part in parts if not (self.folder / part.name).exists()]


def cut_users(n_users: int, *, users_per_batch: int, parts: int) -> list[Part]:
    """At most so many parts of whole batches, as equal as that allows: the same batches, however many parts there are."""
    batches = -(-n_users // users_per_batch)
    parts = min(parts, batches)
    bounds = [min(batches * number // parts * users_per_batch, n_users) for number in range(parts + 1)] if parts else []
    return [Part(number, start, stop) for number, (start, stop) in enumerate(pairwise(bounds))]


def begin(folder: Path, recipe_digest: str, *, afresh: bool) -> Path:
    """The folder of a recipe's parts, with those that an earlier run made of it unless all is to be made ``afresh``.

    What runs with other recipes left is removed, and so is what workers were writing when they died, on whatever host.
    """
    found = folder / recipe_digest
    for leftover in folder.glob("*"):
        if leftover != found or afresh:
            shutil.rmtree(leftover, ignore_errors=True)
    found.mkdir(parents=True, exist_ok=True)
    for unfinished in found.glob(f".*{_UNFINISHED}"):
        unfinished.unlink(missing_ok=True)
    return found


def make_parts(work: Work, parts: Sequence[Part]) -> None:
    """Make some parts, one after the other; runs in a Spark worker."""
    for part in parts:
        make_part(work, part)


def make_part(work: Work, part: Part) -> None:
    """Make the lists of a part's users unless they are there."""
    target = work.folder / part.name
    if target.exists():  # Spark may try a task again
        return
    staged = work.folder / f".{part.name}.{socket.gethostname()}.{os.getpid()}{_UNFINISHED}"
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(staged, RECOMMENDATIONS.arrow, compression="zstd") as file:
        for lists in recommend_batches(work.model, _batches(work, part)):
            waiting.append(lists)
            if sum(some.num_rows for some in waiting) >= _ROWS_PER_GROUP:
                file.write_table(pa.Table.from_batches(waiting), row_group_size=2 * _ROWS_PER_GROUP)
                waiting = []
        if waiting:
            file.write_table(pa.Table.from_batches(waiting), row_group_size=2 * _ROWS_PER_GROUP)
    flush(staged)
    staged.replace(target)
    flush(work.folder)


def link(work: Work, parts: Sequence[Part], staged: Path) -> None:
    """Put the files of parts into a fresh directory too; copies where the file system has no links."""
    staged.mkdir(parents=True)
    for part in parts:
        try:
            os.link(work.folder / part.name, staged / part.name)
        except OSError:
            shutil.copyfile(work.folder / part.name, staged / part.name)


def _batches(work: Work, part: Part) -> Iterator[pa.RecordBatch]:
    """The users of a part, so many at a time; the last batch may be smaller."""
    waiting, size = USER_FEATURES.arrow.empty_table(), work.users_per_batch
    for rows in _rows(work, part):
        waiting = pa.concat_tables([waiting, rows])
        while waiting.num_rows >= size:
            yield from waiting.slice(0, size).combine_chunks().to_batches()
            waiting = waiting.slice(size)
    yield from waiting.combine_chunks().to_batches()


def _rows(work: Work, part: Part) -> Iterator[pa.Table]:
    """The users of a part as they lie in the files, of which no more is read than the row groups that hold them."""
    before = 0  # rows in front of the row group
    for path in work.users:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                first, before = before, before + file.metadata.row_group(group).num_rows
                if first >= part.stop:
                    return
                if before <= part.start:
                    continue
                for batch in file.iter_batches(work.users_per_batch, row_groups=[group]):
                    start, stop = max(part.start - first, 0), min(part.stop - first, batch.num_rows)
                    first += batch.num_rows
                    if start < stop:
                        found = pa.Table.from_batches([batch.slice(start, stop - start)])
                        yield found.select(USER_FEATURES.columns).cast(USER_FEATURES.arrow)
