import contextlib
import datetime as dt
import fcntl
import io
import json
import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conf import load
from conf.paths import paths
from jobs import archive, examples, features, ingest, plan
from jobs._recipe import Recipe
from jobs._stage import WindowConfig
from jobs._tables import ARCHIVED, MANIFEST, Lake, Partition, TableError
from jobs._window import HOUR, iso
from schemas import INTERACTIONS, REJECTED, TABLES, VIDEO_COUNTS, VIDEOS
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
    write_raw,
)

pytestmark = pytest.mark.slow

OLD, MIDDLE, NEW = (dt.date(2026, 1, day) for day in (5, 6, 8))
HOURS = [Partition(OLD, 10), Partition(OLD, 11), Partition(MIDDLE, 0)]
OTHER = replace(MADE_BY_HAND, code_version="another code")
STAGES = ("ingest", "examples", "features")  # text has nothing to archive that plans look at
SHORT = {"window": {"lookback_days": 1, "history_days": 1}}  # so what is older than two days before NEW may go


def counts(*videos):
    names = ("impressions", "views", "likes", "relevant")
    return arrow(VIDEO_COUNTS, [{"video_id": number, **dict.fromkeys(names, 1.0)} for number in videos])


def events(hour, *names):
    at = hour.start + dt.timedelta(minutes=1)
    return arrow(INTERACTIONS, [interaction(name, "click", at) for name in names])


def fill(lake):
    """Two tables, three days: an hour of the old day is empty, and the newest day has counts only."""
    for hour, names in zip(HOURS, (("a", "b"), (), ("c",)), strict=True):
        lake.write(INTERACTIONS, hour, events(hour, *names), MADE_BY_HAND)
    for day, videos in ((OLD, (10, 11)), (MIDDLE, (10,)), (NEW, (11,))):
        lake.write(VIDEO_COUNTS, Partition(day), counts(*videos), MADE_BY_HAND)
    lake.write(VIDEOS, Partition(OLD), VIDEOS.arrow.empty_table(), MADE_BY_HAND)


@pytest.fixture
def space(tmp_path):
    found = Workspace(tmp_path / "home", SHORT)
    fill(found.lake)
    return found


def command(space, *arguments):
    """Exit status, the lines without their prefix, and what went to standard error."""
    out, error, status = io.StringIO(), io.StringIO(), 0
    with space.environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            archive.main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    lines = [line.removeprefix("reelflow | archive | ") for line in out.getvalue().splitlines()]
    return status, lines, error.getvalue()


def refusal(space, *arguments):
    status, _, error = command(space, *arguments)
    assert status == 2
    assert error.startswith("reelflow | archive | error: ")
    assert error.count("\n") == 1
    return error


def cold(space):
    return Lake(space.home / "cold")


def size(space, table, *partitions):
    return sum(file.stat().st_size for file in space.lake.files(table, partitions))


