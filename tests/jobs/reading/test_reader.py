import datetime as dt
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.reading import RawReader, partition_files, read_file
from schemas import RAW_INTERACTIONS, RAW_VIDEOS

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
MALFORMED = ("malformed_record", "the record cannot be parsed")


def line(**more) -> bytes:
    return json.dumps({**SOUND, **more}).encode() + b"\n"


def parquet(**more) -> pa.Table:
    at = pa.array([AT], pa.timestamp("us", "UTC"))
    return pa.table({**{name: [value] for name, value in SOUND.items()}, "occurred_at": at, **more})


def rows_of(reader: RawReader) -> list[dict]:
    """All rows of a file with their record and their flaw; checks that not one was lost or made up."""
    found = []
    for batch in reader.batches():
        assert batch.table.schema == reader.table.arrow
        assert 0 < len(batch.table) <= reader.max_rows
        texts = batch.records(np.arange(len(batch.table)))
        rows = [{**row, "record": text, "flaw": None} for row, text in zip(batch.table.to_pylist(), texts, strict=True)]
        for row, *flaw in zip(batch.flaws.rows, batch.flaws.reasons, batch.flaws.details, strict=True):
            rows[row]["flaw"] = tuple(flaw)
        found += rows
    assert len(found) == reader.rows
    return found


@pytest.fixture
def read(tmp_path):
    """Write files into one folder, and read each; returns their rows by file name, and the readers by file name."""

    def made(files, table=RAW_INTERACTIONS):
        for name, content in files.items():
            if isinstance(content, bytes):
                (tmp_path / name).write_bytes(content)
            else:
                pq.write_table(content, tmp_path / name)
        readers = {file.path.name: RawReader(file, table) for file in partition_files(tmp_path)}
        return {name: rows_of(reader) for name, reader in readers.items()}, readers

    return made


def flaws(rows):
    return [row["flaw"] for row in rows]


def found(rows, name):
    return [row[name] if row["flaw"] is None else row["flaw"][0] for row in rows]


def together(by_file):
    return [row for name in sorted(by_file) for row in by_file[name]]


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
    by_file, readers = read({name: content})
    (row,) = by_file[name]
    record = row.pop("record")
    assert row == dict.fromkeys(RAW_INTERACTIONS.columns) | SOUND | {"occurred_at": AT, "flaw": None}
    assert record == {
        "a.parquet": json.dumps({**SOUND, "occurred_at": "2026-01-07 10:00:00.123457Z"}, separators=(",", ":"))
    }.get(name, CELLS.decode() if "csv" in name else line().decode().strip())
    assert readers[name].unknown_columns == set()
    assert readers[name].problem is None


def test_a_reader_can_be_read_again_and_read_file_gives_the_same(read):
    _, readers = read({"a.jsonl": line() * 3})
    reader = readers["a.jsonl"]
    assert rows_of(reader) == rows_of(reader)
    assert [batch.table for batch in read_file(reader.file, RAW_INTERACTIONS)] == [batch.table for batch in reader.batches()]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_batches_hold_no_more_rows_than_asked_for_and_no_row_changes(tmp_path, name):
    events = [{**SOUND, "event_id": str(n), "user_id": n if n % 7 else None} for n in range(50)]
    if name == "a.parquet":
        table = pa.Table.from_pylist([{**row, "occurred_at": AT} for row in events])
        pq.write_table(table, tmp_path / name, row_group_size=20)
    else:
        lines = [
            json.dumps(row) if name == "a.jsonl" else ",".join("" if v is None else str(v) for v in row.values())
            for row in events
        ]
        (tmp_path / name).write_text("\n".join([HEADER.decode(), *lines] if name == "a.csv" else lines))
    (file,) = partition_files(tmp_path)
    whole, pieces = RawReader(file, RAW_INTERACTIONS), RawReader(file, RAW_INTERACTIONS, 7)
    assert [len(batch.table) for batch in whole.batches()] == ([20, 20, 10] if name == "a.parquet" else [50])
    assert max(len(batch.table) for batch in pieces.batches()) == 7
    assert rows_of(whole) == rows_of(pieces)
    assert [row["event_id"] for row in rows_of(pieces)] == [str(n) for n in range(50)]
    assert found(rows_of(pieces), "user_id") == [n if n % 7 else "missing_value" for n in range(50)]


