import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import _due, _erased, archive, examples, features, ingest
from jobs._due import Due
from jobs._erase_tables import _BY_USER
from jobs._loading import batches
from jobs._receipt import NOT_TOUCHED
from jobs._tables import MANIFEST, Lake, Partition
from models.bundle import MANIFEST as BUNDLE
from schemas import (
    EXAMPLE_FEATURES,
    EXAMPLES,
    INTERACTIONS,
    QUERY_TEXT,
    RECOMMENDATIONS,
    REJECTED,
    REJECTED_SNAPSHOTS,
    TABLES,
    USER_FEATURES,
    USER_HISTORY,
    USER_VERSIONS,
    USERS,
    VIDEO_FEATURES,
)
from tests.builders import MADE_BY_HAND, Workspace, event, moment, tree, write_raw
from tests.jobs.erasing import (
    DAYS,
    LISTS,
    NAME,
    QUERY,
    WHO,
    WORDS,
    command,
    published,
    receipts,
    removed,
    store_of,
    taken_in,
    to_cold,
)
from tests.jobs.mentions import mentions

HOUR = Partition.hour(moment("10:00"))
WITH_PEOPLE = (
    INTERACTIONS, REJECTED, REJECTED_SNAPSHOTS, USERS, USER_VERSIONS, EXAMPLES, USER_HISTORY, USER_FEATURES, QUERY_TEXT,
)  # fmt: skip


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Before the erasure: the first day lies in the cold folder."""
    space = published(taken_in(tmp_path_factory.mktemp("before") / "home"))
    to_cold(space)
    return space


@pytest.fixture(scope="module")
def never(tmp_path_factory):
    """The same logs, taken in after the erasure."""
    return taken_in(tmp_path_factory.mktemp("never") / "home", erased=True)


@pytest.fixture(scope="module")
def erased(before, tmp_path_factory):
    space = before.copy_to(tmp_path_factory.mktemp("erased") / "home")
    assert command(space, "--user", str(WHO), "--reason", "a letter of 8 January", "--by", "the DPO") == 0
    return space


@pytest.fixture
def space(before, tmp_path):
    return before.copy_to(tmp_path / "home")


def files(space, table, partition):
    """Names and content of a partition's Parquet files, wherever they lie."""
    for lake in (space.lake, Lake(space.home / "cold")):
        found = {path.name: path.read_bytes() for path in lake.path(table, partition).glob("*.parquet")}
        if found:
            return found
    return {}


def rows(space, table):
    """All rows of a table, in the lake and the cold folder."""
    cold, lake = Lake(space.home / "cold"), space.lake
    here = [(lake if lake.archived(table, partition) is None else cold, partition) for partition in lake.every(table)]
    return pa.concat_tables([table.arrow.empty_table(), *(place.read(table, [partition]) for place, partition in here)])


class TestNothingIsLeft:
    def test_in_any_file_of_the_workspace(self, before, erased):
        assert {name.split("/")[1] for name in mentions(before.home, WHO, WORDS) if name.startswith(("lake/", "cold/"))} == {
            table.name for table in (*WITH_PEOPLE, EXAMPLE_FEATURES, RECOMMENDATIONS)
        }
        assert "store/recommendations.sqlite" in mentions(before.home, WHO, WORDS)
        assert mentions(erased.home, WHO, WORDS) == []

    def test_of_queries_that_nobody_else_typed(self, before, erased):
        assert set(rows(before, QUERY_TEXT)["query"].to_pylist()) == {"cats", QUERY}
        assert set(rows(erased, QUERY_TEXT)["query"].to_pylist()) == {"cats"}
        assert removed(receipts(erased)[-1], "cache") == {"cache/text.sqlite": 1}

    def test_for_readers_and_after_a_rollback(self, erased, tmp_path):
        space = erased.copy_to(tmp_path / "home")
        store = store_of(space)
        assert [store.read(user, 5) != [] for user in (1, 2, WHO)] == [True, True, False]
        store.rollback()
        assert [store.read(user, 5) != [] for user in (1, 2, WHO)] == [True, True, False]
        store.close()


