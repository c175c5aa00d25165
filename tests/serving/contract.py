"""The contract of a serving store. Each store's test inherits it and says only how one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta

import pyarrow as pa
import pytest

from schemas import RECOMMENDATIONS, SCORE_PARTS
from schemas.errors import ReelflowError
from serving import Action, Recommendation, RecommendationReader, ServingStore, Status
from tests.serving.builders import (
    USERS,
    K,
    batch,
    day,
    expected,
    fallback,
    publication,
    publish,
    rows,
    video,
    videos,
)

Factory = Callable[[], ServingStore]


def statuses(store: ServingStore) -> dict[int, str]:
    found = {record.version: str(record.status) for record in store.publications()}
    assert list(found.values()).count("live") <= 1
    return found


class StoreContract:
    """Inherit, and give the fixture ``open_store``: each call opens the same, at first empty, store anew."""

    @pytest.fixture
    def open_store(self) -> Iterator[Factory]:
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Factory) -> ServingStore:
        return open_store()

    @pytest.fixture
    def other(self, open_store: Factory) -> ServingStore:
        return open_store()

    # ---- before anything was published

    def test_empty_store_has_nothing_and_says_so(self, store: ServingStore) -> None:
        assert store.live() is None
        assert store.publications() == []
        assert store.switches() == []
        assert store.read(1, 10) == []
        assert store.read_fallback("all", 10) == []
        with pytest.raises(ReelflowError, match="nothing has been published yet"):
            RecommendationReader(store).get(1)
        with pytest.raises(ReelflowError, match="no live version"):
            store.rollback()

    def test_generations_rise_whoever_asks(self, store: ServingStore, other: ServingStore) -> None:
        taken = [handle.next_generation() for handle in (store, other, store, store, other)]
        assert taken == sorted(set(taken))
        assert taken[0] >= 1

    # ---- publishing

    def test_published_rows_are_read_back(self, store: ServingStore, other: ServingStore) -> None:
        result = publish(store, 8, 1)
        assert (result.status, result.users, result.rows) == ("live", USERS, USERS * K)
        for handle in (store, other):
            for user in (1, 7, USERS):
                assert handle.read(user, 100) == [
                    Recommendation(rank, video(8, 1, rank), 1 / rank, f"retrieval:{rank}", "day 8") for rank in range(1, K + 1)
                ]
            assert videos(handle, 1, 2) == expected(8, 1)[:2]
            assert handle.read(USERS + 1, 100) == []
            assert [row.video_id for row in handle.read_fallback("country=DE", 3)] == [v + 500 for v in expected(8, 1)[:3]]
            assert handle.read_fallback("country=XX", 3) == []

    def test_publication_is_on_record(self, store: ServingStore) -> None:
        result = publish(store, 8, 4)
        (record,) = store.publications()
        assert store.live() == record
        assert (record.version, record.as_of, record.generation) == (result.version, day(8), 4)
        assert (record.model_version, record.expires_at) == ("model-8-4", day(10))
        assert (record.status, record.users, record.rows) == (Status.LIVE, USERS, USERS * K)
        assert record.published_at is not None
        (switch,) = store.switches()
        assert (switch.action, switch.from_version, switch.to_version) == (Action.PUBLISH, None, result.version)

    def test_order_and_size_of_batches_do_not_matter(self, store: ServingStore) -> None:
        values = [(user, rank, video(8, 1, rank)) for user in range(1, 41) for rank in range(1, K + 1)]
        shuffled = [values[(index * 73) % len(values)] for index in range(len(values))]
        batches = [batch(shuffled[:1]), batch([]), batch(shuffled[1:9]), batch(shuffled[9:])]
        reordered = [part.select(sorted(part.schema.names)) for part in batches]
        result = store.publish(publication(8, 1), iter(reordered), fallback(8, 1), 3)
        assert (result.users, result.rows) == (40, 200)
        assert videos(store, 40) == expected(8, 1)

    def test_every_column_of_a_row_is_there(self, store: ServingStore) -> None:
        assert store.read_row(3, 1) is None
        publish(store, 8, 1)
        found = store.read_row(3, video(8, 1, 2))
        assert found is not None
        assert tuple(found) == RECOMMENDATIONS.columns
        plain = {"user_id": 3, "rank": 2, "video_id": video(8, 1, 2), "score": 0.5, "sources": "retrieval:2", "reason": "day 8"}
        parts = {name: 2 + place / 8 for place, name in enumerate(SCORE_PARTS)}
        assert found == {**plain, "rules": "", "propensity": 0.5, **parts}
        assert store.read_row(3, video(9, 1, 2)) is None
        assert store.read_row(999, video(8, 1, 2)) is None

    def test_extreme_values_survive(self, store: ServingStore) -> None:
        low, high = -(2**63), 2**63 - 1
        part = batch([(low, 1, high), (high, 1, low)], scores=[-1e300, 5e-324])
        part = part.set_column(5, RECOMMENDATIONS.arrow.field("reason"), pa.array(["", "日本 'quoted' 🎬"]))
        store.publish(publication(8, 1), [part], fallback(8, 1), 3)
        assert store.read(low, 9) == [Recommendation(1, high, -1e300, "retrieval:1", "")]
        assert store.read(high, 9) == [Recommendation(1, low, 5e-324, "retrieval:1", "日本 'quoted' 🎬")]

    def test_newer_day_replaces_users_who_are_gone_included(self, store: ServingStore) -> None:
        publish(store, 8)
        publish(store, 9, users=3)
        assert videos(store, 3) == expected(9, 2)
        assert videos(store, 4) == []
        assert list(statuses(store).values()) == ["live", "retired"]

    def test_older_day_is_superseded_and_its_batches_not_consumed(self, store: ServingStore) -> None:
        publish(store, 9)
        before, batches = store.live(), rows(8, 2)
        result = store.publish(publication(8, 2), batches, fallback(8, 2), 3)
        assert (result.status, result.users, result.rows) == ("superseded", 0, 0)
        assert store.live() == before
        assert videos(store) == expected(9, 1)
        assert next(batches).num_rows
        assert list(statuses(store).values()) == ["superseded", "live"]

    def test_same_day_needs_a_higher_generation(self, store: ServingStore) -> None:
        publish(store, 8, 5)
        assert publish(store, 8, 5).status == "superseded"
        assert publish(store, 8, 4).status == "superseded"
        assert videos(store) == expected(8, 5)
        assert publish(store, 8, 6).status == "live"
        assert videos(store) == expected(8, 6)

    def test_older_day_is_superseded_whatever_its_generation(self, store: ServingStore) -> None:
        publish(store, 9, 1)
        assert publish(store, 8, 99).status == "superseded"
        assert videos(store) == expected(9, 1)

    def test_readers_see_the_old_version_while_the_new_one_loads(self, store: ServingStore, other: ServingStore) -> None:
        publish(store, 8, 1)
        seen: list[list[int]] = []

        def watched() -> Iterator[pa.RecordBatch]:
            for part in rows(9, 2):
                yield part
                seen.append(videos(other))

        store.publish(publication(9, 2), watched(), fallback(9, 2), 3)
        assert seen == [expected(8, 1)] * 3
        assert videos(other) == expected(9, 2)

    def test_overtaken_while_loading_is_superseded(self, store: ServingStore, other: ServingStore) -> None:
        def overtaken() -> Iterator[pa.RecordBatch]:
            yield from rows(8, 1)
            assert publish(other, 9, 2).status == "live"

        result = store.publish(publication(8, 1), overtaken(), fallback(8, 1), 3)
        assert (result.status, result.rows) == ("superseded", USERS * K)
        assert videos(store) == expected(9, 2)
        assert statuses(store) == {1: "superseded", 2: "live"}

    def test_overtaken_by_an_older_day_wins_nevertheless(self, store: ServingStore, other: ServingStore) -> None:
        def overtaken() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 1)
            assert publish(other, 8, 2).status == "live"

        assert store.publish(publication(9, 1), overtaken(), fallback(9, 1), 3).status == "live"
        assert videos(other) == expected(9, 1)

    # ---- what may not be published

    @pytest.mark.parametrize(
        ("values", "scores", "message"),
        [
            ([(1, 1, 5), (2, 1, 5), (2, 3, 6)], None, "1 of 2 users.*user_id=2, rows=2, first_rank=1, last_rank=3"),
            ([(1, 2, 5)], None, "user_id=1, rows=1, first_rank=2"),
            ([(1, 0, 5), (1, 1, 6)], [1.0, 1.0], "user_id=1, rows=2, first_rank=0"),
            ([(7, 1, 5), (7, 2, 5)], None, "video twice.*user_id=7, rows=2.*distinct_videos=1"),
            ([(1, 1, 5), (1, 1, 6)], None, "second row for the same user and rank: user_id=1, rank=1, video_id=6"),
            ([(1, 1, 5), (1, 2, 6)], [1.0, math.nan], "not finite.*user_id=1, rank=2.*score=nan"),
            ([(1, 1, 5), (1, 2, 6)], [math.inf, 1.0], "not finite.*score=inf"),
            ([(1, 1, 5), (1, 2, 6)], [None, 1.0], "recommendations.score: found null.*user_id=1, rank=1"),
            ([], None, "found 0 recommendations in the store, expected at least one"),
        ],
    )
    def test_broken_rows_are_refused_and_named(
        self, store: ServingStore, values: list[tuple[int, int, int]], scores: list[float | None] | None, message: str
    ) -> None:
        publish(store, 8, 1)
        with pytest.raises(ReelflowError, match=message):
            store.publish(publication(9, 2), [batch(values, scores=scores)], fallback(9, 2), 3)
        assert videos(store) == expected(8, 1)
        assert statuses(store) == {2: "failed", 1: "live"}
        assert publish(store, 9, 3).status == "live"

    def test_rank_that_stands_in_two_batches_is_named(self, store: ServingStore) -> None:
        batches = [*rows(8, 1, users=60_000, k=1, per_batch=60_000), batch([(60_001, 1, 5), (3, 1, 6)])]
        with pytest.raises(ReelflowError, match="second row for the same user and rank: user_id=3, rank=1, video_id=6"):
            store.publish(publication(8, 1), batches, fallback(8, 1), 3)
        assert store.live() is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda part: part.drop_columns(["reason"]), r"missing column reason \(string\)"),
            (lambda part: part.append_column("extra", part["rank"]), "unexpected column extra"),
            (
                lambda part: part.set_column(part.schema.get_field_index("rank"), "rank", part["rank"].cast(pa.int64())),
                "column rank: found int64, expected int32",
            ),
        ],
    )
    def test_other_columns_are_refused(
        self, store: ServingStore, change: Callable[[pa.RecordBatch], pa.RecordBatch], message: str
    ) -> None:
        with pytest.raises(ReelflowError, match=message):
            store.publish(publication(8, 1), [change(part) for part in rows(8, 1)], fallback(8, 1), 3)
        with pytest.raises(ReelflowError, match=message):
            store.publish(publication(8, 1), rows(8, 1), change(fallback(8, 1)), 3)
        assert store.live() is None

    def test_broken_fallback_lists_are_refused(self, store: ServingStore) -> None:
        whole = fallback(8, 1)
        for table, message in (
            (fallback(8, 1, segments=("country=DE",)), "found country=DE; expected segment 'all'"),
            (whole.slice(0, 0), "found no rows; expected segment 'all'"),
            (whole.slice(1), r"list 'all': found ranks \[2, 3, 4, 5\]"),
            (pa.concat_tables([whole, whole]), r"list 'all': found ranks \[1, 1, 2, 2"),
            (whole.set_column(3, "video_id", pa.array([7] * whole.num_rows)), "list 'all': found video 7 more than once"),
            (whole.set_column(4, "score", pa.array([math.nan] * whole.num_rows)), "not finite"),
            (
                whole.set_column(1, "parent", pa.array(["all"] * whole.num_rows)),
                "list 'all': found parent 'all', expected None",
            ),
            (
                whole.set_column(1, "parent", pa.array([None] * whole.num_rows, pa.string())),
                "list 'country=DE': found parent None, expected 'all' and a list of that segment",
            ),
            (
                fallback(8, 1, segments=("all", "country=DE|language=de")),
                r"list 'country=DE\|language=de': found parent 'country=DE', expected 'country=DE' and a list of that segment",
            ),
        ):
            with pytest.raises(ReelflowError, match=message):
                store.publish(publication(8, 1), rows(8, 1), table, 3)
        assert store.live() is None

    def test_error_of_the_batches_passes_through(self, store: ServingStore) -> None:
        def failing() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 2)
            raise RuntimeError("the reader of the lake broke")

        publish(store, 8, 1)
        with pytest.raises(RuntimeError, match="the reader of the lake broke"):
            store.publish(publication(9, 2), failing(), fallback(9, 2), 3)
        assert videos(store) == expected(8, 1)
        assert statuses(store) == {2: "failed", 1: "live"}

    def test_negative_retention_is_refused(self, store: ServingStore) -> None:
        with pytest.raises(ReelflowError, match="keep_versions -1"):
            publish(store, 8, 1, keep=-1)

    def test_senseless_reads_are_refused(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        with pytest.raises(ReelflowError, match="k = 0"):
            store.read(1, 0)
        with pytest.raises(ReelflowError, match="k = -1"):
            store.read_fallback("all", -1)
        with pytest.raises(ReelflowError, match="64 bits"):
            store.read(2**63, 1)

    # ---- retention and rollback

    def test_only_so_many_retired_versions_stay(self, store: ServingStore) -> None:
        for number in range(8, 13):
            publish(store, number, number, keep=2)
        assert statuses(store) == {5: "live", 4: "retired", 3: "retired", 2: "removed", 1: "removed"}
        with pytest.raises(ReelflowError, match=r"rollback to version 2.*4 \(as of 2026-01-11T00:00:00Z, retired\), 3 "):
            store.rollback(2)
        assert store.rollback(3).as_of == day(10)
        assert videos(store) == expected(10, 10)

    def test_nothing_is_kept_when_told_so(self, store: ServingStore) -> None:
        publish(store, 8, 1, keep=0)
        publish(store, 9, 2, keep=0)
        assert statuses(store) == {2: "live", 1: "removed"}
        with pytest.raises(ReelflowError, match="other versions with rows are: none"):
            store.rollback()

    def test_rollback_goes_to_the_version_before_and_is_recorded(self, store: ServingStore, other: ServingStore) -> None:
        for number in (8, 9, 10):
            publish(store, number, number)
        record = store.rollback(reason="thumbnails were wrong")
        assert (record.version, record.as_of, record.status) == (2, day(9), Status.LIVE)
        assert other.live() == record
        assert videos(other) == expected(9, 9)
        assert [row.video_id for row in other.read_fallback("all", 1)] == [video(9, 9, 1) + 500]
        assert statuses(store) == {3: "rolled_back", 2: "live", 1: "retired"}
        newest = store.switches()[0]
        assert (newest.action, newest.from_version, newest.to_version) == (Action.ROLLBACK, 3, 2)
        assert newest.reason == "thumbnails were wrong"
        assert store.rollback().version == 1
        with pytest.raises(ReelflowError, match="rollback to the version before: live is version 1"):
            store.rollback()

    def test_rollback_past_a_version_skips_it_for_good(self, store: ServingStore) -> None:
        for number in (8, 9, 10):
            publish(store, number, number)
        store.rollback(1)
        assert statuses(store) == {3: "rolled_back", 2: "rolled_back", 1: "live"}
        publish(store, 11, 11)
        assert statuses(store) == {4: "live", 3: "removed", 2: "removed", 1: "retired"}
        assert store.rollback().version == 1

    def test_rolled_back_version_can_return(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        publish(store, 9, 2)
        store.rollback()
        assert store.rollback(2).as_of == day(9)
        assert statuses(store) == {2: "live", 1: "retired"}
        assert videos(store) == expected(9, 2)

    @pytest.mark.parametrize("version", [2, 3, 99])
    def test_rollback_to_a_version_without_rows_is_refused(self, store: ServingStore, version: int) -> None:
        publish(store, 9, 9)
        with pytest.raises(ReelflowError, match="second row"):
            store.publish(publication(10, 10), [batch([(1, 1, 1), (1, 1, 2)])], fallback(10, 10), 3)
        publish(store, 8, 8)
        assert statuses(store) == {3: "superseded", 2: "failed", 1: "live"}
        with pytest.raises(ReelflowError, match=f"rollback to version {version}"):
            store.rollback(version)
        assert videos(store) == expected(9, 9)

    def test_publishing_goes_on_after_a_rollback(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        publish(store, 9, 2)
        store.rollback()
        assert publish(store, 9, 3).status == "live"
        assert videos(store) == expected(9, 3)
        assert statuses(store) == {3: "live", 2: "removed", 1: "retired"}

    # ---- reading

    def test_snapshot_stays_on_its_version(self, store: ServingStore, other: ServingStore) -> None:
        publish(store, 8, 1, keep=0)
        with other.snapshot() as snapshot:
            assert snapshot.live is not None
            assert snapshot.live.as_of == day(8)
            publish(store, 9, 2, keep=0)
            assert [row.video_id for row in snapshot.read(1, 9)] == expected(8, 1)
            assert [row.video_id for row in snapshot.read_fallback("all", 1)] == [video(8, 1, 1) + 500]
        assert videos(other) == expected(9, 2)

    def test_store_is_used_again_after_close(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        videos(store)
        store.close()
        assert videos(store) == expected(8, 1)

    def test_homepage_of_a_known_user(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        page = RecommendationReader(store).get(3, k=2, now=day(9))
        assert [row.video_id for row in page.rows] == expected(8, 1)[:2]
        assert (page.user_id, page.fallback, page.segment, page.stale) == (3, False, None, False)
        assert (page.version, page.model_version, page.as_of, page.expires_at) == (1, "model-8-1", day(8), day(10))

    def test_homepage_of_an_unknown_user_takes_the_first_segment_there_is(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        reader = RecommendationReader(store)
        page = reader.get(999, k=3, segments=("country=XX", "country=DE", "all"))
        assert (page.fallback, page.segment) == (True, "country=DE")
        assert page.rows[0].reason == "popular on day 8 in country=DE"
        assert reader.get(999).segment == "all"
        nothing = reader.get(999, segments=("country=XX",))
        assert (nothing.fallback, nothing.segment, nothing.rows) == (True, None, ())

    def test_homepage_is_stale_from_the_moment_it_expires(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        reader = RecommendationReader(store)
        assert not reader.get(1, now=day(10) - timedelta(seconds=1)).stale
        assert reader.get(1, now=day(10)).stale

    def test_reader_follows_switches_by_itself(self, store: ServingStore, other: ServingStore) -> None:
        reader = RecommendationReader(other)
        publish(store, 8, 1)
        assert reader.get(1).as_of == day(8)
        publish(store, 9, 2)
        assert reader.get(1).as_of == day(9)
        store.rollback()
        assert reader.get(1).as_of == day(8)

    def test_many_users_are_read_at_once(self, store: ServingStore, other: ServingStore) -> None:
        with store.snapshot() as snapshot:
            assert snapshot.read_lists([1], 5) == {}
        publish(store, 8, 1)
        with other.snapshot() as snapshot:
            found = snapshot.read_lists([7, 999, 1, 7], 2)
            assert {user: [row.video_id for row in one.rows] for user, one in found.items()} == {
                7: expected(8, 1)[:2],
                1: expected(8, 1)[:2],
            }
            assert found[7].publication == snapshot.live
            assert found[7].rows == tuple(snapshot.read(7, 2))
            assert snapshot.read_lists([], 5) == {}
            with pytest.raises(ReelflowError, match="64 bits"):
                snapshot.read_lists([1, 2**63], 5)
            with pytest.raises(ReelflowError, match="k = 0"):
                snapshot.read_lists([1], 0)

    def test_more_may_be_asked_for_than_any_list_has(self, store: ServingStore) -> None:
        publish(store, 8, 1)
        for k in (2**31 - 1, 2**31, 2**40):
            assert [row.video_id for row in store.read(1, k)] == expected(8, 1)
            assert len(store.read_fallback("all", k)) == K

    # ---- erasing

    def test_erased_user_is_in_no_version(self, store: ServingStore, other: ServingStore) -> None:
        for number in (8, 9):
            publish(store, number, number)
        found = store.erase(3)
        assert [(erased.version, erased.rows) for erased in found] == [(1, K), (2, K)]
        assert other.read(3, 100) == []
        assert videos(other, 4) == expected(9, 9)
        assert [(one.users, one.rows) for one in store.publications()] == [(USERS - 1, (USERS - 1) * K)] * 2
        store.rollback()
        assert other.read(3, 100) == []
        assert videos(other, 4) == expected(8, 8)
        assert store.erase(3) == []
        assert store.erase(999) == []

    def test_erasing_where_nothing_was_published_finds_nothing(self, store: ServingStore) -> None:
        assert store.erase(1) == []
        with pytest.raises(ReelflowError, match="64 bits"):
            store.erase(-(2**63) - 1)

    def test_user_who_is_erased_while_a_version_loads_is_not_published(self, store: ServingStore, other: ServingStore) -> None:
        publish(store, 8, 1)

        def erased() -> Iterator[pa.RecordBatch]:
            yield from rows(9, 2, users=60_000, k=1, per_batch=60_000)
            assert [one.version for one in other.erase(3)] == [1, 2]
            yield batch([(60_001, 1, 5)])

        with pytest.raises(ReelflowError, match="found 60000 recommendations in the store, expected 60001"):
            store.publish(publication(9, 2), erased(), fallback(9, 2), 3)
        assert statuses(store) == {2: "failed", 1: "live"}
        assert videos(store, 3) == []