class TestArchive:
    def test_moves_the_days_before_and_leaves_manifests(self, space):
        before, old = tree(space.lake.root), [hour for hour in HOURS if hour.dt == OLD]
        sizes = size(space, INTERACTIONS, *old), size(space, VIDEO_COUNTS, Partition(OLD))
        where = space.home / "cold"
        status, lines, error = command(space, "--before", "2026-01-06")
        assert (status, error) == (0, "")
        assert lines == [
            f"interactions: 2 partitions, 2 rows, {sizes[0]:,} bytes moved to {where}",
            f"video_counts: 1 partitions, 2 rows, {sizes[1]:,} bytes moved to {where}",
            f"total: 3 partitions, 4 rows, {sum(sizes):,} bytes moved to {where}",
        ]
        gone = ("interactions/dt=2026-01-05/", "video_counts/dt=2026-01-05/")
        moved = {name: content for name, content in before.items() if name.startswith(gone)}
        assert tree(where) == moved
        stays = {name: content for name, content in before.items() if name not in moved or name.endswith(MANIFEST)}
        marker = (json.dumps({"cold": str(where)}) + "\n").encode()
        marks = {f"{name.removesuffix(MANIFEST)}{ARCHIVED}": marker for name in moved if name.endswith(MANIFEST)}
        assert tree(space.lake.root) == stays | marks
        assert command(space, "--before", "2026-01-06") == (0, ["up to date; nothing to move"], "")
        assert (tree(where), tree(space.lake.root)) == (moved, stays | marks)

    def test_and_restore_gives_the_same_bytes(self, space):
        before = tree(space.lake.root)
        command(space, "--before", "2026-01-07", "--force")
        assert tree(space.lake.root) != before
        status, lines, error = command(space, "--restore")
        assert (status, error) == (0, "")
        assert lines[-1].startswith("total: 5 partitions, 6 rows, ")
        assert tree(space.lake.root) == before
        assert tree(space.home / "cold") == {}
        assert command(space, "--restore")[1] == ["up to date; nothing to move"]

    def test_moves_the_named_tables_only(self, space):
        command(space, "--before", "2026-01-06", "--table", "videos", "--table", "video_counts")
        assert {name.split("/")[0] for name in tree(space.home / "cold")} == {"videos", "video_counts"}

    def test_by_default_what_planning_looks_into_stays(self, space):
        command(space, "--before", "2026-01-06")
        assert space.lake.archived(VIDEOS, Partition(OLD)) is None
        assert {VIDEOS, REJECTED} < archive.STAYING < {*TABLES}
        assert not {INTERACTIONS, VIDEO_COUNTS} & archive.STAYING

    def test_a_dry_run_lists_days_and_writes_nothing(self, space):
        before = sorted(space.home.rglob("*"))
        status, lines, _ = command(space, "--before", "2026-01-06", "--dry-run")
        sizes = size(space, INTERACTIONS, *HOURS[:2]), size(space, VIDEO_COUNTS, Partition(OLD))
        assert status == 0
        assert lines[0] == f"interactions dt=2026-01-05: 2 partitions, 2 rows, {sizes[0]:,} bytes"
        assert lines[-1] == f"total: 3 partitions, 4 rows, {sum(sizes):,} bytes would move to {space.home / 'cold'}"
        assert sorted(space.home.rglob("*")) == before
        command(space, "--before", "2026-01-06")
        before = sorted(space.home.rglob("*"))
        assert command(space, "--restore", "--dry-run")[1][-1].startswith("total: 3 partitions, 4 rows, ")
        assert sorted(space.home.rglob("*")) == before

    def test_restores_the_days_and_tables_asked_for(self, space):
        command(space, "--before", "2026-01-07", "--force")
        command(space, "--restore", "--start", "2026-01-05", "--end", "2026-01-06", "--table", "interactions")
        assert space.lake.archived(INTERACTIONS, HOURS[0]) is None
        assert space.lake.archived(INTERACTIONS, HOURS[2]) == space.home / "cold"
        assert space.lake.archived(VIDEO_COUNTS, Partition(OLD)) == space.home / "cold"

    def test_another_file_system_will_do(self, space):
        memory = Path("/dev/shm")
        if not os.access(memory, os.W_OK) or memory.stat().st_dev == space.home.stat().st_dev:
            pytest.skip("no other file system here")
        other = str(memory / f"reelflow-test-{os.getpid()}")
        before = tree(space.lake.root)
        space = Workspace(space.home, {**SHORT, "paths": {"cold": other}})
        try:
            assert command(space, "--before", "2026-01-06")[0] == 0
            assert space.lake.archived(INTERACTIONS, HOURS[0]).as_posix() == other
            assert command(space, "--restore")[0] == 0
            assert tree(space.lake.root) == before
        finally:
            shutil.rmtree(other, ignore_errors=True)