class TestOthers:
    @pytest.mark.parametrize("table", WITH_PEOPLE, ids=lambda table: table.name)
    def test_have_the_very_bytes_that_logs_taken_in_afterwards_give(self, never, erased, table):
        partitions = never.lake.every(table)
        assert partitions == erased.lake.every(table)
        assert sum(never.lake.manifest(table, partition).rows for partition in partitions) > 0
        for partition in partitions:
            ours, theirs = (one.lake.manifest(table, partition) for one in (erased, never))
            assert files(erased, table, partition) == files(never, table, partition)
            assert (ours.rows, ours.files, ours.counts, ours.profile) == (
                theirs.rows, theirs.files, theirs.counts, theirs.profile,
            )  # fmt: skip

    def test_of_whom_nothing_is_removed_keep_their_rows(self, before, erased):
        for table in (INTERACTIONS, EXAMPLES, USER_FEATURES, USER_HISTORY, RECOMMENDATIONS):
            was = rows(before, table)
            kept = was.filter(pa.array([user != WHO for user in was["user_id"].to_pylist()]))
            assert kept.num_rows < was.num_rows
            assert rows(erased, table).equals(kept)
        their = set(rows(erased, EXAMPLES)["event_id"].to_pylist())
        was = rows(before, EXAMPLE_FEATURES)
        assert rows(erased, EXAMPLE_FEATURES).equals(
            was.filter(pa.array([one in their for one in was["event_id"].to_pylist()]))
        )

    def test_tables_without_people_are_not_touched(self, before, erased):
        for table in set(TABLES) - {*WITH_PEOPLE, EXAMPLE_FEATURES, RECOMMENDATIONS}:
            for partition in before.lake.every(table):
                assert files(before, table, partition) == files(erased, table, partition)
                assert before.lake.manifest(table, partition) == erased.lake.manifest(table, partition)

    def test_refused_rows_of_others_stay(self, erased):
        found = erased.lake.read(REJECTED, [HOUR]).to_pylist()
        assert sorted((row["reason"], row["detail"]) for row in found) == [
            ("malformed_record", "the record cannot be parsed"),
            ("unknown_interaction_type", "interaction_type = yodel"),
            ("unknown_video", "video_id = 98"),
        ]


class TestAccounts:
    def test_rows_in_are_rows_out_and_duplicates_and_rejected_and_erased(self, before, erased):
        found = before.lake.manifest(INTERACTIONS, HOUR).counts
        assert found["read"] == found["kept"] + found["duplicate"] + found["rejected"]
        for table in (INTERACTIONS, REJECTED):
            now = erased.lake.manifest(table, HOUR).counts
            assert now["read"] == found["read"]
            assert now["duplicate"] == found["duplicate"] == 2
            assert now["rejected"] == 3
            assert now["read"] == now["kept"] + now["duplicate"] + now["rejected"] + now["erased"]
            assert now["kept"] == erased.lake.read(INTERACTIONS, [HOUR]).num_rows

    def test_manifests_say_what_went_and_keep_their_digests(self, before, erased):
        (receipt,) = receipts(erased)
        was, now = (one.lake.manifest(INTERACTIONS, HOUR) for one in (before, erased))
        assert (now.digest, now.inputs, now.code_version) == (was.digest, was.inputs, was.code_version)
        assert now.erasures == {receipt["id"]: was.rows - now.rows}
        text = (erased.lake.path(INTERACTIONS, HOUR) / MANIFEST).read_text()
        assert str(WHO) not in text
        assert "erasures" not in (before.lake.path(INTERACTIONS, HOUR) / MANIFEST).read_text()

    def test_receipt_lists_what_was_removed_where(self, before, erased):
        (receipt,) = receipts(erased)
        assert removed(receipt, "store") == {"store/version 1": 2, "store/version 2": 2}
        found = removed(receipt, "tables")
        for table in (*WITH_PEOPLE, EXAMPLE_FEATURES, RECOMMENDATIONS):
            gone = rows(before, table).num_rows - rows(erased, table).num_rows
            assert found.get(f"lake/{table.name}", 0) + found.get(f"cold/{table.name}", 0) == gone > 0
        assert found["cold/interactions"] == 4
        assert (receipt["reason"], receipt["by"]) == ("a letter of 8 January", "the DPO")
        assert receipt["left"] == []
        assert receipt["total"] == sum(one["count"] for some in receipt["removed"].values() for one in some)
        assert [one["what"] for one in receipt["not_touched"]] == [what for what, _ in NOT_TOUCHED]
        text = (erased.home / "runs" / "erasures" / f"{receipt['id']}.txt").read_text()
        assert f"User        {receipt['user']}\n" in text
        assert "Asked by    the DPO: a letter of 8 January\n" in text
        assert str(WHO) not in text


