import datetime as dt
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs._recipe import CURRENT, Recipe, State, Status, code_version
from jobs._tables import ARCHIVED, MANIFEST, Lake, Partition, TableError
from schemas import Field, Table
from schemas.errors import ReelflowError
from tests.builders import tree, window

TABLE = Table(
    name="scores",
    doc="For tests.",
    key=("id",),
    fields=(
        Field(name="id", type="int64", doc="", minimum=1),
        Field(name="kind", type="string", doc="", allowed=("ant", "bee", "cat")),
        Field(name="share", type="float64", doc="", nullable=True, minimum=0, maximum=1),
        Field(name="tags", type="list<string>", doc="", nullable=True),
    ),
)
HOURLY = replace(TABLE, name="hourly", partitioned_by=("dt", "hr"))
DAY = Partition(dt.date(2026, 1, 7))
RECIPE = Recipe({"raw": "abc"}, "code-1", {"rate": 0.5})
ROOT = Path(__file__).resolve().parents[2]


def rows(*ids, **columns) -> pa.Table:
    basic = {"id": list(ids), "kind": ["ant"] * len(ids), "share": [0.5] * len(ids), "tags": [["x"]] * len(ids)}
    return pa.table(basic | columns, schema=TABLE.arrow if not columns else None)


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def staged(lake):
    """A function that stages one Parquet file as it is, whatever the schema says."""

    def made(content, name="x.parquet"):
        folder = lake.staging(TABLE)
        folder.mkdir(parents=True)
        pq.write_table(content, folder / name)
        return folder

    return made


def ids(lake, partition=DAY):
    return lake.read(TABLE, [partition], ["id"])["id"].to_pylist()


class TestPartition:
    def test_paths_and_starts(self):
        hour = Partition.hour(dt.datetime(2026, 1, 7, 9, 59, tzinfo=dt.UTC))
        assert (DAY.path, hour.path) == ("dt=2026-01-07", "dt=2026-01-07/hr=09")
        assert [Partition.parse(Path(found.path)) for found in (hour, DAY)] == [hour, DAY]
        assert hour.start == dt.datetime(2026, 1, 7, 9, tzinfo=dt.UTC)
        assert DAY.start == dt.datetime(2026, 1, 7, tzinfo=dt.UTC)


class TestCommit:
    def test_the_manifest_says_what_lies_beside_it(self, lake):
        lake.write(TABLE, DAY, rows(1, 2), RECIPE, {"read": 3})
        folder = lake.root / "scores/dt=2026-01-07"
        (file,) = folder.glob("*.parquet")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert file.name == f"part-00000-{digest[:16]}.parquet"
        assert json.loads((folder / MANIFEST).read_text()) == {
            "table": "scores",
            "schema_version": 1,
            "partition": "dt=2026-01-07",
            "rows": 2,
            "digest": hashlib.sha256(json.dumps([digest]).encode()).hexdigest(),
            "files": [{"name": file.name, "rows": 2, "bytes": file.stat().st_size, "sha256": digest}],
            "inputs": {"raw": "abc"},
            "code_version": "code-1",
            "parameters": {"rate": 0.5},
            "counts": {"read": 3},
            "profile": {
                "columns": {
                    "id": {"nulls": 0, "min": 1, "max": 2},
                    "kind": {"nulls": 0, "values": ["ant"]},
                    "share": {"nulls": 0, "min": 0.5, "max": 0.5},
                    "tags": {"nulls": 0},
                },
                "keys": 2,
            },
        }
        assert sorted(path.name for path in folder.iterdir()) == sorted([MANIFEST, file.name])

    def test_a_manifest_from_before_there_were_profiles_loads(self, lake):
        lake.write(TABLE, DAY, rows(1, 2), RECIPE)
        path = lake.root / "scores/dt=2026-01-07" / MANIFEST
        old = {name: value for name, value in json.loads(path.read_text()).items() if name != "profile"}
        path.write_text(json.dumps(old))
        assert lake.manifest(TABLE, DAY).profile == {}
        assert lake.status(TABLE, DAY, RECIPE).current

    def test_the_same_input_gives_the_same_bytes(self, lake, tmp_path):
        other = Lake(tmp_path / "other")
        for place in (lake, other):
            place.write(TABLE, DAY, rows(1, 2), RECIPE)
        first = tree(lake.root)
        assert first == tree(other.root)
        lake.write(TABLE, DAY, rows(1, 2), RECIPE)
        assert tree(lake.root) == first
        lake.write(TABLE, DAY, rows(2, 1), RECIPE)
        assert tree(lake.root) != first

    def test_a_commit_replaces_its_partition_and_no_other(self, lake):
        other = Partition(dt.date(2026, 1, 8))
        lake.write(TABLE, DAY, rows(1), RECIPE)
        lake.write(TABLE, other, rows(2), RECIPE)
        before = tree(lake.path(TABLE, other))
        lake.write(TABLE, DAY, rows(3, 4), RECIPE)
        assert ids(lake) == [3, 4]
        assert tree(lake.path(TABLE, other)) == before
        assert list((lake.root / "_staging").iterdir()) == []

    def test_no_files_make_an_empty_partition(self, lake):
        lake.write(TABLE, DAY, rows(1), RECIPE)
        assert lake.commit(TABLE, DAY, lake.staging(TABLE), RECIPE).rows == 0
        assert ids(lake) == []
        assert lake.status(TABLE, DAY, RECIPE).current

    def test_empty_files_and_the_writers_own_leave_no_trace(self, lake, staged):
        folder = staged(rows(1), "a.parquet")
        pq.write_table(rows(), folder / "b.parquet")
        (folder / "_SUCCESS").touch()
        (folder / ".a.parquet.crc").touch()
        lake.commit(TABLE, DAY, folder, RECIPE)
        (name,) = (file["name"] for file in lake.manifest(TABLE, DAY).files)
        assert set(tree(lake.path(TABLE, DAY))) == {MANIFEST, name}