def test_a_mark_of_byte_order_and_blank_lines_are_no_rows(read):
    mark = b"\xef\xbb\xbf"
    by_file, _ = read(
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
    assert found(together(by_file), "event_id") == ["a"] * 5


def test_a_line_with_a_space_of_another_script_is_a_row(read):
    by_file, _ = read({"a.jsonl": b"\xc2\xa0\n" + line(), "b.csv": HEADER + b"\n\xc2\xa0\n" + CELLS + b"\n"})
    assert found(together(by_file), "event_id") == ["malformed_record", "a"] * 2


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_every_way(read, end):
    by_file, _ = read({"a.jsonl": end.join([line().strip()] * 3), "b.csv": end.join([HEADER, CELLS, CELLS]) + end})
    assert found(together(by_file), "event_id") == ["a"] * 5


def test_names_of_files_are_only_names(read):
    names = [
        "a b.jsonl",
        "c+d%20.jsonl",
        "e[1]{x,y}*?.jsonl",
        "100%.txt",
        "é.jsonl",
        "back\\slash.jsonl",
        "g:1.jsonl",
        "*.jsonl",
    ]
    by_file, _ = read({name: line() for name in [*names, ".hidden.jsonl", "_SUCCESS"]})
    assert sorted(by_file) == sorted(names)
    assert {name: len(rows) for name, rows in by_file.items()} == dict.fromkeys(names, 1)
    assert [name for name, rows in by_file.items() if rows[0]["flaw"]] == ["100%.txt"]


def test_files_that_cannot_be_read_are_one_row_each(read):
    by_file, readers = read(
        {
            "a.txt": b"x",
            "b.parquet": b"PAR1",
            "c.jsonl.gz": gzip.compress(line() * 100)[:-20],
            "d.csv.gz": b"no zip",
            "e.parquet.gz": b"x",
            "f": b"x",
            "h.jsonl": line(),
            "i.parquet": b"",
        }
    )
    refused = {name: rows[0]["flaw"] for name, rows in by_file.items() if rows[0]["flaw"]}
    assert {name: reason for name, (reason, _) in refused.items()} == dict.fromkeys(
        ("a.txt", "b.parquet", "c.jsonl.gz", "d.csv.gz", "e.parquet.gz", "f", "i.parquet"), "unreadable_file"
    )
    assert {name: reader.problem for name, reader in readers.items() if reader.problem} == {
        name: detail for name, (_, detail) in refused.items()
    }
    assert refused["a.txt"][1] == "unknown format 'a.txt'; expected .parquet, .jsonl or .csv"
    assert refused["c.jsonl.gz"][1] == "cannot be read: Compressed file ended before the end-of-stream marker was reached"
    assert all(len(rows) == 1 for rows in by_file.values())
    assert by_file["a.txt"][0] == dict.fromkeys(RAW_INTERACTIONS.columns) | {"record": None, "flaw": refused["a.txt"]}


def test_a_file_that_is_gone_is_one_row_and_says_nothing_of_its_folder(read, tmp_path):
    _, readers = read({"a.jsonl": line(), "b.parquet": parquet(), "c.csv": HEADER})
    for reader in readers.values():
        reader.file.path.unlink()
        (row,) = rows_of(reader)
        assert row["flaw"][0] == "unreadable_file"
        assert row["flaw"][1].startswith("cannot be read: ")
        assert str(tmp_path) not in row["flaw"][1]


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
        "{}{}",
        "{}}",
        '{"x": -NaN}',
        '{"x": Inf}',
        '{"x": [Inf]}',
        '{"x": "\t"}',
        '{"x": 01}',
        "[" * 1000 + "{}" + "]" * 1000,
        '{"x": ' + "[" * 1000 + "]" * 1000 + "}",
    ]
    by_file, _ = read({"a.jsonl": "\n".join([*broken, "{}", one]).encode()})
    assert [row["record"] for row in by_file["a.jsonl"]] == [*broken, "{}", one]
    assert flaws(by_file["a.jsonl"]) == [MALFORMED] * len(broken) + [("missing_value", "event_id is null"), None]


