import pytest

from jobs import _snapshots
from jobs._stage import Context
from jobs._window import Window
from jobs.reading import partition_files
from schemas import REJECTED_SNAPSHOTS, USER_VERSIONS, USERS, VIDEO_VERSIONS, VIDEOS
from schemas.errors import ReelflowError
from tests.builders import moment, tree, video, window, write_lines, write_raw

DAY = window("2026-01-07T00:00", "2026-01-08T00:00")
TWO_DAYS = window("2026-01-06T00:00", "2026-01-08T00:00")


def context(space, requested=DAY, force=False) -> Context:
    from conf.paths import paths

    with space.environment():
        return Context("ingest", Window(moment("2026-01-01T00:00"), requested.end), requested, space.lake, paths(), force)


def run(space, requested=DAY, force=False) -> int:
    """Make the stale days; returns how many rows were refused."""
    given = context(space, requested, force)
    return _snapshots.run(given, _snapshots.plan(given))


@pytest.fixture(scope="module")
def made(new_workspace):
    """Snapshots of four days; a run over the 6th and the 7th may see three of them at most."""
    space = new_workspace()
    write_raw(
        space.raw,
        [],
        [video(1, title="old"), video(2), video(3, duration_seconds=5)],
        [{"user_id": 1, "age": 20}],
        "2026-01-02",
    )
    write_raw(
        space.raw,
        [],
        [video(1, title="new", removed=True), video(3, duration_seconds=7)],
        [{"user_id": 1, "age": 21}],
        "2026-01-06",
    )
    flawed = [
        video(4, clickbait_score=1.5),
        video(5, duration_seconds=-1),
        video(6, uploaded_at="soon"),
        video(None),
        video(7, duration_seconds=float("inf")),
        video(9, duration_seconds=float("nan")),
        video(2, title="seven"),
    ]
    users = [{"user_id": 2, "age": 151, "username": "x"}, {"user_id": 3, "country": "DE", "registered_at": "2025-05-05"}]
    write_raw(space.raw, [], flawed, users, "2026-01-07")
    write_lines(space.raw / "videos/dt=2026-01-07/more.jsonl", ["broken"])
    write_raw(space.raw, [], [video(8)], [{"user_id": 9}], "2026-01-08")
    write_raw(space.raw, [], [video(2, title="future")], [], "2026-01-09")
    return space, run(space, TWO_DAYS)


def test_the_newest_snapshot_at_or_before_the_end_of_the_day_wins(made):
    space, _ = made
    found = {
        day: [(row["video_id"], row["title"], row["snapshot_date"]) for row in space.rows(VIDEOS, window(*hours))]
        for day, hours in {6: ("2026-01-06T00:00", "2026-01-07T00:00"), 7: ("2026-01-07T00:00", "2026-01-08T00:00")}.items()
    }
    assert found == {
        6: [(1, "new", "2026-01-06"), (2, "seven", "2026-01-07"), (3, "a title", "2026-01-06")],
        7: [(1, "new", "2026-01-06"), (2, "seven", "2026-01-07"), (3, "a title", "2026-01-06"), (8, "a title", "2026-01-08")],
    }


def test_a_row_is_the_contract(made):
    row = made[0].rows(VIDEOS, DAY)[0]
    assert (row["tags"], row["removed"], row["uploaded_at"]) == (["x", "y"], True, moment("2026-01-01T00:00"))
    user = next(row for row in made[0].rows(USERS, DAY) if row["user_id"] == 3)
    blank = dict.fromkeys(("age", "gender", "city", "language"))
    assert user == {"user_id": 3, "country": "DE", **blank, "snapshot_date": "2026-01-07"}
    assert [(row["user_id"], row["age"]) for row in made[0].rows(USERS, DAY)] == [(1, 21), (3, None), (9, None)]