BREACHES = {
    "missing": (rows(1).drop_columns(["share"]), "missing column share (double)"),
    "extra": (rows(1).append_column("more", pa.array([1])), "unexpected column more (int64)"),
    "type": (rows(1, id=pa.array(["1"])), "column id: found string, expected int64"),
    "element": (rows(1, tags=pa.array([[1]])), "column tags: found list<"),
    "null": (rows(1, 2, kind=pa.array(["ant", None])), "column kind: 1 nulls, expected none"),
    "minimum": (rows(0, 1, share=pa.array([0.5, 0.5])), "column id: minimum 0, expected at least 1"),
    "maximum": (rows(1, 2, share=pa.array([0.0, 1.5])), "column share: maximum 1.5, expected at most 1"),
    "value": (rows(1, kind=pa.array(["dog"])), "column kind: found ['dog'], expected one of ('ant', 'bee', 'cat')"),
    "value between": (rows(1, 2, 3, kind=pa.array(["ant", "bat", "cat"])), "column kind: found ['bat'], expected one of"),
}


class TestBreach:
    @pytest.mark.parametrize("breach", BREACHES)
    def test_is_refused_and_the_live_partition_is_unchanged(self, lake, staged, breach):
        lake.write(TABLE, DAY, rows(7), RECIPE)
        before = tree(lake.root)
        content, message = BREACHES[breach]
        with pytest.raises(TableError, match=r"^table scores, dt=2026-01-07: .*; the live partition is unchanged$") as error:
            lake.commit(TABLE, DAY, staged(content), RECIPE)
        assert message in str(error.value)
        assert tree(lake.root) == before

    def test_every_difference_is_named_at_once(self, lake):
        content = rows(1).drop_columns(["share", "kind"]).append_column("more", pa.array([1]))
        with pytest.raises(TableError) as error:
            lake.write(TABLE, DAY, content, RECIPE)
        assert "missing column kind (string); missing column share (double); unexpected column more (int64)" in str(error.value)
        assert lake.manifest(TABLE, DAY) is None

    def test_nulls_pass_where_they_may_be(self, lake, staged):
        lake.commit(
            TABLE,
            DAY,
            staged(rows(1, share=pa.array([None], pa.float64()), tags=pa.array([None], pa.list_(pa.string())))),
            RECIPE,
        )
        assert lake.read(TABLE, [DAY]).to_pylist() == [{"id": 1, "kind": "ant", "share": None, "tags": None}]


class TestCurrent:
    @pytest.mark.parametrize(
        "other",
        [
            replace(RECIPE, inputs={"raw": "abd"}),
            replace(RECIPE, inputs={"raw": "abc", "more": ""}),
            replace(RECIPE, code_version="code-2"),
            replace(RECIPE, parameters={"rate": 0.25}),
            replace(RECIPE, parameters={}),
        ],
    )
    def test_every_part_of_the_recipe_counts(self, lake, other):
        lake.write(TABLE, DAY, rows(1), RECIPE)
        assert lake.status(TABLE, DAY, RECIPE).current
        assert not lake.status(TABLE, DAY, other).current
        assert not lake.status(replace(TABLE, version=2), DAY, RECIPE).current

    def test_a_partition_without_its_file_is_not_current(self, lake):
        manifest = lake.write(TABLE, DAY, rows(1), RECIPE)
        (lake.path(TABLE, DAY) / manifest.files[0]["name"]).unlink()
        assert not lake.status(TABLE, DAY, RECIPE).current

    def test_a_partition_that_is_not_there_is_not_current(self, lake):
        assert not lake.status(TABLE, DAY, RECIPE).current
        assert lake.manifest(TABLE, DAY) is None