def test_an_object_over_two_lines_is_two_malformed_records(read):
    halves = [b'{"event_id": "b",', b'"user_id": 1}', b'{"event_id": {"b": 1}', b', "c": {"d": 1}}']
    by_file, _ = read({"a.jsonl": line() + b"\n".join(halves) + b"\n" + line()})
    assert found(by_file["a.jsonl"], "event_id") == ["a", *["malformed_record"] * 4, "a"]


def test_two_objects_on_a_line_do_not_make_up_for_one_over_two_lines(read):
    lines = [line().strip() * 2, b'{"x": {"y": 1}', b'{"z": 1}}']
    by_file, _ = read({"a.jsonl": b"\n".join([*lines, line()])})
    assert found(by_file["a.jsonl"], "event_id") == [*["malformed_record"] * 3, "a"]


def test_braces_in_text_are_no_second_record(read):
    texts = ["a}{b", "} }", '}"{', "}, {", "]}["]
    content = b"".join(line(comment=text) for text in texts) + line(extra={"deep": {"er": [{}]}}, more=[{}, {}])
    by_file, _ = read({"a.jsonl": content})
    assert found(by_file["a.jsonl"], "comment") == [*texts, None]


def test_of_a_name_that_comes_twice_in_an_object_the_last_value_counts(read):
    by_file, _ = read({"a.jsonl": line()[:-2] + b', "user_id": 2}\n' + line()})
    assert found(by_file["a.jsonl"], "user_id") == [2, 1]


def test_bytes_that_are_no_text_do_not_stop_the_file(read):
    by_file, _ = read(
        {
            "a.jsonl": b'{"event_id": "\xff\xfe"}\n' + line()[:-1] + b"\xff\n" + line(),
            "b.csv": HEADER + b"\n\xff" + CELLS + b"\n",
        }
    )
    assert found(together(by_file), "event_id") == ["missing_value", "malformed_record", "a", "\ufffda"]
    assert by_file["a.jsonl"][0]["record"] == '{"event_id": "\ufffd\ufffd"}'


def test_half_a_surrogate_pair_becomes_the_replacement_character(read):
    by_file, _ = read({"a.jsonl": line(comment="\ud83d") + line(comment="\ud83d\ude00") + line(other="\ude00")})
    assert found(by_file["a.jsonl"], "comment") == ["\ufffd", "😀", None]


def test_csv_rows_of_another_width_are_malformed(read):
    body = [
        CELLS,
        b"b,1",
        CELLS + b",9",
        b'"x""y",1,10,click,2026-01-07T10:00:00Z',
        b'"c,1,10,click,2026-01-07T10:00:00Z',
        b",,,,",
        b'd"e,1,10,click,"2026-01-07T10:00:00Z',
    ]
    by_file, _ = read({"a.csv": b"\n".join([HEADER, *body])})
    expected = ["a", "malformed_record", "malformed_record", 'x"y', "malformed_record", "missing_value", "malformed_record"]
    assert found(by_file["a.csv"], "event_id") == expected
    assert [row["record"] for row in by_file["a.csv"]] == [record.decode() for record in body]


def test_columns_of_a_csv_file_may_come_in_any_order_with_spaces_and_strangers(read):
    header = b"occurred_at, event_id ,extra,user_id,interaction_type,video_id,Event_ID,extra,,_metadata,_corrupt_record"
    by_file, readers = read({"a.csv": header + b"\n2026-01-07T10:00:00Z, a ,q,1,click,10,z,r,s,t,u\n"})
    assert found(by_file["a.csv"], "event_id") == ["a"]
    assert by_file["a.csv"][0]["video_id"] == 10
    assert readers["a.csv"].unknown_columns == {"extra", "Event_ID", "", "_metadata", "_corrupt_record"}


