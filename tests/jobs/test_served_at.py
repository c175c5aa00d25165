import random
from datetime import timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs._cold import to_cold
from jobs._served_at import Timeline, shown
from jobs._tables import Lake, TableError
from jobs._window import DAY, HOUR, Window, floor_day, floor_hour, micros
from schemas import PUBLICATION_SWITCHES, RECOMMENDATION_HISTORY
from serving import RecommendationReader
from tests.jobs.publishing import FIRST, SECOND, THIRD, Platform

USERS = np.arange(1, 9)


@pytest.fixture
def platform(tmp_path):
    return Platform(tmp_path)


def asked(platform, pairs, k=None):
    users, times = zip(*pairs, strict=True)
    return shown(platform.lake, np.array(users), np.array([micros(at) for at in times]), k)


def videos(found):
    """Videos by place of those asked for."""
    lists = {}
    for row in found.rows.to_pylist():
        lists.setdefault(row["asked"], []).append(row["video_id"])
    return lists


def test_a_list_is_that_of_the_version_that_was_live_then(platform):
    platform.day(FIRST, {1: [11, 12], 2: [21]})
    first = platform.now
    platform.now = SECOND + 6 * HOUR
    platform.day(SECOND, {1: [13], 2: [22]})
    second, tick = platform.now, timedelta(microseconds=1)
    found = asked(platform, [(1, second), (1, second - tick), (2, first), (1, first - tick), (2, THIRD), (9, second)])
    assert videos(found) == {0: [13], 1: [11, 12], 2: [21], 4: [22]}
    assert (found.nothing_live.tolist(), found.without_list.tolist(), found.not_kept.tolist()) == ([3], [5], [])
    row = found.rows.to_pylist()[1]
    assert (row["asked"], row["version"], row["user_id"], row["rank"], row["as_of"]) == (1, 1, 1, 1, FIRST)


def test_an_hour_goes_over_the_day_and_a_late_day_under_the_hour(platform):
    platform.day(FIRST, {1: [11], 2: [21], 3: [31]})
    platform.hour(FIRST + 5 * HOUR, {2: [22]})
    hour = platform.now
    platform.day(FIRST, {1: [12], 2: [23], 3: [32]})  # made again; knows less of user 2
    found = asked(platform, [(user, hour) for user in (1, 2, 3)] + [(user, platform.now) for user in (1, 2, 3)])
    assert videos(found) == {0: [11], 1: [22], 2: [31], 3: [12], 4: [22], 5: [32]}
    assert {row["version"] for row in found.rows.to_pylist()} == {2, 3}


def test_a_rollback_shows_the_old_lists_again_from_then_on(platform):
    platform.day(FIRST, {1: [11]})
    platform.day(SECOND, {1: [12]})
    second = platform.now
    platform.rollback()
    found = asked(platform, [(1, second), (1, platform.now)])
    assert videos(found) == {0: [12], 1: [11]}
    assert found.rows["version"].to_pylist() == [2, 1]


def test_only_the_first_k_if_so_wanted(platform):
    platform.day(FIRST, {1: [11, 12, 13], 2: [21]})
    assert videos(asked(platform, [(1, SECOND), (2, SECOND)], k=2)) == {0: [11, 12], 1: [21]}


def test_a_user_may_be_asked_for_many_times(platform):
    platform.day(FIRST, {1: [11, 12], 2: [21]})
    assert videos(asked(platform, [(1, SECOND), (2, SECOND), (1, THIRD), (1, SECOND)])) == {
        0: [11, 12], 1: [21], 2: [11, 12], 3: [11, 12]
    }  # fmt: skip


def test_without_any_publication_nothing_was_live(platform):
    found = asked(platform, [(1, SECOND)])
    assert (found.nothing_live.tolist(), found.rows.num_rows) == ([0], 0)