class TestRead:
    def test_columns_come_in_the_order_asked_or_that_of_the_schema(self, lake, staged):
        lake.commit(TABLE, DAY, staged(rows(1).select(["tags", "share", "kind", "id"])), RECIPE)
        assert lake.read(TABLE, [DAY]).column_names == ["id", "kind", "share", "tags"]
        assert lake.read(TABLE, [DAY], ["share", "id"]).to_pylist() == [{"share": 0.5, "id": 1}]
        assert lake.read(TABLE, [DAY]).schema == TABLE.arrow

    def test_partitions_come_in_the_order_asked(self, lake):
        hours = [Partition(DAY.dt, hour) for hour in (5, 6)]
        for hour, number in zip(hours, (1, 2), strict=True):
            lake.write(HOURLY, hour, rows(number), RECIPE)
        assert lake.read(HOURLY, hours[::-1], ["id"])["id"].to_pylist() == [2, 1]
        assert lake.partitions(HOURLY, window("00:00", "06:00")) == hours[:1]
        assert lake.partitions(HOURLY, window("05:00", "06:01")) == hours
        assert lake.partitions(TABLE, window("05:00", "06:00")) == []

    def test_no_partitions_are_an_empty_table_and_a_missing_one_is_an_error(self, lake):
        assert lake.read(TABLE, []).schema == TABLE.arrow
        with pytest.raises(TableError, match="table scores: no partition dt=2026-01-07; run the stage that writes it first"):
            lake.read(TABLE, [DAY])

    def test_the_digest_follows_content_and_presence_not_recipes(self, lake):
        other = Partition(dt.date(2026, 1, 8))
        empty = lake.digest(TABLE, [DAY, other])
        lake.write(TABLE, DAY, rows(1), RECIPE)
        one = lake.digest(TABLE, [DAY, other])
        lake.write(TABLE, DAY, rows(1), replace(RECIPE, code_version="code-2"))
        assert lake.digest(TABLE, [other, DAY]) == one != empty
        lake.write(TABLE, DAY, rows(2), RECIPE)
        assert lake.digest(TABLE, [DAY, other]) not in (one, empty)


class TestArchived:
    @pytest.fixture
    def lake(self, lake):
        """A lake whose partition has given its file away."""
        lake.write(TABLE, DAY, rows(1, 2), RECIPE)
        (file,) = lake.files(TABLE, [DAY])
        file.unlink()
        (lake.path(TABLE, DAY) / ARCHIVED).write_text('{"cold": "/cold"}')
        return lake

    def test_is_up_to_date_as_long_as_its_recipe_is(self, lake):
        status = lake.status(TABLE, DAY, RECIPE)
        assert (status, status.current) == (Status(State.ARCHIVED, "lies in /cold"), True)
        assert lake.status(TABLE, DAY, replace(RECIPE, code_version="code-2")).state is State.STALE
        assert lake.status(replace(TABLE, version=2), DAY, RECIPE).state is State.STALE

    def test_of_several_tables_one_that_is_stale_counts_more(self, lake):
        lake.write(HOURLY, DAY, rows(1), RECIPE)
        assert lake.first_status((HOURLY, TABLE), DAY, RECIPE).state is State.ARCHIVED
        assert lake.first_status((HOURLY,), DAY, RECIPE) == CURRENT
        lake.write(HOURLY, DAY, rows(1), replace(RECIPE, code_version="code-2"))
        assert lake.first_status((TABLE, HOURLY), DAY, RECIPE).state is State.STALE

    def test_has_rows_and_a_digest_but_no_files(self, lake, tmp_path):
        live = Lake(tmp_path / "live")
        live.write(TABLE, DAY, rows(1, 2), RECIPE)
        assert lake.digest(TABLE, [DAY]) == live.digest(TABLE, [DAY])
        assert lake.manifest(TABLE, DAY) == live.manifest(TABLE, DAY)
        assert lake.every(TABLE) == lake.partitions(TABLE, window("00:00", "06:00")) == [DAY]
        with pytest.raises(TableError) as error:
            lake.files(TABLE, [DAY])
        assert str(error.value) == (
            "table scores: partition dt=2026-01-07 is archived, it lies in /cold/scores/dt=2026-01-07; bring it back by: "
            "python -m jobs.archive --restore --table scores --start 2026-01-07 --end 2026-01-08"
        )

    def test_a_commit_makes_it_live_again(self, lake):
        lake.write(TABLE, DAY, rows(3), RECIPE)
        assert lake.archived(TABLE, DAY) is None
        assert lake.status(TABLE, DAY, RECIPE) == CURRENT
        assert ids(lake) == [3]