class TestAfterwards:
    def test_nothing_is_stale(self, erased, tmp_path):
        space = erased.copy_to(tmp_path / "home")
        space.run(ingest, *DAYS)
        for stage in (ingest, examples, features):
            assert space.run(stage, *DAYS).up_to_date

    def test_a_backfill_of_the_same_logs_brings_nobody_back(self, erased, tmp_path):
        space = erased.copy_to(tmp_path / "home")
        report = space.run(ingest, *DAYS, "--force")
        assert any(note.startswith("left out ") and note.endswith(" rows of erased users") for note in report.notes)
        assert mentions(space.home, WHO, WORDS) == []
        assert files(space, INTERACTIONS, HOUR) == files(erased, INTERACTIONS, HOUR)
        late = [event("late", "click", "10:50:00", user=WHO), event("later", "click", "10:51:00", user=2)]
        write_raw(space.raw, late, [], [{"user_id": WHO, "username": NAME}], snapshot="2026-01-07")
        space.run(ingest, *DAYS)
        assert "later" in space.lake.read(INTERACTIONS, [HOUR])["event_id"].to_pylist()
        assert mentions(space.home, WHO, WORDS) == []

    def test_nor_does_a_lake_made_anew(self, erased, tmp_path):
        space = erased.copy_to(tmp_path / "home")
        shutil.rmtree(space.home / "lake")
        shutil.rmtree(space.home / "cold")
        space.run(ingest, *DAYS)
        assert space.lake.read(INTERACTIONS, [HOUR]).num_rows > 0
        assert mentions(space.home, WHO, WORDS) == []

    def test_again_finds_nothing_left(self, erased, tmp_path, capsys):
        space = erased.copy_to(tmp_path / "home")
        held = {name: content for name, content in tree(space.home).items() if not name.startswith(("runs/", "store/"))}
        assert command(space, "--user", str(WHO)) == 0
        assert "nothing was left of this user" in capsys.readouterr().out
        assert {name: content for name, content in tree(space.home).items() if not name.startswith(("runs/", "store/"))} == held
        first, second = receipts(space)
        assert (second["total"], second["new_to_the_list"], second["user"]) == (0, False, first["user"])
        assert first["id"] != second["id"]

    def test_archived_days_come_back_without_the_user(self, erased, tmp_path):
        space = erased.copy_to(tmp_path / "home")
        with space.environment():
            archive.main(["--restore"])
        assert list((space.home / "cold").rglob("*.parquet")) == []
        assert mentions(space.home, WHO, WORDS) == []
        assert {p for table in TABLES for p in space.lake.every(table) if space.lake.archived(table, p)} == set()

    def test_lists_of_a_lake_out_of_a_backup_are_not_published(self, before, erased):
        lists = before.lake.files(RECOMMENDATIONS, [LISTS])
        found = pa.Table.from_batches(list(batches(lists, _erased.read(erased.home / "erased"))))
        assert sorted(set(found["user_id"].to_pylist())) == [1, 2]
        assert pa.Table.from_batches(list(batches(lists, _erased.NOBODY))).num_rows == 6


