import datetime as dt
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import _raw
from schemas import RAW_INTERACTIONS, RAW_VIDEOS

pytestmark = pytest.mark.spark

HOUR = "dt=2026-01-07/hr=10"
AT = dt.datetime(2026, 1, 7, 10, 0, 0, 123457, tzinfo=dt.UTC)
SOUND = {
    "event_id": "a",
    "user_id": 1,
    "video_id": 10,
    "interaction_type": "click",
    "occurred_at": "2026-01-07T10:00:00.123457Z",
}
HEADER = ",".join(SOUND).encode()
CELLS = ",".join(map(str, SOUND.values())).encode()


def line(**more) -> bytes:
    return json.dumps({**SOUND, **more}).encode() + b"\n"


def parquet(**more) -> pa.Table:
    at = pa.array([AT], pa.timestamp("us", "UTC"))
    return pa.table({**{name: [value] for name, value in SOUND.items()}, "occurred_at": at, **more})


@pytest.fixture
def read(spark, tmp_path):
    """Write files into one hour, read them, and check that not one row was lost or made up."""

    def made(files, table=RAW_INTERACTIONS):
        folder = tmp_path / HOUR
        folder.mkdir(parents=True)
        for name, content in files.items():
            if isinstance(content, bytes):
                (folder / name).write_bytes(content)
            else:
                pq.write_table(content, folder / name)
        probed = _raw.partition_files(folder)
        raw = _raw.read_raw(spark, probed, table)
        named = raw.frame.withColumn("file", _raw.file_name(3)).withColumn("hour", _raw.partition_value("hr", 2, 2))
        rows = [row.asDict(recursive=True) for row in named.collect()]
        assert len(rows) == sum(file.rows for file in probed)
        assert {row["hour"] for row in rows} <= {"10"}
        return rows, raw

    return made


def flaws(rows):
    return [row[_raw.FLAW] and (row[_raw.FLAW]["reason"], row[_raw.FLAW]["detail"]) for row in rows]


def found(rows, name):
    return [row[name] if row[_raw.FLAW] is None else row[_raw.FLAW]["reason"] for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", line()),
        ("a.JSONL.GZ", gzip.compress(line())),
        ("a.csv", HEADER + b"\n" + CELLS + b"\n"),
        ("a.csv.gz", gzip.compress(HEADER + b"\r\n" + CELLS)),
        ("a.parquet", parquet()),
    ],
)
def test_every_format_gives_the_same_row(read, name, content):
    rows, raw = read({name: content})
    expected = dict.fromkeys(RAW_INTERACTIONS.columns) | SOUND | {"occurred_at": AT.replace(tzinfo=None)}
    assert [{column: row[column] for column in RAW_INTERACTIONS.columns} for row in rows] == [expected]
    assert flaws(rows) == [None]
    assert rows[0][_raw.RECORD] is None
    assert rows[0]["file"] == f"{HOUR}/{name}"
    assert raw.unknown_columns == {}
    assert raw.unreadable == ()


def test_a_mark_of_byte_order_and_blank_lines_are_no_rows(read):
    mark = b"\xef\xbb\xbf"
    rows, _ = read(
        {
            "a.jsonl": mark + line() + b"\n   \n\t\n\0\0\0\n\x0b\r\n" + line(),
            "b.jsonl.gz": gzip.compress(mark + line()),
            "c.csv": mark + HEADER + b"\n" + CELLS + b"\n\n \t\n\0\n" + CELLS + b"\n",
            "d.jsonl": mark,
            "e.csv": mark,
            "f.jsonl": b"",
            "g.csv": b"",
            "h.csv": HEADER + b"\n",
            "i.parquet": parquet().slice(0, 0),
        }
    )
    assert found(rows, "event_id") == ["a"] * 5


