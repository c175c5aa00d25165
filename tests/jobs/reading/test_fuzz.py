"""Ingest of an hour with one mutated raw file: it ends well and adds up, whatever the file holds.

``REELFLOW_FUZZ_FILES`` says how many files are tried and ``REELFLOW_FUZZ_SEED`` from which seed on; a failure names its seed.
Ingest runs in processes of its own, so that a crash, a hang or a flood of memory is found like any other failure.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import gzip
import io
import json
import multiprocessing
import os
import resource
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path

import pytest

import conf
from jobs import ingest
from jobs._stage import peak_kb
from jobs._tables import MANIFEST, Partition
from jobs.reading import RawFile, RawReader
from schemas import INTERACTIONS, RAW_INTERACTIONS, RAW_VIDEOS, REJECTED, REJECTED_SNAPSHOTS, USERS, VIDEO_VERSIONS, VIDEOS
from tests.builders import Workspace, event, stage_context, video, write_lines
from tests.jobs.reading.mutations import BLANKS, HOUR, LINE_END, SOURCES, Mutant, mutant
from tests.jobs.reading.mutations import VIDEOS as KNOWN

pytestmark = pytest.mark.slow

FILES = int(os.environ.get("REELFLOW_FUZZ_FILES", "250"))
FIRST_SEED = int(os.environ.get("REELFLOW_FUZZ_SEED", "0"))
SECONDS = 60.0  # for one file; the slowest takes about 2
MEGABYTES = 1500.0  # peak of a process that is given one file after the other; the largest text has 40
PROCESSES = 2

FOLDERS = {
    "interactions": "interactions/dt=2026-01-07/hr=10",
    "videos": "videos/dt=2026-01-07",
    "users": "users/dt=2026-01-07",
}
WINDOW = ("--start", "2026-01-07T10:00:00Z", "--end", "2026-01-07T11:00:00Z", "--force")
SOUND = [event(f"sound {n}", "click", "10:59:00", user=n) for n in range(3)]
TODAY, THE_HOUR = Partition(HOUR.date()), Partition.hour(HOUR)


@pytest.mark.timeout(900 + FILES)
def test_mutated_files_end_well_and_add_up(tmp_path: Path) -> None:
    began = time.monotonic()
    failures = fuzz(tmp_path, range(FIRST_SEED, FIRST_SEED + FILES))
    print(f"{FILES:,} files from seed {FIRST_SEED} on, {time.monotonic() - began:.0f} s")
    assert not failures, "\n\n".join(failures[:20]) + f"\n\n{len(failures)} of {FILES} files"


def test_seeds_are_reproducible_and_cover_every_source_and_format() -> None:
    made = [mutant(seed) for seed in range(200)]
    assert [mutant(seed) for seed in range(20)] == made[:20]
    kinds = Counter((one.source.name, one.name) for one in made)
    for source in SOURCES:
        for kind in ("parquet", "jsonl", "csv", "jsonl.gz", "csv.gz"):
            assert kinds[source, f"mutant.{kind}"], (source, kind)


def test_a_whole_number_that_no_double_holds_is_out_of_range(tmp_path: Path) -> None:
    lowest = -(2**63)
    write_lines(tmp_path / "a.jsonl", [video(1, like_count=lowest), video(2, like_count=2**63 - 1)])
    (batch,) = RawReader(RawFile(tmp_path / "a.jsonl", "jsonl"), RAW_VIDEOS).batches()
    assert (batch.flaws.rows.tolist(), batch.flaws.details) == ([0], [f"like_count = {lowest}"])


def test_every_change_of_a_list_is_a_version_of_its_video(workspace: Workspace) -> None:
    said = [None, [], ["a"], ["a", None], ["b", None], [None, "b"], ["b", "c"], ["b\x1fc"], ["b\x1f1:c"], ["b\x1f1:c"]]
    for day, tags in enumerate(said, 1):
        write_lines(workspace.raw / f"videos/dt=2026-01-{day:02d}/a.jsonl", [video(10, tags=tags), video(11)])
    write_lines(workspace.raw / "interactions/dt=2026-01-10/hr=10/a.jsonl", [event("a", "click", "2026-01-10T10:00:00Z")])
    workspace.run(ingest, "--start", "2026-01-10T10:00:00Z", "--end", "2026-01-10T11:00:00Z")
    versions = workspace.lake.read(VIDEO_VERSIONS, [Partition(dt.date(2026, 1, 10))]).to_pylist()
    assert [row["tags"] for row in versions if row["video_id"] == 10] == said[:-1]
    assert len(versions) == len(said)


@pytest.mark.parametrize("what", ["crash", "hang", "memory", "error"])
def test_no_failure_of_a_process_goes_unseen(tmp_path: Path, what: str) -> None:
    failures = fuzz(tmp_path, range(4), broken=(2, what), seconds=4.0 if what == "hang" else SECONDS, megabytes=400)
    assert len(failures) == 1
    said = {"crash": "died with exit code -6", "hang": "no end after 4 s", "memory": "peak of memory", "error": "on purpose"}
    assert "REELFLOW_FUZZ_SEED=2 " in failures[0]
    assert said[what] in failures[0]


def fuzz(
    folder: Path,
    seeds: Sequence[int],
    *,
    broken: tuple[int, str] | None = None,
    seconds: float = SECONDS,
    megabytes: float = MEGABYTES,
) -> list[str]:
    """What is wrong with the ingest of the files of these seeds, one text a file.

    Args:
        folder: for the workspaces.
        seeds: of the files.
        broken: a seed at which the process shall fail, and how.
        seconds: for one file.
        megabytes: of a process.
    """
    failures: list[str] = []
    todo = [list(seeds)[start::PROCESSES] for start in range(PROCESSES)]
    running: dict[Connection, _Child] = {}
    number = 0
    while todo or running:
        while todo:
            some = todo.pop()
            if some:
                child = _Child(folder / str(number), some, broken, megabytes)
                running[child.connection] = child
                number += 1
        for connection in wait(list(running), timeout=0.5):
            child = running[connection]  # type: ignore[index]
            if not child.listen(failures):
                del running[connection]  # type: ignore[arg-type]
                todo.append(child.left)
        for connection, child in list(running.items()):
            if child.current is not None and time.monotonic() - child.since > seconds:
                failures.append(_told(child.current, f"no end after {seconds:.0f} s"))
                child.process.kill()
                child.process.join()
                del running[connection]
                todo.append(child.left)
    return failures


class _Child:
    """A process that takes in one file after the other."""

    def __init__(self, folder: Path, seeds: list[int], broken: tuple[int, str] | None, megabytes: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(other, folder, seeds, broken, megabytes), daemon=True)
        self.process.start()
        other.close()
        self.left = seeds
        self.current: int | None = None
        self.since = time.monotonic()

    def listen(self, failures: list[str]) -> bool:
        """Take one message; returns whether the process goes on."""
        try:
            seed, failure = self.connection.recv()
        except EOFError:
            self.process.join()
            if self.current is not None or self.process.exitcode:
                failures.append(_told(self.current, f"the process died with exit code {self.process.exitcode}"))
                self.left = self.left if self.current is not None else []
            return False
        if failure is None:  # it begins
            self.current, self.since = seed, time.monotonic()
            self.left = self.left[self.left.index(seed) + 1 :]
            return True
        self.current = None
        if failure:
            failures.append(_told(seed, failure))
        return True


def _told(seed: int | None, failure: str) -> str:
    if seed is None:
        return failure
    made = mutant(seed)
    steps = "\n".join(f"  {step}" for step in made.steps)
    return (
        f"REELFLOW_FUZZ_FILES=1 REELFLOW_FUZZ_SEED={seed} pytest {Path(__file__).name}\n"
        f"  {made.source.name}, {made.name}, {len(made.content)} bytes\n{steps}\n{failure}"
    )


def _work(connection: Connection, folder: Path, seeds: Sequence[int], broken: tuple[int, str] | None, megabytes: float) -> None:
    """Take in the files of some seeds; sends (seed, None) before each, and (seed, what is wrong with it) after."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read = cache(conf._read)  # else three quarters of the time
    conf._read = lambda path: deepcopy(read(path))
    space = _workspace(folder)
    with space.environment(), contextlib.redirect_stdout(io.StringIO()):
        for seed in seeds:
            connection.send((seed, None))
            try:
                if broken and seed == broken[0]:
                    _break(broken[1], megabytes)
                said = _checked(space, mutant(seed), megabytes)
            except BaseException:  # an error that no stage may raise
                said = traceback.format_exc()
            connection.send((seed, said))
            if "peak of memory" in said:
                return