def test_of_two_switches_in_a_second_the_later_one_counts(platform):
    platform.day(FIRST, {1: [11]})
    platform.now -= timedelta(minutes=11)
    platform.day(SECOND, {1: [12]})
    assert videos(asked(platform, [(1, platform.now)])) == {0: [12]}
    assert [span.version for span in Timeline.read(platform.lake).spans] == [2]


def test_a_window_has_what_was_live_at_its_start(platform):
    for number in range(3):
        platform.now = FIRST + number * DAY + 6 * HOUR
        platform.day(FIRST + number * DAY, {1: [number]})
    timeline = Timeline.read(platform.lake)
    assert [span.version for span in timeline.within(Window(SECOND, THIRD))] == [1, 2]
    assert [span.version for span in timeline.within(Window(FIRST, SECOND))] == [1]
    assert [span.version for span in timeline.within(Window(THIRD + DAY, THIRD + 2 * DAY))] == [3]
    assert timeline.spans[2].end is None


class TestExpired:
    """Readers show a fallback list for a list that has expired, as long as the fallback list has not."""

    @pytest.fixture
    def platform(self, platform):
        """Two users' lists of a day that are valid to the 9th at 00:00; of user 2 an hour's, valid to the 11th at 01:00."""
        platform.day(FIRST, {1: [11], 2: [21]})
        platform.now = THIRD + HOUR
        platform.hour(THIRD + HOUR, {2: [22]})
        return platform

    def test_it_is_what_a_reader_says(self, platform):
        reader, at = RecommendationReader(platform.store), platform.now
        assert [(reader.get(user, now=at).why, reader.get(user, now=at).as_of) for user in (1, 2, 3)] == [
            ("expired", THIRD + HOUR), ("own", THIRD + HOUR), ("missing", THIRD + HOUR)
        ]  # fmt: skip
        found = asked(platform, [(user, at) for user in (1, 2, 3)])
        assert (videos(found), found.expired.tolist(), found.without_list.tolist()) == ({1: [22]}, [0], [2])

    def test_the_moment_of_expiry_counts_as_expired(self, platform):
        end = THIRD + 49 * HOUR
        tick = timedelta(microseconds=1)
        found = asked(platform, [(1, end - tick), (1, end)])
        assert (found.expired.tolist(), videos(found)) == ([0], {1: [11]})  # then all is stale, and theirs the best there is

    def test_under_an_old_version_it_is_stale_and_shown(self, platform):
        platform.rollback()
        found = asked(platform, [(1, platform.now), (2, platform.now)])
        assert (found.expired.tolist(), videos(found)) == ([], {0: [11], 1: [21]})

    def test_switches_that_do_not_tell_let_lists_be_shown(self, platform):
        for partition in platform.lake.every(PUBLICATION_SWITCHES):
            (file,) = platform.lake.files(PUBLICATION_SWITCHES, [partition])
            pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["expires_at", "layers_expire_at"]), file)
        assert videos(asked(platform, [(1, platform.now), (2, platform.now)])) == {0: [11], 1: [22]}


class TestNotKept:
    @pytest.fixture
    def lost(self, platform):
        """The lists of the first hour were gone before they could be kept."""
        platform.day(FIRST, {1: [11], 2: [21]})
        platform.hour(FIRST + HOUR, {1: [12]}, followed=False)
        platform.lake.of_hour(FIRST + HOUR).root.rename(platform.lake.root / "gone")
        platform.follow()
        return platform

    def test_it_is_said_of_whoever_may_have_had_one(self, lost):
        found = asked(lost, [(1, SECOND), (2, SECOND)])
        assert (found.rows.num_rows, found.not_kept.tolist()) == (0, [0, 1])

    def test_a_newer_list_is_known_all_the_same(self, lost):
        lost.hour(FIRST + 2 * HOUR, {1: [13]})
        found = asked(lost, [(1, SECOND), (2, SECOND)])
        assert (videos(found), found.not_kept.tolist()) == ({0: [13]}, [1])

    def test_an_archived_day_names_the_command_that_restores_it(self, platform, tmp_path):
        platform.day(FIRST, {1: [11]})
        (partition,) = platform.lake.every(RECOMMENDATION_HISTORY)
        to_cold(platform.lake, Lake(tmp_path / "cold"), RECOMMENDATION_HISTORY, partition)
        with pytest.raises(TableError, match=r"python -m jobs\.archive --restore --table recommendation_history"):
            asked(platform, [(1, SECOND)])


