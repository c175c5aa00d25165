"""Partitions of the lake: where they lie, what their manifests say, and how one replaces another.

A partition is a plain directory ``lake/<table>/dt=YYYY-MM-DD[/hr=HH]`` of Parquet files beside a ``_manifest.json``. It is
written in ``lake/_staging``, checked against its schema, and then exchanged with the live directory in one system call
(``renameat2`` with ``RENAME_EXCHANGE``), so a reader finds the old or the new one and a crash leaves one of them. File
names carry their content's digest: a reader that listed the old partition fails loudly instead of mixing the two. See
``docs/adr/0003-table-commits.md``. Of an archived partition only the manifest stays, beside an ``_archived.json`` that says
where its files went (``docs/adr/0016-archive.md``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs._parquet import check_file, normalise, read_columns
from jobs._profile import profile
from jobs._recipe import CURRENT, MISSING, Recipe, State, Status, canonical
from jobs._swap import swap
from jobs._window import Window, compact, midnight
from models.bundle import sha256
from schemas import Table
from schemas.errors import ReelflowError

MANIFEST = "_manifest.json"
ARCHIVED = "_archived.json"
_STAGING = "_staging"


class TableError(ReelflowError):
    """A partition that is missing, damaged, or does not fit its schema."""


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One day, or one hour of a day, of a table."""

    dt: date
    hr: int | None = None

    @classmethod
    def hour(cls, moment: datetime) -> Partition:
        """The hourly partition that holds ``moment``."""
        return cls(moment.date(), moment.hour)

    @classmethod
    def parse(cls, path: Path) -> Partition:
        """The partition that lies in this directory below its table."""
        values = [part.partition("=")[2] for part in path.parts]
        return cls(date.fromisoformat(values[0]), int(values[1]) if len(values) > 1 else None)

    @property
    def path(self) -> str:
        """The partition's directory below its table."""
        return f"dt={self.dt.isoformat()}" + ("" if self.hr is None else f"/hr={self.hr:02d}")

    @property
    def start(self) -> datetime:
        """The first instant of the partition."""
        return midnight(self.dt).replace(hour=self.hr or 0)


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing that a stage makes, and how it stands: a partition of a table, or the bundle of a day."""

    name: str
    partition: Partition
    status: Status


Pending = Mapping[str, Collection[Partition]]
"""Partitions, by table, that earlier stages have yet to make, as far as a plan knows."""


def after(status: Status, table: Table, pending: Sequence[Partition]) -> Status:
    """The status of what is made from partitions that are yet to be made."""
    if not pending or not status.current:
        return status
    return Status(State.STALE, f"reads {table.name} {pending[0].path}, which is to be made")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``_manifest.json`` says of a partition. Holds no clock time, so that equal partitions are equal byte by byte."""

    table: str
    schema_version: int
    partition: str
    rows: int
    digest: str
    files: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, str]
    code_version: str
    parameters: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    """What ``jobs._profile`` measured; empty in manifests from before there were profiles."""
    erasures: Mapping[str, int] = field(default_factory=dict)
    """Rows that erasures removed since the partition was made, by receipt. ``digest`` stays what it was made with, for that is
    what made it and all that is made from it are known by; ``files`` say what lies there now."""

    def text(self) -> str:
        """What ``_manifest.json`` holds."""
        content = {name: value for name, value in asdict(self).items() if value or name != "erasures"}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


def damage(folder: Path, manifest: Manifest) -> str:
    """What is wrong with the first file that is not as the manifest says; empty if all are well."""
    for file in manifest.files:
        path = folder / file["name"]
        found = sha256(path) if path.exists() else "nothing"
        if found != file["sha256"]:
            return f"file {path}: found sha256 {found}, expected {file['sha256']}"
    digest = hashlib.sha256(canonical([file["sha256"] for file in manifest.files]).encode()).hexdigest()
    if manifest.erasures or digest == manifest.digest:  # an erasure leaves the digest that the partition was made with
        return ""
    return f"{folder / MANIFEST}: its digest does not fit its files"