def test_unknown_columns_are_named_by_file(read):
    by_file, readers = read(
        {"a.jsonl": line(x=1), "b.jsonl": line(x=1, y=2), "c.parquet": parquet(x=[1], X=[2]), "d.parquet": parquet()}
    )
    assert {name: reader.unknown_columns for name, reader in readers.items()} == {
        "a.jsonl": {"x"}, "b.jsonl": {"x", "y"}, "c.parquet": {"x", "X"}, "d.parquet": set(),
    }  # fmt: skip
    assert found(together(by_file), "event_id") == ["a"] * 4


def test_a_missing_column_is_named(read):
    table = parquet().drop_columns(["user_id"])
    by_file, _ = read({"a.parquet": table, "b.csv": b"event_id\n1\n", "c.csv": b"x\n1\n2,3\n"})
    assert flaws(by_file["a.parquet"] + by_file["b.csv"]) == [("missing_value", "user_id: no such column in the file")] * 2
    assert flaws(by_file["c.csv"]) == [("missing_value", "event_id: no such column in the file"), MALFORMED]


VALUES = [
    ("video_id", 10, 10),
    ("video_id", 10.0, 10),
    ("video_id", "10", 10),
    ("video_id", "10.0", 10),
    ("video_id", "+10", 10),
    ("video_id", "0x10", "wrong_type"),
    ("video_id", " 10 ", 10),
    ("video_id", "", None),
    ("video_id", None, None),
    ("video_id", float("nan"), None),
    ("video_id", "NaN", None),
    ("video_id", 2**63 - 1, 2**63 - 1),
    ("video_id", 2**63, "wrong_type"),
    ("video_id", 10**5000, "wrong_type"),
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
    ("watch_seconds", float("inf"), "out_of_range"),
    ("watch_seconds", "long", "wrong_type"),
    ("watch_seconds", "1d", "wrong_type"),
    ("watch_seconds", True, "wrong_type"),
    ("event_id", 7, "7"),
    ("event_id", 7.0, "7.0"),
    ("event_id", True, "true"),
    ("event_id", {"a": [1, None]}, '{"a":[1,null]}'),
    ("event_id", "  ", "missing_value"),
    ("event_id", None, "missing_value"),
    ("user_id", None, "missing_value"),
    ("user_id", float("nan"), "missing_value"),
]


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
def test_values_in_text(read, alone):
    """Each value in a file of its own, where Arrow is told what to expect, and all in one file."""
    lines = [
        line().replace(b"10", b"1" + b"0" * 5000, 1) if value == 10**5000 else line(**{name: value})
        for name, value, _ in VALUES
    ]
    files = {f"{number:02d}.jsonl": content for number, content in enumerate(lines)} if alone else {"a.jsonl": b"".join(lines)}
    rows = together(read(files)[0])
    got = [row["flaw"][0] if row["flaw"] else row[name] for row, (name, _, _) in zip(rows, VALUES, strict=True)]
    assert list(zip(VALUES, got, strict=True)) == [(case, case[2]) for case in VALUES]


def test_types_of_parquet_columns(read):
    files = {
        "float ids": (parquet(video_id=[10.0]), 10),
        "nan id": (parquet(video_id=[float("nan")]), None),
        "half": (parquet(video_id=[1.5]), "wrong_type"),
        "too large float": (parquet(video_id=[2.0**63]), "wrong_type"),
        "infinite": (parquet(video_id=[float("inf")]), "wrong_type"),
        "text id": (parquet(video_id=["10"]), 10),
        "large text": (parquet(video_id=pa.array(["10"], pa.large_string())), 10),
        "dictionary": (parquet(video_id=pa.array(["10"]).dictionary_encode()), 10),
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
        "moment": (parquet(video_id=pa.array([AT], pa.timestamp("us", "UTC"))), "wrong_type"),
        "float16": (parquet(video_id=pa.array(np.array([10], np.float16))), 10),
    }
    by_file, _ = read({f"{name}.parquet": table for name, (table, _) in files.items()})
    got = {Path(name).stem: found(rows, "video_id")[0] for name, rows in by_file.items()}
    assert got == {name: expected for name, (_, expected) in files.items()}