def test_a_line_with_a_space_of_another_script_is_a_row(read):
    rows, _ = read({"a.jsonl": b"\xc2\xa0\n" + line(), "b.csv": HEADER + b"\n\xc2\xa0\n" + CELLS + b"\n"})
    assert sorted(found(rows, "event_id")) == ["a", "a", "malformed_record", "malformed_record"]


def test_names_of_files_are_only_names(read):
    names = ["a b.jsonl", "c+d%20.jsonl", "e[1]{x,y}*?.jsonl", "100%.txt", "é.jsonl", "back\\slash.jsonl"]
    rows, _ = read({name: line() for name in [*names, ".hidden.jsonl", "_SUCCESS"]})
    assert sorted(row["file"] for row in rows) == sorted(f"{HOUR}/{name}" for name in names)
    assert [row["file"] for row in rows if row[_raw.FLAW]] == [f"{HOUR}/100%.txt"]


def test_globs_in_names_read_one_file_each(read):
    rows, _ = read(
        {"*.csv": HEADER + b"\n" + CELLS, "x.csv": HEADER + b"\n" + CELLS, "[x].parquet": parquet(), "x.parquet": parquet()}
    )
    assert sorted(Path(row["file"]).name for row in rows) == ["*.csv", "[x].parquet", "x.csv", "x.parquet"]


def test_files_that_cannot_be_read_are_one_row_each(read):
    rows, raw = read(
        {
            "a.txt": b"x",
            "b.parquet": b"PAR1",
            "c.jsonl.gz": gzip.compress(line() * 100)[:-20],
            "d.csv.gz": b"no zip",
            "e.parquet.gz": b"x",
            "f": b"x",
            "g:1.jsonl": line(),
            "h.jsonl": line(),
        }
    )
    refused = {Path(row["file"]).name: row[_raw.FLAW]["reason"] for row in rows if row[_raw.FLAW]}
    names = ("a.txt", "b.parquet", "c.jsonl.gz", "d.csv.gz", "e.parquet.gz", "f", "g:1.jsonl")
    assert refused == dict.fromkeys(names, "unreadable_file")
    assert [file.path.name for file in raw.unreadable] == list(refused)
    assert len(rows) == 8


def test_records_that_are_no_object_are_malformed_and_kept_as_they_were(read):
    one = line()[:-1].decode()
    broken = [
        one[:-1],
        one[:20],
        f"{one}{one}",
        f"{one},{one}",
        f"{one} xyz",
        f"[{one}]",
        "[]",
        "5",
        '"x"',
        "null",
        "{",
        "}",
        "x",
    ]
    rows, _ = read({"a.jsonl": "\n".join([*broken, "{}", one]).encode()})
    assert [row[_raw.RECORD] for row in rows][:-2] == broken
    assert found(rows, "event_id") == ["malformed_record"] * len(broken) + ["missing_value", "a"]


def test_braces_in_text_are_no_second_record(read):
    texts = ["a}{b", "} }", '}"{', "}, {", "]}["]
    rows, _ = read(
        {"a.jsonl": b"".join(line(comment=text) for text in texts) + line(extra={"deep": {"er": [{}]}}, more=[{}, {}])}
    )
    assert found(rows, "comment") == [*texts, None]


def test_bytes_that_are_no_text_do_not_stop_the_file(read):
    rows, _ = read(
        {
            "a.jsonl": b'{"event_id": "\xff\xfe"}\n' + line()[:-1] + b"\xff\n" + line(),
            "b.csv": HEADER + b"\n\xff" + CELLS + b"\n",
        }
    )
    assert found(rows, "event_id") == ["missing_value", "malformed_record", "a", "�a"]
    assert rows[0][_raw.RECORD] == '{"event_id": "��"}'


