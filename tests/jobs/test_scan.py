import copy
import json
import math
import random
from datetime import timedelta

import pytest
from pydantic import BaseModel

from jobs import publish, scan
from jobs._recipe import MISSING, State
from jobs._scan_videos import hard_limits, near_duplicates
from jobs._tables import Partition
from jobs._window import DAY, iso
from schemas import RECOMMENDATIONS
from schemas.errors import ReelflowError
from serving import SqliteStore
from tests.builders import Workspace, stage_context
from tests.jobs import scanned
from tests.jobs.scanned import END, ROW, SETTINGS, K, World, small, user, video, write

AS_OF = ("--as-of", iso(END))
NAN = float("nan")


@pytest.fixture
def space(tmp_path, spark):
    return Workspace(tmp_path / "home", SETTINGS)


def result(space):
    return json.loads((space.home / "runs/20260108T000000Z/last_scan.json").read_text())


def failed(space):
    return {check["name"]: check for check in result(space)["checks"] if not check["passed"]}


def live(space):
    return SqliteStore(space.home / "store" / "recommendations.sqlite").live()


def planned(space, stage):
    with space.environment():
        (unit,) = stage.plan(stage_context("scan", *AS_OF), {})
    return unit.status.state, unit.status.why


def refusals(space):
    """What scan and publish say of a world that must not be published."""
    said = []
    for stage in (scan, publish):
        status, _, error = space.command(stage, *AS_OF)
        assert status == 2
        said.append(error)
    assert live(space) is None
    return said


class TestHardLimits:
    def test_of_yaml_and_of_classes(self):
        class Rule(BaseModel):
            rule: str = "misinformation"
            max_score: float = 0.7

        rules = [
            {"rule": "removed"},
            {"rule": "misinformation", "max_score": 0.8, "penalty": 1.0},
            Rule(),
            {"rule": "clickbait", "penalty": 1.0},
            {"rule": "age", "max_days": None, "max_score": 0.1},
            {"rule": "language", "max_score": 0.1},
        ]
        assert hard_limits(rules) == {"misinformation": 0.7}
        assert hard_limits([{"rule": "age", "max_days": 30}]) == {"age": 30.0}
        assert hard_limits([]) == {}


class TestNearDuplicates:
    def test_only_what_another_video_stands_for(self, tmp_path):
        import numpy as np

        np.save(tmp_path / "video_ids.npy", np.array([10, 20, 30]))
        np.save(tmp_path / "same_as.npy", np.array([0, 2, 2]))
        assert near_duplicates(tmp_path).to_pylist() == [{"video_id": 20, "stands_for": 30}]

    @pytest.mark.parametrize("positions", [[0, 3], [0], [-1, 0]])
    def test_positions_outside_are_refused(self, tmp_path, positions):
        import numpy as np

        np.save(tmp_path / "video_ids.npy", np.array([10, 20]))
        np.save(tmp_path / "same_as.npy", np.array(positions))
        with pytest.raises(ReelflowError, match="run the index stage again"):
            near_duplicates(tmp_path)

    def test_a_catalogue_without_them_is_refused(self, tmp_path):
        with pytest.raises(ReelflowError, match=r"found no .*video_ids.npy"):
            near_duplicates(tmp_path)


@pytest.mark.spark
class TestRightLists:
    def test_pass_and_may_be_published_and_are_not_scanned_twice(self, space):
        world = small()
        assert {one: len([row for row in world.lists if row["user_id"] == one]) for one in range(1, 7)} == {
            1: K, 2: K, 3: K, 4: 0, 5: 1, 6: 0,
        }  # fmt: skip
        write(space, world)
        assert planned(space, scan) == (MISSING.state, MISSING.why)
        report = space.run(scan, *AS_OF)
        assert report.read == {"rows": 16, "lists": 4, "fallback rows": 20}
        assert (report.up_to_date, report.notes) == (False, ["passed 26 checks", "no earlier lists to compare with"])
        shown = {row["video_id"] for row in world.lists}
        # 30 videos less 103, 104, 106, 107; the head is one video of 26: 100, which DE blocks.
        heads = sum(row["video_id"] == 100 for row in world.lists)
        assert report.facts == {"coverage": len(shown) / 26, "popularity_share": heads / 16}
        content = result(space)
        today = Partition((END - DAY).date())
        assert content["basis"]["recommendations"] == space.lake.manifest(RECOMMENDATIONS, today).digest
        assert content["figures"]["active users"] == 5
        again = space.run(scan, *AS_OF)
        assert (again.up_to_date, again.read) == (True, report.read)
        assert planned(space, scan) == (State.CURRENT, "")
        assert planned(space, publish) == (MISSING.state, MISSING.why)
        assert not space.run(scan, *AS_OF, "--force").up_to_date
        narrow = Workspace(space.home, {**SETTINGS, "scan": {"shown_rows": 1}})
        assert planned(narrow, scan) == (State.STALE, "scanned with another settings")
        assert not narrow.run(scan, *AS_OF).up_to_date


