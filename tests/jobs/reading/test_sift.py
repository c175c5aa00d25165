import json
import random
import re
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.reading import RawFile, RawReader, _csv, _jsonl, _lines
from schemas import RAW_INTERACTIONS, RAW_VIDEOS

pytestmark = pytest.mark.slow

EVENT = {
    "event_id": "a", "user_id": 1, "video_id": 10, "interaction_type": "click", "occurred_at": "2026-01-07T10:00:00Z",
    "watch_seconds": 1.5, "query": "x", "comment": "y z", "latitude": 1.0, "longitude": -2, "device": "tv", "position": 3,
}  # fmt: skip
VIDEO = {
    "video_id": 1, "creator_id": 2, "title": "t", "tags": ["a", "b"], "duration_seconds": 1.5, "like_count": 3,
    "uploaded_at": "2026-01-07", "blocked_countries": [], "removed": False,
}  # fmt: skip
TOKENS = [
    "null", "true", "false", "0", "-0", "1", "-1", "10.0", "1e1", "1.5", "1e400", "-1e-400", "9007199254740993",
    "9007199254740993.0", "9223372036854775807", "9223372036854775808", "2147483648", "3000000000.0", "1" + "0" * 5000,
    "NaN", "-NaN", "Infinity", "-Infinity", "Inf", "-Inf", "01", "+1", ".5", "1.", "nan", '""', '" "', '"10"', '" 10 "',
    '"10.0"', '"+7"', '"0x1F"', '"NaN"', '"nan(1)"', '"inf"', '"1e3"', '"1d"', '"ten"', '"2026-01-07"',
    '"2026-01-07T10:00:00.1234567Z"', '"2026-01-07T10:00:00+05:30"', '"2026-02-30"', '"0000-01-01"',
    '"0001-01-01T00:00:00+01:00"', '"a|b"', '"[\\"a\\", 1]"', '"[x"', '"t"', '"TRUE"', '"\\ud83d\\ude00"', '"\\ud83d"',
    '"\\ude00"', '"\\u0000"', '"\\x"', '"\t"', '"\x7f"', '"é\u2028"', "[]", "[1]", '["a"]', '["a", null]', '[["a"]]',
    "{}", '{"a": {"a": 1}}', "[" * 600 + "]" * 600, "[" * 400 + "]" * 400, '"' + "[" * 900 + '"', "", "}{", "/*c*/1", "'x'",
]  # fmt: skip
JUNK = [
    "", " ", "{", "}", "{}", "[]", "null", "x", '"', "{}{}", "{} {}", "{},{}", "\x00", "{}\x00", "\x00{}", "{\x00}", "{}\x0c",
    " {}", "{} ", "{}}", "{{}", "\ufeff{}",
]  # fmt: skip
NUMBERS = [token for token in TOKENS if re.fullmatch(r'-?[0-9.e]{1,20}|"[0-9. +]*"', token)]


def read(tmp_path, name, content, table):
    """The batches of one file."""
    (tmp_path / name).write_bytes(content)
    reader = RawReader(RawFile(tmp_path / name, name.split(".")[1]), table)
    batches = list(reader.batches())
    assert sum(len(batch.table) for batch in batches) == reader.rows
    return batches


def said(batches):
    """All that batches say, as text, so that 0.0 is not -0.0."""
    return [
        (str(batch.table.to_pylist()), list(batch.flaws.rows), batch.flaws.reasons, batch.flaws.details) for batch in batches
    ]


def agree(tmp_path, name, content, table):
    """The file as it is read, and read line by line only."""
    whole = said(read(tmp_path, name, content, table))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jsonl.JsonLines, "fast", lambda self, lines: -1)
        patch.setattr(_csv.Csv, "fast", lambda self, lines: -1)
        assert whole == said(read(tmp_path, name, content, table))


def json_line(record, **tokens):
    values = {name: json.dumps(value) for name, value in record.items()} | tokens
    return "{" + ", ".join(f'"{name}": {token}' for name, token in values.items()) + "}"


@pytest.mark.parametrize("table", [RAW_INTERACTIONS, RAW_VIDEOS], ids=lambda table: table.name)
@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_any_value_in_any_column_says_the_same_alone_in_its_file(tmp_path, table, token):
    record = EVENT if table is RAW_INTERACTIONS else VIDEO
    for name in (*record, "other"):
        agree(tmp_path, "a.jsonl", json_line(record, **{name: token}).encode(), table)


@pytest.mark.parametrize("name", ["event_id", "video_id", "position", "watch_seconds"])
def test_numbers_written_in_two_ways_say_the_same_together(tmp_path, name):
    for token, other in product(NUMBERS, ["1", "1.5", '"10"', "true"]):
        lines = [json_line(EVENT, **{name: token}), *[json_line(EVENT, **{name: other})] * 2]
        agree(tmp_path, "a.jsonl", "\n".join(lines).encode(), RAW_INTERACTIONS)


@pytest.mark.parametrize("line", JUNK, ids=range(len(JUNK)))
def test_odd_lines_say_the_same_wherever_they_stand(tmp_path, line):
    sound = json_line(EVENT)
    for content in (line, f"{line}\n{sound}", f"{sound}\n{line}", f"{sound}\n{line}\n{sound}"):
        agree(tmp_path, "a.jsonl", content.encode(), RAW_INTERACTIONS)


