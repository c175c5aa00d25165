"""The contract of delta publications. Each store's test inherits it and says only how one is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from schemas.errors import ReelflowError
from serving import Publication, PublishResult, RecommendationReader, ServingStore
from tests.serving.builders import USERS, K, batch, day, expected, fallback, publish, videos

Factory = Callable[[], ServingStore]


def hour(number: int, of_day: int = 8) -> datetime:
    return day(of_day) + timedelta(hours=number)


def delta(
    store: ServingStore, hours: int, users: tuple[int, ...], base: int, *, of_day: int = 8, k: int = K, keep: int = 3
) -> PublishResult:
    """Publish new lists of some users: their videos are ``hours`` * 100 + rank."""
    at = hour(hours, of_day)
    known = Publication(
        as_of=at,
        generation=store.next_generation(),
        model_version=f"hour-{hours}",
        expires_at=at + timedelta(hours=48),
        base=base,
    )
    return store.publish(known, lists(hours, users, k), fallback(hours, 0), keep)


def lists(hours: int, users: tuple[int, ...], k: int = K) -> Iterator[pa.RecordBatch]:
    for user in users:
        yield batch([(user, rank, hours * 100 + rank) for rank in range(1, k + 1)])


def of_hour(hours: int, k: int = K) -> list[int]:
    return [hours * 100 + rank for rank in range(1, k + 1)]


def statuses(store: ServingStore) -> dict[int, str]:
    return {record.version: str(record.status) for record in store.publications()}


class DeltaContract:
    """Inherit, and give the fixture ``open_store``: each call opens the same, at first empty, store anew."""

    @pytest.fixture
    def open_store(self) -> Iterator[Factory]:
        raise NotImplementedError

    @pytest.fixture
    def store(self, open_store: Factory) -> ServingStore:
        """With a full publication, version 1, as of day 8."""
        store = open_store()
        publish(store, 8)
        return store

    @pytest.fixture
    def other(self, open_store: Factory) -> ServingStore:
        return open_store()

    def test_lists_of_a_delta_replace_those_users_lists_and_no_others(self, store: ServingStore, other: ServingStore) -> None:
        before = {user: other.read(user, 100) for user in range(1, USERS + 1)}
        result = delta(store, 1, (3, 7, 999), base=1)
        assert (result.version, result.status, result.users, result.rows) == (2, "live", 3, 3 * K)
        for user in range(1, USERS + 1):
            if user in (3, 7):
                assert videos(other, user) == of_hour(1)
            else:
                assert other.read(user, 100) == before[user]
        assert videos(other, 999) == of_hour(1)
        assert [row.video_id for row in other.read_fallback("all", 1)] == [1_000_501]
        live = other.live()
        assert live is not None
        assert (live.version, live.base, live.root, live.root_as_of, live.layers) == (2, 1, 1, day(8), 2)
        assert (live.users, live.rows) == (USERS + 1, (USERS + 1) * K)
        assert store.read_row(3, 101) is not None
        assert store.read_row(3, expected(8, 1)[0]) is None

    def test_deltas_lie_over_each_other(self, store: ServingStore) -> None:
        delta(store, 1, (1, 2), base=1)
        delta(store, 2, (2, 3), base=2, k=3)
        assert [videos(store, user) for user in (1, 2, 3, 4)] == [of_hour(1), of_hour(2, 3), of_hour(2, 3), expected(8, 1)]
        with store.snapshot() as snapshot:
            assert [record.version for record in snapshot.publications()] == [1, 2, 3]
            assert [snapshot.users_of(version) for version in (2, 3)] == [[1], [2, 3]]
            assert snapshot.showing([101, 203, expected(8, 1)[4], 7]) == sorted(
                [(1, 101), (2, 203), (3, 203), *((user, expected(8, 1)[4]) for user in range(4, USERS + 1))]
            )
            assert snapshot.live is not None
            assert (snapshot.live.users, snapshot.live.rows) == (USERS, USERS * K - 2 - 2)

    def test_freshness_is_that_of_the_list(self, store: ServingStore) -> None:
        delta(store, 5, (3,), base=1)
        reader, now = RecommendationReader(store), hour(50)
        mine, others, nobody = (reader.get(user, segments=names, now=now) for user, names in ((3, ()), (4, ()), (999, "all")))
        assert (mine.version, mine.model_version, mine.as_of, mine.expires_at) == (2, "hour-5", hour(5), hour(53))
        assert (others.version, others.model_version, others.as_of, others.expires_at) == (2, "model-8-1", day(8), day(10))
        assert (nobody.fallback, nobody.model_version, nobody.as_of) == (True, "hour-5", hour(5))
        assert (mine.stale, others.stale, nobody.stale) == (False, True, False)

    def test_a_full_publication_replaces_all_lists_as_of_an_earlier_time(self, store: ServingStore) -> None:
        delta(store, 1, (3, 999), base=1)
        publish(store, 9)
        assert [videos(store, user) for user in (3, 4, 999)] == [expected(9, 3), expected(9, 3), []]
        live = store.live()
        assert live is not None
        assert (live.base, live.layers, live.users, live.rows) == (None, 1, USERS, USERS * K)

    def test_lists_as_of_a_later_time_stay_over_a_full_publication(self, store: ServingStore) -> None:
        """The day was computed while hours went on: what those know is not lost, what the day knows is for all others."""
        delta(store, 22, (1, 2, 3), base=1)
        delta(store, 25, (2, 999), base=2)  # as of 01:00 of day 9
        assert publish(store, 9).status == "live"
        assert [videos(store, user) for user in (1, 2, 3, 4, 999)] == [
            expected(9, 4), of_hour(25), expected(9, 4), expected(9, 4), of_hour(25)
        ]  # fmt: skip
        live = store.live()
        assert live is not None
        assert (live.version, live.as_of, live.layers) == (4, day(9), 2)
        assert (live.users, live.rows) == (USERS + 1, (USERS + 1) * K)
        assert [row.video_id for row in store.read_fallback("all", 1)] == [9_004_501]
        # The next hour goes on from there, and one as of a time before what is there does not.
        assert delta(store, 24, (2,), base=4).status == "superseded"
        assert delta(store, 26, (2, 4), base=4).status == "live"
        assert [videos(store, user) for user in (2, 3, 4, 999)] == [of_hour(26), expected(9, 4), of_hour(26), of_hour(25)]

    def test_a_delta_over_something_that_is_not_live_is_superseded(self, store: ServingStore) -> None:
        publish(store, 9)
        batches = lists(30, (3,))
        known = Publication(as_of=hour(30), generation=9, model_version="m", expires_at=hour(40), base=1)
        result = store.publish(known, batches, fallback(8, 1), 3)
        assert (result.status, result.users) == ("superseded", 0)
        assert next(batches).num_rows
        assert videos(store, 3) == expected(9, 2)
        for base in (3, 99):
            assert delta(store, 30, (3,), base=base).status == "superseded"

    def test_a_delta_that_is_not_newer_than_its_base_is_superseded(self, store: ServingStore) -> None:
        assert delta(store, -1, (3,), base=1).status == "superseded"
        delta(store, 2, (3,), base=1)
        live = store.live()
        assert live is not None
        assert delta(store, 1, (3,), base=live.version).status == "superseded"
        assert delta(store, 2, (4,), base=live.version).status == "live"  # the same hour again, a later attempt
        assert [videos(store, user) for user in (3, 4)] == [of_hour(2)] * 2

    def test_a_delta_is_superseded_when_something_goes_live_while_it_loads(
        self, store: ServingStore, other: ServingStore
    ) -> None:
        def overtaken(by: Callable[[], object]) -> Iterator[pa.RecordBatch]:
            yield from lists(3, (1, 2))
            by()

        for hours, by in ((3, lambda: publish(other, 9)), (30, lambda: delta(other, 29, (5,), base=3)), (31, other.rollback)):
            live = store.live()
            assert live is not None
            known = Publication(
                as_of=hour(hours), generation=store.next_generation(), model_version="m", expires_at=hour(99), base=live.version
            )
            result = store.publish(known, overtaken(by), fallback(8, 1), 3)
            assert (result.status, result.rows) == ("superseded", 2 * K)
            assert videos(store, 1) == expected(9, 3)

    def test_an_older_day_is_superseded_whatever_hours_lie_over_the_live_one(self, store: ServingStore) -> None:
        delta(store, 1, (3,), base=1)
        assert publish(store, 7).status == "superseded"
        assert videos(store, 3) == of_hour(1)

    def test_readers_see_nothing_of_a_delta_while_it_loads(self, store: ServingStore, other: ServingStore) -> None:
        seen: list[list[int]] = []

        def watched() -> Iterator[pa.RecordBatch]:
            for part in lists(1, (1, 2)):
                yield part
                seen.append([*videos(other, 1), *videos(other, 2)])

        known = Publication(as_of=hour(1), generation=9, model_version="m", expires_at=hour(9), base=1)
        assert store.publish(known, watched(), fallback(8, 1), 3).status == "live"
        assert seen == [[*expected(8, 1), *expected(8, 1)]] * 2
        assert videos(other, 2) == of_hour(1)

    def test_broken_rows_of_a_delta_are_refused(self, store: ServingStore) -> None:
        known = Publication(as_of=hour(1), generation=9, model_version="m", expires_at=hour(9), base=1)
        with pytest.raises(ReelflowError, match="user_id=3, rows=1, first_rank=2"):
            store.publish(known, [batch([(3, 2, 7)])], fallback(8, 1), 3)
        assert statuses(store) == {2: "failed", 1: "live"}
        assert videos(store, 3) == expected(8, 1)

    def test_a_delta_may_bring_fallback_lists_alone(self, store: ServingStore) -> None:
        result = delta(store, 1, (), base=1)
        assert (result.status, result.users, result.rows) == ("live", 0, 0)
        assert [videos(store, user) for user in (1, 2)] == [expected(8, 1)] * 2
        assert [row.video_id for row in store.read_fallback("all", 1)] == [1_000_501]
        live = store.live()
        assert live is not None
        assert (live.users, live.rows) == (USERS, USERS * K)

    def test_a_snapshot_stays_on_its_version(self, store: ServingStore, other: ServingStore) -> None:
        with other.snapshot() as snapshot:
            assert [row.video_id for row in snapshot.read(3, 9)] == expected(8, 1)
            delta(store, 1, (3,), base=1)
            assert [row.video_id for row in snapshot.read(3, 9)] == expected(8, 1)
        assert videos(other, 3) == of_hour(1)

    # ---- rollback and retention

    def test_rollback_to_the_hour_before_and_back_again(self, store: ServingStore) -> None:
        delta(store, 1, (1, 2), base=1)
        delta(store, 2, (2, 3), base=2)
        at_two = [videos(store, user) for user in range(1, 5)]
        record = store.rollback(reason="hour 2 was wrong")
        assert (record.version, record.users, record.rows) == (2, USERS, USERS * K)
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(1), expected(8, 1)]
        store.rollback()
        assert [videos(store, user) for user in (1, 2, 3)] == [expected(8, 1)] * 3
        store.rollback(3)
        assert [videos(store, user) for user in range(1, 5)] == at_two

    def test_rollback_from_a_day_to_the_last_hour_of_the_day_before(self, store: ServingStore) -> None:
        """Also where that hour is as of a later time than the day."""
        delta(store, 1, (1, 2), base=1)
        delta(store, 26, (2, 3), base=2)
        publish(store, 9)
        delta(store, 27, (1, 4), base=4)
        assert [videos(store, user) for user in (1, 2, 4, 5)] == [of_hour(27), of_hour(26), of_hour(27), expected(9, 4)]
        assert store.rollback().version == 4
        assert [videos(store, user) for user in (1, 2, 4, 5)] == [expected(9, 4), of_hour(26), expected(9, 4), expected(9, 4)]
        assert store.rollback().version == 3
        assert [videos(store, user) for user in (1, 2, 4, 5)] == [of_hour(1), of_hour(26), expected(8, 1), expected(8, 1)]

    def test_the_next_hour_goes_on_from_what_was_rolled_back_to(self, store: ServingStore) -> None:
        delta(store, 1, (1, 2), base=1)
        delta(store, 2, (2, 3), base=2)
        store.rollback()
        assert delta(store, 3, (4,), base=2).status == "live"
        assert [videos(store, user) for user in (1, 2, 3, 4)] == [of_hour(1), of_hour(1), expected(8, 1), of_hour(3)]
        assert statuses(store) == {4: "live", 3: "removed", 2: "retired", 1: "retired"}

    def test_hours_do_not_drive_out_the_days_that_one_can_go_back_to(self, store: ServingStore) -> None:
        for hours in (1, 2):
            delta(store, hours, (hours,), base=hours, keep=2)
        publish(store, 9, keep=2)
        version = 4
        for hours in range(25, 31):
            version = delta(store, hours, (hours - 24,), base=version, keep=2).version
        # Kept: two hours and the day they lie over, and the last state of the day before.
        assert statuses(store) == {
            10: "live", 9: "retired", 8: "retired", 7: "removed", 6: "removed", 5: "removed", 4: "retired",
            3: "retired", 2: "removed", 1: "removed",
        }  # fmt: skip
        # What kept versions show is all there, hours that one cannot go back to included.
        assert [videos(store, user) for user in range(1, 8)] == [*(of_hour(24 + user) for user in range(1, 7)), expected(9, 4)]
        store.rollback(3)
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(2), expected(8, 1)]

    def test_nothing_is_kept_when_told_so(self, store: ServingStore) -> None:
        delta(store, 1, (1,), base=1, keep=0)
        delta(store, 2, (2,), base=2, keep=0)
        assert [videos(store, user) for user in (1, 2, 3)] == [of_hour(1), of_hour(2), expected(8, 1)]
        with pytest.raises(ReelflowError, match="other versions with rows are: none"):
            store.rollback()

    def test_erased_user_is_in_no_layer(self, store: ServingStore, other: ServingStore) -> None:
        delta(store, 1, (3, 7), base=1, k=2)
        assert [(erased.version, erased.rows) for erased in store.erase(3)] == [(1, K), (2, 2)]
        assert other.read(3, 100) == []
        assert videos(other, 7) == of_hour(1, 2)
        seen = {record.version: (record.users, record.rows) for record in other.publications()}
        assert seen == {1: (USERS - 1, (USERS - 1) * K), 2: (USERS - 1, (USERS - 2) * K + 2)}
        with other.snapshot() as snapshot:
            assert snapshot.users_of(2) == [7]
        delta(store, 2, (4,), base=2)
        assert (record := other.live()) is not None
        assert (record.users, record.rows) == (USERS - 1, (USERS - 2) * K + 2)
        store.rollback(1)
        assert other.read(3, 100) == []

    def test_many_users_are_read_from_their_own_layers(self, store: ServingStore, other: ServingStore) -> None:
        delta(store, 1, (3, 7, 999), base=1)
        with other.snapshot() as snapshot:
            found = snapshot.read_lists([7, 8, 999, 1000], 100)
            assert {user: one.publication.version for user, one in found.items()} == {7: 2, 8: 1, 999: 2}
            assert all(one.rows == tuple(snapshot.read(user, 100)) for user, one in found.items())
            assert all(one.publication == snapshot.published_by(user) for user, one in found.items())