def test_refused_rows_have_a_reason(made):
    space, refused = made
    rows = space.rows(REJECTED_SNAPSHOTS, DAY)
    assert sorted((row["source"], row["reason"], row["detail"]) for row in rows) == [
        ("users", "out_of_range", "age = 151"),
        ("videos", "malformed_record", "the record cannot be parsed"),
        ("videos", "missing_value", "duration_seconds is null"),
        ("videos", "missing_value", "video_id is null"),
        ("videos", "out_of_range", "clickbait_score = 1.5"),
        ("videos", "out_of_range", "duration_seconds = -1.0"),
        ("videos", "out_of_range", "duration_seconds = Infinity"),
        ("videos", "wrong_type", "uploaded_at = soon; expected timestamp"),
    ]
    assert {row["file"] for row in rows if row["reason"] == "malformed_record"} == {"videos/dt=2026-01-07/more.jsonl"}
    assert refused == 2 * len(rows)


def test_a_second_look_finds_nothing_to_do_and_force_gives_the_same_bytes(made):
    space, _ = made
    before = tree(space.lake.root)
    assert _snapshots.plan(context(space)).stale == ()
    run(space, force=True)
    assert tree(space.lake.root) == before


def test_a_new_snapshot_makes_only_the_days_that_may_see_it_stale(made):
    space, _ = made
    file = space.raw / "videos/dt=2026-01-08/late.jsonl"
    write_lines(file, [video(1)])
    stale = _snapshots.plan(context(space, TWO_DAYS)).stale
    file.unlink()
    assert [str(day.dt) for day in stale] == ["2026-01-07"]