class TestLookBack:
    def test_what_the_next_training_reads_is_refused_without_force(self, space):
        before = tree(space.home)
        error = refusal(space, "--before", "2026-01-07")
        assert "reaches into the look-back: the next training reads from 2026-01-06 on" in error
        assert "choose 2026-01-06 or earlier, or add --force" in error
        assert tree(space.home) == before
        status, lines, _ = command(space, "--before", "2026-01-07", "--force")
        assert status == 0
        assert lines[0].startswith("warning: --before 2026-01-07 reaches into the look-back")
        assert space.lake.archived(INTERACTIONS, HOURS[2]) is not None

    def known_until(self, space, hour):
        """The newest day is not over: its log is known up to the end of this hour."""
        partition = Partition(NEW, hour)
        space.lake.write(INTERACTIONS, partition, events(partition), MADE_BY_HAND)

    def test_the_next_hour_reads_a_day_more_until_its_day_is_over(self, space):
        """As of 05:00 of the 8th the look-back begins at 05:00 of the 7th, its histories two days earlier, on the 5th."""
        self.known_until(space, 4)
        error = refusal(space, "--before", "2026-01-06")
        assert "the hourly lane, whose newest hour ended 2026-01-08T05:00:00Z, reads from 2026-01-05 on" in error
        assert command(space, "--before", "2026-01-05") == (0, ["up to date; nothing to move"], "")
        self.known_until(space, 23)
        assert command(space, "--before", "2026-01-06")[0] == 0

    @pytest.mark.parametrize("hour", [0, 4, 22, 23])
    def test_no_run_of_either_lane_reads_a_day_that_may_go(self, space, hour):
        """Against what stages say that they take in of the log, in the next two days."""
        space = Workspace(space.home, {"window": {"lookback_days": 2, "history_days": 1}})
        self.known_until(space, hour)
        with space.environment():
            needed = archive.needed_from(space.lake, load("window", WindowConfig), None)
            known = Partition(NEW, hour).start + HOUR
            runs = [("daily", moment("2026-01-09T00:00"))]
            runs += [("hourly", known + n * HOUR) for n in range(49)]
            first = [stage_context("refresh", "--lane", lane, "--as-of", iso(as_of)).log_window.start for lane, as_of in runs]
        assert needed.day == min(first).date()

    def test_what_hours_go_on_from_stays_however_old_it_is(self, space):
        """Nothing was published since the 5th: the hourly lane asks what happened since then."""
        needed = archive.needed_from(space.lake, WindowConfig(**SHORT["window"]), moment("2026-01-05T00:00"))
        assert (needed.day, "what was published as of 2026-01-05T00:00:00Z" in needed.reader) == (dt.date(2026, 1, 4), True)
        fresh = archive.needed_from(space.lake, WindowConfig(**SHORT["window"]), moment("2026-01-08T00:00"))
        assert (fresh.day, fresh.reader) == (MIDDLE, "the next training reads")

    def test_the_lists_of_hours_are_left_alone(self, space):
        hour = Lake(space.lake.root / "_hourly" / "20260105T050000Z")
        hour.write(VIDEO_COUNTS, Partition(OLD), counts(10), MADE_BY_HAND)
        before = tree(hour.root)
        assert command(space, "--before", "2026-01-06")[0] == 0
        assert tree(hour.root) == before


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "expected either --before DATE or --restore"),
            (("--before", "2026-01-06", "--restore"), "expected either --before DATE or --restore"),
            (("--before", "yesterday"), "time 'yesterday': not ISO 8601"),
            (("--before", "2026-01-06T10:00:00Z"), "found a time of day, expected a date such as 2026-01-06"),
            (("--before", "2026-01-06", "--start", "2026-01-05"), "--start and --end belong to --restore"),
            (("--before", "2026-01-06", "--table", "nothing"), "--table nothing: expected one of evaluation, example"),
            (("--restore", "--start", "2026-01-06"), "expected --start DATE with --end DATE"),
            (("--restore", "--start", "2026-01-06", "--end", "2026-01-06"), "is not before --end 2026-01-06"),
            (("--restore", "--force"), "--force belongs to --before"),
        ],
    )
    def test_are_one_line(self, space, arguments, message):
        before = tree(space.home)
        assert message in refusal(space, *arguments)
        assert tree(space.home) == before

    def test_the_lake_is_no_cold_folder(self, space):
        space = Workspace(space.home, {**SHORT, "paths": {"cold": "lake"}})
        before = tree(space.lake.root)
        assert "which is the lake itself" in refusal(space, "--before", "2026-01-06")
        assert tree(space.lake.root) == before

    def test_two_at_once_are_refused(self, space):
        descriptor = os.open(space.lake.root, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert "another archive or restore is at work" in refusal(space, "--before", "2026-01-06")
        os.close(descriptor)
        assert command(space, "--before", "2026-01-06")[0] == 0

    def test_a_disk_that_takes_nothing_is_one_line_and_loses_nothing(self, space):
        before = tree(space.lake.root)
        (space.home / "cold").write_text("a file")
        assert "nothing is lost: mend that, then give the same command again" in refusal(space, "--before", "2026-01-06")
        assert tree(space.lake.root) == before


class TestDamage:
    def spoil(self, place, partition=HOURS[0]):
        (file,) = (place.path(INTERACTIONS, partition)).glob("*.parquet")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        return file

    def test_of_a_live_file_keeps_it_and_moves_the_rest(self, space):
        file = self.spoil(space.lake)
        before = tree(space.lake.path(INTERACTIONS, HOURS[0]))
        error = refusal(space, "--before", "2026-01-06")
        assert f"1 partitions stay where they are: table interactions, dt=2026-01-05/hr=10: file {file}: found sha256" in error
        assert tree(space.lake.path(INTERACTIONS, HOURS[0])) == before
        assert [space.lake.archived(INTERACTIONS, hour) is None for hour in HOURS] == [True, False, True]

    def test_of_a_lost_live_file_is_named(self, space):
        space.lake.files(INTERACTIONS, HOURS[:1])[0].unlink()
        assert "found sha256 nothing, expected" in refusal(space, "--before", "2026-01-06")

    def test_of_a_cold_file_is_refused_by_name_and_the_rest_comes_back(self, space):
        before = tree(space.lake.root)
        command(space, "--before", "2026-01-06")
        good = tree(cold(space).path(INTERACTIONS, HOURS[0]))
        file = self.spoil(cold(space))
        error = refusal(space, "--restore")
        assert f"table interactions, dt=2026-01-05/hr=10: file {file}: found sha256" in error
        assert "nothing was moved; put a good copy in its place, or make the partition again with --force" in error
        assert [space.lake.archived(INTERACTIONS, hour) is None for hour in HOURS] == [False, True, True]
        file.write_bytes(good[file.name])
        assert command(space, "--restore")[0] == 0
        assert tree(space.lake.root) == before

    def test_of_a_cold_manifest_is_refused(self, space):
        command(space, "--before", "2026-01-06")
        manifest = cold(space).path(INTERACTIONS, HOURS[0]) / MANIFEST
        text = manifest.read_text()
        manifest.write_text("{")
        assert f"{manifest} is damaged" in refusal(space, "--restore")
        manifest.write_text(text.replace('"rows": 2', '"rows": 3'))
        assert "is not what the lake gave away" in refusal(space, "--restore")

    def test_a_folder_that_is_not_mounted_is_named(self, space):
        command(space, "--before", "2026-01-06")
        (space.home / "cold").rename(space.home / "unmounted")
        error = refusal(space, "--restore", "--table", "video_counts")
        assert f"found nothing in {space.home}/cold/video_counts/dt=2026-01-05" in error
        assert "mount that folder or set paths.cold to it" in error


class TestNewer:
    def test_a_live_partition_is_never_overwritten(self, space):
        command(space, "--before", "2026-01-06")
        space.lake.write(INTERACTIONS, HOURS[0], events(HOURS[0], "new"), OTHER)
        assert space.lake.archived(INTERACTIONS, HOURS[0]) is None, "the marker goes with the partition that it marked"
        new = tree(space.lake.path(INTERACTIONS, HOURS[0]))
        error = refusal(space, "--restore")
        assert "table interactions, dt=2026-01-05/hr=10: what is live is newer (digest " in error
        assert tree(space.lake.path(INTERACTIONS, HOURS[0])) == new
        assert space.lake.archived(INTERACTIONS, HOURS[1]) is None, "the rest came back"

        command(space, "--before", "2026-01-06")
        assert tree(cold(space).path(INTERACTIONS, HOURS[0])) == new
        assert command(space, "--restore")[0] == 0
        assert tree(space.lake.path(INTERACTIONS, HOURS[0])) == new

    def test_the_same_rows_are_up_to_date_and_the_copy_goes(self, space):
        command(space, "--before", "2026-01-06", "--table", "interactions")
        for hour, names in zip(HOURS[:2], (("a", "b"), ()), strict=True):
            space.lake.write(INTERACTIONS, hour, events(hour, *names), OTHER)
        before = tree(space.lake.root)
        assert command(space, "--restore") == (0, ["interactions: 0 partitions, 0 rows, 0 bytes moved to "
            f"{space.lake.root}", "up to date; nothing to move"], "")  # fmt: skip
        assert tree(space.lake.root) == before
        assert tree(space.home / "cold") == {}

    def test_a_lost_live_file_comes_back_from_a_copy_of_the_same_rows(self, space):
        before = tree(space.lake.root)
        command(space, "--before", "2026-01-06")
        copy = tree(cold(space).path(INTERACTIONS, HOURS[0]))
        folder = space.lake.path(INTERACTIONS, HOURS[0])
        (folder / ARCHIVED).unlink()  # as a live partition whose file is lost
        assert command(space, "--restore")[0] == 0
        assert tree(folder) == copy
        assert tree(space.lake.root) == before


class TestReader:
    def test_is_told_where_it_lies_and_the_command_that_brings_it_back(self, space):
        rows = space.lake.read(INTERACTIONS, HOURS)
        command(space, "--before", "2026-01-07", "--force")
        with pytest.raises(TableError) as error:
            space.lake.read(INTERACTIONS, HOURS)
        assert str(error.value) == (
            "table interactions: partition dt=2026-01-05/hr=10 is archived, it lies in "
            f"{space.home}/cold/interactions/dt=2026-01-05/hr=10, with 2 more up to dt=2026-01-06/hr=00; bring it back by: "
            "python -m jobs.archive --restore --table interactions --start 2026-01-05 --end 2026-01-07"
        )
        _, arguments = str(error.value).split("python -m jobs.archive ")
        assert command(space, *shlex.split(arguments))[0] == 0
        assert space.lake.read(INTERACTIONS, HOURS) == rows

    def test_digests_and_lists_of_partitions_stay(self, space):
        days = window("2026-01-05T00:00", "2026-01-08T00:00")
        before = space.lake.digest(INTERACTIONS, HOURS), space.lake.partitions(INTERACTIONS, days)
        command(space, "--before", "2026-01-06")
        assert (space.lake.digest(INTERACTIONS, HOURS), space.lake.partitions(INTERACTIONS, days)) == before
        assert space.lake.every(INTERACTIONS) == HOURS


OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.scandir", "ctypes.dlopen"}


def interrupted(act, number, home):
    """Run ``act`` in a child that dies at its n-th operation on files below ``home``; returns whether it got to the end.

    Operations are what Python audits (open, rename, remove, mkdir, rmdir, listdir, and the load of the library that exchanges
    directories), before each of them, and flushes: there half of the file is lost too.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    seen = 0

    def count():
        nonlocal seen
        seen += 1
        return seen == number

    def hook(name, given):
        path = str(given[0]) if given else ""
        ours = path.startswith(str(home)) or not path.startswith("/")
        if ours and name in OPERATIONS and count():
            os._exit(9)

    flush = os.fsync

    def half(descriptor):
        if count():
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os._exit(9)
        flush(descriptor)

    try:
        sys.stdout = sys.stderr = io.StringIO()
        os.fsync = half
        sys.addaudithook(hook)
        act()
        os._exit(0)
    finally:
        os._exit(1)


class TestDeath:
    ARCHIVE = ("--before", "2026-01-06", "--table", "interactions")

    @pytest.mark.parametrize("arguments", [ARCHIVE, ("--restore",)], ids=["archive", "restore"])
    @pytest.mark.parametrize("older", [False, True], ids=["first", "again"])
    def test_at_any_step_loses_nothing_and_the_same_command_ends_it(self, space, tmp_path, monkeypatch, arguments, older):
        with space.environment():  # the configuration is read once: that takes longer than to archive
            where, length = paths(), load("window", WindowConfig)
        monkeypatch.setattr(archive, "paths", lambda: where)
        monkeypatch.setattr(archive, "load", lambda *_: length)
        if older:  # a copy of what was live before lies in the cold folder
            command(space, *self.ARCHIVE)
            space.lake.write(INTERACTIONS, HOURS[0], events(HOURS[0], "new"), OTHER)
        whole = tree(space.lake.path(INTERACTIONS, HOURS[0]))
        if arguments[0] == "--restore":
            command(space, *self.ARCHIVE)
        start, home = tmp_path / "start", space.home
        shutil.copytree(home, start)
        assert command(space, *arguments)[0] == 0
        expected = tree(space.lake.root), tree(space.home / "cold")
        number, ended = 0, False
        while not ended:
            number += 1
            shutil.rmtree(home)  # the same path each time: markers hold it
            shutil.copytree(start, home)
            ended = interrupted(lambda: archive.main(arguments), number, home)
            places = [tree(place.path(INTERACTIONS, HOURS[0])) for place in (space.lake, cold(space))]
            assert whole in places, number
            status, _, error = command(space, *arguments)
            assert (status, error) == (0, ""), number
            assert (tree(space.lake.root), tree(space.home / "cold")) == expected, number
            assert not [*home.glob("lake/_staging/*"), *home.glob("cold/_staging/*")], number
        assert number > 30


ARGUMENTS = ("--start", "2026-01-06", "--end", "2026-01-08")


@pytest.fixture(scope="module")
def log(spark, new_workspace):
    """Two days, taken in to their features."""
    space = new_workspace(SHORT)
    kinds = list(enumerate(("impression", "like")))
    rows = [event(f"{day}-{n}", kind, f"2026-01-0{day}T10:0{n}:00Z") for day in (6, 7) for n, kind in kinds]
    write_raw(space.raw, rows, videos=[video(10)], snapshot="2026-01-06")
    for stage in (ingest, examples, features):
        space.run(stage, *ARGUMENTS)
    return space


def planned(space, *arguments):
    with space.environment():
        steps = list(plan.plan(stage_context("plan", *arguments), STAGES))
    return {(unit.name, unit.partition): unit.status for step in steps for unit in step.units}


@pytest.mark.spark
class TestPlan:
    def test_shows_what_is_archived_and_nothing_becomes_stale(self, log, tmp_path):
        space = log.copy_to(tmp_path / "copy", SHORT)
        before, raw = planned(space, *ARGUMENTS), tree(space.raw)
        assert {status.state for status in before.values()} == {"up to date"}
        assert command(space, "--before", "2026-01-07", "--force")[0] == 0
        after = planned(space, *ARGUMENTS)
        assert tree(space.raw) == raw
        assert after.keys() == before.keys()
        kept = {table.name for table in archive.STAYING}
        for (name, partition), status in after.items():
            archived = partition.dt == MIDDLE and name not in kept
            assert (status.state, status.current) == (("archived" if archived else "up to date"), True), (name, partition)
        with space.environment():
            assert all(not step.to_do for step in plan.plan(stage_context("plan", *ARGUMENTS), STAGES))
        out = io.StringIO()
        with space.environment(), contextlib.redirect_stdout(out):
            plan.main(ARGUMENTS)
        hours = "interactions dt=2026-01-06/hr=10 .. dt=2026-01-06/hr=23 (14)"
        assert f"archived   {hours}: lies in {space.home}/cold" in out.getvalue()
        assert out.getvalue().splitlines()[-1].endswith(" archived")
        for stage in (ingest, examples, features):
            assert space.run(stage, *ARGUMENTS).up_to_date

    def test_a_changed_recipe_makes_an_archived_partition_stale_and_its_stage_writes_it(self, log, tmp_path):
        space = log.copy_to(tmp_path / "copy", SHORT)
        command(space, "--before", "2026-01-07", "--force", "--table", "interactions")
        hour = Partition.hour(moment("2026-01-06T10:00"))
        write_raw(space.raw, [event("late", "click", "2026-01-06T10:30:00Z")], snapshot="2026-01-06")
        assert planned(space, *ARGUMENTS)["interactions", hour].state == "stale"
        space.run(ingest, *ARGUMENTS)
        assert space.lake.archived(INTERACTIONS, hour) is None
        assert space.lake.read(INTERACTIONS, [hour], ["event_id"])["event_id"].to_pylist() == ["6-0", "6-1", "late"]
        assert space.lake.status(INTERACTIONS, hour, Recipe({}, "", {})).state == "stale"
