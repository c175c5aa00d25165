"""The SQLite store: the common contract, and what only a file can show."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas import SCORE_PARTS
from schemas.errors import ReelflowError
from serving import (
    Erased,
    Publication,
    RecommendationReader,
    SqliteStore,
    UnfinishedErasureError,
)
from serving.sqlite import _file
from tests.serving.builders import USERS, K, day, expected, fallback, publication, publish, rows, videos
from tests.serving.contract import Factory, StoreContract
from tests.serving.deltas import DeltaContract, delta, of_hour


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made on demand" / "what's [live]?#1.sqlite"


def query(path: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """Read as an app does that has nothing but SQL."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def age_to_2(path: Path) -> None:
    """Make a file what version 2 of its tables was: full publications only."""
    connection = sqlite3.connect(path)
    connection.executescript("""
        DROP VIEW recommendations;
        DROP VIEW publications;
        DROP TABLE version_layers;
        DROP TABLE delta_lists;
        DROP TABLE live_lists;
        ALTER TABLE publication_log DROP COLUMN base;
        ALTER TABLE publication_log DROP COLUMN root;
        ALTER TABLE publication_log DROP COLUMN root_as_of;
        ALTER TABLE publication_log DROP COLUMN root_generation;
        ALTER TABLE publication_log DROP COLUMN layers;
        CREATE VIEW recommendations AS
        SELECT r.user_id, r.rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at
        FROM publication_log AS p CROSS JOIN recommendation_rows AS r ON r.version = p.version
        WHERE p.status = 'live';
        CREATE VIEW publications AS
        SELECT version, as_of, model_version, status, users, rows, published_at
        FROM publication_log ORDER BY version DESC;
        PRAGMA user_version = 2;
        PRAGMA wal_checkpoint(TRUNCATE);
    """)
    connection.close()


def age(path: Path) -> None:
    """Make a file what version 1 of its tables was: fallback lists without a parent, rows without what led to them."""
    age_to_2(path)
    connection = sqlite3.connect(path)
    connection.executescript("""
        DROP VIEW fallback_recommendations;
        DROP VIEW recommendations;
        ALTER TABLE fallback_rows RENAME TO newer;
        CREATE TABLE fallback_rows (
            version  INTEGER NOT NULL,
            segment  TEXT    NOT NULL,
            rank     INTEGER NOT NULL,
            video_id INTEGER NOT NULL,
            score    REAL    NOT NULL,
            sources  TEXT    NOT NULL,
            reason   TEXT    NOT NULL,
            PRIMARY KEY (version, segment, rank)
        ) WITHOUT ROWID;
        INSERT INTO fallback_rows SELECT version, segment, rank, video_id, score, sources, reason FROM newer;
        DROP TABLE newer;
        ALTER TABLE recommendation_rows RENAME TO newer;
        CREATE TABLE recommendation_rows (
            version  INTEGER NOT NULL,
            user_id  INTEGER NOT NULL,
            rank     INTEGER NOT NULL,
            video_id INTEGER NOT NULL,
            score    REAL    NOT NULL,
            sources  TEXT    NOT NULL,
            reason   TEXT    NOT NULL,
            PRIMARY KEY (version, user_id, rank)
        ) WITHOUT ROWID;
        INSERT INTO recommendation_rows SELECT version, user_id, rank, video_id, score, sources, reason FROM newer;
        DROP TABLE newer;
        CREATE VIEW recommendations AS
        SELECT r.user_id, r.rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at
        FROM publication_log AS p CROSS JOIN recommendation_rows AS r ON r.version = p.version
        WHERE p.status = 'live';
        CREATE VIEW fallback_recommendations AS
        SELECT r.segment, r.rank, r.video_id, r.score, r.sources, r.reason, p.model_version, p.as_of, p.expires_at
        FROM publication_log AS p CROSS JOIN fallback_rows AS r ON r.version = p.version
        WHERE p.status = 'live';
        PRAGMA user_version = 1;
        PRAGMA wal_checkpoint(TRUNCATE);
    """)
    connection.close()


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def open_store(self, path: Path) -> Iterator[Factory]:
        opened: list[SqliteStore] = []

        def factory() -> SqliteStore:
            opened.append(SqliteStore(path))
            return opened[-1]

        yield factory
        for store in opened:
            store.close()