def _break(what: str, megabytes: float) -> None:
    if what == "crash":
        os.abort()
    if what == "hang":
        time.sleep(1000)
    if what == "memory":
        bytearray(b"x") * (int(megabytes) << 20)
    if what == "error":
        raise KeyError("on purpose")


def _workspace(home: Path) -> Workspace:
    """Sound logs beside which the mutated files are put: a snapshot of the day before and another file in each folder."""
    space = Workspace(home, {"fan_out": {"threads": 1}})
    write_lines(space.raw / FOLDERS["interactions"] / "sound.jsonl", SOUND)
    write_lines(space.raw / "videos/dt=2026-01-06/sound.jsonl", [video(id_) for id_ in KNOWN])
    write_lines(space.raw / "users/dt=2026-01-06/sound.jsonl", [{"user_id": 1, "city": "Rome"}])
    return space


def _checked(space: Workspace, made: Mutant, megabytes: float) -> str:
    """Take in a file; returns what is wrong, if anything."""
    folder = space.raw / FOLDERS[made.source.name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / made.name
    path.write_bytes(made.content)
    try:
        ingest.run(stage_context("ingest", *WINDOW))
        problems = [*_hour_problems(space, made), *_snapshot_problems(space, made)]
    finally:
        path.unlink()
    peak = peak_kb("self") / 1024
    return "\n".join([*problems, *([f"peak of memory {peak:.0f} MB"] if peak > megabytes else [])])


def _hour_problems(space: Workspace, made: Mutant) -> Iterator[str]:
    """What does not add up in the tables of the hour."""
    kept, refused = (space.lake.read(table, [THE_HOUR]).to_pylist() for table in (INTERACTIONS, REJECTED))
    manifests = [space.lake.manifest(table, THE_HOUR) for table in (INTERACTIONS, REJECTED)]
    counts = manifests[0].counts if manifests[0] else {}
    if [manifest and manifest.counts for manifest in manifests] != [counts, counts]:
        yield "the two manifests differ"
    reasons = Counter(row["reason"] for row in refused)
    found = {"kept": len(kept), "rejected": len(refused), **reasons}
    for name in {*found, *counts} - {"read", "duplicate"}:
        if counts.get(name, 0) != found.get(name, 0):
            yield f"{name}: the manifest says {counts.get(name, 0)}, the table holds {found.get(name, 0)}"
    fates = [counts.get(name, 0) for name in ("kept", "duplicate", "rejected")]
    if counts["read"] != sum(fates):
        yield f"read {counts['read']}, but kept, duplicate and rejected are {fates}"
    ids = {row["event_id"] for row in kept}
    if not ids >= {row["event_id"] for row in SOUND}:
        yield "rows of the other file are not there"
    if len(ids) != len(kept):
        yield "an event is kept twice"
    if not all(THE_HOUR.start == row["occurred_at"].replace(minute=0, second=0, microsecond=0) for row in kept):
        yield "an event of another hour is kept"
    if made.source is RAW_INTERACTIONS:
        yield from _file_problems(made, counts["read"] - len(SOUND), refused, ids)
    elif refused or len(kept) != len(SOUND):
        yield "a snapshot changed what is kept of an hour"


def _snapshot_problems(space: Workspace, made: Mutant) -> Iterator[str]:
    """What does not add up in the tables of the day."""
    refused = space.lake.read(REJECTED_SNAPSHOTS, [TODAY]).to_pylist()
    for table, name, known in ((VIDEOS, "video_id", set(KNOWN)), (USERS, "user_id", {1})):
        rows = space.lake.read(table, [TODAY]).to_pylist()
        ids = [row[name] for row in rows]
        if ids != sorted(set(ids)):
            yield f"{table.name}: an id comes twice, or out of order"
        if not set(ids) >= known:
            yield f"{table.name}: rows of the other snapshot are not there"
        fresh = [row[name] for row in rows if row["snapshot_date"] == "2026-01-07"]
        if made.source.name != table.name:
            if fresh:
                yield f"{table.name}: rows from nowhere"
            continue
        allowed = _allowed(made)
        # Rows of one id are one row of the table, so here only bounds are known.
        if len(fresh) + len(refused) > max(allowed):
            yield f"{table.name}: {len(fresh)} rows and {len(refused)} refused ones, the file holds {allowed}"
        if len(refused) < max(allowed) and 1 not in allowed and not fresh:
            yield f"{table.name}: no row is there, and {len(refused)} of {allowed} are refused"
        if made.whole and len(fresh) + len(refused) not in allowed and _distinct(made):
            yield f"{table.name}: {len(fresh)} rows and {len(refused)} refused ones, the file holds {allowed}"
        yield from _file_problems(made, None, refused, set(fresh))
    for table in (VIDEOS, USERS, REJECTED_SNAPSHOTS):
        if not (space.lake.path(table, TODAY) / MANIFEST).exists():
            yield f"{table.name} is not there"


def _distinct(made: Mutant) -> bool:
    return not any(made.source.key[0] in step or "columns" in step for step in made.steps)


def _file_problems(made: Mutant, read: int | None, refused: Sequence[dict], ids: set) -> Iterator[str]:
    """What is wrong with the fate of a mutated file's rows, by a count that knows nothing of the reader."""
    allowed = _allowed(made)
    if read is not None and read not in allowed:
        yield f"read {read} rows, the file holds {' or '.join(map(str, sorted(allowed)))}"
    folder = FOLDERS[made.source.name]
    if {(row["source"], row["file"]) for row in refused} - {(made.source.name, f"{folder}/{made.name}")}:
        yield f"refused rows of another file: {refused[0]['source']} {refused[0]['file']}"
    unreadable = [row for row in refused if row["reason"] == "unreadable_file"]
    if unreadable and (len(refused) > 1 or unreadable[0]["record"] is not None or not unreadable[0]["detail"]):
        yield f"an unreadable file has {len(refused)} refused rows"
    if _kind(made.name) not in ("jsonl", "csv"):
        for row in refused:
            if row["record"] is not None and not isinstance(json.loads(row["record"]), dict):
                yield f"record {row['record'][:200]!r} is no object"
        return
    lines = _lines(made)
    if (lines is None) != bool(unreadable):
        yield f"unreadable: {unreadable}, but it {'cannot' if lines is None else 'can'} be unpacked"
    if lines is None:
        return
    texts = Counter(line.decode("utf-8", "replace") for line in lines)
    strange = Counter(row["record"] for row in refused) - texts
    if strange:
        yield f"records that no line is: {[str(text)[:200] for text in strange]}"
    is_csv = bool(made.header)  # the sound lines are of that format; the name may say another
    if is_csv != (_kind(made.name) == "csv") or (is_csv and lines[:1] != [made.header]):
        return
    lines = lines[1:] if is_csv else lines
    lost = [key for line in lines if (key := made.sound.get(line)) is not None and key not in ids]
    if lost:
        yield f"sound lines that are not kept: {lost[:5]}"


def _kind(name: str) -> str:
    """How a file is to be read: ``parquet``, ``jsonl``, ``csv``, ``hidden`` or ``unknown``."""
    if name[0] in "._":
        return "hidden"
    parts = name.lower().split(".")
    if parts[-1] == "gz":
        return parts[-2] if len(parts) > 2 and parts[-2] in ("jsonl", "csv") else "unknown"
    return parts[-1] if parts[-1] in ("jsonl", "csv", "parquet") else "unknown"


def _lines(made: Mutant) -> list[bytes] | None:
    """The lines of a text that are not blank; None where it is an archive that is damaged."""
    content = made.content
    if made.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error):
            return None
    return [line for line in LINE_END.split(content.removeprefix(b"\xef\xbb\xbf")) if line.strip(BLANKS)]


def _allowed(made: Mutant) -> set[int]:
    """How many rows may be read from a file."""
    kind = _kind(made.name)
    if kind in ("hidden", "unknown"):
        return {0} if kind == "hidden" else {1}
    if kind == "parquet":
        if made.whole:
            return {made.rows}
        return {made.rows, 1} if made.header == b"" else {1}
    lines = _lines(made)
    if lines is None:
        return {1}
    if kind == "jsonl":
        return {len(lines)}
    count = max(len(lines) - 1, 0)
    content = b"\n".join(lines)
    if b'"' not in content and max(map(len, lines), default=0) < csv.field_size_limit():
        rows = csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""))
        assert max(sum(1 for row in rows) - 1, 0) == count
    return {count}