def test_csv_rows_of_another_width_are_malformed(read):
    body = [
        CELLS,
        b"b,1",
        CELLS + b",9",
        b'"x""y",1,10,click,2026-01-07T10:00:00Z',
        b'"c,1,10,click,2026-01-07T10:00:00Z',
        b",,,,",
    ]
    rows, _ = read({"a.csv": b"\n".join([HEADER, *body])})
    assert found(rows, "event_id") == ["a", "malformed_record", "malformed_record", 'x"y', "malformed_record", "missing_value"]
    assert [row[_raw.RECORD] for row in rows][1] == "b,1"


def test_columns_of_a_csv_file_may_come_in_any_order_with_spaces_and_strangers(read):
    header = b"occurred_at, event_id ,extra,user_id,interaction_type,video_id,Event_ID,extra,,_metadata,_corrupt_record"
    rows, raw = read({"a.csv": header + b"\n2026-01-07T10:00:00Z, a ,q,1,click,10,z,r,s,t,u\n"})
    assert found(rows, "event_id") == ["a"]
    assert rows[0]["video_id"] == 10
    assert raw.unknown_columns == {"extra": 1, "Event_ID": 1, "": 1, "_metadata": 1, "_corrupt_record": 1}


def test_unknown_columns_are_counted_by_file(read):
    rows, raw = read(
        {"a.jsonl": line(x=1), "b.jsonl": line(x=1, y=2), "c.parquet": parquet(x=[1], X=[2]), "d.parquet": parquet()}
    )
    assert raw.unknown_columns == {"x": 3, "y": 1, "X": 1}
    assert found(rows, "event_id") == ["a"] * 4


def test_a_missing_column_is_named(read):
    table = parquet().drop_columns(["user_id"])
    rows, _ = read({"a.parquet": table, "b.csv": b"event_id\n1\n"})
    assert flaws(rows) == [("missing_value", "user_id: no such column in the file")] * 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("video_id", 10, 10),
        ("video_id", 10.0, 10),
        ("video_id", "10", 10),
        ("video_id", " 10 ", 10),
        ("video_id", "", None),
        ("video_id", None, None),
        ("video_id", float("nan"), None),
        ("video_id", 2**63 - 1, 2**63 - 1),
        ("video_id", 2**63, "wrong_type"),
        ("video_id", 1.5, "wrong_type"),
        ("video_id", "ten", "wrong_type"),
        ("video_id", True, "wrong_type"),
        ("video_id", {"a": 1}, "wrong_type"),
        ("video_id", [10], "wrong_type"),
        ("video_id", float("inf"), "wrong_type"),
        ("position", 2**31, "wrong_type"),
        ("watch_seconds", 5, 5.0),
        ("watch_seconds", "5.5", 5.5),
        ("watch_seconds", float("nan"), None),
        ("watch_seconds", "nan", None),
        ("watch_seconds", "long", "wrong_type"),
        ("watch_seconds", True, "wrong_type"),
        ("event_id", 7, "7"),
        ("event_id", "  ", "missing_value"),
        ("event_id", None, "missing_value"),
        ("user_id", None, "missing_value"),
        ("user_id", float("nan"), "missing_value"),
    ],
)
class TestTypes:
    def test_text(self, value_of, name, value, expected):
        assert value_of["jsonl"](name, value) == expected


@pytest.fixture(scope="module")
def value_of(spark, tmp_path_factory):
    """All values of the table above in one file: the parsed value, or the reason for its refusal."""
    cases = next(mark for mark in TestTypes.pytestmark if mark.name == "parametrize").args[1]
    folder = tmp_path_factory.mktemp("values") / HOUR
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b"".join(line(**{name: value}) for name, value, _ in cases))
    rows = _raw.read_raw(spark, _raw.partition_files(folder), RAW_INTERACTIONS).frame.collect()
    got = [row[_raw.FLAW]["reason"] if row[_raw.FLAW] else row[name] for row, (name, _, _) in zip(rows, cases, strict=True)]
    keys = [(name, repr(value)) for name, value, _ in cases]
    return {"jsonl": lambda name, value: dict(zip(keys, got, strict=True))[name, repr(value)]}