def test_the_detail_shows_the_value_as_the_file_has_it(read):
    values = {
        "a": 1.5, "b": True, "c": [10, None], "d": {"x": "y"}, "e": b"10", "f": "x" * 200, "g": float("-inf"),
    }  # fmt: skip
    by_file, _ = read({f"{name}.parquet": parquet(video_id=[value]) for name, value in values.items()})
    shown = ("1.5", "true", "[10,null]", '{"x":"y"}', "10", "x" * 100, "-Infinity")
    details = [f"video_id = {text}; expected int64" for text in shown]
    assert flaws(together(by_file)) == [("wrong_type", detail) for detail in details]


def test_columns_of_strange_types_are_ignored_when_nobody_asked_for_them(read):
    strange = {
        "t": pa.array([dt.time(1)], pa.time64("ns")),
        "h": pa.array(np.array([1], np.float16)),
        "u": pa.array([1], pa.uint16()),
        "n": pa.array([1], pa.timestamp("ns")),
        "far": pa.array([2**62], pa.timestamp("us")),
        "s": pa.array([{"a": [1]}]),
        "d": pa.array(["x"]).dictionary_encode(),
        "m": pa.array([[("k", float("nan"))]], pa.map_(pa.string(), pa.float64())),
        "b": pa.array([b"\xff"]),
        "_metadata": pa.array(["x"]),
        "a.b`c": pa.array(["x"]),
        "z": pa.nulls(1),
    }
    by_file, readers = read({"a.parquet": parquet(**strange)})
    (row,) = by_file["a.parquet"]
    assert row["flaw"] is None
    assert readers["a.parquet"].unknown_columns == set(strange)
    record = json.loads(row["record"])
    assert list(record) == [*SOUND, *list(strange)[:-1]]
    assert {name: record[name] for name in ("t", "h", "u", "n", "s", "d", "m", "b", "_metadata", "a.b`c")} == {
        "t": "01:00:00.000000000", "h": 1.0, "u": 1, "n": "1970-01-01 00:00:00.000000001", "s": {"a": [1]}, "d": "x",
        "m": [["k", "NaN"]], "b": "/w==", "_metadata": "x", "a.b`c": "x",
    }  # fmt: skip


def test_pandas_frames_with_missing_values(read):
    frame = pd.DataFrame(
        [SOUND | {"occurred_at": AT}, SOUND | {"occurred_at": AT, "video_id": None, "interaction_type": "search"}]
    )
    frame = frame.assign(watch_seconds=[1.5, np.nan], comment=None, position=[3, np.nan])
    assert frame.video_id.dtype == np.float64
    csv = frame.assign(occurred_at="2026-01-07T10:00:00.123457Z").to_csv(index=False).encode()
    by_file, _ = read({"a.parquet": pa.Table.from_pandas(frame), "b.csv": csv})
    names = ("video_id", "position", "watch_seconds", "comment", "occurred_at")
    sound, search = (10, 3, 1.5, None, AT), (None, None, None, None, AT)
    rows = together(by_file)
    assert flaws(rows) == [None] * 4
    assert [tuple(row[name] for name in names) for row in rows] == [sound, search, sound, search]


