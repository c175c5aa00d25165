"""Stages that are killed at every change that they make to the file system, and what the next run makes of it.

A stage runs in a process of its own that dies before its n-th change, or in the middle of it where half a file can be left.
Whatever n is: each partition is then whole, the old or the new one; and the next run ends as if none had been killed.
``REELFLOW_KILLS=all`` tries every n, else some are.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import conf
from jobs import _hours, _snapshots, _swap, examples, features, ingest, recommend, text
from jobs._recipe import Recipe
from jobs._tables import MANIFEST, Lake, Partition
from models.text import EncoderFiles, VectorCache
from schemas import EXAMPLES, USER_FEATURES, Table
from tests.builders import (
    MADE_BY_HAND,
    Workspace,
    arrow,
    event,
    interaction,
    moment,
    stage_context,
    tree,
    video,
    window,
    write_catalogue,
    write_interactions,
    write_lines,
    write_raw,
)
from tests.jobs import planted

pytestmark = pytest.mark.slow

EVERY = os.environ.get("REELFLOW_KILLS") == "all"
SETTINGS = {"fan_out": {"threads": 1}}  # the order of two threads' changes is chance
HOURS = ("--start", "2026-01-07T10:00:00Z", "--end", "2026-01-07T11:00:00Z")
MORNING = ("--start", "2026-01-07T00:00:00Z", "--end", "2026-01-07T11:00:00Z")
DAY = ("--as-of", "2026-01-08T00:00:00Z")
_KILLED, _UP_TO_DATE = 9, 7  # exit codes


@dataclass(frozen=True)
class Scenario:
    """A stage, what it reads at first, what that is changed to, and the tables that it writes."""

    prepare: Callable[[Workspace], None]
    change: Callable[[Workspace], None]
    run: Callable[[Workspace], bool]
    """Runs the stage; returns whether everything was up to date."""
    writes: tuple[str, ...]
    step: int
    """Each kill of so many is tried by default."""
    settings: Mapping[str, Mapping[str, Any]] | None = None
    """Of the workspace; ``SETTINGS`` by default."""


@pytest.mark.timeout(3600 if EVERY else 900)
@pytest.mark.parametrize("name", ["ingest", "examples", "text", "features", "spark", "recommend"])
def test_a_killed_stage_leaves_whole_partitions_and_the_next_run_mends_the_rest(tmp_path: Path, name: str) -> None:
    context = multiprocessing.get_context("spawn")  # a fork of this process could inherit locks and a running JVM
    mine, other = context.Pipe(duplex=False)
    process = context.Process(target=_nursery, args=(other, tmp_path, name, 1 if EVERY else SCENARIOS[name].step))
    process.start()
    other.close()
    found: dict[str, Any] = mine.recv()
    process.join()
    assert found["error"] is None, found["error"]
    assert not found["failures"], "\n".join(found["failures"][:10]) + f"\n{len(found['failures'])} of {found['kills']} kills"
    assert set(found["tables"]) >= set(SCENARIOS[name].writes)
    for changes in found["changes"]:  # of the first run and of the one over old partitions
        assert {"open", "rename", "parquet", "mkdir"} <= {change.split()[0] for change in changes}
    assert {"exchange", "remove", "rmdir"} <= {change.split()[0] for change in found["changes"][1]}
    print(f"{name}: {found['kills']} kills at {[len(changes) for changes in found['changes']]} changes, {found['bytes']} bytes")


def _prepare_ingest(space: Workspace) -> None:
    events = [event("a", "click", "09:59:00"), event("b", "click", "10:00:00"), event("b", "click", "10:30:00")]
    write_raw(space.raw, [*events, event("c", "click", "10:10:00", video=99)], [video(10), {"video_id": "x"}], [{"user_id": 1}])


def _change_ingest(space: Workspace) -> None:
    write_lines(
        space.raw / "interactions/dt=2026-01-07/hr=09/more.jsonl", ["nonsense", json.dumps(event("d", "like", "09:58:00"))]
    )
    write_lines(space.raw / "videos/dt=2026-01-07/more.jsonl", [video(99), "nonsense"])
    write_lines(space.raw / "users/dt=2026-01-07/more.jsonl", [{"user_id": 2}, {"user_id": None}])


def _prepare_examples(space: Workspace) -> None:
    rows = [interaction("a", "impression", moment("09:55")), interaction("b", "like", moment("09:56"))]
    write_interactions(space.lake, [*rows, interaction("c", "impression", moment("10:20"))], window("09:00", "11:00"))


def _change_examples(space: Workspace) -> None:
    rows = [interaction("a", "impression", moment("09:55")), interaction("d", "dislike", moment("09:57"))]
    write_interactions(space.lake, [*rows, interaction("e", "like", moment("10:21"))], window("09:00", "11:00"))


def _prepare_text(space: Workspace) -> None:
    videos = [video(n, title=f"title {n % 3}", tags=["x", "y"]) for n in range(9)]
    write_raw(space.raw, [event("s", "search", "23:00:00", video=None, query="cats")], videos)
    _run(ingest, "--start", "2026-01-07T23:00:00Z", "--end", "2026-01-08T00:00:00Z")(space)


def _change_text(space: Workspace) -> None:
    videos = [video(n, title=f"other {n % 3}", tags=["x", "z"]) for n in range(9)]
    write_raw(space.raw, [event("t", "search", "23:01:00", video=None, query="dogs")], videos, snapshot="2026-01-08")
    _run(ingest, "--start", "2026-01-07T23:00:00Z", "--end", "2026-01-08T00:00:00Z")(space)


def _run_text(space: Workspace) -> bool:
    text.find_encoder = lambda *_: EncoderFiles(Path(), "by hand")
    text.Encoder = _TinyEncoder  # type: ignore[misc]
    text.train_tags = lambda _, lists: _vectors(sorted({tag for tags in lists for tag in tags}))
    return _run(text, *DAY)(space)


class _TinyEncoder:
    """One text at a time, so that there is more than one chunk to lose."""

    @classmethod
    def load(cls, *_: Any) -> _TinyEncoder:
        return cls()

    def encode(self, texts: Sequence[str], _: int) -> Any:
        return (([one], _vectors([one])) for one in texts)


def _vectors(texts: Sequence[str]) -> np.ndarray:
    return np.array([np.frombuffer(hashlib.sha256(one.encode()).digest(), np.uint8) for one in texts], np.float32) / 256


def _prepare_features(space: Workspace) -> None:
    _prepare_examples(space)
    write_catalogue(space.lake, moment("00:00"), [{"video_id": 10}], [{"user_id": 1}])
    _run(examples, *MORNING)(space)


def _change_features(space: Workspace) -> None:
    _change_examples(space)
    write_catalogue(space.lake, moment("00:00"), [{"video_id": 10}, {"video_id": 11}], [{"user_id": 2}])
    _run(examples, *MORNING)(space)


def _prepare_spark(space: Workspace) -> None:
    write_lines(space.raw / "ids", ["a", "b"])


def _change_spark(space: Workspace) -> None:
    write_lines(space.raw / "ids", ["c"])


def _run_spark(space: Workspace) -> bool:
    """Commit files as Spark leaves them, of which one is empty."""
    ids = (space.raw / "ids").read_text(encoding="utf-8").split()
    recipe = Recipe({"ids": " ".join(ids)}, "code", {})
    partition = Partition(moment("10:00").date(), 10)
    if space.lake.status(EXAMPLES, partition, recipe).current:
        return True
    basic = dict.fromkeys(name for name in EXAMPLES.columns)
    row = {**basic, **_example_values(EXAMPLES)}
    staged = space.lake.staging(EXAMPLES)
    staged.mkdir(parents=True)
    for number, some in enumerate([ids[:1], ids[1:], []]):
        file = staged / f"part-{number:05d}-0af3.zstd.parquet"
        pq.write_table(arrow(EXAMPLES, [{**row, "event_id": one} for one in some]), file)
        (staged / f".{file.name}.crc").write_bytes(b"crc")
    (staged / "_SUCCESS").touch()
    space.lake.commit(EXAMPLES, partition, staged, recipe)
    return False


def _example_values(table: Table) -> dict[str, Any]:
    """A value for each column that must have one."""
    of_type = {"string": "x", "timestamp": moment("10:00"), "bool": True}
    values = {}
    for field in table.fields:
        value = of_type.get(field.type, field.maximum or field.minimum or 1)
        values[field.name] = field.allowed[0] if field.allowed else value
    return {name: value for name, value in values.items() if not table.field(name).nullable}


def _prepare_recommend(space: Workspace) -> None:
    planted.planted(space.home, SETTINGS)
    planted.train(space, planted.SECOND)
    planted.build_index(space, planted.SECOND)


def _change_recommend(space: Workspace) -> None:
    today = Partition(moment("2026-01-07T00:00").date())
    space.lake.write(USER_FEATURES, today, space.lake.read(USER_FEATURES, [today]).slice(0, 39), MADE_BY_HAND)


def _run_recommend(space: Workspace) -> bool:
    """Without Spark, which only hands the parts to workers."""
    recommend.by_spark = lambda _, parts, make, **__: make(parts)
    return _run(recommend, *DAY)(space)


def _run(stage: ModuleType, *arguments: str) -> Callable[[Workspace], bool]:
    return lambda space: bool(stage.run(stage_context(stage.__name__.removeprefix("jobs."), *arguments)).up_to_date)


SCENARIOS = {
    "ingest": Scenario(
        _prepare_ingest,
        _change_ingest,
        _run(ingest, *HOURS),
        ("interactions", "rejected", "videos", "users", "video_versions", "user_versions", "rejected_snapshots"),
        7,
    ),
    "examples": Scenario(_prepare_examples, _change_examples, _run(examples, *HOURS), ("examples",), 2),
    "text": Scenario(_prepare_text, _change_text, _run_text, ("video_text", "query_text"), 3),
    "features": Scenario(
        _prepare_features,
        _change_features,
        _run(features, *MORNING),
        ("video_hours", "user_history", "example_features", "video_counts", "user_features", "video_features"),
        17,
    ),
    "spark": Scenario(_prepare_spark, _change_spark, _run_spark, ("examples",), 3),
    "recommend": Scenario(
        _prepare_recommend,
        _change_recommend,
        _run_recommend,
        ("recommendations", "fallback_recommendations"),
        7,
        {**planted.SETTINGS, **SETTINGS},
    ),
}


def _nursery(connection: Connection, folder: Path, name: str, step: int) -> None:
    """Try the kills of a scenario and send what was found. This process only forks and compares, so that it has no threads."""
    _prepare_forks()
    found: dict[str, Any] = {"error": None, "failures": [], "kills": 0, "bytes": 0, "changes": [], "tables": []}
    try:
        scenario = SCENARIOS[name]
        first, second = Workspace(folder / "first", scenario.settings or SETTINGS), folder / "second"
        _expect(0, _forked(first, scenario.prepare))
        _try_kills(first, scenario, step, found)
        shutil.copytree(first.home, second)
        _expect(0, _forked(Workspace(second, scenario.settings or SETTINGS), scenario.run))
        changed = Workspace(second, scenario.settings or SETTINGS)
        _expect(0, _forked(changed, scenario.change))
        _try_kills(changed, scenario, step, found)
    except BaseException:
        found["error"] = traceback.format_exc()
    connection.send(found)


def _prepare_forks() -> None:
    """Do once what every stage does first and what takes most of its time here; the code is one for all of a test."""
    importlib.import_module("pandas")  # Arrow does so when it is first used, for half a second
    read = cache(conf._read)
    conf._read = lambda path: deepcopy(read(path))
    conf.resolved()
    for module in (_hours, _snapshots, examples, recommend, text):
        module.code_version = lambda *_: "code"


def _expect(code: int, found: int) -> None:
    if code != found:
        raise AssertionError(f"a process ended with exit code {found}, expected {code}; its traceback is on standard error")


def _try_kills(base: Workspace, scenario: Scenario, step: int, found: dict[str, Any]) -> None:
    """Run a stage over a copy of a workspace, once to its end, and once to each of its changes."""
    old, log = tree(base.lake.root), base.home.parent / "changes"
    whole = Workspace(shutil.copytree(base.home, base.home.parent / "whole"), scenario.settings or SETTINGS)
    _expect(0, _forked(whole, lambda space: _changes(space, scenario.run, log)))
    new, changes = tree(whole.lake.root), log.read_text(encoding="utf-8").splitlines()
    _expect(_UP_TO_DATE, _forked(whole, scenario.run))
    shutil.rmtree(whole.home)
    found["changes"].append(changes)
    found["tables"] = sorted({path.split("/")[0] for path in new})
    kills = [
        (number, torn) for number, change in enumerate(changes, 1) for torn in (False, True) if not torn or change in _TORN
    ]
    for number, torn in kills[found["kills"] % step :: step]:
        found["kills"] += 1
        place = f"{'in' if torn else 'before'} change {number} of {len(changes)}, {changes[number - 1]}"
        space = Workspace(shutil.copytree(base.home, base.home.parent / "killed"), scenario.settings or SETTINGS)
        found["bytes"] += sum(map(len, new.values()))
        code = _forked(space, lambda space, at=(number, torn): _dies(space, scenario.run, *at))  # type: ignore[misc]
        problems = [] if code == _KILLED else [f"exit code {code}, expected {_KILLED}"]
        problems += _damage(space.lake, old, new)
        code = _forked(space, scenario.run)
        if code not in (0, _UP_TO_DATE):
            problems.append(f"the next run ended with exit code {code}")
        after = tree(space.lake.root)
        problems += [f"after the next run {name} differs" for name in {*after, *new} if after.get(name) != new.get(name)]
        if code == 0 and any((space.lake.root / "_staging").iterdir()):
            problems.append("the next run leaves something in the staging area")
        found["failures"] += [f"killed {place}: {problem}" for problem in problems]
        shutil.rmtree(space.home)


def _damage(lake: Lake, old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """What is wrong with the partitions of a lake, each of which must be whole, and the old or the new one."""
    problems = []
    found = tree(lake.root)
    for folder in {name.rpartition("/")[0] for name in {**found, **old}}:
        before, after, now = (
            {name: content for name, content in files.items() if name.rpartition("/")[0] == folder}
            for files in (old, new, found)
        )
        if now not in (before, after):
            problems.append(f"{folder} is neither the old nor the new partition: {sorted(now)}")
            continue
        if not now:
            continue
        manifest = json.loads(now[f"{folder}/{MANIFEST}"])
        digests = {f"{folder}/{file['name']}": file["sha256"] for file in manifest["files"]}
        if {name: hashlib.sha256(now[name]).hexdigest() for name in now if not name.endswith(MANIFEST)} != digests:
            problems.append(f"{folder}: the files are not those of the manifest")
    return problems


def _forked(space: Workspace, work: Callable[[Workspace], Any]) -> int:
    """Do some work in a fork of this process; returns its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        with space.environment(), contextlib.redirect_stdout(io.StringIO()):
            code = _UP_TO_DATE if work(space) is True else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


