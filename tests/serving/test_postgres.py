"""The PostgreSQL store: the common contract, and what only a server can show."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pyarrow as pa
import pytest

from schemas import SCORE_PARTS
from schemas.errors import ReelflowError
from serving import RecommendationReader, store_at
from serving.postgres import PostgresStore, _connection, _lists
from tests.serving.builders import USERS, K, batch, day, expected, fallback, publication, publish, rows, video, videos
from tests.serving.contract import Factory, StoreContract
from tests.serving.deltas import DeltaContract, delta
from tests.serving.postgres import ROLES, Server


@pytest.fixture
def open_store(postgres: Server) -> Iterator[Factory]:
    made: list[PostgresStore] = []

    def make() -> PostgresStore:
        made.append(PostgresStore(postgres.url()))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(open_store: Factory) -> PostgresStore:
    return open_store()  # type: ignore[return-value]


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def open_store(self, open_store: Factory) -> Factory:
        return open_store


class TestPostgresDeltas(DeltaContract):
    @pytest.fixture
    def open_store(self, open_store: Factory) -> Factory:
        return open_store


class TestRelations:
    COMMON = ("video_id bigint", "score float8", "sources text", "reason text", "model_version text")
    TIMES = ("as_of timestamptz", "expires_at timestamptz")

    def test_columns_and_types_are_those_of_the_contract(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        parts = [f"{name} float4" for name in SCORE_PARTS]
        for relation, columns in (
            (
                "recommendations",
                ("user_id bigint", "rank int4", *self.COMMON, *self.TIMES, "rules text", "propensity float8", *parts),
            ),
            ("fallback_recommendations", ("segment text", "rank int4", *self.COMMON, *self.TIMES, "parent text")),
            (
                "publications",
                ("version int4", "as_of timestamptz", "model_version text", "status text", "users bigint", "rows bigint",
                 "published_at timestamptz", "base int4"),
            ),
        ):  # fmt: skip
            with postgres.connected() as connection:
                described = connection.execute(f"SELECT * FROM reelflow.{relation}").description or []
            assert tuple(f"{item.name} {item.type_display}" for item in described) == tuple(
                column.replace("bigint", "int8") for column in columns
            )

    def test_plain_sql_reads_the_live_version(self, postgres: Server) -> None:
        with closing(PostgresStore(postgres.url(), clock=lambda: datetime(2026, 1, 8, 1, 2, 3, 456, tzinfo=UTC))) as store:
            publish(store, 8, 1)
            publish(store, 9, 2)
        parts = [1 + place / 8 for place in range(len(SCORE_PARTS))]
        assert postgres.run("SELECT * FROM reelflow.recommendations WHERE user_id = %s ORDER BY rank LIMIT 1", 7) == [
            (7, 1, 9_002_001, 1.0, "retrieval:1", "day 9", "model-9-2", day(9), day(11), "creators:1>2", 1.0, *parts)
        ]
        assert postgres.run("SELECT count(*), count(DISTINCT as_of) FROM reelflow.recommendations") == [(100, 1)]
        assert postgres.run("SELECT * FROM reelflow.fallback_recommendations WHERE segment = 'all' AND rank = 2") == [
            ("all", 2, 9_002_502, 0.5, "popular:2", "popular on day 9 in all", "model-9-2", day(9), day(11), None)
        ]
        published = datetime(2026, 1, 8, 1, 2, 3, tzinfo=UTC)
        assert postgres.run("SELECT * FROM reelflow.publications") == [
            (2, day(9), "model-9-2", "live", 20, 100, published, None),
            (1, day(8), "model-8-1", "retired", 20, 100, published, None),
        ]

    def test_plain_sql_reads_what_lies_over_a_full_publication(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        delta(store, 1, (3, 999), base=1, k=2)
        found = postgres.run("SELECT user_id, rank, video_id, model_version FROM reelflow.recommendations WHERE user_id > 2")
        assert [row for row in sorted(found) if row[0] in (3, 4, 999)] == [
            (3, 1, 101, "hour-1"), (3, 2, 102, "hour-1"),
            *((4, rank, video(8, 1, rank), "model-8-1") for rank in range(1, K + 1)),
            (999, 1, 101, "hour-1"), (999, 2, 102, "hour-1"),
        ]  # fmt: skip

    def test_the_documented_query_tells_whether_what_is_live_is_stale(self, store: PostgresStore, postgres: Server) -> None:
        """Also where a delta lies over a publication that has expired."""
        page = (ROLES.parents[2] / "docs" / "postgres.md").read_text(encoding="utf-8")
        sql = next(part for part in page.split("`") if part.startswith("SELECT expires_at <= now()"))
        sql = sql.replace("FROM ", "FROM reelflow.")
        now = datetime.now(UTC).replace(microsecond=0)
        full = replace(publication(8, 1), as_of=now - timedelta(hours=50), expires_at=now - timedelta(hours=2))
        store.publish(full, rows(8, 1), fallback(8, 1), 3)
        assert postgres.run(sql) == [(True,)]
        hour = replace(publication(9, 2), as_of=now, expires_at=now + timedelta(hours=48), base=1)
        store.publish(hour, rows(9, 2, users=1), fallback(9, 2), 3)
        assert postgres.run(sql) == [(False,)]
        old = "SELECT DISTINCT expires_at <= now() FROM reelflow.recommendations WHERE user_id > 1"
        assert postgres.run(old) == [(True,)]

    def test_a_user_is_looked_up_by_index(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1, users=3_000)
        publish(store, 9, 2, users=3_000)
        delta(store, 25, tuple(range(1, 500)), base=2)
        for sql in (
            "SELECT * FROM reelflow.recommendations WHERE user_id = 7 ORDER BY rank",
            "SELECT * FROM reelflow.recommendations WHERE user_id = 2000 AND rank <= 20",
        ):
            plan = "\n".join(str(line) for (line,) in postgres.run(f"EXPLAIN (ANALYZE, COSTS OFF) {sql}"))
            assert "full_lists_2_pkey" in plan
            assert "delta_lists_pkey" in plan
            assert "Seq Scan on full_lists" not in plan
            assert "Seq Scan on delta_lists" not in plan
            read = [line for line in plan.splitlines() if "full_lists_1_pkey" in line]
            assert all("never executed" in line for line in read)  # the other version's partition is not looked into

    def test_two_live_versions_are_impossible_in_the_database_itself(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        publish(store, 9, 2)
        with pytest.raises(psycopg.errors.UniqueViolation):
            postgres.run("UPDATE reelflow.publication_log SET status = 'live'")

    def test_lists_of_versions_that_nobody_reads_are_gone(self, store: PostgresStore, postgres: Server) -> None:
        for number in (8, 9, 10, 11):
            publish(store, number, number, keep=1)
        publish(store, 7, 99)
        assert postgres.partitions() == ["full_lists_3", "full_lists_4"]
        assert postgres.run("SELECT DISTINCT version FROM reelflow.fallback_rows ORDER BY 1") == [(3,), (4,)]

    def test_lists_that_somebody_may_still_read_stay_until_the_next_publication(
        self, store: PostgresStore, postgres: Server
    ) -> None:
        publish(store, 8, 1)
        with postgres.connected() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            assert connection.execute("SELECT version FROM reelflow.publications WHERE status = 'live'").fetchall() == [(1,)]
            publish(store, 9, 2, keep=0)
            assert postgres.partitions() == ["full_lists_1", "full_lists_2"]
            sql = "SELECT video_id FROM reelflow.recommendations WHERE user_id = 1 ORDER BY rank"
            assert [row for (row,) in connection.execute(sql).fetchall()] == expected(8, 1)
            connection.execute("COMMIT")
        publish(store, 9, 3, keep=0)
        assert postgres.partitions() == ["full_lists_3"]

    def test_lists_that_a_delta_shows_stay_as_long_as_somebody_may_read_that(
        self, store: PostgresStore, open_store: Factory, postgres: Server
    ) -> None:
        publish(store, 8, 1)
        delta(store, 1, (3,), base=1)
        publish(store, 9, 3, keep=1)
        assert [record.status for record in store.publications()] == ["live", "retired", "removed"]
        store.rollback(2)
        with open_store().snapshot() as snapshot:
            publish(store, 10, 4, keep=0)
            for _ in range(2):
                publish(store, 7)
                assert postgres.partitions() == ["full_lists_1", "full_lists_3", "full_lists_4"]
                assert [row.video_id for row in snapshot.read(1, 9)] == expected(8, 1)
        publish(store, 7)
        assert postgres.partitions() == ["full_lists_4"]

    def test_only_lists_that_were_live_are_kept_for_somebody(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        with postgres.old_reader():
            publish(store, 9, 2, keep=0)
            with pytest.raises(ReelflowError, match="expected at least one"):
                store.publish(publication(10, 3), [], fallback(10, 3), 3)
            assert postgres.partitions() == ["full_lists_1", "full_lists_2"]

    def test_a_dump_from_another_cluster_keeps_nothing(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        with postgres.old_reader():
            publish(store, 9, 2, keep=0)
        assert postgres.partitions() == ["full_lists_1", "full_lists_2"]
        postgres.run("UPDATE reelflow.publication_log SET removed_by = '100000000' WHERE removed_by IS NOT NULL")
        with postgres.old_reader():
            publish(store, 7)
            assert postgres.partitions() == ["full_lists_2"]


class TestLoading:
    @pytest.fixture
    def short_transactions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("serving.postgres._load._TRANSACTION_ROWS", 500)

    def test_a_version_of_many_transactions_is_loaded_whole(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1, users=1_301, k=100, per_batch=900)
        assert postgres.run("SELECT count(*), count(DISTINCT user_id), sum(rank) FROM reelflow.recommendations") == [
            (130_100, 1_301, 1_301 * 5_050)
        ]
        assert postgres.run("SELECT count(*) FROM reelflow.staged_rows") == [(0,)]

    @pytest.mark.usefixtures("short_transactions")
    def test_lists_that_go_on_in_a_later_transaction_are_put_together(self, store: PostgresStore, postgres: Server) -> None:
        """Ranks 1 and 2 of everybody come long before 3, and some users' last rank first."""
        users = range(1, 1_001)
        first = batch([(user, rank, video(8, 1, rank)) for user in users for rank in (1, 2)])
        last = batch([(user, 3, video(8, 1, 3)) for user in users if user % 2])
        early = batch([(user, 3, video(8, 1, 3)) for user in users if not user % 2])
        result = store.publish(publication(8, 1), [early, first, last], fallback(8, 1), 3)
        assert (result.users, result.rows) == (1_000, 3_000)
        for user in (1, 2, 999, 1_000):
            assert videos(store, user) == expected(8, 1, 3)
            assert (row := store.read_row(user, video(8, 1, 3))) is not None
            assert (row["rank"], row["reason"], row["score_sponsored"]) == (3, "day 8", 3 + 7 / 8)
        assert postgres.run("SELECT count(*) FROM reelflow.staged_rows") == [(0,)]

    def test_files_that_are_each_sorted_are_copied_as_they_are(self, store: PostgresStore, postgres: Server) -> None:
        whole = [rows(8, 1, first_user=first) for first in (100, 60, 20)]
        assert store.publish(publication(8, 1), (part for one in whole for part in one), fallback(8, 1), 3).users == 3 * USERS
        assert [videos(store, user) for user in (20, 60, 119)] == [expected(8, 1)] * 3

    @pytest.mark.usefixtures("short_transactions")
    def test_a_list_longer_than_a_transaction_is_one_list(self, store: PostgresStore) -> None:
        values = [(user, rank, rank * 10) for user, k in ((1, 1_200), (2, 3)) for rank in range(1, k + 1)]
        result = store.publish(publication(8, 1), [batch(values)], fallback(8, 1), 3)
        assert (result.users, result.rows) == (2, 1_203)
        assert [row.video_id for row in store.read(1, 2_000)] == [rank * 10 for rank in range(1, 1_201)]
        assert videos(store, 2) == [10, 20, 30]

    @pytest.mark.usefixtures("short_transactions")
    def test_staged_rows_of_an_erased_user_are_erased(self, store: PostgresStore, open_store: Factory) -> None:
        def erased() -> Iterator[pa.RecordBatch]:
            yield batch([(user, 2, 7) for user in range(1, 601)])
            assert [(one.version, one.rows) for one in open_store().erase(3)] == [(1, 1)]
            yield batch([(user, 1, 8) for user in range(1, 601)])

        with pytest.raises(ReelflowError, match="found 1199 recommendations in the store, expected 1200"):
            store.publish(publication(8, 1), erased(), fallback(8, 1), 3)
        assert store.live() is None

    def test_a_text_with_nul_is_refused(self, store: PostgresStore) -> None:
        part = batch([(1, 1, 5)])
        part = part.set_column(5, part.schema.field("reason"), pa.array(["a\0b"]))
        refused = pytest.raises(ReelflowError, match="holds no NUL in a text; nothing was changed")
        with refused:  # by the server
            store.publish(publication(8, 1), [part], fallback(8, 1), 3)
        part = part.set_column(1, part.schema.field("rank"), pa.array([2], pa.int32()))
        with refused:  # by psycopg
            store.publish(publication(8, 1), [part], fallback(8, 1), 3)
        publish(store, 8, 1)
        with refused:
            store.read_fallback("country=\0", 1)
        with refused:
            publish(store, 9, 2)
            store.rollback(reason="\0")

    def test_analyze_does_not_look_into_lists(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        delta(store, 1, (3,), base=1)
        postgres.run("ANALYZE")
        found = postgres.run("SELECT DISTINCT attname FROM pg_stats WHERE schemaname = 'reelflow' AND tablename ~ 'lists'")
        assert {name for (name,) in found} <= {"version", "user_id", "rows", "layer"}


class TestSchema:
    def test_reading_creates_nothing(self, store: PostgresStore, postgres: Server) -> None:
        assert store.live() is None
        assert postgres.run("SELECT to_regnamespace('reelflow')") == [(None,)]

    def test_another_applications_schema_is_refused_and_left_alone(self, store: PostgresStore, postgres: Server) -> None:
        postgres.run("CREATE SCHEMA reelflow")
        postgres.run("CREATE TABLE reelflow.recommendations (a integer)")
        for use in (PostgresStore.live, PostgresStore.next_generation):
            with pytest.raises(ReelflowError, match="found a schema reelflow of another application"):
                use(store)
        assert postgres.run("SELECT relname FROM pg_class WHERE relnamespace = 'reelflow'::regnamespace") == [
            ("recommendations",)
        ]

    @pytest.mark.parametrize(("version", "whose"), [(1, "an older"), (3, "a newer")])
    def test_other_schema_version_is_refused(self, store: PostgresStore, postgres: Server, version: int, whose: str) -> None:
        publish(store, 8, 1)
        store.close()
        postgres.run("UPDATE reelflow.schema_version SET version = %s", version)
        for use in (PostgresStore.live, PostgresStore.next_generation):
            with pytest.raises(ReelflowError, match=f"schema version {version}, expected 2; {whose} reelflow"):
                use(store)

    def test_many_may_make_it_at_once(self, open_store: Factory) -> None:
        found: list[object] = []
        barrier = threading.Barrier(6)

        def work() -> None:
            store = open_store()
            barrier.wait()
            try:
                found.append(store.next_generation())
            except BaseException as error:
                found.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(found) == [1, 2, 3, 4, 5, 6]  # type: ignore[type-var]

    def test_schema_that_was_made_anew_is_found_by_open_connections(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
        postgres.empty()
        assert store.live() is None
        publish(store, 7, 1)
        assert videos(store) == expected(7, 1)

    def test_a_database_of_another_encoding_is_refused(self, postgres: Server) -> None:
        postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", database="postgres")
        try:
            with pytest.raises(ReelflowError, match="found a database with encoding LATIN1, expected UTF8"):
                PostgresStore(postgres.url(database="latin")).live()
        finally:
            postgres.run("DROP DATABASE latin", database="postgres")


class TestConnections:
    def test_a_session_that_was_ended_is_replaced_before_anybody_notices(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)
        with store.snapshot(), store.snapshot():
            pass  # two connections are idle now
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reelflow reader'")
        assert videos(store) == expected(8, 1)

    def test_a_connection_lost_while_loading_leaves_what_was_live(self, store: PostgresStore, postgres: Server) -> None:
        publish(store, 8, 1)

        def cut() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 2, users=700, k=100, per_batch=600)
            (publisher,) = postgres.publishers()
            postgres.run("SELECT pg_terminate_backend(%s)", publisher)
            yield from rows(9, 2, users=700, k=100, first_user=1_000)

        with pytest.raises(ReelflowError, match=r"cannot publish: .*connection.*; the server cannot be reached.*live still is"):
            store.publish(publication(9, 2), cut(), fallback(9, 2), 3)
        assert videos(store) == expected(8, 1)
        assert postgres.run("SELECT version, status FROM reelflow.publications") == [(2, "loading"), (1, "live")]
        assert publish(store, 8, 3).status == "live"
        assert postgres.run("SELECT status FROM reelflow.publications") == [("live",), ("failed",), ("retired",)]
        assert postgres.partitions() == ["full_lists_1", "full_lists_3"]

    def test_wrong_password_is_reported_without_it(self, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        postgres.run("DROP ROLE IF EXISTS guarded")
        postgres.run("CREATE ROLE guarded LOGIN PASSWORD 'right-secret'")
        postgres.admit_by_password("guarded")
        wrong = PostgresStore(postgres.url("guarded", password="wrong-secret"))
        for use in (PostgresStore.live, PostgresStore.next_generation):
            with pytest.raises(ReelflowError) as caught:
                use(wrong)
            said = str(caught.value)
            assert said.startswith(f"store postgresql://guarded@{postgres.socket}/reelflow: cannot ")
            assert "password authentication failed" in said
            assert "PGPASSWORD, PGPASSFILE" in said
            assert "secret" not in said + repr(caught.value.__cause__) + repr(wrong)
        monkeypatch.setenv("PGPASSWORD", "right-secret")
        with closing(PostgresStore(postgres.url("guarded"))) as right:
            assert right.live() is None

    @pytest.mark.parametrize(
        "url",
        [
            "user:secret@host/database?sslmodus=s3cret",
            "user:s3/cret@localhost:5432/videos",
            "user:12/secret@localhost:5432/videos",
            "user:/secret@localhost/videos",
            "user:s3@cret@localhost:5432/videos",
        ],
    )
    def test_url_that_cannot_be_read_is_reported_without_it(self, url: str) -> None:
        with pytest.raises(
            ReelflowError, match=r"found a URL that libpq cannot read.* percent-encode special characters"
        ) as caught:
            store_at(f"postgresql://{url}")
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert "cret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["a:1,b:2/x", "a,b:5432/x", "user:%2F%40@a:5433/x", "/x?host=%2Frun%2Fpostgresql", ""])
    def test_url_of_several_hosts_or_of_a_socket_is_read(self, url: str) -> None:
        assert store_at(f"postgresql://{url}") is not None

    def test_a_machine_that_vanishes_is_noticed_while_data_is_under_way(self, postgres: Server) -> None:
        with closing(_connection.Server(postgres.url()).open_writer()) as connection:
            assert connection.info.get_parameters()["tcp_user_timeout"] == "60000"
        url = f"{postgres.url()}&tcp_user_timeout=5000"
        with closing(_connection.Server(url).open_writer()) as connection:
            assert connection.info.get_parameters()["tcp_user_timeout"] == "5000"

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
    def test_server_that_is_not_there_is_reported(self, scheme: str) -> None:
        store = store_at(f"{scheme}://me:secret@127.0.0.1:1/videos")
        for use in (PostgresStore.live, PostgresStore.next_generation):
            with pytest.raises(
                ReelflowError, match=r"store postgresql://me@127\.0\.0\.1:1/videos: .*cannot be reached"
            ) as caught:
                use(store)  # type: ignore[arg-type]
            assert "secret" not in str(caught.value)

    def test_database_and_user_that_are_not_there_are_reported(self, postgres: Server) -> None:
        for url in (postgres.url(database="nothing"), postgres.url("nobody_of_this_name")):
            with pytest.raises(ReelflowError, match="does not exist; expected a database and a user of that name"):
                PostgresStore(url).live()

    def test_waiting_for_a_lock_ends(self, store: PostgresStore, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        publish(store, 8, 1)
        monkeypatch.setattr("serving.postgres._connection._WRITER", "SET lock_timeout = '50ms'")
        with postgres.connected() as connection:
            connection.execute("SELECT pg_advisory_lock(%s, 0)", (0x52464C57,))
            with pytest.raises(ReelflowError, match=r"cannot publish: .*\(55P03\); another session held a lock for too long"):
                publish(store, 9, 2)
        assert videos(store) == expected(8, 1)

    def test_too_many_open_snapshots_are_reported(self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("serving.postgres._connection._WAIT_SECONDS", 0.05)
        snapshots = [store.snapshot() for _ in range(16)]
        for snapshot in snapshots:
            snapshot.__enter__()
        with pytest.raises(ReelflowError, match="found all 16 connections of this process in use"):
            store.live()
        snapshots[0].__exit__(None, None, None)
        assert store.live() is None
        for snapshot in snapshots[1:]:
            snapshot.__exit__(None, None, None)

    def test_store_is_usable_after_a_fork(self, store: PostgresStore) -> None:
        publish(store, 8, 1)
        assert videos(store) == expected(8, 1)
        child = os.fork()
        if child == 0:
            found = videos(store)
            store.close()
            os._exit(0 if found == expected(8, 1) else 1)
        assert os.waitpid(child, 0)[1] == 0
        with store.snapshot() as snapshot:  # on the connection that the child had too
            assert [row.video_id for row in snapshot.read(1, 9)] == expected(8, 1)


class TestRoles:
    @pytest.fixture
    def roles(self, postgres: Server) -> Iterator[Server]:
        for _ in range(2):  # it may be run again
            postgres.psql("-f", str(ROLES))
        yield postgres
        postgres.empty()
        postgres.run("DROP OWNED BY reelflow_writer, reelflow_reader")
        postgres.run("DROP ROLE reelflow_writer, reelflow_reader")

    def test_writer_publishes_and_reader_reads(self, roles: Server) -> None:
        with (
            closing(PostgresStore(roles.url("reelflow_writer"))) as writer,
            closing(PostgresStore(roles.url("reelflow_reader"))) as reader,
        ):
            assert reader.live() is None
            publish(writer, 8, 1)
            delta(writer, 1, (3,), base=1)
            assert RecommendationReader(reader).get(3).model_version == "hour-1"
            assert videos(reader, 4) == expected(8, 1)
            assert [row.video_id for row in reader.read_fallback("all", 1)] == [1_000_501]
            assert [record.version for record in reader.publications()] == [2, 1]
            assert len(reader.switches()) == 2
            assert reader.read_row(3, 101) is not None
            with reader.snapshot() as snapshot:
                assert snapshot.users_of(2) == [3]
                assert snapshot.showing([101]) == [(3, 101)]
                assert [record.version for record in snapshot.publications()] == [1, 2]
            publish(writer, 9, keep=0)
            assert videos(reader, 3) == expected(9, 2)
            assert roles.partitions() == ["full_lists_3"]
            writer.erase(3)
            assert videos(reader, 3) == []
        sql = "SELECT video_id FROM recommendations WHERE user_id = 4 ORDER BY rank"
        assert [row for (row,) in roles.run(sql, user="reelflow_reader")] == expected(9, 2)

    def test_a_store_that_was_there_before_the_roles_is_handed_over(self, roles: Server) -> None:
        roles.empty()
        with closing(PostgresStore(roles.url())) as owner:
            publish(owner, 8, 1)
        roles.psql("-f", str(ROLES))
        with (
            closing(PostgresStore(roles.url("reelflow_writer"))) as writer,
            closing(PostgresStore(roles.url("reelflow_reader"))) as reader,
        ):
            assert videos(reader) == expected(8, 1)
            assert publish(writer, 9, 2, keep=0).status == "live"
            assert videos(reader) == expected(9, 2)
        assert roles.partitions() == ["full_lists_2"]

    def test_a_store_of_an_older_schema_is_set_aside_as_documented(self, roles: Server) -> None:
        with closing(PostgresStore(roles.url("reelflow_writer"))) as writer:
            publish(writer, 8, 1)
        roles.run("UPDATE reelflow.schema_version SET version = 1")
        with (
            closing(PostgresStore(roles.url("reelflow_writer"))) as writer,
            closing(PostgresStore(roles.url("reelflow_reader"))) as reader,
        ):
            with pytest.raises(ReelflowError, match="rename the schema reelflow and publish again"):
                reader.live()
            roles.run("ALTER SCHEMA reelflow RENAME TO reelflow_1")
            roles.psql("-f", str(ROLES))
            assert reader.live() is None
            assert publish(writer, 9).version == 1
            assert videos(reader) == expected(9, 1)
            roles.run("DROP SCHEMA reelflow_1 CASCADE")
            assert videos(reader) == expected(9, 1)

    def test_writer_sees_the_snapshots_of_readers(self, roles: Server) -> None:
        """Else it would drop what they read."""
        with (
            closing(PostgresStore(roles.url("reelflow_writer"))) as writer,
            closing(PostgresStore(roles.url("reelflow_reader"))) as reader,
        ):
            publish(writer, 8, 1)
            with reader.snapshot() as snapshot:
                publish(writer, 9, 2, keep=0)
                assert [row.video_id for row in snapshot.read(1, 9)] == expected(8, 1)

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO live_lists VALUES (1, 1)",
            "UPDATE publication_log SET status = 'failed'",
            "DELETE FROM delta_lists",
            "DELETE FROM recommendations",
            "DROP TABLE full_lists",
            "SELECT * FROM staged_rows",
            "SELECT * FROM loaded_parts",
            "SELECT * FROM erased_users",
            "ALTER TABLE full_lists DISABLE ROW LEVEL SECURITY",
            "SELECT * FROM full_lists_1",
            "CREATE TABLE reelflow.mine (a integer)",
            "CREATE TABLE public.mine (a integer)",
        ],
    )
    def test_reader_cannot_do_anything_else(self, roles: Server, sql: str) -> None:
        with closing(PostgresStore(roles.url("reelflow_writer"))) as writer:
            publish(writer, 8, 1)
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
            roles.run(sql, user="reelflow_reader")

    @pytest.mark.parametrize("base", [None, 1])
    def test_reader_sees_nothing_of_what_is_being_loaded(self, roles: Server, base: int | None) -> None:
        def versions(user: str) -> set[int]:
            tables = ("full_lists", "delta_lists", "fallback_rows")
            sql = " UNION ".join(f"SELECT version FROM reelflow.{table}" for table in tables)
            return {version for (version,) in roles.run(sql, user=user)}

        with closing(PostgresStore(roles.url("reelflow_writer"))) as writer:
            publish(writer, 8, 1)

            def spread(version: int) -> int:
                said = writer.load_part(version, "a", rows(9, 2))
                assert (versions("reelflow_writer"), versions("reelflow_reader")) == ({1, 2}, {1})
                return said

            writer.publish_parts(replace(publication(9, 2), base=base), spread, fallback(9, 2), 3)
            assert versions("reelflow_reader") == {1, 2}
            writer.rollback()
            assert versions("reelflow_reader") == {1, 2}

    def test_writer_cannot_do_anything_elsewhere(self, roles: Server) -> None:
        roles.run("DROP TABLE IF EXISTS public.payments")
        roles.run("CREATE TABLE public.payments (a integer)")
        for sql in (
            "SELECT * FROM public.payments",
            "CREATE TABLE public.mine (a integer)",
            "CREATE SCHEMA mine",
            "CREATE ROLE x",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                roles.run(sql, user="reelflow_writer")
        roles.run("DROP TABLE public.payments")

    def test_missing_rights_are_reported_with_what_to_do(self, roles: Server) -> None:
        with closing(PostgresStore(roles.url("reelflow_writer"))) as writer:
            publish(writer, 8, 1)
        reader = PostgresStore(roles.url("reelflow_reader"))
        with pytest.raises(ReelflowError, match=r"cannot publish: permission denied .*apply serving/postgres/roles\.sql"):
            publish(reader, 9, 2)
        roles.run("CREATE ROLE stranger LOGIN")
        try:
            for use in (PostgresStore.live, PostgresStore.next_generation):
                with pytest.raises(ReelflowError, match=r"permission denied .*apply serving/postgres/roles\.sql"):
                    use(PostgresStore(roles.url("stranger")))
        finally:
            roles.run("DROP ROLE stranger")


def _unread() -> Iterator[pa.RecordBatch]:
    raise AssertionError("these batches were to be left alone")
    yield


class TestParts:
    """Publications that are loaded by many at once."""

    @pytest.fixture
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Writers wait for locks only so long."""
        monkeypatch.setattr("serving.postgres._connection._WRITER", "SET lock_timeout = '100ms'")

    def test_parts_that_are_loaded_at_once_are_one_publication(self, store: PostgresStore, open_store: Factory) -> None:
        publish(store, 8, 1)
        seen: list[list[int]] = []

        def part(version: int, number: int) -> int:
            mine = rows(9, 2, users=500, k=20, per_batch=100, first_user=1 + 500 * number)
            loaded = open_store().load_part(version, str(number), mine)  # type: ignore[attr-defined]
            seen.append(videos(store))
            return int(loaded)

        def spread(version: int) -> int:
            with ThreadPoolExecutor(4) as pool:
                return sum(pool.map(partial(part, version), range(4)))

        result = store.publish_parts(publication(9, 2), spread, fallback(9, 2), 3)
        assert (result.status, result.users, result.rows) == ("live", 2_000, 40_000)
        assert seen == [expected(8, 1)] * 4
        assert all(videos(store, user) == expected(9, 2, 20) for user in (1, 500, 501, 2_000))

    def test_a_part_counts_when_it_is_whole_and_may_be_tried_again(self, store: PostgresStore, postgres: Server) -> None:
        def broken() -> Iterator[pa.RecordBatch]:
            yield from rows(8, 1, users=600, k=100, per_batch=600)
            raise RuntimeError("the disk of this worker broke")

        def spread(version: int) -> int:
            with pytest.raises(RuntimeError, match="this worker broke"):
                store.load_part(version, "a", broken())
            assert postgres.run("SELECT users, rows FROM reelflow.publication_log") == [(0, 0)]
            return store.load_part(version, "a", rows(8, 1, users=600, k=100, per_batch=600))

        assert store.publish_parts(publication(8, 1), spread, fallback(8, 1), 3).rows == 60_000
        assert videos(store, 600) == expected(8, 1, 100)

    def test_a_part_that_is_tried_again_after_it_was_committed_is_not_loaded_twice(
        self, store: PostgresStore, postgres: Server
    ) -> None:
        def spread(version: int) -> int:
            for part, first in (("a", 1), ("b", 11)):
                assert store.load_part(version, part, rows(8, 1, users=10, first_user=first)) == 10 * K
            return store.load_part(version, "a", _unread()) + store.load_part(version, "b", _unread())

        result = store.publish_parts(publication(8, 1), spread, fallback(8, 1), 3)
        assert (result.users, result.rows) == (20, 20 * K)
        assert [videos(store, user) for user in (1, 20)] == [expected(8, 1)] * 2
        assert postgres.run("SELECT count(*) FROM reelflow.loaded_parts") == [(0,)]

    @pytest.mark.parametrize("breaks", [False, True])
    @pytest.mark.usefixtures("impatient")
    def test_of_two_that_load_the_same_part_one_waits_for_the_other(
        self, store: PostgresStore, open_store: Factory, postgres: Server, breaks: bool
    ) -> None:
        def spread(version: int) -> int:
            with ThreadPoolExecutor(1) as pool:

                def first() -> Iterator[pa.RecordBatch]:
                    yield from rows(8, 1)
                    again = rows(8, 1) if breaks else _unread()
                    second.append(pool.submit(open_store().load_part, version, "a", again))  # type: ignore[attr-defined]
                    postgres.await_one_who_waits("transactionid")
                    time.sleep(0.2)  # longer than a writer waits for a lock
                    if breaks:
                        raise RuntimeError("the disk of this worker broke")

                second: list[Future[int]] = []
                with pytest.raises(RuntimeError, match="this worker broke") if breaks else nullcontext():
                    assert store.load_part(version, "a", first()) == USERS * K
                return second[0].result()

        assert store.publish_parts(publication(8, 1), spread, fallback(8, 1), 3).rows == USERS * K
        assert videos(store) == expected(8, 1)

    @pytest.mark.parametrize("base", [None, 2])
    @pytest.mark.usefixtures("impatient")
    def test_a_part_that_takes_long_keeps_nobody_waiting(
        self, store: PostgresStore, open_store: Factory, postgres: Server, monkeypatch: pytest.MonkeyPatch, base: int | None
    ) -> None:
        """A user who is erased meanwhile does not come back with it, nor with one that comes later."""
        monkeypatch.setattr("serving.postgres._load._TRANSACTION_ROWS", 500)
        other = open_store()
        publish(store, 8, 1)
        publish(store, 9, 2)

        def long() -> Iterator[pa.RecordBatch]:
            yield from rows(10, 3, users=200)
            assert other.rollback(1).version == 1
            assert other.rollback(2).version == 2
            assert [(one.version, one.rows) for one in other.erase(3)] == [(1, K), (2, K)]
            assert publish(other, 7, 1).status == "superseded"
            yield from rows(10, 3, users=200, first_user=201)

        def spread(version: int) -> int:
            said = store.load_part(version, "a", long()) + store.load_part(version, "b", rows(10, 3, 5, first_user=401))
            assert postgres.run("SELECT version, user_id FROM reelflow.erased_users") == [(3, 3)]
            return said

        known = replace(publication(10, 3), base=base)
        assert store.publish_parts(known, spread, fallback(10, 3), 3).status == "live"
        found = store.live()
        assert found is not None
        assert (found.users, found.rows) == (404, 404 * K)
        assert [videos(other, user) for user in (2, 3, 4, 405)] == [expected(10, 3), [], expected(10, 3), expected(10, 3)]
        assert postgres.run("SELECT count(*) FROM reelflow.erased_users") == [(0,)]

    def test_a_user_who_is_erased_while_lists_are_packed_is_not_published(
        self, store: PostgresStore, open_store: Factory, postgres: Server
    ) -> None:
        """User 1 has a list that was packed and rows that were staged, user 2 staged rows only."""
        with closing(_connection.Server(postgres.url()).open_writer()) as own, ThreadPoolExecutor(1) as pool:
            held = threading.Event()

            def erase() -> list[tuple[int, int]]:
                with _connection.alone(own):
                    held.set()
                    postgres.await_one_who_waits("advisory")  # all is packed, and not committed
                    return [(one.version, one.rows) for user in (1, 2) for one in _lists.erase(own, user)]

            def spread(version: int) -> int:
                ranks = (((1, 1), (1, 2), (3, 1)), ((1, 4), (1, 3), (2, 2), (2, 1)))
                parts = [[batch([(user, rank, video(8, 1, rank)) for user, rank in part])] for part in ranks]
                said = sum(open_store().load_part(version, str(place), part) for place, part in enumerate(parts))  # type: ignore[attr-defined]
                erased.append(pool.submit(erase))
                assert held.wait(10)
                return said

            erased: list[Future[list[tuple[int, int]]]] = []
            assert store.publish_parts(publication(8, 1), spread, fallback(8, 1), 3).status == "live"
            assert erased[0].result() == []
        found = store.live()
        assert found is not None
        assert (found.users, found.rows) == (1, 1)
        assert [videos(store, user) for user in (1, 2, 3)] == [[], [], expected(8, 1, 1)]

    def test_a_list_that_lies_in_two_parts_is_put_together(self, store: PostgresStore) -> None:
        def spread(version: int) -> int:
            second = [batch([(1, 3, video(8, 1, 3)), (2, 1, video(8, 1, 1))])]
            first = [batch([(1, rank, video(8, 1, rank)) for rank in (1, 2)])]
            return store.load_part(version, "b", second) + store.load_part(version, "a", first)

        result = store.publish_parts(publication(8, 1), spread, fallback(8, 1), 3)
        assert (result.users, result.rows) == (2, 4)
        assert (videos(store, 1), videos(store, 2)) == (expected(8, 1, 3), expected(8, 1, 1))

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            ([[(1, 1, 5)], [(1, 1, 6)]], "second row for the same user and rank: user_id=1, rank=1"),
            ([[(1, 1, 5)], [(2, 2, 6)]], "1 of 2 users.*user_id=2, rows=1, first_rank=2"),
            ([], "found 0 recommendations in the store, expected at least one"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(
        self, store: PostgresStore, parts: list[list[tuple[int, int, int]]], message: str
    ) -> None:
        def spread(version: int) -> int:
            return sum(store.load_part(version, str(number), [batch(values)]) for number, values in enumerate(parts))

        with pytest.raises(ReelflowError, match=message):
            store.publish_parts(publication(8, 1), spread, fallback(8, 1), 3)
        assert store.live() is None

    def test_rows_that_were_said_and_not_loaded_are_missed(self, store: PostgresStore) -> None:
        with pytest.raises(ReelflowError, match="found 3 recommendations in the store, expected 5"):
            store.publish_parts(
                publication(8, 1), lambda version: 2 + store.load_part(version, "a", rows(8, 1, 1, 3)), fallback(8, 1), 3
            )

    def test_a_version_that_is_not_published_any_more_takes_no_part(self, store: PostgresStore) -> None:
        publish(store, 8, 1)
        with pytest.raises(ReelflowError, match="publication 1: found status live, expected loading"):
            store.load_part(1, "a", rows(8, 1))

    def test_a_delta_may_come_in_parts(self, store: PostgresStore) -> None:
        publish(store, 8, 1)
        known = replace(publication(9, 2), base=1)
        result = store.publish_parts(known, lambda version: store.load_part(version, "a", rows(9, 2, 3)), fallback(9, 2), 3)
        assert (result.status, result.users) == ("live", 3)
        assert (videos(store, 3), videos(store, 4)) == (expected(9, 2), expected(8, 1))

    def test_nothing_is_asked_for_where_something_newer_is_live(self, store: PostgresStore) -> None:
        publish(store, 9, 2)
        assert store.publish_parts(publication(8, 1), pytest.fail, fallback(8, 1), 3).status == "superseded"