class TestStaging:
    def orphan(self, lake, pid):
        folder = lake.root / "_staging" / f"{socket.gethostname()}.{pid}.scores"
        folder.mkdir(parents=True)
        (folder / "x.parquet").touch()
        return folder

    def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(self, lake):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        dead, alive = self.orphan(lake, gone.pid), self.orphan(lake, os.getppid())
        elsewhere = lake.root / "_staging" / f"another-host.{gone.pid}.scores"
        elsewhere.mkdir()
        lake.staging(TABLE)
        assert (dead.exists(), alive.exists(), elsewhere.exists()) == (False, True, True)

    def test_a_fresh_directory_is_empty(self, lake):
        own = lake.staging(TABLE)
        own.mkdir()
        assert lake.staging(TABLE) == own
        assert not own.exists()

    def test_threads_have_directories_of_their_own(self, lake):
        with ThreadPoolExecutor(1) as other:
            assert other.submit(lake.staging, TABLE).result() != lake.staging(TABLE)


KILL = """
import os, shutil, signal, sys, types
from pathlib import Path
from jobs import _swap, _tables
from tests.jobs.test_tables import DAY, RECIPE, TABLE, rows

def die(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)

root, place = sys.argv[1:]
if place == "before commit":
    _tables.Lake.commit = die
if place == "after the manifest":
    _tables.swap = die
if place == "before the exchange":
    _swap._exchange = die
if place == "after the exchange":
    _swap.shutil = types.SimpleNamespace(rmtree=die)
_tables.Lake(Path(root)).write(TABLE, DAY, rows(1, 2, 3), RECIPE)
"""


class TestDeath:
    @pytest.mark.parametrize("live", [True, False])
    @pytest.mark.parametrize(
        ("place", "expected"),
        [
            ("before commit", [9]),
            ("after the manifest", [9]),
            ("before the exchange", [9]),
            ("after the exchange", [1, 2, 3]),
        ],
    )
    def test_at_any_step_leaves_one_whole_partition_and_a_rerun_completes(self, lake, place, expected, live):
        if live:
            lake.write(TABLE, DAY, rows(9), replace(RECIPE, code_version="code-0"))
        elif place.endswith("exchange"):
            place, expected = "after the manifest", []  # a first commit exchanges nothing
        command = [sys.executable, "-c", KILL, str(lake.root), place]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(list((lake.root / "_staging").iterdir())) == 1
        if live:
            assert ids(lake) == expected
            manifest = lake.manifest(TABLE, DAY)
            assert set(tree(lake.path(TABLE, DAY))) == {MANIFEST, *(file["name"] for file in manifest.files)}
            assert lake.status(TABLE, DAY, RECIPE).current == (expected == [1, 2, 3])
        else:
            assert not lake.path(TABLE, DAY).exists()

        lake.write(TABLE, DAY, rows(1, 2, 3), RECIPE)
        assert ids(lake) == [1, 2, 3]
        assert list((lake.root / "_staging").iterdir()) == []

    def test_a_file_system_that_cannot_exchange_is_named(self, lake, monkeypatch):
        lake.write(TABLE, DAY, rows(9), RECIPE)
        before = tree(lake.root)
        library = type("Library", (), {"renameat2": lambda *_: -1})()
        monkeypatch.setattr("jobs._swap.ctypes.CDLL", lambda *_, **__: library)
        with pytest.raises(
            ReelflowError, match=r"cannot exchange directories .*; put the workspace on a local Linux file system"
        ):
            lake.write(TABLE, DAY, rows(1), RECIPE)
        assert tree(lake.root) == before


def test_the_code_version_follows_the_named_sources():
    assert code_version("jobs/_window.py") == code_version("jobs/_window.py")
    assert len({code_version("jobs/_window.py"), code_version("jobs/_swap.py"), code_version("schemas")}) == 3