@st.composite
def json_lines(draw, record):
    lines = []
    usual = draw(st.dictionaries(st.sampled_from([*record, "other"]), st.sampled_from(TOKENS), max_size=2))
    for _ in range(draw(st.integers(1, 3))):
        odd = draw(st.dictionaries(st.sampled_from([*record, "other", "\\u0061"]), st.sampled_from(TOKENS), max_size=2))
        line = json_line(record, **usual, **{name: token for name, token in odd.items() if name not in usual})
        twist = draw(st.integers(0, 9))
        if twist == 0:
            line = draw(st.sampled_from(JUNK))
        elif twist == 1:
            place = draw(st.integers(0, len(line)))
            line = (
                line[:place]
                + draw(st.sampled_from(["", "\n", '"', "{", "}", "\\", ",", "\r", "\x00", "é"]))
                + line[place + 1 :]
            )
        elif twist == 2:
            line += draw(st.sampled_from([line, f", {line}", " ", "}", "x"]))
        lines.append(line)
    return "\n".join(lines).encode()


CELLS = st.text(st.sampled_from('a1.0-é" ,\t\x00|[]:TZ'), max_size=6) | st.sampled_from(
    [json.loads(token) for token in TOKENS if token.startswith('"') and not set(token) & set("\\\t\x7f[")]
    + ["10", "1.5", '"a"', ' "a"', '"a"b']
)


@st.composite
def csv_lines(draw):
    columns = draw(st.lists(st.sampled_from([*EVENT, "other", "", " user_id"]), min_size=1, max_size=5))
    lines = [",".join(columns)]
    for _ in range(draw(st.integers(1, 3))):
        width = len(columns) + draw(st.sampled_from([0] * 8 + [1, -1]))
        lines.append(",".join(draw(CELLS) for _ in range(width)))
    return "\n".join(lines).encode()


SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(json_lines(EVENT))
def test_json_lines_say_the_same_one_by_one(tmp_path_factory, content):
    agree(tmp_path_factory.getbasetemp(), "a.jsonl", content, RAW_INTERACTIONS)


@SETTINGS
@given(json_lines(VIDEO))
def test_json_lines_with_lists_and_flags_say_the_same_one_by_one(tmp_path_factory, content):
    agree(tmp_path_factory.getbasetemp(), "a.jsonl", content, RAW_VIDEOS)


@SETTINGS
@given(csv_lines())
def test_csv_lines_say_the_same_one_by_one(tmp_path_factory, content):
    agree(tmp_path_factory.getbasetemp(), "a.csv", content, RAW_INTERACTIONS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_bad_lines_far_apart_in_a_large_file_change_nothing_around_them(tmp_path, name):
    rng = random.Random(5)
    rows = 20_000
    bad = {
        row: rng.choice(["user_id", "occurred_at", "position", "cut", "quote", "wide"]) for row in rng.sample(range(rows), 60)
    }
    lines = []
    for row in range(rows):
        event = EVENT | {"event_id": str(row), "user_id": row + 1}
        kind = bad.get(row)
        if kind in event:
            event[kind] = "wrong"
        line = json.dumps(event) if name == "a.jsonl" else ",".join(map(str, event.values()))
        lines.append({"cut": line[:-30], "quote": '"' + line, "wide": line + ",x"}.get(kind, line))
    header = [",".join(EVENT)] if name == "a.csv" else []
    content = "\n".join([*header, *lines]).encode()
    agree(tmp_path, name, content, RAW_INTERACTIONS)
    batches = read(tmp_path, name, content, RAW_INTERACTIONS)
    table = pa.concat_tables([batch.table for batch in batches])
    starts = np.cumsum([0, *[len(batch.table) for batch in batches]])
    flaws = {
        int(start + row): (reason, detail)
        for start, batch in zip(starts[:-1], batches, strict=True)
        for row, reason, detail in zip(batch.flaws.rows, batch.flaws.reasons, batch.flaws.details, strict=True)
    }
    types = {"user_id": "int64", "occurred_at": "timestamp", "position": "int32"}
    wrong = {kind: ("wrong_type", f"{kind} = wrong; expected {expected}") for kind, expected in types.items()}
    assert flaws == {row: wrong.get(kind, ("malformed_record", "the record cannot be parsed")) for row, kind in bad.items()}
    sound = [row for row in range(rows) if row not in bad]
    assert table["event_id"].take(pa.array(sound)).to_pylist() == [str(row) for row in sound]
    assert table["user_id"].take(pa.array(sound)).to_pylist() == [row + 1 for row in sound]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_file_reads_the_same_in_pieces_of_any_size(tmp_path, name, monkeypatch):
    events = [
        EVENT | {"event_id": f"é{row}", "comment": "x" * (row % 50), "user_id": row if row % 9 else "x"} for row in range(300)
    ]
    lines = [
        json.dumps(event, ensure_ascii=False) if name == "a.jsonl" else ",".join(map(str, event.values())) for event in events
    ]
    content = "\r\n".join([",".join(EVENT), *lines] if name == "a.csv" else lines).encode()
    whole = read(tmp_path, name, content, RAW_INTERACTIONS)
    for size in (50, 333, 4096):
        monkeypatch.setattr(_lines, "_CHUNK", size)
        pieces = read(tmp_path, name, content, RAW_INTERACTIONS)
        assert len(pieces) > 2
        assert pa.concat_tables([batch.table for batch in pieces]) == pa.concat_tables([batch.table for batch in whole])
        assert [detail for batch in pieces for detail in batch.flaws.details] == whole[0].flaws.details