_TORN = ("open write_text", "parquet write_table", "cache put")


def _changes(space: Workspace, run: Callable[[Workspace], bool], log: Path) -> None:
    """Run a stage and write down the name of each change that it makes."""
    names: list[str] = []
    _watch(space, lambda name, _: names.append(name))
    run(space)
    log.write_text("\n".join(names), encoding="utf-8")


def _dies(space: Workspace, run: Callable[[Workspace], bool], number: int, torn: bool) -> None:
    """Run a stage that dies before or in the middle of its change of this number."""
    seen = [0]

    def count(_: str, tear: Callable[[], object]) -> None:
        seen[0] += 1
        if seen[0] == number:
            if torn:
                tear()
            os._exit(_KILLED)

    _watch(space, count)
    run(space)


def _watch(space: Workspace, count: Callable[[str, Callable[[], object]], None]) -> None:
    """Call ``count`` with a name before each change to the workspace, and with what makes half of the change.

    What Python itself does is told by its audit events; Arrow, SQLite and the exchange of directories do it on their own.
    """
    home, quiet = str(space.home), [False]
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if quiet[0] or name not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"):
            return
        path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
        within = path.startswith(home) or (name in ("os.remove", "os.rmdir") and not Path(path).is_absolute())
        is_no_change = (name == "open" and not arguments[2] & flags) or (name == "os.mkdir" and Path(path).is_dir())
        if within and not is_no_change:
            count(name.removeprefix("os."), lambda: None)

    def told(owner: Any, attribute: str, name: str, half: Callable[..., object] | None) -> None:
        original = getattr(owner, attribute)

        def changed(*given: Any, **options: Any) -> Any:
            count(name, lambda: half(original, *given, **options) if half else None)
            quiet[0] = True
            try:
                return original(*given, **options)
            finally:
                quiet[0] = False

        setattr(owner, attribute, changed)

    def half_text(_: Any, path: Path, content: str, **__: Any) -> None:
        quiet[0] = True
        Path(path).write_bytes(content.encode()[: len(content) // 2])

    def half_parquet(original: Any, rows: Any, path: Path, **options: Any) -> None:
        original(rows, path, **options)
        os.truncate(path, Path(path).stat().st_size // 2)

    sys.addaudithook(hook)
    told(Path, "write_text", "open write_text", half_text)
    told(pq, "write_table", "parquet write_table", half_parquet)
    told(_swap, "_exchange", "exchange", None)
    told(
        VectorCache,
        "put",
        "cache put",
        lambda original, cache, space, texts, vectors: cache._connection.execute("begin immediate"),
    )
    for method in ("__init__", "write_table", "close"):
        told(pq.ParquetWriter, method, f"parquet {method}", None)