class TestSqliteDeltas(DeltaContract):
    open_store = TestSqliteStore.open_store

    def test_a_delta_writes_its_own_lists_only_and_its_rows_go_with_its_day(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, keep=0)
        delta(store, 1, (1, 2), base=1, keep=0)
        delta(store, 2, (2,), base=2, keep=0)
        own = "SELECT version, count(*) FROM recommendation_rows GROUP BY version"
        assert query(path, own) == [(1, USERS * K), (2, 2 * K), (3, K)]
        assert query(path, "SELECT DISTINCT version FROM fallback_rows") == [(3,)]
        publish(store, 9, keep=0)
        assert query(path, own) == [(4, USERS * K)]
        assert query(path, "SELECT count(*) FROM delta_lists") == query(path, "SELECT count(*) FROM live_lists") == [(0,)]
        assert query(path, "SELECT version, layer, position FROM version_layers") == [(4, 4, 0)]

    def test_plain_sql_reads_every_user_once_with_the_facts_of_the_list(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8)
        delta(store, 1, (3, 999), base=1)
        delta(store, 2, (4,), base=2)
        lists = query(
            path, "SELECT user_id, model_version, as_of, expires_at, count(*) FROM recommendations GROUP BY 1, 2, 3, 4"
        )
        hours = {3: (1, "hour-1"), 4: (2, "hour-2"), 999: (1, "hour-1")}
        assert lists == [
            (user, name, f"2026-01-08T{number:02d}:00:00Z", f"2026-01-10T{number:02d}:00:00Z", K)
            for user in (*range(1, USERS + 1), 999)
            for number, name in [hours.get(user, (0, "model-8-1"))]
        ]
        assert [row[0] for row in query(path, "SELECT rank FROM recommendations WHERE user_id = 3 ORDER BY rank")] == [
            1,
            2,
            3,
            4,
            5,
        ]
        assert query(path, "SELECT DISTINCT model_version, as_of FROM fallback_recommendations") == [
            ("hour-2", "2026-01-08T02:00:00Z")
        ]
        assert query(path, "SELECT version, status, users, rows, base FROM publications") == [
            (3, "live", 21, 105, 2), (2, "retired", 21, 105, 1), (1, "retired", 20, 100, None)
        ]  # fmt: skip