def put(world: World, user_id: int, place: int, **changes):
    world.row(user_id, place).update(changes)


def add(world: World, **changes):
    world.lists.append({**ROW, **changes})


def drop(world: World, user_id: int, rank: int):
    world.lists.remove(world.row(user_id, rank))


def put_fallback(world: World, segment: str, place: int, **changes):
    world.fallback_row(segment, place).update(changes)


# check: how it is broken, and the offenders that must be named; user 1 sees 101, 105, 108, 109, 113, and 3 has 100 in front.
BREAKAGES = {
    "coverage": (
        lambda w: w.lists.__setitem__(slice(None), [row for row in w.lists if row["user_id"] != 2]),
        [{"user_id": 2, "length": 0, "expected": K}],
    ),
    "strangers": (lambda w: add(w, user_id=77, rank=1, video_id=120), [{"user_id": 77, "rank": 1, "video_id": 120}]),
    "length": (lambda w: drop(w, 1, 5), [{"user_id": 1, "length": 4, "expected": 5}]),
    "ranks": (lambda w: put(w, 1, 5, rank=6), [{"user_id": 1, "rank": 6, "video_id": 113}]),
    "repeats": (lambda w: put(w, 1, 5, video_id=101), [{"user_id": 1, "rank": 5, "video_id": 101}]),
    "near_duplicates": (lambda w: put(w, 3, 5, video_id=102), [{"user_id": 3, "rank": 5, "video_id": 102}]),
    "unknown": (lambda w: put(w, 1, 2, video_id=999), [{"user_id": 1, "rank": 2, "video_id": 999}]),
    "removed": (lambda w: put(w, 1, 2, video_id=103), [{"user_id": 1, "rank": 2, "video_id": 103}]),
    "over_limit": (lambda w: put(w, 1, 2, video_id=104), [{"user_id": 1, "rank": 2, "video_id": 104}]),
    "over_limit: clickbait": (lambda w: put(w, 1, 2, video_id=106), [{"user_id": 1, "rank": 2, "video_id": 106}]),
    "over_limit: age": (lambda w: put(w, 1, 2, video_id=107), [{"user_id": 1, "rank": 2, "video_id": 107}]),
    "blocked": (lambda w: put(w, 1, 2, video_id=100), [{"user_id": 1, "rank": 2, "video_id": 100}]),
    "watched": (lambda w: w.user(1)["watched"].append(108), [{"user_id": 1, "rank": 3, "video_id": 108}]),
    "scores": (lambda w: put(w, 1, 2, score=NAN), [{"user_id": 1, "rank": 2, "video_id": 105}]),
    "scores: a part": (lambda w: put(w, 1, 2, score_wals=-math.inf), [{"user_id": 1, "rank": 2, "video_id": 105}]),
    "propensity": (lambda w: put(w, 1, 2, propensity=0.0), [{"user_id": 1, "rank": 2, "video_id": 105}]),
    "sources": (lambda w: put(w, 1, 2, sources=" "), [{"user_id": 1, "rank": 2, "video_id": 105}]),
    "fallback_all": (
        lambda w: w.fallback.__setitem__(slice(None), [row for row in w.fallback if row["segment"] != "all"]),
        [],
    ),
    "fallback_ranks": (
        lambda w: put_fallback(w, "language=en", 1, rank=7),
        [{"segment": "language=en", "rank": n, "video_id": v} for n, v in ((2, 102), (3, 105), (4, 108), (5, 109), (7, 101))],
    ),
    "fallback_repeats": (
        lambda w: put_fallback(w, "all", 2, video_id=101),
        [{"segment": "all", "rank": 2, "video_id": 101}],
    ),
    "fallback_unknown": (lambda w: put_fallback(w, "all", 2, video_id=5), [{"segment": "all", "rank": 2, "video_id": 5}]),
    "fallback_removed": (lambda w: put_fallback(w, "all", 2, video_id=103), [{"segment": "all", "rank": 2, "video_id": 103}]),
    "fallback_over_limit": (
        lambda w: put_fallback(w, "all", 2, video_id=104),
        [{"segment": "all", "rank": 2, "video_id": 104}],
    ),
    "fallback_blocked": (
        lambda w: put_fallback(w, "country=DE|language=en", 2, video_id=100),
        [{"segment": "country=DE|language=en", "rank": 2, "video_id": 100}],
    ),
    "fallback_scores": (lambda w: put_fallback(w, "all", 1, score=NAN), [{"segment": "all", "rank": 1, "video_id": 101}]),
    "fallback_parents": (
        lambda w: [row.update(parent="country=XX") for row in w.fallback if row["segment"] == "country=DE|language=en"],
        [{"segment": "country=DE|language=en", "parent": "country=XX"}],
    ),
    "fallback_sources": (lambda w: put_fallback(w, "all", 1, sources=""), [{"segment": "all", "rank": 1, "video_id": 101}]),
}


