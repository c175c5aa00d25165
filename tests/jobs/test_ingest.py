import json
import random
import re
from collections import Counter

import pytest

from jobs import ingest
from jobs._tables import Partition
from schemas import INTERACTIONS, REJECTED, REJECTED_SNAPSHOTS, USERS, VIDEOS
from tests.builders import event, moment, tree, video, window, write_lines, write_raw

DAY = ("--start", "2026-01-07T00:00:00Z", "--end", "2026-01-08T00:00:00Z")
ALL = window("00:00", "2026-01-08T00:00")


def between(start, end):
    return "--start", f"2026-01-07T{start}Z", "--end", f"2026-01-07T{end}Z"


def hour_files(raw, hour):
    return raw / "interactions" / f"dt=2026-01-07/hr={hour:02d}"


def of_hour(space, table, hour):
    return space.lake.read(table, [Partition.hour(moment(f"{hour:02d}:00"))]).to_pylist()


def kept(space, hour):
    return [row["event_id"] for row in of_hour(space, INTERACTIONS, hour)]


def refused(space, hour):
    return [(row["reason"], row["detail"]) for row in of_hour(space, REJECTED, hour)]


def counts(space, hour):
    found = {
        table.name: space.lake.manifest(table, Partition.hour(moment(f"{hour:02d}:00"))) for table in (INTERACTIONS, REJECTED)
    }
    assert found["interactions"].counts == found["rejected"].counts
    return found["interactions"].counts