class Lake:
    """The tables between stages, below one root directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: Table, partition: Partition) -> Path:
        """Where the live partition lies."""
        return self.root / table.name / partition.path

    def of_hour(self, as_of: datetime) -> Lake:
        """The small lake of its own that holds the lists of an hour."""
        return Lake(self.root / "_hourly" / compact(as_of))

    def manifest(self, table: Table, partition: Partition) -> Manifest | None:
        """The live partition's manifest, or None when there is no such partition."""
        try:
            content = json.loads((self.path(table, partition) / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Manifest(**content)

    def archived(self, table: Table, partition: Partition) -> Path | None:
        """The cold folder that the partition's files were moved to; None while they lie in the lake."""
        try:
            content = json.loads((self.path(table, partition) / ARCHIVED).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Path(content["cold"])

    def status(self, table: Table, partition: Partition, recipe: Recipe) -> Status:
        """Whether the live partition was made by exactly this recipe and its files are all there, and if not, why.

        Of an archived one only the recipe counts: the cold folder may be slow or not mounted, and a restore finds a lost copy.
        """
        found = self.manifest(table, partition)
        if found is None:
            return MISSING
        if found.schema_version != table.version:
            return Status(State.STALE, f"schema {found.schema_version} -> {table.version}")
        folder = self.path(table, partition)
        lost = [file["name"] for file in found.files if not (folder / file["name"]).exists()]
        cold = self.archived(table, partition)
        if lost and cold is None:
            return Status(State.STALE, f"file {lost[0]} is not there")
        status = recipe.status(Recipe(found.inputs, found.code_version, found.parameters))
        return Status(State.ARCHIVED, f"lies in {cold}") if cold is not None and status.current else status

    def first_status(self, tables: Iterable[Table], partition: Partition, recipe: Recipe) -> Status:
        """The status of one partition of several tables: of the first that is not up to date, else of the first archived."""
        found = [self.status(table, partition, recipe) for table in tables]
        return next((status for status in found if not status.current), next((s for s in found if s != CURRENT), CURRENT))

    def partitions(self, table: Table, window: Window) -> list[Partition]:
        """The live partitions that start within the window, in order; archived ones count, so that digests stay as they are."""
        hourly = "hr" in table.partitioned_by
        wanted = [Partition.hour(h) for h in window.hours()] if hourly else [Partition(day) for day in window.days()]
        return [partition for partition in wanted if (self.path(table, partition) / MANIFEST).exists()]

    def every(self, table: Table) -> list[Partition]:
        """Every partition of a table, archived ones too, in order."""
        manifests = (self.root / table.name).glob("/".join([*(f"{name}=*" for name in table.partitioned_by), MANIFEST]))
        return sorted(Partition.parse(path.parent.relative_to(self.root / table.name)) for path in manifests)

    def digest(self, table: Table, partitions: Iterable[Partition]) -> str:
        """One digest of the content of several partitions; partitions that do not exist count as absent."""
        summary = {p.path: found.digest for p in partitions if (found := self.manifest(table, p)) is not None}
        return hashlib.sha256(canonical(summary).encode()).hexdigest()

    def files(self, table: Table, partitions: Iterable[Partition]) -> list[Path]:
        """The Parquet files of the given partitions.

        Raises:
            TableError: a partition was never made, or is archived.
        """
        wanted = list(partitions)
        if away := sorted(partition for partition in wanted if self.archived(table, partition) is not None):
            raise TableError(self._away(table, away))
        found: list[Path] = []
        for partition in wanted:
            manifest = self.manifest(table, partition)
            if manifest is None:
                raise TableError(f"table {table.name}: no partition {partition.path}; run the stage that writes it first")
            found += [self.path(table, partition) / file["name"] for file in manifest.files]
        return found

    def require_undamaged(self, table: Table, partition: Partition) -> None:
        """Compare every byte of a partition with its manifest.

        Raises:
            TableError: a file is not what was written.
        """
        manifest = self.manifest(table, partition)
        if manifest is not None and (found := damage(self.path(table, partition), manifest)):
            raise TableError(
                f"table {table.name}, {partition.path}: {found}; it is damaged: run the stage that writes it again with --force"
            )

    def read(self, table: Table, partitions: Iterable[Partition], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of the given partitions as one Arrow table, in partition order, in the schema's column order."""
        names = list(columns or table.columns)
        schema = pa.schema([table.field(name).arrow for name in names])
        parts = [read_columns(file, names).cast(schema) for file in self.files(table, partitions)]
        return pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table()

    def read_if_made(self, table: Table, partition: Partition, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one partition; none where it was never made."""
        made = (self.path(table, partition) / MANIFEST).exists()
        return self.read(table, [partition] if made else [], columns)

    def _away(self, table: Table, away: Sequence[Partition]) -> str:
        """Where the archived partitions lie, and the command that brings them back."""
        first, end = away[0], away[-1].dt + timedelta(days=1)
        others = f", with {len(away) - 1:,} more up to {away[-1].path}" if len(away) > 1 else ""
        return (
            f"table {table.name}: partition {first.path} is archived, it lies in "
            f"{(self.archived(table, first) or Path()) / table.name / first.path}{others}; bring it back by: "
            f"python -m jobs.archive --restore --table {table.name} --start {first.dt} --end {end}"
        )

    def staging(self, table: Table) -> Path:
        """A fresh directory of this thread for files that are not live yet; what this host's dead processes left is removed."""
        folder = self.root / _STAGING
        folder.mkdir(parents=True, exist_ok=True)
        for orphan in folder.glob(f"{socket.gethostname()}.*"):
            if not Path(f"/proc/{orphan.name.split('.')[-2].split('-')[0]}").exists():
                shutil.rmtree(orphan, ignore_errors=True)
        fresh = folder / f"{socket.gethostname()}.{os.getpid()}-{threading.get_native_id()}.{table.name}"
        if fresh.exists():
            shutil.rmtree(fresh)
        return fresh

    def commit(
        self,
        table: Table,
        partition: Partition,
        staged: Path,
        recipe: Recipe,
        counts: Mapping[str, int] | None = None,
        *,
        by_spark: bool = True,
        rows_in_memory: pa.Table | None = None,
    ) -> Manifest:
        """Check the Parquet files in ``staged``, give them their final names, and make them the live partition.

        Args:
            table: the schema that the files must obey.
            partition: which partition they become; with no files it becomes an empty one.
            staged: directory that holds the files; it is consumed.
            recipe: what they were made from.
            counts: further counts for the manifest, such as rows read and rejected.
            by_spark: whether Spark wrote the files, whose bytes then depend on more than their rows and are written again.
            rows_in_memory: what the files hold, so that they need not be read for their profile.

        Raises:
            TableError: the files do not fit the schema; every difference is named and nothing becomes live.
        """
        staged.mkdir(parents=True, exist_ok=True)
        written = sorted(staged.glob("*.parquet"))
        problems = [problem for file in written for problem in check_file(table, file)]
        if problems:
            raise TableError(f"table {table.name}, {partition.path}: {'; '.join(problems)}; the live partition is unchanged")
        files: list[dict[str, Any]] = []
        for number, file in enumerate(written):
            rows = normalise(file) if by_spark else int(pq.read_metadata(file).num_rows)
            if rows == 0 and len(written) > 1:
                file.unlink()
                continue
            digest = sha256(file)
            name = f"part-{number:05d}-{digest[:16]}.parquet"
            file.rename(staged / name)
            files.append({"name": name, "rows": rows, "bytes": (staged / name).stat().st_size, "sha256": digest})
        for leftover in staged.iterdir():
            if leftover.suffix != ".parquet":
                leftover.unlink()
        manifest = Manifest(
            table=table.name,
            schema_version=table.version,
            partition=partition.path,
            rows=sum(int(file["rows"]) for file in files),
            digest=hashlib.sha256(canonical([file["sha256"] for file in files]).encode()).hexdigest(),
            files=files,
            inputs=dict(recipe.inputs),
            code_version=recipe.code_version,
            parameters=dict(recipe.parameters),
            counts=dict(counts or {}),
            profile=profile(table, [staged / file["name"] for file in files], rows_in_memory),
        )
        (staged / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        swap(staged, self.path(table, partition))
        return manifest

    def write(
        self,
        table: Table,
        partition: Partition,
        rows: pa.Table,
        recipe: Recipe,
        counts: Mapping[str, int] | None = None,
        *,
        rows_per_group: int = 2**20,
    ) -> Manifest:
        """Write one partition from an Arrow table whose rows are already in their final order."""
        staged = self.staging(table)
        staged.mkdir(parents=True)
        differences = table.compare(rows.schema)
        if differences:
            raise TableError(f"table {table.name}, {partition.path}: {'; '.join(differences)}; the live partition is unchanged")
        rows = rows.select(table.columns).cast(table.arrow)
        pq.write_table(rows, staged / "part.parquet", compression="zstd", row_group_size=rows_per_group)
        return self.commit(table, partition, staged, recipe, counts, by_spark=False, rows_in_memory=rows)