SIDES = 1000
"""Between the ids of the users of one broken world and those of the next, which stand beside each other in one scan."""


def moved(row, number: int):
    """A row of the small world, or an offender, as one of a world beside others."""
    own = dict(row)
    if "user_id" in own:
        own["user_id"] += SIDES * number
    if "segment" in own:
        own["segment"] += f"|world={number}"
    return own


def world_of(offender) -> int:
    """Number of the broken world that an offender belongs to."""
    if "user_id" in offender:
        return offender["user_id"] // SIDES
    return int(offender["segment"].rsplit("=", 1)[1])


def broken(name: str) -> World:
    """The small world with one thing broken."""
    world = small()
    assert [row["video_id"] for row in world.lists if row["user_id"] == 1] == [101, 105, 108, 109, 113]
    BREAKAGES[name][0](world)
    return world


@pytest.fixture(scope="module")
def broken_worlds(new_workspace, spark):
    """All broken worlds beside each other, scanned once: the failed checks, and what scan and publish said."""
    whole = World([], small().videos, [], [], small().same)
    for number, name in enumerate(BREAKAGES):
        world = broken(name)
        assert (world.videos, world.same) == (whole.videos, whole.same)
        for own, rows in ((whole.users, world.users), (whole.lists, world.lists), (whole.fallback, world.fallback)):
            own += [moved(row, number) for row in rows]
    space = new_workspace({**SETTINGS, "scan": {"shown_rows": 1000}})
    write(space, whole)
    said = refusals(space)
    return failed(space), said


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.parametrize("name", BREAKAGES)
def test_one_broken_place_is_found_and_named_and_nothing_is_published(broken_worlds, name):
    found, said = broken_worlds
    number, check = list(BREAKAGES).index(name), name.split(":")[0]
    offenders = [moved(row, number) for row in BREAKAGES[name][1]]
    assert scanned.expected(broken(name)).keys() == {check}
    own = {other: [row for row in of["first"] if world_of(row) == number] for other, of in found.items()}
    assert {other: rows for other, rows in own.items() if rows} == ({check: offenders} if offenders else {})
    for text in said:
        assert "nothing is published: " in text
        assert f"{check}: found " in text
        for offender in offenders:
            assert " ".join(f"{key}={value}" for key, value in offender.items()) in text


@pytest.mark.spark
@pytest.mark.slow
def test_no_other_check_fails_where_one_thing_is_broken(broken_worlds):
    found, _ = broken_worlds
    assert found.keys() == {name.split(":")[0] for name in BREAKAGES}
    for name, check in found.items():
        # No world has a list "all" of that very name, and that check names no row.
        worlds = {world_of(row) for row in check["first"]}
        assert check["lists"] == len(worlds), name