def test_types_of_parquet_columns(read):
    files = {
        "float ids": (parquet(video_id=[10.0]), 10),
        "nan id": (parquet(video_id=[float("nan")]), None),
        "half": (parquet(video_id=[1.5]), "wrong_type"),
        "text id": (parquet(video_id=["10"]), 10),
        "bad text": (parquet(video_id=["ten"]), "wrong_type"),
        "unsigned": (parquet(video_id=pa.array([10], pa.uint64())), 10),
        "too large": (parquet(video_id=pa.array([2**63], pa.uint64())), "wrong_type"),
        "decimal": (parquet(video_id=pa.array([10], pa.decimal128(5, 2))), 10),
        "bool": (parquet(video_id=[True]), "wrong_type"),
        "list": (parquet(video_id=[[10]]), "wrong_type"),
        "struct": (parquet(video_id=[{"a": 10}]), "wrong_type"),
        "bytes": (parquet(video_id=[b"10"]), "wrong_type"),
        "nulls": (parquet(video_id=pa.nulls(1)), None),
        "time": (parquet(video_id=pa.array([dt.time(1)], pa.time64("us"))), "wrong_type"),
        "float16": (parquet(video_id=pa.array(np.array([10], np.float16))), "wrong_type"),
    }
    rows, _ = read({f"{name}.parquet": table for name, (table, _) in files.items()})
    got = {Path(row["file"]).stem: value for row, value in zip(rows, found(rows, "video_id"), strict=True)}
    assert got == {name: expected for name, (_, expected) in files.items()}


def test_columns_of_types_that_spark_does_not_know_are_ignored_when_nobody_asked_for_them(read):
    strange = {
        "t": pa.array([dt.time(1)], pa.time64("ns")),
        "h": pa.array(np.array([1], np.float16)),
        "u": pa.array([1], pa.uint16()),
        "n": pa.array([1], pa.timestamp("ns")),
        "s": pa.array([{"a": [1]}]),
        "d": pa.array(["x"]).dictionary_encode(),
        "_metadata": pa.array(["x"]),
        "a.b`c": pa.array(["x"]),
    }
    rows, raw = read({"a.parquet": parquet(**strange)})
    assert found(rows, "event_id") == ["a"]
    assert raw.unknown_columns == dict.fromkeys(strange, 1)


def test_pandas_frames_with_missing_values(read):
    frame = pd.DataFrame(
        [SOUND | {"occurred_at": AT}, SOUND | {"occurred_at": AT, "video_id": None, "interaction_type": "search"}]
    )
    frame = frame.assign(watch_seconds=[1.5, np.nan], comment=None, position=[3, np.nan])
    assert frame.video_id.dtype == np.float64
    csv = frame.assign(occurred_at="2026-01-07T10:00:00.123457Z").to_csv(index=False).encode()
    rows, _ = read({"a.parquet": pa.Table.from_pandas(frame), "b.csv": csv})
    names = ("video_id", "position", "watch_seconds", "comment", "occurred_at")
    sound, search = (10, 3, 1.5, None, AT.replace(tzinfo=None)), (None, None, None, None, AT.replace(tzinfo=None))
    assert flaws(rows) == [None] * 4
    assert [tuple(row[name] for name in names) for row in rows] == [sound, search, sound, search]


TIMES = {
    "2026-01-07T10:00:00Z": (10, 0, 0, 0),
    "2026-01-07T10:00:00": (10, 0, 0, 0),
    "2026-01-07 10:00:00.5": (10, 0, 0, 500000),
    "2026-01-07T15:30:00+05:30": (10, 0, 0, 0),
    "2026-01-06T22:00:00-12:00": (10, 0, 0, 0),
    "2026-01-07T10:00:00.123457999Z": (10, 0, 0, 123457),
    "2026-01-07T10:59:59.999999999Z": (10, 59, 59, 999999),
    "2026-01-07": (0, 0, 0, 0),
    "10:00": None,
    "T10:00": None,
    "2026": None,
    "202601": None,
    "now": None,
    "today": None,
    "1767780000": None,
    "2026-02-30T00:00:00Z": None,
    "2026-01-07T25:00:00Z": None,
    "0000-01-07T10:00:00Z": None,
}