@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_the_store_showed(platform, seed):
    """Days, late days, hours and rollbacks in any order; after each the store is asked for every user."""
    chance, known, at = random.Random(seed), {}, FIRST
    platform.day(at, {user: [user] for user in USERS.tolist()})
    for step in range(1, 25):
        lists = {user: [step * 100 + user, step] for user in chance.sample(USERS.tolist(), chance.randint(0, 5))}
        kind = chance.choice(["day", "late", "hour", "hour", "hour", "back"])
        if kind == "back" and len(known) > 2:
            kept = [one for one in platform.store.publications() if one.status in ("retired", "rolled_back")]
            if kept:
                platform.now += timedelta(minutes=3)
                platform.store.rollback(chance.choice(kept).version)
        elif kind == "hour":
            at += HOUR
            platform.hour(at, lists, followed=chance.random() < 0.7)
        else:
            at += HOUR * (24 - at.hour) if kind == "day" else timedelta(0)
            platform.day(at - HOUR * at.hour, lists or {1: [step]})
        known[platform.now] = {user: [row.video_id for row in platform.store.read(user, 9)] for user in USERS.tolist()}
    platform.follow()
    pairs = [(user, now + timedelta(seconds=1)) for now in known for user in USERS.tolist()]
    found = asked(platform, pairs)
    expected = [known[now - timedelta(seconds=1)][user] for user, now in pairs]
    assert not len(found.not_kept)
    assert not len(found.nothing_live)
    assert videos(found) == {place: one for place, one in enumerate(expected) if one}
    assert found.without_list.tolist() == [place for place, one in enumerate(expected) if not one]


@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_a_reader_showed(platform, seed):
    """Days, hours and rollbacks up to days apart, lists valid for longer and shorter; a reader is asked at times between."""
    chance, reader, pages = random.Random(seed), RecommendationReader(platform.store), {}
    platform.day(FIRST, {user: [user] for user in USERS.tolist()})
    for step in range(1, 31):
        gap = chance.choice([1, 5, 20, 45, 70]) * HOUR
        for at in sorted(platform.now + chance.random() * gap for _ in range(3)):
            pages[at] = reader.get_many(USERS.tolist(), now=at)
        platform.now += gap
        platform.valid = chance.choice([30, 48]) * HOUR
        lists = {user: [step * 100 + user, step] for user in chance.sample(USERS.tolist(), chance.randint(1, 4))}
        kind = chance.choice(["day", "hour", "hour", "back"])
        if kind == "back" and any(one.status in ("retired", "rolled_back") for one in platform.store.publications()[1:]):
            kept = [one for one in platform.store.publications() if one.status in ("retired", "rolled_back")]
            platform.now += timedelta(minutes=3)
            platform.store.rollback(chance.choice(kept).version)
        elif kind == "hour":
            platform.hour(floor_hour(platform.now), lists)
        else:
            platform.day(floor_day(platform.now), lists)
    platform.follow()
    asked_for = [(user, at, page) for at, shown_then in pages.items() for user, page in shown_then.items()]
    found = asked(platform, [(user, at) for user, at, _ in asked_for])
    answers = [page.why for _, _, page in asked_for]
    whys = {why: [place for place, one in enumerate(answers) if one == why] for why in ("own", "missing", "expired")}
    assert videos(found) == {place: [row.video_id for row in asked_for[place][2].rows] for place in whys["own"]}
    assert (found.without_list.tolist(), found.expired.tolist()) == (whys["missing"], whys["expired"])
    assert not len(found.not_kept)
    assert not len(found.nothing_live)
    assert all(whys.values())
    assert any(page.stale for _, _, page in asked_for if page.why == "own")
