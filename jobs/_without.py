"""A partition without some of its rows: other files, and the same digest, so that nothing that was made from it becomes stale.

Files that hold none of the rows are linked, the others written again as the stage that made them would, less these rows. The
manifest says under the erasure's receipt how many rows went, so that an erasure that was killed counts them when it goes on. An
archived partition is written in its cold folder, and the manifest that stayed in the lake after it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jobs._cold import staged_stub
from jobs._parquet import read_columns
from jobs._profile import profile
from jobs._swap import flush, swap
from jobs._tables import MANIFEST, Lake, Manifest, Partition, TableError
from models.bundle import sha256
from schemas import Table
from schemas import columns as col

Mask = npt.NDArray[np.bool_]
Chosen = Callable[[pa.Table], Mask]
"""Which rows are to go, of a table with the columns that were asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A partition, where its files lie, and which rows of each file are to go; files without any are left out."""

    place: Lake
    table: Table
    partition: Partition
    manifest: Manifest
    rows: Mapping[str, Mask]

    @property
    def count(self) -> int:
        """Rows that are to go."""
        return sum(int(chosen.sum()) for chosen in self.rows.values())

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.place.path(self.table, self.partition)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the rows that are to go."""
        schema = pa.schema([self.table.field(name).arrow for name in columns])
        parts = [
            read_columns(self.folder / name, columns).filter(pa.array(chosen)).cast(schema)
            for name, chosen in self.rows.items()
        ]
        return pa.concat_tables([schema.empty_table(), *parts])


def find(place: Lake, table: Table, partition: Partition, columns: Sequence[str], chosen: Chosen) -> Found | None:
    """Look for rows that are to go.

    Args:
        place: the lake or the cold folder, whichever holds the files.
        table: of the partition.
        partition: where to look; None is returned where the place does not have it.
        columns: that ``chosen`` needs.
        chosen: tells the rows.

    Raises:
        TableError: a file is missing or cannot be read.
    """
    manifest = place.manifest(table, partition)
    if manifest is None:
        return None
    rows = {}
    for file in manifest.files:
        path = place.path(table, partition) / file["name"]
        try:
            mask = chosen(read_columns(path, columns))
        except (OSError, pa.ArrowException) as error:
            raise TableError(
                f"table {table.name}, {partition.path}: {path} cannot be read ({error}); put a good copy there, or make the "
                "partition again with --force"
            ) from error
        if mask.any():
            rows[file["name"]] = mask
    return Found(place, table, partition, manifest, rows)


def rewrite(found: Found, receipt: str, counts: Mapping[str, int] | None = None) -> Manifest:
    """Put a partition without the rows in its place, in one step.

    Args:
        found: what is to go.
        receipt: of the erasure.
        counts: of the new manifest; the old ones by default.
    """
    staged = found.place.staging(found.table)
    staged.mkdir(parents=True)
    files: list[dict[str, Any]] = []
    for file in found.manifest.files:
        if file["name"] in found.rows:
            files += _less(found, file, staged)
        else:
            _link(found.folder / file["name"], staged / file["name"])
            files.append(dict(file))
    kept = [file for file in files if file["rows"]] or files[:1]  # as a stage leaves it: one empty file, or none
    for empty in (file for file in files if file not in kept):
        (staged / empty["name"]).unlink()
    old = found.manifest
    manifest = replace(
        old,
        rows=sum(int(file["rows"]) for file in kept),
        files=kept,
        counts=dict(old.counts if counts is None else counts),
        profile=profile(found.table, [staged / file["name"] for file in kept]) if old.profile else {},
        erasures={**old.erasures, receipt: old.erasures.get(receipt, 0) + found.count},
    )
    (staged / MANIFEST).write_text(manifest.text(), encoding="utf-8")
    flush(staged / MANIFEST)
    swap(staged, found.folder)
    return manifest


def follow_cold(lake: Lake, cold: Lake, table: Table, partition: Partition) -> None:
    """Let the manifest that an archived partition left in the lake say what the one in the cold folder says."""
    text = (cold.path(table, partition) / MANIFEST).read_bytes()
    left = lake.path(table, partition)
    if (left / MANIFEST).read_bytes() != text:
        swap(staged_stub(lake, cold, table, text), left)


def of_user(user_id: int) -> Chosen:
    """The rows of a user."""
    return lambda rows: np.asarray(rows[col.USER_ID].to_numpy() == user_id, dtype=bool)


def _less(found: Found, file: Mapping[str, Any], staged: Path) -> list[dict[str, Any]]:
    """Write a file without the rows; what the manifest says of it."""
    source, again = found.folder / file["name"], staged / "again"
    with pq.ParquetFile(source) as old:
        rows_per_group = max((old.metadata.row_group(group).num_rows for group in range(old.num_row_groups)), default=1)
        own = old.schema_arrow.remove_metadata()
        everything = old.read().cast(own if found.table.compare(own) else found.table.arrow)  # that of an older version stays
    rows = everything.filter(pa.array(~found.rows[file["name"]])).combine_chunks()
    pq.write_table(rows, again, compression="zstd", row_group_size=max(rows_per_group, 1))
    flush(again)
    digest = sha256(again)
    name = f"{file['name'].rpartition('-')[0]}-{digest[:16]}.parquet"
    again.rename(staged / name)
    return [{"name": name, "rows": rows.num_rows, "bytes": (staged / name).stat().st_size, "sha256": digest}]


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