class TestVersions:
    """What snapshots of four days said of one video or user, and the rows that come of it."""

    @staticmethod
    def versions(space, table, *said):
        """The day of the month from which on each version holds, and the version; a day that says None says nothing."""
        for number, row in enumerate(said, start=2):
            videos = [{**video(1), **row}] if table is VIDEO_VERSIONS and row is not None else [video(99)]
            users = [{"user_id": 1, **row}] if table is USER_VERSIONS and row is not None else []
            write_raw(space.raw, [], videos, users, f"2026-01-{number:02}")
        run(space)
        return [(row["valid_from"].day, row) for row in space.rows(table, DAY) if row[table.key[0]] == 1]

    def test_a_first_snapshot_is_a_version(self, workspace):
        assert self.versions(workspace, VIDEO_VERSIONS, {"creator_id": 4}) == [
            (
                2,
                {
                    "video_id": 1,
                    "valid_from": moment("2026-01-02T00:00"),
                    "creator_id": 4,
                    "title": "a title",
                    "tags": ["x", "y"],
                    "language": "en",
                    "duration_seconds": 100.0,
                    "uploaded_at": moment("2026-01-01T00:00"),
                    **dict.fromkeys(("misinformation_score", "clickbait_score", "sponsored_boost")),
                },
            )
        ]

    @pytest.mark.parametrize(
        ("ages", "expected"),
        [
            ([20, 20, 20], [(2, 20)]),
            ([20, 21, 21], [(2, 20), (3, 21)]),
            ([20, 21, 20], [(2, 20), (3, 21), (4, 20)]),
            ([None, 20, 20, None], [(2, None), (3, 20), (5, None)]),
        ],
        ids=["unchanged", "changed", "changed back", "null to a value and back"],
    )
    def test_a_change_begins_one(self, workspace, ages, expected):
        found = self.versions(workspace, USER_VERSIONS, *({"age": age, "city": "Ulm"} for age in ages))
        assert [(day, row["age"]) for day, row in found] == expected
        assert {row["city"] for _, row in found} == {"Ulm"}

    def test_a_snapshot_without_the_id_changes_nothing(self, workspace):
        found = self.versions(workspace, USER_VERSIONS, {"age": 20}, None, {"age": 20}, None, {"age": 21})
        assert [(day, row["age"]) for day, row in found] == [(2, 20), (6, 21)]

    def test_the_order_of_tags_counts_and_so_do_their_bounds(self, workspace):
        lists = [["x", "y"], ["y", "x"], ["y", "x"], ["yx"], ["y:x"], ["y", "", "x"]]
        found = self.versions(workspace, VIDEO_VERSIONS, *({"tags": tags} for tags in lists))
        assert [(day, row["tags"]) for day, row in found] == [
            (2, ["x", "y"]), (3, ["y", "x"]), (5, ["yx"]), (6, ["y:x"]), (7, ["y", "", "x"])
        ]  # fmt: skip

    def test_no_tags_are_not_the_same_as_none_known(self, workspace):
        found = self.versions(workspace, VIDEO_VERSIONS, {"tags": []}, {"tags": None}, {"tags": [""]}, {"tags": []})
        assert [(day, row["tags"]) for day, row in found] == [(2, []), (3, None), (4, [""]), (5, [])]

    def test_one_fact_does_not_run_into_the_next(self, workspace):
        found = self.versions(workspace, USER_VERSIONS, {"city": "a"}, {"country": "a"}, {"gender": "a"})
        assert [(day, row["city"], row["country"], row["gender"]) for day, row in found] == [
            (2, "a", None, None), (3, None, "a", None), (4, None, None, "a")
        ]  # fmt: skip

    def test_a_score_that_changes_is_another_version(self, workspace):
        said = ({"clickbait_score": 0.2}, {"clickbait_score": 0.2}, {"clickbait_score": 0.97, "misinformation_score": 0.1}, {})
        found = self.versions(workspace, VIDEO_VERSIONS, *said)
        assert [(day, row["clickbait_score"], row["misinformation_score"]) for day, row in found] == [
            (2, 0.2, None), (4, 0.97, 0.1), (5, None, None)
        ]  # fmt: skip

    def test_what_features_do_not_read_is_no_change(self, workspace):
        found = self.versions(workspace, VIDEO_VERSIONS, {"like_count": 1}, {"like_count": 2, "removed": True})
        assert [day for day, _ in found] == [2]

    def test_they_are_those_known_at_the_end_of_the_day_in_order(self, made):
        space, _ = made
        sixth = window("2026-01-06T00:00", "2026-01-07T00:00")
        found = {
            day: [(row["video_id"], row["valid_from"].day, row["title"]) for row in space.rows(VIDEO_VERSIONS, hours)]
            for day, hours in {6: sixth, 7: DAY}.items()
        }
        expected = [(1, 2, "old"), (1, 6, "new"), (2, 2, "a title"), (2, 7, "seven"), (3, 2, "a title"), (3, 6, "a title")]
        assert found == {6: expected, 7: [*expected, (8, 8, "a title")]}
        assert [(row["user_id"], row["valid_from"].day, row["age"]) for row in space.rows(USER_VERSIONS, DAY)] == [
            (1, 2, 20), (1, 6, 21), (3, 7, None), (9, 8, None)
        ]  # fmt: skip

    def test_the_last_version_of_each_is_the_newest_snapshot(self, made):
        space, _ = made
        for table, versions in ((VIDEOS, VIDEO_VERSIONS), (USERS, USER_VERSIONS)):
            last = {row[table.key[0]]: row for row in space.rows(versions, DAY)}
            facts = [name for name in versions.columns if name != "valid_from"]
            assert {key: {name: row[name] for name in facts} for key, row in last.items()} == {
                row[table.key[0]]: {name: row[name] for name in facts} for row in space.rows(table, DAY)
            }


def test_the_first_duration_of_a_video_is_kept(made):
    space, _ = made
    files = [file for day in ("02", "06", "07") for file in partition_files(space.raw / f"videos/dt=2026-01-{day}")]
    found = _snapshots.first_durations(files)
    assert (found.video_ids.tolist(), found.seconds.tolist()) == ([1, 2, 3], [100.0, 100.0, 5.0])


def test_without_a_video_snapshot_there_is_a_clear_error_and_users_may_be_missing(workspace):
    write_raw(workspace.raw, [], [video(1)], snapshot="2026-01-09")
    with pytest.raises(ReelflowError, match=r"found no snapshot dt=YYYY-MM-DD at or before 2026-01-08; expected at least one"):
        _snapshots.plan(context(workspace))
    write_lines(workspace.raw / "videos/dt=2026-01-08/a.jsonl", [video(1)])
    assert [str(day.dt) for day in _snapshots.plan(context(workspace)).stale] == ["2026-01-07"]
