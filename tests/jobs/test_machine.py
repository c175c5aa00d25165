"""A disk that is really full (``/dev/full``) and a database that is really locked, as each library tells of it."""

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy

from jobs import _machine, _stage
from schemas.errors import ReelflowError

ARGUMENTS = ("--start", "2026-01-07", "--end", "2026-01-08")


def by_python():
    with Path("/dev/full").open("w") as stream:
        stream.write("x" * 10_000)


def by_arrow():
    # As a stream: of a path that it could not write Arrow removes the file, here the device.
    with Path("/dev/full").open("wb") as stream:
        pq.write_table(pa.table({"x": np.arange(100_000)}), stream)


def wrapped():
    try:
        by_python()
    except OSError as error:
        raise RuntimeError("the bundle could not be written") from error


@pytest.fixture
def held(tmp_path):
    """A database in the middle of another connection's transaction."""
    path = tmp_path / "held.sqlite"
    owner = sqlite3.connect(path, isolation_level=None)
    owner.execute("CREATE TABLE t (x)")
    owner.execute("BEGIN EXCLUSIVE")
    yield path
    owner.close()


@pytest.mark.parametrize("write", [by_python, by_arrow, wrapped])
def test_a_full_disk_is_told_whoever_finds_it(write):
    with pytest.raises((OSError, RuntimeError)) as found:
        write()
    said = _machine.trouble(found.value)
    assert said.startswith("the disk is full: ")
    assert "o space left on device" in said
    assert said.endswith("then clear the task")


def test_a_database_that_is_full_is_a_full_disk(tmp_path):
    with sqlite3.connect(tmp_path / "small.sqlite") as small:
        small.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as found:
            small.execute("CREATE TABLE t (x)").execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert _machine.trouble(found.value).startswith("the disk is full: database or disk is full; ")


def test_a_database_that_another_process_holds(held):
    with pytest.raises(sqlite3.OperationalError) as found:
        sqlite3.connect(held, timeout=0).execute("INSERT INTO t VALUES (1)")
    assert _machine.trouble(found.value).startswith("a database is held by another process: database is locked; ")
    engine = sqlalchemy.create_engine(f"sqlite:///{held}", connect_args={"timeout": 0})  # as MLflow asks
    with pytest.raises(sqlalchemy.exc.OperationalError) as found, engine.connect() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO t VALUES (1)"))
    assert "database is locked" in _machine.trouble(found.value)


@pytest.mark.parametrize("error", [ValueError("x"), OSError(2, "No such file"), ReelflowError("bad input")])
def test_what_is_not_the_machines_is_left_alone(error):
    assert _machine.trouble(error) is None


def test_a_stage_says_it_in_one_line_and_may_be_tried_again(workspace):
    stage = SimpleNamespace(__name__="jobs.ingest", __doc__="", run=lambda _: by_python())
    status, _, error = workspace.command(stage, *ARGUMENTS)
    assert status == 1, "the scheduler tries again what does not end with 2"
    assert error.startswith("reelflow | ingest | error: the disk is full: ")
    assert error.count("\n") == 1


def test_a_defect_is_still_a_traceback(workspace):
    stage = SimpleNamespace(__name__="jobs.ingest", __doc__="", run=lambda _: {}["defect"])
    with workspace.environment(), pytest.raises(KeyError, match="defect"):
        _stage.main("ingest", stage.run, "", ARGUMENTS)