TIMES = {
    "2026-01-07T10:00:00Z": (10, 0, 0, 0),
    "2026-01-07T10:00:00": (10, 0, 0, 0),
    "2026-01-07T10:00": (10, 0, 0, 0),
    "2026-01-07 10:00:00.5": (10, 0, 0, 500000),
    "2026-01-07T15:30:00+05:30": (10, 0, 0, 0),
    "2026-01-07T15:30:00+0530": (10, 0, 0, 0),
    "2026-01-06T22:00:00-12:00": (10, 0, 0, 0),
    "2026-01-07T10:00:00.123457999Z": (10, 0, 0, 123457),
    "2026-01-07T10:59:59.999999999Z": (10, 59, 59, 999999),
    "2026-01-07T10:59:59.99999999999999": (10, 59, 59, 999999),
    "2026-01-07": (0, 0, 0, 0),
    " 2026-01-07\t": (0, 0, 0, 0),
    "10:00": None,
    "T10:00": None,
    "2026": None,
    "202601": None,
    "20260107": None,
    "now": None,
    "today": None,
    "1767780000": None,
    "2026-02-30T00:00:00Z": None,
    "2026-01-07T25:00:00Z": None,
    "2026-01-07T24:00:00Z": None,
    "2026-01-07T10:00:60Z": None,
    "2026-01-07T10:00:00+24:00": None,
    "2026-01-07T10:00:00 Z": None,
    "2026-01-07T10:00:00.Z": None,
    "2026-01-07Z": None,
    "2026-1-7": None,
    "0000-01-07T10:00:00Z": None,
    "0001-01-01T00:00:00+01:00": None,
    "9999-12-31T23:59:59-01:00": None,
    "٢٠٢٦-01-07": None,
}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
def test_times_in_text(read, alone):
    lines = [line(occurred_at=text) for text in TIMES]
    files = {f"{number:02d}.jsonl": content for number, content in enumerate(lines)} if alone else {"a.jsonl": b"".join(lines)}
    rows = together(read(files)[0])
    expected = [clock and dt.datetime(2026, 1, 7, *clock, tzinfo=dt.UTC) for clock in TIMES.values()]
    assert dict(zip(TIMES, [row["occurred_at"] for row in rows], strict=True)) == dict(zip(TIMES, expected, strict=True))
    assert found(rows, "event_id") == ["a" if moment else "wrong_type" for moment in expected]