class TestTrouble:
    def test_a_dry_run_changes_nothing(self, space, capsys):
        held = {name: content for name, content in tree(space.home).items() if not name.startswith("runs/.")}
        assert command(space, "--user", str(WHO), "--dry-run") == 0
        said = capsys.readouterr().out
        assert "would remove 1 queries from lake/query_text/dt=2026-01-07" in said
        assert "would remove 1 rows from lake/user_features/dt=2026-01-07" in said
        assert "nothing was changed" in said
        assert {name: content for name, content in tree(space.home).items() if not name.startswith("runs/.")} == held

    def test_a_cold_folder_that_is_away_is_said_and_made_up_for(self, space, capsys):
        (space.home / "cold").rename(space.home / "unplugged")
        assert command(space, "--user", str(WHO)) == 2
        out, error = capsys.readouterr()
        assert "NOT removed: mend these, then give the same command again" in out
        assert "table interactions, dt=2026-01-06/hr=10: archived in" in error
        assert "mount that folder or set paths.cold to it" in error
        (space.home / "unplugged").rename(space.home / "cold")
        assert command(space, "--user", str(WHO)) == 0
        (receipt,) = receipts(space)
        assert (receipt["left"], receipt["interrupted"]) == ([], 0)
        assert removed(receipt, "tables")["cold/interactions"] == 4
        assert removed(receipt, "tables")["lake/interactions"] > 4
        assert mentions(space.home, WHO, WORDS) == []

    def test_a_damaged_partition_is_left_and_said(self, space, capsys):
        (broken,) = space.lake.path(EXAMPLES, HOUR).glob("*.parquet")
        broken.write_bytes(b"nonsense")
        assert command(space, "--user", str(WHO)) == 2
        assert f"{broken} cannot be read" in capsys.readouterr().err
        assert mentions(space.home, WHO, WORDS, leave_out=("raw", "lake")) == []  # all else is done
        (receipt,) = receipts(space)
        assert len(receipt["left"]) == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--user", "1", "--by", " "], "found an empty --by"),
            (["--user", "1", "--reason", ""], "found an empty --reason"),
            (["--user", str(2**63)], "found a number beyond 64 bits"),
        ],
    )
    def test_what_cannot_be_done_changes_nothing(self, space, capsys, arguments, said):
        assert command(space, *arguments) == 2
        assert said in capsys.readouterr().err
        assert not (space.home / "erased").exists()

    def test_a_lost_key_is_refused(self, erased, tmp_path, capsys):
        space = erased.copy_to(tmp_path / "home")
        (space.home / "erased" / "key").unlink()
        assert command(space, "--user", "5") == 2
        assert "put it back from a backup, or erased users would come back" in capsys.readouterr().err

    def test_nothing_at_all_is_fine(self, tmp_path, capsys):
        space = Workspace(tmp_path / "home")
        assert command(space, "--user", "5") == 0
        assert "nothing was left of this user" in capsys.readouterr().out
        (receipt,) = receipts(space)
        assert (receipt["total"], receipt["new_to_the_list"]) == (0, True)


def test_reports_lose_what_they_say_of_the_user(space):
    run = space.home / "runs" / "20260108T000000Z"
    (run / "lists" / "abc").mkdir(parents=True)
    (run / "trainings").mkdir()
    (run / "lists" / "abc" / "part-00000.parquet").write_bytes(b"lists of a run that was killed")
    mine, other = {"user_id": WHO, "liked_last": [NAME]}, {"user_id": 5, "liked_last": ["a title"]}
    (run / "verdict.json").write_text(json.dumps({"passed": True, "moved": {"users": [mine, other]}}))
    page = f"<body><h2>Users</h2><h3>User {WHO}</h3><p>{NAME}</p><h3>User 5</h3><p>a title</p><h2>Videos</h2></body>"
    (run / "verdict.html").write_text(page)
    summary = (
        f"Live        version 1\nHomepage    of one user\n            user {WHO}: 10 recommendations\n            {NAME}\n"
    )
    (run / "summary.txt").write_text(f"{summary}Where       here\n")
    (run / "scan.error").write_text(f"short: found 1 (first: user_id={WHO} length=3 | user_id=5 length=4)\n")
    (run / "gate.error").write_text(f"found lists of [5, {WHO}] longer than 100\n")
    (run / "last_scan.json").write_text(json.dumps({"checks": [{"first": [{"user_id": WHO, "length": 1}]}], "other": WHO + 1}))
    assert command(space, "--user", str(WHO)) == 0
    assert mentions(space.home, WHO, WORDS) == []
    assert json.loads((run / "verdict.json").read_text()) == {"passed": True, "moved": {"users": [other]}}
    assert (run / "verdict.html").read_text() == "<body><h2>Users</h2><h3>User 5</h3><p>a title</p><h2>Videos</h2></body>"
    assert (run / "summary.txt").read_text() == "Live        version 1\nWhere       here\n"
    assert (run / "scan.error").read_text() == "short: found 1 (first: user_id=(erased) length=3 | user_id=5 length=4)\n"
    assert json.loads((run / "last_scan.json").read_text()) == {"checks": [{"first": []}], "other": WHO + 1}
    assert not (run / "lists").exists()
    assert not (run / "trainings").exists()
    assert not (run / "gate.error").exists()
    assert set(removed(receipts(space)[-1], "reports")) == {
        f"runs/20260108T000000Z/{name}"
        for name in ("verdict.json", "verdict.html", "summary.txt", "scan.error", "gate.error", "last_scan.json")
    }


