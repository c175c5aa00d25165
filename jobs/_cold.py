"""Partitions on their way to the cold folder and back: copied, flushed, checked by sha256, and only then removed.

The cold folder is laid out like the lake, and may be another file system. At every step a partition is whole in the lake, or
whole in the cold folder, or in both; after a crash the same command goes on from there. See ``docs/adr/0016-archive.md``.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from jobs._swap import flush, swap
from jobs._tables import ARCHIVED, MANIFEST, Lake, Manifest, Partition, TableError, damage
from schemas import Table

_CHUNK_BYTES = 1 << 20


def to_cold(lake: Lake, cold: Lake, table: Table, partition: Partition) -> Manifest:
    """Move a live partition to the cold folder, in the place of an older copy; its manifest and a marker stay in the lake.

    Raises:
        TableError: a file is damaged or lost, or the partition was written again meanwhile; it stays as it was.
    """
    manifest, live, target = described(lake, table, partition), lake.path(table, partition), cold.path(table, partition)
    text = (live / MANIFEST).read_bytes()
    if _text(target) != text or damage(target, manifest):
        staged = cold.staging(table)
        _copy(live, staged, manifest, text)
        _discard(target, staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)
    _flush_up(target, cold.root)
    stub = staged_stub(lake, cold, table, text)
    if _text(live) != text:
        raise TableError(f"{_name(table, partition)}: a stage wrote it again meanwhile; it stays; archive it again")
    swap(stub, live)
    _flush_up(live, lake.root)
    return manifest


def staged_stub(lake: Lake, cold: Lake, table: Table, text: bytes) -> Path:
    """Stage what an archived partition leaves in the lake: its manifest, and where its files are."""
    stub = lake.staging(table)
    stub.mkdir(parents=True)
    _write(stub / MANIFEST, text)
    _write(stub / ARCHIVED, (json.dumps({"cold": str(cold.root)}) + "\n").encode())
    return stub


def from_cold(lake: Lake, cold: Lake, table: Table, partition: Partition) -> Manifest | None:
    """Move a partition back into the lake.

    Returns:
        Its manifest, or None if the lake holds the same rows already; the cold copy is removed then too.

    Raises:
        TableError: see :func:`restorable`; or the copy is damaged. Both stay as they were.
    """
    manifest = restorable(lake, cold, table, partition)
    source, live = cold.path(table, partition), lake.path(table, partition)
    if manifest is not None:
        staged = lake.staging(table)
        _copy(source, staged, manifest, (source / MANIFEST).read_bytes())
        swap(staged, live)
    _flush_up(live, lake.root)
    remove(cold, table, partition)
    return manifest


def remove(place: Lake, table: Table, partition: Partition) -> None:
    """Remove a partition for good, live, archived or cold: first out of the way, in one step."""
    folder = place.path(table, partition)
    _discard(folder, place.staging(table))
    _prune(folder.parent, place.root)


def restorable(lake: Lake, cold: Lake, table: Table, partition: Partition) -> Manifest | None:
    """The manifest of the cold copy, or None if the lake holds the same rows, undamaged.

    Raises:
        TableError: there is no copy, or it is not what the lake gave away, or what is live is newer.
    """
    source, live = cold.path(table, partition), lake.path(table, partition)
    where = lake.archived(table, partition)
    if _text(source) is None:
        raise TableError(
            f"{_name(table, partition)}: found nothing in {source}, expected what was archived in {where}; mount that folder "
            "or set paths.cold to it; if it is lost, make the partition again with --force"
        )
    manifest = described(cold, table, partition)
    if _text(live) is None:
        return manifest
    if where is not None:
        if _text(source) == _text(live):
            return manifest
        raise TableError(
            f"{_name(table, partition)}: {source} is not what the lake gave away: its {MANIFEST} differs from that in {live}; "
            "put the right copy there, or make the partition again with --force"
        )
    found = described(lake, table, partition)
    if found.digest != manifest.digest:
        raise TableError(
            f"{_name(table, partition)}: what is live is newer (digest {found.digest[:12]}) than the copy in {source} (digest "
            f"{manifest.digest[:12]}); it stays; archive it again to replace the copy, or remove that folder"
        )
    return manifest if damage(live, found) else None


def described(place: Lake, table: Table, partition: Partition) -> Manifest:
    """The manifest of a partition that has one.

    Raises:
        TableError: it is damaged.
    """
    try:
        manifest = place.manifest(table, partition)
    except (ValueError, TypeError) as error:
        path = place.path(table, partition) / MANIFEST
        raise TableError(f"{_name(table, partition)}: {path} is damaged ({error}); put a good copy there") from error
    if manifest is None:
        raise TableError(f"{_name(table, partition)}: found nothing in {place.path(table, partition)}; it was just removed")
    return manifest


def _copy(source: Path, staged: Path, manifest: Manifest, text: bytes) -> None:
    """Copy a partition, file by file in small chunks, and read it back.

    Raises:
        TableError: a file is not what the manifest says, before or after.
    """
    staged.mkdir(parents=True)
    for file in manifest.files:
        _flushed_copy(source / file["name"], staged / file["name"])
    _write(staged / MANIFEST, text)
    flush(staged)
    if damage(staged, manifest):
        why = damage(source, manifest) or f"the copy in {staged} is not: that file system damages what it is given"
        raise TableError(
            f"table {manifest.table}, {manifest.partition}: {why}; nothing was moved; put a good copy in its place, or make "
            "the partition again with --force"
        )


def _flushed_copy(source: Path, target: Path) -> None:
    """Copy a file through to the disk; a source that is not there leaves no target, which the check then finds."""
    try:
        stream = source.open("rb")
    except FileNotFoundError:
        return
    with stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out, _CHUNK_BYTES)
        out.flush()
        os.fsync(out.fileno())


def _discard(folder: Path, staging: Path) -> None:
    """Remove a partition's folder: out of the way in one step, then file by file."""
    if folder.exists():
        trash = staging.with_name(f"{staging.name}-old")
        folder.rename(trash)
        shutil.rmtree(trash)


def _prune(folder: Path, root: Path) -> None:
    """Remove folders that became empty, up to the root."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _write(path: Path, text: bytes) -> None:
    with path.open("wb") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _flush_up(folder: Path, root: Path) -> None:
    """Make a folder durable, and every folder that leads to it from the root."""
    while folder != root:
        flush(folder)
        folder = folder.parent
    flush(root)


def _text(folder: Path) -> bytes | None:
    """The manifest in a folder as it is written; None when there is none."""
    try:
        return (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _name(table: Table, partition: Partition) -> str:
    return f"table {table.name}, {partition.path}"
