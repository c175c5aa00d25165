import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs import _erased, _served
from jobs._cold import to_cold
from jobs._recipe import Recipe
from jobs._tables import Lake, Partition, TableError
from jobs._window import DAY, HOUR
from schemas import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY, RECOMMENDATIONS
from tests.builders import tree
from tests.jobs.publishing import FIRST, SECOND, Platform, rows_of

ROOT = Path(__file__).resolve().parents[2]
EVERYBODY = {1: [11, 12, 13], 2: [21, 22]}
OF_FIRST, OF_SECOND = Partition((FIRST - DAY).date(), 23), Partition((SECOND - DAY).date(), 23)


@pytest.fixture
def platform(tmp_path):
    return Platform(tmp_path)


def history(lake, partition=OF_FIRST):
    return lake.read(RECOMMENDATION_HISTORY, [partition]).to_pylist()


def switches(lake):
    return _served.read_switches(lake, lake.every(PUBLICATION_SWITCHES)).to_pylist()


def kept(lake):
    """The files of the history; the lock and the switches are others."""
    return tree(lake.root / RECOMMENDATION_HISTORY.name)


class TestWhatIsKept:
    def test_every_row_that_went_live(self, platform):
        platform.day(FIRST, EVERYBODY)
        name = platform.store.live().model_version
        lists = {"model_version": name, "as_of": FIRST, "lane": "daily", "generators": "retrieval|wals"}
        assert history(platform.lake) == [
            {**lists, "user_id": 1, "rank": 1, "video_id": 11, "score": 1.0, "propensity": 1.0},
            {**lists, "user_id": 1, "rank": 2, "video_id": 12, "score": 1 / 2, "propensity": 1.0},
            {**lists, "user_id": 1, "rank": 3, "video_id": 13, "score": 1 / 3, "propensity": 0.5},
            {**lists, "user_id": 2, "rank": 1, "video_id": 21, "score": 1.0, "propensity": 1.0},
            {**lists, "user_id": 2, "rank": 2, "video_id": 22, "score": 1 / 2, "propensity": 1.0},
        ]
        assert switches(platform.lake) == [
            {"switched_at": FIRST + timedelta(hours=6, minutes=11), "switch": 1, "action": "publish", "version": 1}
            | {"model_version": name, "as_of": FIRST, "lane": "daily", "layers": [name]}
            | {"expires_at": FIRST + 2 * DAY, "layers_expire_at": [FIRST + 2 * DAY]}
        ]

    def test_an_hour_lies_in_the_partition_of_the_hour_before_it(self, platform):
        platform.day(FIRST, EVERYBODY)
        platform.hour(FIRST + 5 * HOUR, {2: [23]})
        rows = history(platform.lake, Partition(FIRST.date(), 4))
        assert [(row["user_id"], row["video_id"], row["lane"], row["as_of"]) for row in rows] == [
            (2, 23, "hourly", FIRST + 5 * HOUR)
        ]
        day, hour = (row["model_version"] for row in switches(platform.lake))
        assert switches(platform.lake)[1]["layers"] == [day, hour]
        assert switches(platform.lake)[1]["expires_at"] == FIRST + 2 * DAY + 5 * HOUR
        assert switches(platform.lake)[1]["layers_expire_at"] == [FIRST + 2 * DAY, FIRST + 2 * DAY + 5 * HOUR]

    def test_the_same_lists_may_be_published_to_be_valid_for_longer(self, platform):
        platform.day(FIRST, EVERYBODY)
        platform.valid = 3 * DAY
        platform.day(FIRST, EVERYBODY)
        first, second = switches(platform.lake)
        assert first["model_version"] == second["model_version"]
        assert (first["layers_expire_at"], second["layers_expire_at"]) == ([FIRST + 2 * DAY], [FIRST + 3 * DAY])

    def test_an_hour_without_lists_is_kept_as_one(self, platform):
        platform.day(FIRST, EVERYBODY)
        platform.hour(FIRST + HOUR, {})
        assert history(platform.lake, Partition(FIRST.date(), 0)) == []
        assert not _served.behind(platform.store, platform.lake)

    def test_what_never_went_live_is_not(self, platform):
        platform.day(SECOND, EVERYBODY)
        assert platform.day(FIRST, EVERYBODY).status == "superseded"
        assert platform.lake.every(RECOMMENDATION_HISTORY) == [OF_SECOND]
        assert len(switches(platform.lake)) == 1

    def test_other_lists_of_the_same_time_lie_beside_the_first(self, platform):
        platform.day(FIRST, EVERYBODY)
        platform.day(FIRST, {1: [14], 2: [24]})
        found = platform.lake.read(RECOMMENDATION_HISTORY, [OF_FIRST])
        assert found.group_by("model_version", use_threads=False).aggregate([("rank", "count")])["rank_count"].to_pylist() in (
            [5, 2],
            [2, 5],
        )
        assert len(platform.lake.files(RECOMMENDATION_HISTORY, [OF_FIRST])) == 2
        profile = platform.lake.manifest(RECOMMENDATION_HISTORY, OF_FIRST).profile
        assert profile["keys"] == found.num_rows == 7

    def test_scores_are_stored_by_place(self, platform):
        platform.day(FIRST, EVERYBODY)
        (file,) = platform.lake.files(RECOMMENDATION_HISTORY, [OF_FIRST])
        group = pq.read_metadata(file).row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        assert "BYTE_STREAM_SPLIT" in columns["score"].encodings
        assert {column.compression for column in columns.values()} == {"ZSTD"}

    def test_many_rows_are_written_group_by_group(self, platform, monkeypatch):
        monkeypatch.setattr(_served, "_ROWS_PER_GROUP", 8)
        lists = {user: [user * 10 + rank for rank in range(3)] for user in range(1, 21)}
        platform.day(FIRST, lists)
        found = platform.lake.read(RECOMMENDATION_HISTORY, [OF_FIRST])
        assert found.select(["user_id", "rank", "video_id"]).equals(rows_of(lists).select(["user_id", "rank", "video_id"]))
        (file,) = platform.lake.files(RECOMMENDATION_HISTORY, [OF_FIRST])
        assert pq.read_metadata(file).num_row_groups == 8  # 60 rows, 8 at most in each