def test_what_killed_stages_left_goes_whole(space):
    """Nobody knows what is in it, and nobody is at work: it is removed without a look, and made again."""
    run, where = space.home / "runs" / "20260108T000000Z", space.home
    left = [
        where / "bundles" / "wals" / ".20260108T000000Z.a-host.4711" / "users.npy",
        where / "bundles" / "wals" / ".20260108T000000Z.a-host.4711" / BUNDLE,
        where / "mlflow" / "artifacts" / "1" / "artifacts" / ".wals.a-host.4711" / "users.npy",
        where / "runs" / "fetched-abcd" / "tmpx" / "wals" / "users.npy",
        where / "lake" / "_staging" / "4711" / "part-00000.parquet",
        run / "lists" / "abc" / "part-00000.parquet",
        run / "checkpoints" / "epoch-1",
        run / "verdict.tmp",
    ]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(np.int64(WHO).tobytes())
    assert command(space, "--user", str(WHO), "--dry-run") == 0  # and what is staged is not taken for a damaged bundle
    assert all(file.exists() for file in left)
    assert command(space, "--user", str(WHO)) == 0
    assert mentions(space.home, WHO, WORDS) == []
    assert not any(file.exists() for file in left)
    assert set(removed(receipts(space)[-1], "orphans")) == {
        "bundles/wals/.20260108T000000Z.a-host.4711",
        "mlflow/artifacts/1/artifacts/.wals.a-host.4711",
        "runs/fetched-abcd",
        "lake/_staging/4711",
        "runs/20260108T000000Z/lists",
        "runs/20260108T000000Z/checkpoints",
        "runs/20260108T000000Z/verdict.tmp",
    }


def test_lists_of_hours_lose_the_user(space):
    hour = space.home / "lake" / "_hourly" / "20260107T120000Z"
    lists = space.lake.read(RECOMMENDATIONS, [LISTS])
    Lake(hour).write(RECOMMENDATIONS, LISTS, lists, MADE_BY_HAND)
    _due.write_at(hour, Due(1, np.array([2, 5, WHO]), {"active": 3}))
    pq.write_table(pa.table({"user_id": [2, 5, WHO]}), hour / _due.USERS_FILE)
    assert command(space, "--user", str(WHO)) == 0
    assert mentions(space.home, WHO, WORDS) == []
    found = _due.read_at(hour)
    assert (found.base, found.users.tolist()) == (1, [2, 5])
    assert Lake(hour).read(RECOMMENDATIONS, [LISTS]).num_rows == 4
    (receipt,) = receipts(space)
    assert removed(receipt, "tables")["lake/_hourly/20260107T120000Z/recommendations"] == 2
    assert removed(receipt, "reports") == {"lake/_hourly/20260107T120000Z/due.npy": 1}


def test_lists_of_a_trial_lose_the_user(space):
    trial = space.home / "runs" / "20260108T000000Z" / "shadow" / "bigger-0"
    trial.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": [5, WHO], "watched": [[1], [2]]}), trial / "lists.parquet")
    (trial / "kept.json").write_text(json.dumps({"lists": "x", "users": 2, "recipe": {"inputs": {}}}))
    assert command(space, "--user", str(WHO)) == 0
    assert pq.read_table(trial / "lists.parquet")["user_id"].to_pylist() == [5]
    kept = json.loads((trial / "kept.json").read_text())
    digest = hashlib.sha256((trial / "lists.parquet").read_bytes()).hexdigest()
    assert kept == {"lists": digest, "users": 1, "recipe": {"inputs": {}}}
    assert removed(receipts(space)[-1], "reports") == {"runs/20260108T000000Z/shadow/bigger-0/lists.parquet": 1}


def test_a_table_that_names_users_is_swept_when_it_is_declared():
    named = {table for table in TABLES if "user_id" in table.columns}
    assert {*_BY_USER, INTERACTIONS} == named
    assert VIDEO_FEATURES not in named