# One hour a kind of flaw: the rows, which of them are kept, and reasons with details of the others.
OK = event("ok", "click", "00:30:00")
FLAWS = {
    0: ([OK], ["ok"], []),
    1: (
        [event("a", "click", "01:00:00", position=-1), event("b", "watch", "01:00:00", watch_seconds=-0.5)],
        [],
        [("out_of_range", "position = -1"), ("out_of_range", "watch_seconds = -0.5")],
    ),
    2: (
        [event("a", "watch", "02:00:00", watch_seconds=86400.0), event("b", "watch", "02:00:00", watch_seconds=86400.5)],
        ["a"],
        [("out_of_range", "watch_seconds = 86400.5")],
    ),
    3: (
        [event("a", "click", "03:00:00", latitude=90.5), event("b", "click", "03:00:00", longitude=-180.5)],
        [],
        [("out_of_range", "latitude = 90.5"), ("out_of_range", "longitude = -180.5")],
    ),
    4: ([event("a", "clic", "04:00:00"), event("b", "", "04:00:00")], [], [
        ("missing_value", "interaction_type is null"), ("unknown_interaction_type", "interaction_type = clic"),
    ]),
    5: (
        [event("a", "click", "05:00:00", video=99), event("b", "search", "05:00:00", video=None, query="cats")],
        ["b"],
        [("unknown_video", "video_id = 99")],
    ),
    6: (
        [event("a", "click", "06:00:00", video=None), event("c", "search", "06:00:00", video=10)],
        ["c"],
        [("missing_value", "video_id is null")],
    ),
    8: (
        [event("z", "click", "08:59:59.999999"), event("a", "click", "08:00:00"), event("m", "click", "08:00:00")],
        ["a", "m", "z"],
        [],
    ),
    9: (
        ["nonsense", json.dumps(event("a", "click", "09:00:00")) * 2],
        [],
        [("malformed_record", "the record cannot be parsed")] * 2,
    ),
    10: (
        [event("a", "click", "10:00:00", user="one"), event("b", "click", "10:00:00", user=None)],
        [],
        [("missing_value", "user_id is null"), ("wrong_type", "user_id = one; expected int64")],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo(new_workspace):
    """One run over a day whose every hour holds another kind of flaw."""
    space = new_workspace()
    videos = [video(10), video(11, duration_seconds=0)]
    write_raw(space.raw, [], videos, [{"user_id": 1, "username": "secret"}])
    for hour, (rows, _, _) in FLAWS.items():
        write_lines(hour_files(space.raw, hour) / "a.jsonl", rows)
    outside = [
        event("a", "click", "10:59:59.999999"),
        event("b", "click", "12:00:00"),
        event("c", "click", "2026-01-06T11:30:00Z"),
    ]
    write_lines(hour_files(space.raw, 11) / "a.jsonl", [*outside, event("d", "click", "11:00:00", video=11)])
    # 13 to 16: the same event twice in 13, again in 14, and again in 16.
    again = [event("e", "click", "13:10:00"), event("e", "like", "13:20:00"), event("f", "click", "13:00:00")]
    write_lines(hour_files(space.raw, 13) / "a b (1).jsonl", again[:1])
    write_lines(hour_files(space.raw, 13) / "b.jsonl", again[1:])
    write_lines(hour_files(space.raw, 14) / "a.jsonl", [event("e", "click", "14:00:00")])
    write_lines(
        hour_files(space.raw, 16) / "a.jsonl", [event("e", "click", "16:00:00", extra=1), event("g", "click", "16:00:00")]
    )
    # 17: a broken row does not make its sound twin a duplicate; a repeat of an unknown video is a duplicate of it.
    twins = [event("h", "click", "17:00:00", user=None), event("h", "click", "17:30:00")]
    write_lines(
        hour_files(space.raw, 17) / "a.jsonl", [*twins, *[event("i", "click", f"17:0{n}:00", video=98) for n in (1, 2)]]
    )
    (hour_files(space.raw, 18)).mkdir(parents=True)
    (hour_files(space.raw, 18) / "x y.txt").write_text("x")
    (hour_files(space.raw, 18) / "y.parquet").write_text("x")
    (hour_files(space.raw, 18) / "z.jsonl").touch()
    write_lines(hour_files(space.raw, 22) / "a.jsonl", [event("j", "click", "22:00:00", comment="private", latitude=1.5)])
    status, out, error = space.command(ingest, *DAY)
    assert (status, error) == (0, "")
    return space, out


class TestRules:
    @pytest.mark.parametrize("hour", FLAWS)
    def test_each_flaw_has_its_reason(self, zoo, hour):
        rows, ids, reasons = FLAWS[hour]
        assert kept(zoo[0], hour) == ids
        assert sorted(refused(zoo[0], hour)) == reasons
        assert counts(zoo[0], hour)["read"] == len(rows)

    def test_a_clean_event_is_the_contract_with_the_duration_of_its_video(self, zoo):
        (row,) = of_hour(zoo[0], INTERACTIONS, 0)
        blank = dict.fromkeys(("watch_seconds", "query", "device", "request_id", "position"))
        assert row == {**OK, **blank, "occurred_at": moment("00:30"), "duration_seconds": 100.0}

    def test_a_refused_row_is_kept_with_its_file_and_its_text(self, zoo):
        row = next(row for row in of_hour(zoo[0], REJECTED, 5))
        assert row["source"] == "interactions"
        assert row["file"] == "interactions/dt=2026-01-07/hr=05/a.jsonl"
        record = json.loads(row["record"])
        assert (record["event_id"], record["video_id"], record["occurred_at"]) == ("a", 99, "2026-01-07T05:00:00Z")
        assert sorted(row["record"] for row in of_hour(zoo[0], REJECTED, 9)) == sorted(FLAWS[9][0])

    def test_only_events_of_the_hour_lie_in_its_partition(self, zoo):
        space = zoo[0]
        assert kept(space, 11) == ["d"]
        assert of_hour(space, INTERACTIONS, 11)[0]["duration_seconds"] == 0.0
        assert refused(space, 11) == [
            ("outside_partition", f"occurred_at = {text} does not lie in the directory's hour")
            for text in ("2026-01-06 11:30:00", "2026-01-07 10:59:59.999999", "2026-01-07 12:00:00")
        ]

    def test_a_repeat_within_the_hour_and_the_next_is_dropped_and_two_hours_later_is_not(self, zoo):
        space = zoo[0]
        assert [kept(space, hour) for hour in (13, 14, 15, 16)] == [["f", "e"], [], [], ["e", "g"]]
        assert of_hour(space, INTERACTIONS, 13)[1]["interaction_type"] == "click"
        assert counts(space, 13) == {"read": 3, "kept": 2, "duplicate": 1}
        assert counts(space, 14) == {"read": 1, "duplicate": 1}

    def test_flawed_rows_and_repeats_do_not_hide_each_other(self, zoo):
        space = zoo[0]
        assert kept(space, 17) == ["h"]
        assert counts(space, 17) == {
            "read": 4, "kept": 1, "duplicate": 1, "rejected": 2, "missing_value": 1, "unknown_video": 1,
        }  # fmt: skip

    def test_unreadable_files_are_a_row_each(self, zoo):
        space = zoo[0]
        rows = of_hour(space, REJECTED, 18)
        assert [(row["file"].rsplit("/")[-1], row["reason"]) for row in rows] == [
            ("x y.txt", "unreadable_file"),
            ("y.parquet", "unreadable_file"),
        ]
        assert counts(space, 18) == {"read": 2, "rejected": 2, "unreadable_file": 2}

    def test_hours_without_logs_are_empty_partitions(self, zoo):
        space, out = zoo
        assert [counts(space, hour) for hour in (7, 12, 15, 23)] == [{"read": 0}] * 4
        assert kept(space, 7) == refused(space, 7) == []
        assert "7 hours have no raw logs" in out

    def test_rows_in_are_rows_out_and_duplicates_and_rejected_in_every_hour(self, zoo):
        space = zoo[0]
        total = Counter()
        for hour in range(24):
            found = counts(space, hour)
            assert len(kept(space, hour)) == found.get("kept", 0)
            assert len(refused(space, hour)) == found.get("rejected", 0)
            assert found["read"] == found.get("kept", 0) + found.get("duplicate", 0) + found.get("rejected", 0)
            assert Counter(reason for reason, _ in refused(space, hour)) == {
                name: count for name, count in found.items() if name not in ("read", "kept", "duplicate", "rejected")
            }
            total.update(found)
        lines = sum(len(file.read_text().splitlines()) for file in space.raw.glob("interactions/*/*/*.jsonl"))
        assert total["read"] == lines + 2
        assert f"read {total['read']} raw rows" in zoo[1]

    def test_unknown_columns_are_told(self, zoo):
        assert "ignored unknown columns extra" in zoo[1]

    def test_what_is_personal_stays_in_the_raw_logs(self, zoo):
        space = zoo[0]
        assert kept(space, 22) == ["j"]
        assert {"comment", "latitude", "longitude"}.isdisjoint(space.rows(INTERACTIONS, ALL)[0])
        assert "username" not in space.rows(USERS, ALL)[0]

    def test_a_second_run_is_up_to_date_and_a_forced_one_gives_the_same_bytes(self, zoo):
        space = zoo[0]
        before = tree(space.lake.root)
        report = space.run(ingest, *DAY)
        assert report.up_to_date
        assert tree(space.lake.root) == before
        assert not space.run(ingest, *between("08:00", "12:00"), "--force").up_to_date
        assert tree(space.lake.root) == before

    def test_a_changed_hour_is_made_again_with_the_next_and_no_other(self, zoo):
        space = zoo[0]
        before = tree(space.lake.root)
        write_lines(hour_files(space.raw, 20) / "late.jsonl", [event("late", "click", "20:00:00")])
        report = space.run(ingest, *DAY)
        assert report.facts == {"hours": 2}
        assert (report.read, report.wrote) == ({"raw rows": 1}, {"interactions": 1, "duplicates": 0, "rejected": 0})
        after = tree(space.lake.root)
        changed = {name.rsplit("/", 1)[0] for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert changed == {f"{table}/dt=2026-01-07/hr={hour}" for table in ("interactions", "rejected") for hour in (20, 21)}
        assert kept(space, 20) == ["late"]


def small_log(raw):
    """Events of 20:00 to 23:00 with a repeat across each border; those of the first two hours are as late as can be."""
    rows = [event(f"{hour}-{n}", "click", f"{hour}:{n}0:00", user=n + 1) for hour in (20, 21, 22) for n in range(6)]
    rows += [event("20-5", "click", "21:00:00"), event("21-5", "click", "22:00:00"), event("20-1", "click", "22:30:00")]
    write_raw(raw, [*rows, event("x", "click", "21:15:00", video=99)], [video(10)], [{"user_id": 1}])


def test_one_run_over_three_hours_equals_three_runs_of_one_hour(new_workspace):
    whole, parts = new_workspace(), new_workspace()
    for space in (whole, parts):
        small_log(space.raw)
    whole.run(ingest, *between("20:00", "23:00"))
    for hour in (22, 20, 21):
        parts.run(ingest, *between(f"{hour}:00", f"{hour + 1}:00"))
    found = tree(whole.lake.root)
    assert found == tree(parts.lake.root)
    assert len([name for name in found if name.startswith("interactions") and name.endswith(".json")]) == 3
    assert [counts(whole, hour).get("duplicate", 0) for hour in (20, 21, 22)] == [0, 1, 1]


def test_a_run_reads_nothing_at_or_after_its_end(new_workspace):
    past, full = new_workspace(), new_workspace()
    for space in (past, full):
        small_log(space.raw)
    write_raw(
        full.raw, [event("n", "click", "2026-01-08T00:00:00Z")], [video(10, removed=True), video(99)], snapshot="2026-01-09"
    )
    for file in ("a.jsonl", "b.parquet"):
        write_lines(full.raw / "interactions/dt=2026-01-07/hr=23" / file, [event("20-0", "click", "23:00:00"), "broken"])
    for space in (past, full):
        space.run(ingest, *between("20:00", "23:00"))
    assert tree(past.lake.root) == tree(full.lake.root)
    status, _, error = full.command(ingest, *between("20:00", "22:30"))
    assert status == 2
    assert "window end 2026-01-07T22:30:00.000000Z: not a whole hour" in error


def test_an_event_of_an_unknown_video_comes_back_when_a_snapshot_knows_it(new_workspace):
    space = new_workspace()
    rows = [
        event("a", "click", "10:00:00", video=77),
        event("b", "click", "10:00:00", video=78),
        event("c", "click", "11:00:00"),
    ]
    write_raw(space.raw, rows, [video(10)], snapshot="2026-01-06")
    space.run(ingest, *between("10:00", "12:00"))
    assert (kept(space, 10), refused(space, 10)) == (
        [],
        [("unknown_video", "video_id = 77"), ("unknown_video", "video_id = 78")],
    )
    write_raw(space.raw, [], [video(77, duration_seconds=30)], snapshot="2026-01-07")
    before = tree(space.lake.root)
    report = space.run(ingest, *between("10:00", "12:00"))
    assert report.facts == {"hours": 1}
    assert (kept(space, 10), refused(space, 10)) == (["a"], [("unknown_video", "video_id = 78")])
    assert of_hour(space, INTERACTIONS, 10)[0]["duration_seconds"] == 30.0
    after = tree(space.lake.root)
    assert {name: after[name] for name in after if "hr=11" in name} == {
        name: before[name] for name in before if "hr=11" in name
    }
    assert space.run(ingest, *between("10:00", "12:00")).up_to_date


class TestMissing:
    def test_no_logs_at_all(self, workspace):
        write_raw(workspace.raw, [], [video(10)])
        status, _, error = workspace.command(ingest, *DAY)
        assert status == 2
        assert error == (
            f"reelflow | ingest | error: raw logs {workspace.raw}/interactions: found no dt=YYYY-MM-DD/hr=HH folder; "
            "set paths.raw to a folder with raw logs\n"
        )

    def test_a_day_without_logs_names_the_days_there_are(self, workspace):
        write_raw(workspace.raw, [event("a", "click", "10:00:00")], [video(10)], snapshot="2026-01-06")
        status, _, error = workspace.command(ingest, "--as-of", "2026-01-09T00:00:00Z")
        assert status == 2
        assert (
            "nothing in 2026-01-08T00:00:00Z to 2026-01-09T00:00:00Z; they cover 2026-01-07T10:00:00Z to "
            "2026-01-07T11:00:00Z; choose a window" in error
        )
        assert workspace.lake.partitions(INTERACTIONS, ALL) == []

    def test_no_snapshot_at_or_before_the_end(self, workspace):
        write_raw(workspace.raw, [event("a", "click", "10:00:00")], [video(10)], snapshot="2026-01-09")
        status, _, error = workspace.command(ingest, *DAY)
        assert status == 2
        assert "found no snapshot dt=YYYY-MM-DD at or before 2026-01-08; expected at least one" in error

    def test_a_folder_that_is_no_hour(self, workspace):
        write_raw(workspace.raw, [event("a", "click", "10:00:00")], [video(10)])
        (workspace.raw / "interactions/dt=2026-01-07/hr=24").mkdir()
        status, _, error = workspace.command(ingest, *DAY)
        assert status == 2
        assert "hr=24: not an hour; expected dt=YYYY-MM-DD/hr=00 to hr=23" in error


def mutants(rng, lines):
    """Lines with a random wound each; half of them stay whole, and are returned as such too."""
    values = [
        "NaN",
        "-Infinity",
        "1e400",
        "9" * 400,
        "-0",
        "null",
        "true",
        '"1"',
        '"1.5"',
        "{}",
        "[[]]",
        '"\\ud800"',
        '"é😀"',
        '"\\u0000"',
    ]
    values += [
        '"2026-01-07T23:59:60Z"',
        '"2026-01-07"',
        '"10:00"',
        "0",
        "1.0",
        "-1",
        '""',
        '" "',
        "'x'",
        "\x00",
        '"' + "x" * 5000 + '"',
    ]
    whole, wounded = [], []
    for text in lines:
        cut = rng.randrange(len(text))
        kind = rng.randrange(14)
        if kind > 6:
            whole.append(text)
            wounded.append(text.encode())
        elif kind == 0:
            wounded.append(text[:cut].encode())
        elif kind == 1:
            wounded.append((text[:cut] + rng.choice("\"'{}[],:|\\\t\x00\x1f\u2028\xa0") + text[cut:]).encode())
        elif kind == 2:
            wounded.append(
                text[:cut].encode() + bytes([rng.choice([0, 9, 11, 12, 127, 133, 160, 200, 255])]) + text[cut + 1 :].encode()
            )
        elif kind == 3:
            wounded.append((text + rng.choice([" ", "\r", ",", "x", text, "}", "\t\x00", '"'])).encode())
        elif kind == 4:
            wounded.append(
                b"".join(rng.choice([b" ", b"\t", b"\0", b"\xc2\xa0", b"\x85", b"\x1c", b'"', b","]) for _ in range(3))
            )
        else:
            parts = re.split(r"(: |, |,)", text)
            parts[rng.randrange(len(parts))] = rng.choice(values)
            wounded.append("".join(parts).encode("utf-8", "surrogatepass"))
    return whole, wounded


def rows_in(content):
    """How many lines of a file are not blank, counted without any of the code under test."""
    return sum(bool(line.strip(bytes(range(33)))) for line in re.split(rb"\r\n|\r|\n", content))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_wound_stops_a_run_or_loses_a_row(new_workspace, seed):
    rng = random.Random(seed)
    space = new_workspace()
    write_raw(space.raw, [], [video(10)])
    expected, sound = {}, {}
    for hour in (10, 12, 14):
        rows = [
            event(f"{hour}-{n}", "watch", f"{hour}:{n % 60:02d}:00", user=n, watch_seconds=5, device="tv") for n in range(120)
        ]
        texts = [json.dumps(row) if hour != 12 else ",".join(map(str, row.values())) for row in rows]
        whole, wounded = mutants(rng, texts)
        header = [] if hour != 12 else [",".join(rows[0]).encode()]
        content = rng.choice([b"\n", b"\r\n"]).join([*header, *wounded])
        file = hour_files(space.raw, hour) / ("a.csv" if hour == 12 else "a.jsonl")
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        expected[hour] = rows_in(content) - len(header)
        sound[hour] = {re.search(rf"{hour}-\d+", text)[0] for text in whole}
    healthy, snapshot = mutants(rng, [json.dumps(video(n)) for n in range(20, 120)])
    (space.raw / "videos/dt=2026-01-07/more.jsonl").write_bytes(b"\n".join(snapshot))
    space.run(ingest, *between("10:00", "15:00"))
    for hour, lines in expected.items():
        found = counts(space, hour)
        assert found["read"] == lines
        assert found["read"] == found.get("kept", 0) + found.get("duplicate", 0) + found.get("rejected", 0)
        assert sound[hour] <= set(kept(space, hour))
        assert len(refused(space, hour)) == found["rejected"]
    videos, bad = space.rows(VIDEOS, ALL), space.rows(REJECTED_SNAPSHOTS, ALL)
    assert {json.loads(text)["video_id"] for text in healthy} | {10} <= {row["video_id"] for row in videos}
    assert len(bad) > 10