class TestSameBytes:
    def test_lists_that_are_published_again_change_no_byte(self, platform):
        platform.day(FIRST, EVERYBODY)
        before = kept(platform.lake)
        assert platform.day(FIRST, EVERYBODY).version == 2
        assert kept(platform.lake) == before
        assert [row["version"] for row in switches(platform.lake)] == [1, 2]

    def test_nor_does_what_ran_before(self, platform, tmp_path):
        other, lists = Platform(tmp_path / "other"), ({1: [11]}, {1: [12]})
        platform.day(FIRST - DAY, EVERYBODY)
        for one in lists:
            platform.day(FIRST, one)
        for one in reversed(lists):
            other.day(FIRST, one)
        mine, theirs = (kept(one.lake) for one in (platform, other))
        assert {name: content for name, content in mine.items() if "dt=2026-01-06" in name} == theirs

    def test_to_follow_again_changes_nothing(self, platform):
        platform.day(FIRST, EVERYBODY)
        before = tree(platform.lake.root)
        assert platform.follow() == []
        assert tree(platform.lake.root) == before


class TestKilled:
    PROGRAM = (
        "import os, pkgutil, signal, sys; from pathlib import Path; from jobs import _erased, _served\n"
        "from jobs._tables import Lake\n"
        "from serving import SqliteStore\n"
        "home, (place, function) = Path(sys.argv[1]), sys.argv[2].rsplit('.', 1)\n"
        "setattr(pkgutil.resolve_name(place), function, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))\n"
        "_served.follow(SqliteStore(home / 'store/recommendations.sqlite'), Lake(home / 'lake'), _erased.NOBODY)\n"
    )

    @pytest.mark.parametrize("point", ["_served._keep", "_served._write", "_tables.swap", "_served._enter"])
    def test_wherever_it_is_killed_the_next_one_ends_as_if_it_had_not_been(self, tmp_path, point):
        killed, whole = (Platform(tmp_path / name) for name in ("killed", "whole"))
        for platform in (killed, whole):
            platform.day(FIRST, EVERYBODY)
            platform.hour(FIRST + HOUR, {1: [15]}, followed=False)
        whole.follow()
        ended = subprocess.run(
            [sys.executable, "-c", self.PROGRAM, str(tmp_path / "killed"), f"jobs.{point}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert _served.behind(killed.store, killed.lake)
        assert killed.follow() == []
        assert tree(killed.lake.root) == tree(whole.lake.root)
        assert not list((killed.lake.root / "_staging").iterdir())  # nor is anything left of what was killed


class TestMadeUpFor:
    def test_a_publisher_that_died_behind_the_switch(self, platform):
        platform.day(FIRST, EVERYBODY, followed=False)
        assert _served.behind(platform.store, platform.lake)
        assert platform.follow() == []
        assert not _served.behind(platform.store, platform.lake)
        assert len(history(platform.lake)) == 5

    def test_or_between_the_rows_and_the_switch(self, platform, monkeypatch):
        platform.day(FIRST, EVERYBODY, followed=False)
        with monkeypatch.context() as patch:
            patch.setattr(_served, "_enter", lambda *_: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(OSError, match="full"):
                platform.follow()
        before = kept(platform.lake)
        assert before
        assert switches(platform.lake) == []
        assert platform.follow() == []
        assert kept(platform.lake) == before
        assert len(switches(platform.lake)) == 1

    def test_by_the_publisher_after_it(self, platform):
        platform.day(FIRST, EVERYBODY, followed=False)
        platform.hour(FIRST + HOUR, {1: [15]}, followed=False)
        platform.day(SECOND, EVERYBODY)
        assert platform.lake.every(RECOMMENDATION_HISTORY) == [OF_FIRST, Partition(FIRST.date(), 0), OF_SECOND]
        assert [row["version"] for row in sorted(switches(platform.lake), key=lambda row: row["switch"])] == [1, 2, 3]

    def test_not_when_its_lists_are_others_by_then(self, platform):
        platform.day(FIRST, EVERYBODY, followed=False)
        name = platform.store.live().model_version
        platform.lake.write(RECOMMENDATIONS, Partition((FIRST - DAY).date()), rows_of({1: [99]}), Recipe({}, "later", {}))
        assert platform.follow() == [f"not in the history, their lists are gone: {name}"]
        assert platform.lake.every(RECOMMENDATION_HISTORY) == []
        assert [row["model_version"] for row in switches(platform.lake)] == [name]
        assert platform.follow() == []

    def test_nor_when_they_are_archived_or_removed(self, platform, tmp_path):
        platform.day(FIRST, EVERYBODY, followed=False)
        platform.hour(FIRST + HOUR, {1: [15]}, followed=False)
        to_cold(platform.lake, Lake(tmp_path / "cold"), RECOMMENDATIONS, Partition((FIRST - DAY).date()))
        shutil.rmtree(platform.lake.of_hour(FIRST + HOUR).root)
        (said,) = platform.follow()
        assert said.count("2026010") == 2

    def test_publishers_at_once_enter_every_switch(self, platform):
        for number in range(6):
            platform.day(FIRST + number * DAY, {1: [number]}, followed=False)
        with ThreadPoolExecutor(4) as pool:
            assert [found.result() for found in [pool.submit(platform.follow) for _ in range(4)]] == [[]] * 4
        assert sorted(row["version"] for row in switches(platform.lake)) == [1, 2, 3, 4, 5, 6]
        assert len(platform.lake.every(RECOMMENDATION_HISTORY)) == 6

    def test_a_new_store_goes_on_beside_the_old_ones_switches(self, platform, tmp_path):
        platform.day(FIRST, EVERYBODY)
        other = Platform(tmp_path / "moved")
        other.lake, other.now = platform.lake, platform.now + DAY
        other.day(SECOND, EVERYBODY)
        assert [(row["switch"], row["version"]) for row in switches(platform.lake)] == [(1, 1), (1, 1)]


class TestFromBeforeExpiryWasKept:
    @pytest.fixture
    def old(self, platform):
        """The switches of two days, as version 1 of the table had them."""
        platform.day(FIRST, EVERYBODY)
        platform.day(SECOND, EVERYBODY)
        for partition in platform.lake.every(PUBLICATION_SWITCHES):
            (file,) = platform.lake.files(PUBLICATION_SWITCHES, [partition])
            pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["expires_at", "layers_expire_at"]), file)
        return platform

    def test_switches_are_read_with_nulls(self, old):
        found = _served.read_switches(old.lake, old.lake.every(PUBLICATION_SWITCHES))
        assert found.schema.names == list(PUBLICATION_SWITCHES.columns)
        assert found["version"].to_pylist() == [1, 2]
        assert found["expires_at"].to_pylist() == found["layers_expire_at"].to_pylist() == [None, None]
        assert not _served.behind(old.store, old.lake)

    def test_and_later_ones_are_entered_beside_them(self, old):
        old.hour(SECOND + 5 * HOUR, {1: [15]})
        old.rollback()
        assert [(row["version"], row["expires_at"]) for row in sorted(switches(old.lake), key=lambda row: row["switch"])] == [
            (1, None), (2, None), (3, SECOND + 2 * DAY + 5 * HOUR), (2, SECOND + 2 * DAY)
        ]  # fmt: skip

    def test_without_the_table_all_are_entered_again(self, old):
        shutil.rmtree(old.lake.root / PUBLICATION_SWITCHES.name)
        assert old.follow() == []
        assert [row["expires_at"] for row in switches(old.lake)] == [FIRST + 2 * DAY, SECOND + 2 * DAY]


class TestErasedAndForgotten:
    def test_who_was_erased_does_not_come_back(self, platform):
        platform.day(FIRST, EVERYBODY)
        made = platform.lake.manifest(RECOMMENDATION_HISTORY, OF_FIRST)
        rows = platform.lake.read(RECOMMENDATION_HISTORY, [OF_FIRST])
        left = rows.filter(pc.not_equal(rows["user_id"], 1))
        platform.lake.write(RECOMMENDATION_HISTORY, OF_FIRST, left, Recipe(made.inputs, made.code_version, made.parameters))
        assert platform.follow() == []
        platform.day(FIRST, {3: [31]})
        assert {row["user_id"] for row in history(platform.lake)} == {2, 3}

    def test_nor_enters_with_a_lake_out_of_a_backup(self, platform, tmp_path):
        other = Platform(tmp_path / "other")
        _erased.add(platform.erased, 1)
        for one in (platform, other):
            one.day(FIRST, EVERYBODY)
            one.hour(FIRST + HOUR, {1: [15], 2: [25]})
            one.hour(FIRST + 2 * HOUR, {1: [16]})
        assert platform.lake.read(RECOMMENDATIONS, [Partition((FIRST - DAY).date())])["user_id"].to_pylist() == [1, 1, 1, 2, 2]
        for partition, rows in ((OF_FIRST, 2), (Partition(FIRST.date(), 0), 1), (Partition(FIRST.date(), 1), 0)):
            mine, theirs = (one.lake.read(RECOMMENDATION_HISTORY, [partition]) for one in (platform, other))
            assert mine.num_rows == rows
            assert mine.equals(theirs.filter(pc.equal(theirs["user_id"], 2)))
            assert 1 in theirs["user_id"].to_pylist()
        assert not _served.behind(platform.store, platform.lake)

    def test_and_leaves_no_trace_in_the_bytes(self, platform, tmp_path):
        _erased.add(platform.erased, 1)
        platform.day(FIRST, EVERYBODY)
        (row,) = switches(platform.lake)
        pq.write_table(rows_of({2: EVERYBODY[2]}), tmp_path / "lists.parquet")
        _served._write(tmp_path / "expected.parquet", [tmp_path / "lists.parquet"], row, _erased.NOBODY)
        (file,) = platform.lake.files(RECOMMENDATION_HISTORY, [OF_FIRST])
        assert file.read_bytes() == (tmp_path / "expected.parquet").read_bytes()

    def test_lists_go_when_they_are_older_than_is_kept_archived_ones_too(self, platform, tmp_path):
        cold = Lake(tmp_path / "cold")
        for number in range(4):
            platform.day(FIRST + number * DAY, {1: [number]})
        first, second, *others = platform.lake.every(RECOMMENDATION_HISTORY)
        to_cold(platform.lake, cold, RECOMMENDATION_HISTORY, first)
        before = FIRST + 3 * DAY
        assert _served.forget((cold, platform.lake), before, None) == 0
        assert _served.forget((cold, platform.lake), before, 2) == 3  # one of them in both
        assert platform.lake.every(RECOMMENDATION_HISTORY) == others
        assert cold.every(RECOMMENDATION_HISTORY) == []
        assert not platform.lake.path(RECOMMENDATION_HISTORY, second).parent.exists()
        assert platform.follow() == []
        assert len(switches(platform.lake)) == 4

    def test_nothing_is_added_to_an_archived_hour(self, platform, tmp_path):
        platform.day(FIRST, EVERYBODY)
        to_cold(platform.lake, Lake(tmp_path / "cold"), RECOMMENDATION_HISTORY, OF_FIRST)
        with pytest.raises(TableError, match=r"recommendation_history: partition dt=2026-01-06/hr=23 is archived.*--restore"):
            platform.day(FIRST, {1: [14]})