def test_times_in_parquet(read):
    nanos = 1767780000 * 10**9
    columns = {
        "us": pa.array([AT], pa.timestamp("us", "UTC")),
        "naive": pa.array([AT.replace(tzinfo=None)], pa.timestamp("us")),
        "elsewhere": pa.array([AT], pa.timestamp("us", "Asia/Kolkata")),
        "s": pa.array([nanos // 10**9], pa.timestamp("s")),
        "ms": pa.array([nanos // 10**6], pa.timestamp("ms", "UTC")),
        "ns": pa.array([nanos + 123457999], pa.timestamp("ns", "UTC")),
        "naive ns": pa.array([nanos + 999999999], pa.timestamp("ns")),
        "before 1970": pa.array([-1], pa.timestamp("ns")),
        "date": pa.array([dt.date(2026, 1, 7)]),
        "text": pa.array(["2026-01-07T10:00:00Z"]),
        "number": pa.array([nanos]),
        "list": pa.array([[AT]]),
        "year 10000": pa.array([253_402_300_800_000], pa.timestamp("ms")),
        "year 0": pa.array([-62_135_596_800_000_001], pa.timestamp("us", "UTC")),
    }
    by_file, _ = read({f"{name}.parquet": parquet(occurred_at=column) for name, column in columns.items()})
    got = {Path(name).stem: rows[0]["occurred_at"] or rows[0]["flaw"][0] for name, rows in by_file.items()}
    ten = dt.datetime(2026, 1, 7, 10, tzinfo=dt.UTC)
    assert got == {
        "us": AT, "naive": AT, "elsewhere": AT, "s": ten, "ms": ten, "ns": AT, "date": ten.replace(hour=0),
        "before 1970": dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC),
        "naive ns": ten.replace(microsecond=999999), "text": ten, "number": "wrong_type", "list": "wrong_type",
        "year 10000": "wrong_type", "year 0": "wrong_type",
    }  # fmt: skip


def test_lists(read):
    video = {"video_id": 1, "duration_seconds": 1, "uploaded_at": "2026-01-01"}
    tags = {"a|b": ["a", "b"], '["a|b", "c"]': ["a|b", "c"], "a": ["a"], "": None, "[x": ["[x"], "[1, null]": ["1", None]}
    lines = [json.dumps({**video, "tags": value}) for value in (["a", "b"], [], None, 5, ["a", None, 1], "a|b")]
    csv = "video_id;duration_seconds;uploaded_at;tags".replace(";", ",") + "\n"
    csv += "".join('1,1,2026-01-01,"{}"\n'.format(text.replace('"', '""')) for text in tags)
    columns = [
        pa.array([["x", None]], pa.large_list(pa.string())),
        pa.array([[1]]),
        pa.array([["x"]], pa.list_(pa.string(), 1)),
    ]
    tables = {f"{n}.parquet": pa.table({**{k: [v] for k, v in video.items()}, "tags": c}) for n, c in enumerate(columns)}
    by_file, _ = read({"a.jsonl": "\n".join(lines).encode(), "b.csv": csv.encode(), **tables}, RAW_VIDEOS)
    got = {name: [row["tags"] for row in rows] for name, rows in by_file.items()}
    assert got == {
        "a.jsonl": [["a", "b"], [], None, ["5"], ["a", None, "1"], ["a", "b"]],
        "b.csv": list(tags.values()),
        "0.parquet": [["x", None]],
        "1.parquet": [["1"]],
        "2.parquet": [["x"]],
    }
    assert set(flaws(together(by_file))) == {None}


def test_flags(read):
    video = {"video_id": 1, "duration_seconds": 1, "uploaded_at": "2026-01-01"}
    lines = "\n".join(json.dumps({**video, "removed": value}) for value in [True, "True", "f", 1, "0", 2, "on", None])
    tables = {
        f"{n}.parquet": pa.table({**{k: [v] for k, v in video.items()}, "removed": [value]})
        for n, value in enumerate([True, 0, 1.0, 2, None, "no"])
    }
    by_file, _ = read({"a.jsonl": lines.encode(), **tables}, RAW_VIDEOS)
    assert found(by_file["a.jsonl"], "removed") == [True, True, False, True, False, "wrong_type", "wrong_type", None]
    assert [found(by_file[name], "removed")[0] for name in tables] == [True, False, True, "wrong_type", None, False]


def test_values_outside_their_range_come_after_everything_else(read):
    cases = [
        ({"interaction_type": "clic"}, ("unknown_interaction_type", "interaction_type = clic")),
        ({"position": -1}, ("out_of_range", "position = -1")),
        ({"watch_seconds": -0.5}, ("out_of_range", "watch_seconds = -0.5")),
        ({"watch_seconds": float("inf")}, ("out_of_range", "watch_seconds = Infinity")),
        ({"latitude": 90.5, "longitude": 181}, ("out_of_range", "latitude = 90.5")),
        ({"latitude": 90, "longitude": -180}, None),
        ({"interaction_type": "clic", "position": "x"}, ("wrong_type", "position = x; expected int32")),
        ({"interaction_type": "", "user_id": "x"}, ("wrong_type", "user_id = x; expected int64")),
        ({"user_id": None, "position": -1}, ("missing_value", "user_id is null")),
    ]
    by_file, _ = read({"a.jsonl": b"".join(line(**values) for values, _ in cases)})
    assert flaws(by_file["a.jsonl"]) == [flaw for _, flaw in cases]


def test_a_negative_zero_is_zero(read):
    by_file, _ = read(
        {
            "a.jsonl": line(latitude=-0.0) + line(latitude="-0"),
            "b.parquet": parquet(latitude=[-0.0]),
            "c.csv": b"latitude\n-0\n",
        }
    )
    assert [str(row["latitude"]) for row in together(by_file)] == ["0.0"] * 4


def test_no_files_are_no_rows(tmp_path):
    assert partition_files(tmp_path / "nothing") == []