@pytest.mark.spark
class TestStopped:
    def test_all_failed_checks_are_named_and_the_first_rows_of_each(self, space):
        world = small()
        for rank in range(1, K + 1):
            put(world, 1, rank, score=NAN)
            put(world, 2, rank, score=NAN)
        put(world, 3, 1, propensity=0.0)
        write(space, world)
        said, _ = refusals(space)
        assert "2 of 26 checks failed" in said
        assert (
            "scores: found 10 rows in 2 lists, expected finite scores and parts (first: user_id=1 rank=1 video_id=101 | "
            in said
        )
        assert "user_id=1 rank=5 video_id=113)" in said
        assert "propensity: found 1 rows in 1 lists" in said

    def test_it_is_not_looked_at_again_but_stays_work_to_do(self, space, monkeypatch):
        world = small()
        put(world, 1, 2, video_id=103)
        write(space, world)
        first = refusals(space)
        assert planned(space, scan) == (State.STALE, "it stopped the publication: removed")
        monkeypatch.setattr(scan, "_scan", lambda *_: pytest.fail("scanned again"))
        assert refusals(space) == first
        monkeypatch.undo()
        write(space, small())
        status, _, error = space.command(publish, *AS_OF)
        assert status == 2
        assert "it looked at another recommendations" in error
        assert space.run(scan, *AS_OF).notes[0] == "passed 26 checks"
        assert planned(space, publish) == (MISSING.state, MISSING.why)

    def test_publish_wants_a_scan_of_what_it_publishes(self, space):
        write(space, small())
        status, _, error = space.command(publish, *AS_OF)
        assert status == 2
        assert "last_scan.json: not found; run scan --as-of 2026-01-08T00:00:00Z first" in error
        space.run(scan, *AS_OF)
        world = small()
        world.fallback = [row for row in world.fallback if row["rank"] < K]
        write(space, world)
        status, _, error = space.command(publish, *AS_OF)
        assert status == 2
        assert "it looked at another fallback_recommendations" in error
        assert live(space) is None


@pytest.mark.spark
class TestNearDuplicatesByChoice:
    def test_they_may_be_shown_and_count_as_videos_of_their_own(self, space):
        world = small()
        put(world, 3, 5, video_id=102)
        write(space, world)
        lax = Workspace(space.home, {**SETTINGS, "scan": {"near_duplicates": False}})
        status, _, _ = lax.command(scan, *AS_OF)
        assert status == 2
        found = failed(lax)
        assert list(found) == ["length"]  # user 5 may now be shown 109 and 112
        assert found["length"]["first"] == [{"user_id": 5, "length": 1, "expected": 2}]


def world_before(days=1, **changes) -> World:
    """The small world so many days earlier."""
    world = small()
    world.end = END - days * DAY
    for row in world.videos:
        row["uploaded_at"] -= timedelta(days=days)
    for owner, more in changes.items():
        setattr(world, owner, more)
    return world


def everywhere(world: World, *videos: int) -> list[dict]:
    """Users 1 to 3 see these videos only, whatever their scan says."""
    return [{**ROW, "user_id": one, "rank": n + 1, "video_id": v} for one in (1, 2, 3) for n, v in enumerate(videos)]


def bounds(space, **settings) -> dict[str, bool]:
    """Whether the figures of the last scan lie within the bounds of other settings, by check."""
    with Workspace(space.home, {**SETTINGS, "scan": settings}).environment():
        checks, _ = scan._bounds(result(space)["figures"], scan._inputs(stage_context("scan", *AS_OF)))
    return {check.name: check.passed for check in checks}


@pytest.mark.spark
@pytest.mark.slow
class TestAgainstYesterday:
    def test_alike_days_pass(self, space):
        for world in (world_before(), small()):
            write(space, world)
        report = space.run(scan, *AS_OF)
        assert report.notes == ["passed 28 checks"]
        figures = result(space)["figures"]
        assert figures["today"] == figures["before"]

    def test_fewer_videos_of_the_catalogue_are_shown(self, space):
        before = world_before()
        before.lists = everywhere(before, *range(100, 122))
        write(space, before)
        write(space, small())
        said, _ = refusals(space)
        found = failed(space)
        assert list(found) == ["catalogue_coverage"]
        coverage = 22 / 26
        assert (
            found["catalogue_coverage"]["expected"] == f"{coverage / 2:.4f} to 1.0000, by the {coverage:.4f} of dt=2026-01-06"
        )
        assert "catalogue_coverage: found 0.2692, expected " in said
        assert bounds(space, max_coverage_ratio=4.0) == {"catalogue_coverage": True, "popularity_share": True}
        assert bounds(space, max_coverage_ratio=None) == {"popularity_share": True}

    def test_popular_videos_have_another_share(self, space):
        before = world_before()
        before.lists = everywhere(before, 101, 105, 108, 109, 113, 100)
        write(space, before)
        today = small()
        for row in today.videos:
            row["popularity"] = 5000.0 if row["video_id"] == 101 else row["popularity"]
        write(space, today)
        narrow = Workspace(space.home, {**SETTINGS, "scan": {"max_popularity_share_change": 0.01}})
        refusals(narrow)
        found = failed(narrow)["popularity_share"]
        assert (found["found"], found["expected"]) == (
            f"{2 / 16:.4f}", f"{3 / 18 - 0.01:.4f} to {3 / 18 + 0.01:.4f}, by the {3 / 18:.4f} of dt=2026-01-06",
        )  # fmt: skip
        assert bounds(space) == {"catalogue_coverage": True, "popularity_share": True}

    def test_a_stopped_day_is_no_measure(self, space):
        write(space, world_before(2))
        yesterday = world_before()
        put(yesterday, 1, 2, video_id=103)
        write(space, yesterday)
        status, _, _ = space.command(scan, "--as-of", iso(END - DAY))
        assert status == 2
        write(space, small())
        space.run(scan, *AS_OF)
        assert result(space)["basis"]["before"]["partition"] == "dt=2026-01-05"