def test_times_in_text(read):
    rows, _ = read({"a.jsonl": b"".join(line(occurred_at=text) for text in TIMES)})
    expected = [clock and dt.datetime(2026, 1, 7, *clock) for clock in TIMES.values()]
    assert [row["occurred_at"] for row in rows] == expected
    assert found(rows, "event_id") == ["a" if moment else "wrong_type" for moment in expected]


def test_times_in_parquet(read):
    nanos = 1767780000 * 10**9
    columns = {
        "us": pa.array([AT], pa.timestamp("us", "UTC")),
        "naive": pa.array([AT.replace(tzinfo=None)], pa.timestamp("us")),
        "elsewhere": pa.array([AT], pa.timestamp("us", "Asia/Kolkata")),
        "ms": pa.array([nanos // 10**6], pa.timestamp("ms", "UTC")),
        "ns": pa.array([nanos + 123457999], pa.timestamp("ns", "UTC")),
        "naive ns": pa.array([nanos + 999999999], pa.timestamp("ns")),
        "text": pa.array(["2026-01-07T10:00:00Z"]),
        "number": pa.array([nanos]),
        "list": pa.array([[AT]]),
    }
    rows, _ = read({f"{name}.parquet": parquet(occurred_at=column) for name, column in columns.items()})
    got = {Path(row["file"]).stem: row["occurred_at"] or row[_raw.FLAW]["reason"] for row in rows}
    ten, exact = dt.datetime(2026, 1, 7, 10), AT.replace(tzinfo=None)
    assert got == {
        "us": exact, "naive": exact, "elsewhere": exact, "ms": ten, "ns": exact,
        "naive ns": ten.replace(microsecond=999999), "text": ten, "number": "wrong_type", "list": "wrong_type",
    }  # fmt: skip


def test_lists(read):
    video = {"video_id": 1, "duration_seconds": 1, "uploaded_at": "2026-01-01"}
    tags = {"a|b": ["a", "b"], '["a|b", "c"]': ["a|b", "c"], "a": ["a"], "": None, "[x": ["[x"]}
    lines = [json.dumps({**video, "tags": value}) for value in (["a", "b"], [], None, 5)]
    csv = "video_id;duration_seconds;uploaded_at;tags".replace(";", ",") + "\n"
    csv += "".join('1,1,2026-01-01,"{}"\n'.format(text.replace('"', '""')) for text in tags)
    table = pa.table({**{k: [v] for k, v in video.items()}, "tags": pa.array([["x", None]], pa.large_list(pa.string()))})
    rows, _ = read({"a.jsonl": "\n".join(lines).encode(), "b.csv": csv.encode(), "c.parquet": table}, RAW_VIDEOS)
    by_file = {suffix: [row["tags"] for row in rows if row["file"].endswith(suffix)] for suffix in ("jsonl", "csv", "parquet")}
    assert by_file == {"jsonl": [["a", "b"], [], None, ["5"]], "csv": list(tags.values()), "parquet": [["x", None]]}
    assert flaws(rows) == [None] * 10


def test_no_files_are_no_rows(spark, tmp_path):
    assert _raw.partition_files(tmp_path / "nothing") == []
    assert _raw.read_raw(spark, [], RAW_INTERACTIONS).frame.collect() == []


def test_snapshot_dates_are_sorted_and_strangers_left_out(tmp_path):
    for name in ("dt=2026-01-03", "dt=2026-01-01", "dt=today", "x", "dt=2026-1-1"):
        (tmp_path / name).mkdir()
    assert _raw.snapshot_dates(tmp_path) == ["2026-01-01", "2026-01-03"]