class TestRelations:
    COLUMNS = ("video_id", "score", "sources", "reason", "model_version", "as_of", "expires_at")

    def test_relations_have_the_columns_of_the_contract(self, path: Path) -> None:
        publish(SqliteStore(path), 8, 1)
        connection = sqlite3.connect(path)
        for relation, columns in (
            ("recommendations", ("user_id", "rank", *self.COLUMNS, "rules", "propensity", *SCORE_PARTS)),
            ("fallback_recommendations", ("segment", "rank", *self.COLUMNS, "parent")),
            ("publications", ("version", "as_of", "model_version", "status", "users", "rows", "published_at", "base")),
        ):
            cursor = connection.execute(f"SELECT * FROM {relation}")
            assert tuple(item[0] for item in cursor.description) == columns
        connection.close()

    def test_plain_sql_reads_the_live_version(self, path: Path) -> None:
        store = SqliteStore(path, clock=lambda: datetime(2026, 1, 8, 1, 2, 3, 456, tzinfo=UTC))
        publish(store, 8, 1)
        publish(store, 9, 2)
        times, parts = ("2026-01-09T00:00:00Z", "2026-01-11T00:00:00Z"), [1 + place / 8 for place in range(len(SCORE_PARTS))]
        assert query(path, "SELECT * FROM recommendations WHERE user_id = ? ORDER BY rank LIMIT 1", 7) == [
            (7, 1, 9_002_001, 1.0, "retrieval:1", "day 9", "model-9-2", *times, "creators:1>2", 1.0, *parts)
        ]
        assert query(path, "SELECT count(*), count(DISTINCT as_of) FROM recommendations") == [(100, 1)]
        assert query(path, "SELECT * FROM fallback_recommendations WHERE segment = 'all' AND rank = 2") == [
            ("all", 2, 9_002_502, 0.5, "popular:2", "popular on day 9 in all", "model-9-2", *times, None)
        ]
        assert query(path, "SELECT DISTINCT segment, parent FROM fallback_recommendations") == [
            ("all", None), ("country=DE", "all")
        ]  # fmt: skip
        published = "2026-01-08T01:02:03Z"
        assert query(path, "SELECT * FROM publications") == [
            (2, "2026-01-09T00:00:00Z", "model-9-2", "live", 20, 100, published, None),
            (1, "2026-01-08T00:00:00Z", "model-8-1", "retired", 20, 100, published, None),
        ]

    def test_a_user_is_looked_up_by_index_without_sorting(self, path: Path) -> None:
        publish(SqliteStore(path), 8, 1)
        for sql, key in (
            ("SELECT * FROM recommendations WHERE user_id = ? ORDER BY rank", "user_id"),
            ("SELECT * FROM recommendations WHERE user_id = ? AND rank <= 20 ORDER BY rank", "user_id"),
            ("SELECT * FROM fallback_recommendations WHERE segment = ? ORDER BY rank", "segment"),
        ):
            steps = [str(row[3]) for row in query(path, f"EXPLAIN QUERY PLAN {sql}", 1)]
            lists = 1 if key == "segment" else 2  # of users: the full publication's, and those over it, merged
            assert sum(step.endswith("USING INDEX one_live (status=?)") for step in steps) == 1
            assert sum(step.startswith(f"SEARCH r USING PRIMARY KEY (version=? AND {key}=?") for step in steps) == lists
            assert not [step for step in steps if "SCAN" in step.split() or "B-TREE" in step]  # neither a scan nor a sort

    def test_two_live_versions_are_impossible_in_the_file_itself(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        publish(store, 9, 2)
        with pytest.raises(sqlite3.IntegrityError):
            query(path, "UPDATE publication_log SET status = 'live'")

    def test_rows_of_versions_that_nobody_reads_are_gone(self, path: Path) -> None:
        store = SqliteStore(path)
        for number in (8, 9, 10, 11):
            publish(store, number, number, keep=1)
        publish(store, 7, 99)
        assert query(path, "SELECT DISTINCT version FROM recommendation_rows") == [(3,), (4,)]
        assert query(path, "SELECT DISTINCT version FROM fallback_rows") == [(3,), (4,)]

    def test_a_version_of_many_transactions_is_loaded_and_deleted_whole(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1, keep=0, users=1_301, k=100, per_batch=900)
        assert query(path, "SELECT count(*), count(DISTINCT user_id), sum(rank) FROM recommendations") == [
            (130_100, 1_301, 1_301 * 5_050)
        ]
        publish(store, 9, 2, keep=0)
        assert query(path, "SELECT count(*) FROM recommendation_rows") == [(20 * K,)]


class TestFile:
    def test_reading_creates_nothing(self, path: Path) -> None:
        assert SqliteStore(path).live() is None
        assert not path.parent.exists()

    def test_no_lock_files_are_left(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        publish(store, 7, 2)
        with pytest.raises(ReelflowError):
            store.publish(publication(9, 3), [], fallback(9, 3), 3)
        assert list(path.parent.glob("*.lock")) == []

    def test_folder_is_refused(self, tmp_path: Path) -> None:
        for use in (SqliteStore.live, SqliteStore.next_generation):
            with pytest.raises(ReelflowError, match="found a folder, expected a SQLite file"):
                use(SqliteStore(tmp_path))

    def test_another_kind_of_file_is_refused(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("user_id,rank\n" * 1000)
        for use in (SqliteStore.live, SqliteStore.next_generation):
            with pytest.raises(ReelflowError, match="found another kind of file, expected a SQLite store"):
                use(SqliteStore(path))
        assert path.read_text() == "user_id,rank\n" * 1000

    def test_database_of_another_application_is_refused_and_left_alone(self, path: Path) -> None:
        path.parent.mkdir()
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE recommendations (a)")
        connection.close()
        before = path.read_bytes()
        for use in (SqliteStore.live, SqliteStore.next_generation):
            with pytest.raises(ReelflowError, match="database of another application"):
                use(SqliteStore(path))
        assert path.read_bytes() == before

    def test_empty_file_becomes_a_store(self, path: Path) -> None:
        path.parent.mkdir()
        path.touch()
        store = SqliteStore(path)
        assert store.live() is None
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)

    @pytest.mark.parametrize(("version", "whose"), [(0, "an older"), (4, "a newer")])
    def test_other_schema_version_is_refused(self, path: Path, version: int, whose: str) -> None:
        publish(SqliteStore(path), 8, 1)
        query(path, f"PRAGMA user_version = {version}")
        for use in (SqliteStore.live, SqliteStore.next_generation):
            with pytest.raises(
                ReelflowError, match=f"schema version {version}, expected 3, or one from 1 on; {whose} reelflow"
            ):
                use(SqliteStore(path))

    def test_a_file_of_version_1_is_read_as_it_is_and_brought_up_to_date_by_the_next_writer(self, path: Path) -> None:
        publish(SqliteStore(path), 8, 1)
        relations = ("fallback_rows", "fallback_recommendations", "recommendation_rows", "recommendations")
        now = [sorted(row[1] for row in query(path, f"PRAGMA table_info({name})")) for name in relations]
        age(path)
        before = path.read_bytes()
        store = SqliteStore(path)
        page = RecommendationReader(store).get(999, k=2, segments=("country=DE", "all"))
        assert (page.segment, [row.rank for row in page.rows]) == ("country=DE", [1, 2])
        assert videos(store) == expected(8, 1)
        row = store.read_row(1, expected(8, 1)[0])
        assert (row["rank"], row["rules"], row["score_wals"]) == (1, None, None)
        assert path.read_bytes() == before
        publish(store, 9, 2)
        assert [sorted(row[1] for row in query(path, f"PRAGMA table_info({name})")) for name in relations] == now
        assert query(path, "PRAGMA user_version") == [(3,)]
        assert query(path, "SELECT version, segment, parent FROM fallback_rows WHERE rank = 1") == [
            (1, "all", None), (1, "country=DE", None), (2, "all", None), (2, "country=DE", "all")
        ]  # fmt: skip
        assert videos(store) == expected(9, 2)
        store.rollback()
        assert videos(store) == expected(8, 1)

    def test_a_file_of_version_2_takes_a_delta_and_goes_back(self, path: Path) -> None:
        publish(SqliteStore(path), 8, 1)
        publish(SqliteStore(path), 9, 2)
        relations = ("publication_log", "recommendations", "publications", "version_layers", "live_lists")
        now = [sorted(row[1] for row in query(path, f"PRAGMA table_info({name})")) for name in relations]
        age_to_2(path)
        before, store = path.read_bytes(), SqliteStore(path)
        live = store.live()
        assert (live.version, live.root, live.root_as_of, live.layers) == (2, 2, day(9), 1)
        assert RecommendationReader(store).get(3).as_of == day(9)
        with store.snapshot() as snapshot:
            assert [record.version for record in snapshot.publications()] == [2]
        assert path.read_bytes() == before
        store.next_generation()
        store.rollback()  # to a version that knows of no layers
        assert videos(store) == expected(8, 1)
        store.rollback(2)
        assert delta(store, 25, (3,), base=2).status == "live"
        assert [sorted(row[1] for row in query(path, f"PRAGMA table_info({name})")) for name in relations] == now
        assert [videos(store, user) for user in (3, 4)] == [of_hour(25), expected(9, 2)]
        store.rollback()
        assert videos(store, 3) == expected(9, 2)

    def test_a_migration_that_fails_leaves_the_file_as_it_was(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        publish(SqliteStore(path), 8, 1)
        age(path)
        monkeypatch.setitem(_file._MIGRATIONS, 1, (*_file._MIGRATIONS[1], "DROP TABLE nothing_of_this_name"))
        with pytest.raises(ReelflowError, match="cannot open: no such table: nothing_of_this_name"):
            SqliteStore(path).next_generation()
        assert query(path, "PRAGMA user_version") == [(1,)]
        assert "parent" not in [row[1] for row in query(path, "PRAGMA table_info(fallback_rows)")]
        assert videos(SqliteStore(path)) == expected(8, 1)

    def test_damaged_file_is_reported(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1, users=2_000)
        store.close()
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        with pytest.raises(ReelflowError, match="the file is damaged"):
            SqliteStore(path).live()
        with pytest.raises(ReelflowError, match="the file is damaged"):
            publish(SqliteStore(path), 9, 2)

    def test_folder_that_cannot_be_made_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        store = SqliteStore(tmp_path / "file" / "store.sqlite")
        with pytest.raises(ReelflowError, match="its folder cannot be made"):
            store.next_generation()

    def test_file_that_was_replaced_is_opened_anew(self, path: Path) -> None:
        store = SqliteStore(path)
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
        for file in path.parent.iterdir():
            file.unlink()
        assert store.live() is None
        publish(SqliteStore(path), 7, 1)
        assert videos(store) == expected(7, 1)

    def test_failure_while_deleting_old_rows_does_not_fail_a_publication(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT * FROM missing")

        store = SqliteStore(path)
        publish(store, 8, 1, keep=0)
        with monkeypatch.context() as patch:
            patch.setattr("serving.sqlite._rows.delete", broken)
            assert publish(store, 9, 2, keep=0).status == "live"
        assert "rows of old versions were not removed" in caplog.text
        publish(store, 9, 3, keep=0)
        assert query(path, "SELECT DISTINCT version FROM recommendation_rows") == [(3,)]

    def test_publisher_whose_lock_file_was_removed_gives_up(self, path: Path) -> None:
        store, other = SqliteStore(path), SqliteStore(path)
        publish(store, 8, 1)

        def interrupted() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 2)
            (lock,) = path.parent.glob("*.lock")
            lock.unlink()
            publish(other, 8, 3)
            yield from rows(9, 2, first_user=1_000)

        with pytest.raises(ReelflowError, match="publication 2: found status failed, expected loading"):
            store.publish(publication(9, 2), interrupted(), fallback(9, 2), 3)
        assert videos(store) == expected(8, 3)
        assert query(path, "SELECT DISTINCT version FROM recommendation_rows") == [(1,), (3,)]

    @pytest.mark.parametrize(
        ("as_of", "found"),
        [
            (datetime(2026, 1, 8), "no time zone"),
            (datetime(2026, 1, 8, 0, 0, 0, 1, UTC), "a fraction of a second"),
            (datetime(2027, 1, 1, tzinfo=UTC), "expected a later time than as_of"),
        ],
    )
    def test_senseless_times_are_refused(self, as_of: datetime, found: str) -> None:
        with pytest.raises(ReelflowError, match=found):
            Publication(as_of=as_of, generation=1, model_version="m", expires_at=datetime(2026, 2, 1, tzinfo=UTC))

    def test_senseless_generation_and_model_version_are_refused(self) -> None:
        with pytest.raises(ReelflowError, match="found generation 0"):
            publication(8, 0)
        with pytest.raises(ReelflowError, match="empty model_version"):
            replace(publication(8, 1), model_version="")


class TestErasure:
    def test_a_reader_that_holds_a_snapshot_is_said_and_the_next_try_is_clean(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rows are gone for every new reader, but the file has their bytes until the snapshot ends."""
        monkeypatch.setattr(_file, "WRITER_WAIT_SECONDS", 0.3)
        store = SqliteStore(tmp_path / "store.sqlite")
        publish(store, 8)
        with store.snapshot() as held:
            assert len(held.read(7, 100)) == 5
            with pytest.raises(UnfinishedErasureError, match="a reader has held a snapshot open") as raised:
                SqliteStore(store.path).erase(7)
            assert raised.value.erased == [Erased(1, 5)]
        assert store.read(7, 100) == []
        assert store.erase(7) == []

    def test_between_verification_and_switch_it_is_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = SqliteStore(tmp_path / "store.sqlite")
        switch = SqliteStore._switch

        def erase_and_switch(*arguments: Any) -> Any:
            assert SqliteStore(store.path).erase(7) == [Erased(1, 5)]
            return switch(*arguments)

        monkeypatch.setattr(SqliteStore, "_switch", erase_and_switch)
        publish(store, 8)
        live = store.live()
        assert live is not None
        assert (live.users, live.rows) == (19, 95)
        with closing(sqlite3.connect(store.path)) as connection:
            seen = connection.execute("SELECT count(DISTINCT user_id), count(*) FROM recommendations").fetchone()
        assert seen == (19, 95)