def random_world(chance: random.Random) -> World:
    """Ninety users and 180 videos by chance, right lists, then breakages by chance."""
    videos = [
        video(
            n,
            removed=chance.random() < 0.1,
            blocked_countries=chance.sample(["DE", "FR", "AT"], chance.choice([0, 0, 0, 1, 2])),
            misinformation_score=chance.choice([None, 0.0, 0.5, 0.8, 0.9]),
            clickbait_score=chance.choice([None, 0.2, 0.9, 0.91]),
            uploaded_at=END - timedelta(days=chance.choice([1, 50, 100, 101])),
        )
        for n in range(100, 280)
    ]
    ids = [row["video_id"] for row in videos]
    users = [
        user(
            n,
            chance.choice(["DE", "FR", "AT", "XX", None]),
            chance.sample(ids, chance.choice([0, 5, 165, 175, 178])),
            chance.random() < 0.8,
        )
        for n in range(1, 91)
    ]
    same: dict[int, int] = {}
    for one, other in (sorted(chance.sample(ids, 2)) for _ in range(60)):
        if one not in same and other not in same.values() and other not in same:
            same[other] = one
    world = World(users, videos, [], [], same)
    world.lists = [row for one in users for row in scanned.rows_of(world, one)]
    for segment in ("all", "country=DE", "country=FR|language=fr", "country=ZZ"):
        world.fallback += [
            {**ROW, "segment": segment, "rank": n + 1, "video_id": v} for n, v in enumerate(chance.sample(ids, K))
        ]
    spoil(world, chance)
    return world


def spoil(world: World, chance: random.Random) -> None:
    changes = [
        lambda row: row.update(video_id=chance.choice([*range(100, 280), 999])),
        lambda row: row.update(rank=chance.randint(1, 7)),
        lambda row: row.update(score=chance.choice([NAN, math.inf])),
        lambda row: row.update(score_popular=NAN),
        lambda row: row.update(propensity=chance.choice([0.0, 0.3])),
        lambda row: row.update(sources=chance.choice(["", "popular:1"])),
    ]
    for rows in (world.lists, world.fallback):
        for row in chance.sample(rows, len(rows) // 4):
            chance.choice(changes)(row)
    for _ in range(30):
        drop_one = chance.choice(world.lists)
        if chance.random() < 0.5:
            world.lists.remove(drop_one)
        else:
            world.lists.append(copy.copy(drop_one) | {"user_id": chance.choice([1, 2, 3, 50]), "rank": chance.randint(1, 9)})
    gone = {chance.choice(world.lists)["user_id"] for _ in range(3)}
    world.lists = [row for row in world.lists if row["user_id"] not in gone]


@pytest.mark.spark
@pytest.mark.slow
def test_as_a_plain_loop_over_a_random_world_finds(space):
    world = random_world(random.Random(9))
    write(space, world)
    generous = Workspace(space.home, {**SETTINGS, "scan": {"shown_rows": 1000}})
    status, _, _ = generous.command(scan, *AS_OF)
    assert status == 2
    found = {name: {tuple(offender.values()) for offender in check["first"]} for name, check in failed(generous).items()}
    expected = scanned.expected(world)
    assert len(expected) > 16
    assert len(expected["length"]) > 10
    assert found == expected
    for name, check in failed(generous).items():
        assert check["lists"] == len({offender[0] for offender in expected[name]})
