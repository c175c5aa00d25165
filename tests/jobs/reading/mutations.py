"""Raw files as no writer should leave them: one file a seed, the same bytes for the same seed."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import io
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS, Table

SOURCES = {table.name: table for table in (RAW_INTERACTIONS, RAW_VIDEOS, RAW_USERS)}
VIDEOS = (10, 11, 12)
"""The videos of the interactions."""
HOUR = dt.datetime(2026, 1, 7, 10, tzinfo=dt.UTC)
LINE_END = re.compile(rb"\r\n|\r|\n")
BLANKS = bytes(range(0x21))

_TEXTS = ("jsonl", "csv", "jsonl.gz", "csv.gz")
_BYTES = b"\x00\n\r\"',;{}[]\\:|0-. \t\xff\xc3\xe2\x82\xed\xa0\x80\x1a"
_Lines = Callable[[random.Random, list[bytes], set[int]], list[bytes]]
_LONG, _HUGE = 200_000, 20 << 20  # characters; the second is more than the reader takes in at a time
_TIMES = (
    "2026-01-07T10:30:00", "2026-01-07 10:30:00", "2026-01-07T12:30:00+02:00", "2026-01-07T10", "2026-01-07", "1767780000",
    "07/01/2026 10:00", "2026-01-07T25:00:00Z", "2026-02-30T10:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z", "2026-01-07T10:00:00.1234567891Z", "2026-W02-3T10:00:00", "2026-01-07T10:00:60Z",
    "2026-01-07T11:00:00Z", "2026-01-07T09:59:59.999999Z", "2026-01-07T10:00:00-23:59", "0001-01-01T00:00:00+23:00",
    "9999-12-31T23:59:59-23:00", "2026-01-07t10:00:00z", "2026-01-07T10:00:00 UTC", "20260107T100000Z", "2026-1-7T10:00:00Z",
    "２０２６-01-07T10:00:00Z", "2026-01-07T10:00:00+99:99", "now", "2026-01-07T10:00:00,5Z", "-2026-01-07T10:00:00Z",
)  # fmt: skip
_NUMBERS = (
    "0", "-1", "-0", "-0.0", "1.0", "1.5", "1e3", "1E400", "-1e999", "1e-400", "2147483648", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551616", "9007199254740993",
    "9007199254740993.0", "0x10", "0b1", "007", "+5", "1_000", "1,5", ".5", "5.", "--1", "1e", "NaN", "nan", "-NaN", "Infinity",
    "-Infinity", "inf", "Inf", "9" * 400, "9" * 5000, "1" + "0" * 400 + ".0", "٣", "1 000", "86400", "86400.5",
)  # fmt: skip
_OTHERS = (
    "null", "None", "true", "false", "TRUE", "yes", "nul", "", " ", "\t", '""', '" "', "[]", "{}", "[null]",
    '["a",null,1,true]',
    '{"a":{"b":[1,{"c":null}]}}', '[["x"]]', '"a|b"', '"|"', '"[1"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\x41"',
    "'a'",
    '"a\\nb"', '"é"', '"\u2028"', '"', '"unclosed', "a,b", 'a"b', '"a""b"', '"a" ', ' "a"', '"a"b', "#", "\\N", "=1+1",
    "\ufeff", "\x00",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """A raw file, and what is known of it."""

    seed: int
    source: Table
    name: str
    """Of the file; what it says of the format need not be true."""
    content: bytes
    steps: tuple[str, ...]
    """How it was made."""
    rows: int
    """That were written into it; for Parquet."""
    whole: bool
    """Whether it is a Parquet file of which no byte was changed."""
    sound: dict[bytes, Any] = field(repr=False)
    """The lines of a text file that nothing is wrong with, and the key of the row in each."""
    header: bytes = b""
    """Without which no line of a CSV file is sound."""


def rows_of(source: str, count: int) -> list[dict[str, Any]]:
    """Sound raw rows, every column filled in most of them, with keys from 1,000 on."""
    if source == "interactions":
        return [
            {
                "event_id": f"m{1000 + n}", "user_id": 1000 + n, "video_id": VIDEOS[n % 3], "interaction_type": "watch",
                "occurred_at": HOUR + dt.timedelta(seconds=n, microseconds=n), "watch_seconds": n / 2 if n % 4 else None,
                "query": None, "comment": ['é, "x"', None, "plain"][n % 3], "latitude": 1.5, "longitude": -n / 3,
                "device": "tv",
                "request_id": f"r{n}", "position": n % 5,
            }
            for n in range(count)
        ]  # fmt: skip
    if source == "videos":
        return [
            {
                "video_id": 1000 + n, "creator_id": n, "title": f'title "{n}", é', "tags": ["x", f"y {n}"][: n % 3],
                "language": "en", "duration_seconds": n + 0.5, "like_count": n, "view_count": n * n, "uploaded_at": HOUR,
                "blocked_countries": ["DE"] if n % 5 == 0 else None, "misinformation_score": 0.5, "clickbait_score": None,
                "sponsored_boost": 0.0, "removed": n % 2 == 0,
            }
            for n in range(count)
        ]  # fmt: skip
    return [
        {
            "user_id": 1000 + n, "username": f"user {n}", "age": n % 100, "gender": None, "city": "Köln, West", "country": "DE",
            "language": "de", "time_zone": "Europe/Berlin", "registered_at": HOUR,
        }
        for n in range(count)
    ]  # fmt: skip


def mutant(seed: int) -> Mutant:
    """The raw file of a seed."""
    rng = random.Random(seed)
    source = rng.choice(["interactions", "interactions", "videos", "users"])
    return (_parquet_mutant if rng.random() < 0.35 else _text_mutant)(seed, rng, source)


def _text_mutant(seed: int, rng: random.Random, source: str) -> Mutant:
    table, kind = SOURCES[source], rng.choice(_TEXTS)
    rows = rows_of(source, rng.choice([0, 1, 3, 10, 40, 40, 300]))
    is_csv = kind.startswith("csv")
    names, text = list(table.columns), _csv_lines if is_csv else _json_lines
    lines = text(names, rows, rng, {})
    header, body = (lines[0], lines[1:]) if is_csv else (b"", lines)
    sound = {line: row[table.key[0]] for line, row in zip(body, rows, strict=True)}
    steps: list[str] = []
    cells = _strange_cells(rng, rows, names, steps)
    rows, names = _rearranged(rng, rows, names, steps)
    lines = text(names, rows, rng, cells)
    if rng.random() < 0.3:
        lines = _strange_lines(rng, lines, steps)
    content = rng.choice([b"\n", b"\n", b"\n", b"\r\n", b"\r"]).join(lines) + rng.choice([b"\n", b"", b"\n\n \n"])
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        content = _strange_text(rng, content, steps)
    if kind.endswith("gz"):
        content = _zipped(rng, content, steps)
    name = _name(rng, kind, steps)
    return Mutant(seed, table, name, content, tuple(steps), len(rows), False, sound, header)


def _csv_lines(names: Sequence[str], rows: Sequence[dict[str, Any]], _: random.Random, cells: dict[Any, str]) -> list[bytes]:
    lines = [",".join(map(_cell, names))]
    for row in rows:
        texts = (cells.get((row.get("#"), name)) or _cell(_plain(row.get(name), "|".join)) for name in names)
        lines.append(",".join(texts))
    return [line.encode("utf-8", "surrogatepass") for line in lines]


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\n') else text


def _json_lines(names: Sequence[str], rows: Sequence[dict[str, Any]], rng: random.Random, cells: dict[Any, str]) -> list[bytes]:
    lines = []
    shuffled = bool(cells) and rng.random() < 0.2
    for row in rows:
        order = rng.sample(names, len(names)) if shuffled else names
        tokens = {name: cells.get((row.get("#"), name)) or json.dumps(_plain(row.get(name), list)) for name in order}
        lines.append("{" + ", ".join(f"{json.dumps(name)}: {token}" for name, token in tokens.items()) + "}")
    return [line.encode("utf-8", "surrogatepass") for line in lines]


def _plain(value: Any, of_list: Callable[[Any], Any]) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    return of_list(value) if isinstance(value, list) else value


def _strange_cells(rng: random.Random, rows: list[dict[str, Any]], names: list[str], steps: list[str]) -> dict[Any, str]:
    """Texts in the place of values, by row and column."""
    cells = {}
    for number, row in enumerate(rows):
        row["#"] = number
    share = rng.choice([0, 0, 0.02, 0.3])
    for number in range(len(rows)):
        if rng.random() < share:
            name = rng.choice(names)
            token = _token(rng)
            cells[number, name] = token
            if len(steps) < 10:
                steps.append(f"row {number} {name} = {token[:40]!r}")
    return cells


def _token(rng: random.Random) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        token = rng.choice(_TIMES)
        return f'"{token}"' if rng.random() < 0.7 else token
    if kind == 1:
        token = rng.choice(_NUMBERS)
        return f'"{token}"' if rng.random() < 0.3 else token
    if kind == 2 and rng.random() < 0.3:
        deep, opened, closed = rng.choice([100, 600, 5000]), *rng.choice([("[", "]"), ('{"a":', "}"), ("[", "")])
        return opened * deep + "1" + closed * deep
    if kind == 3 and rng.random() < 0.1:
        return '"' + rng.choice("xé\\") * _LONG + '"'
    return rng.choice(_OTHERS)


def _rearranged(
    rng: random.Random, rows: list[dict[str, Any]], names: list[str], steps: list[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows twice, columns in another order, twice, missing, or new."""
    step = rng.choice([None, None, None, "shuffled", "extra", "missing", "twice", "renamed", "repeated", "none"])
    if step is None:
        return rows, names
    steps.append(f"{step} columns" if step != "repeated" else "repeated rows")
    place = rng.randrange(len(names))
    if step == "shuffled":
        names = rng.sample(names, len(names))
    elif step == "extra":
        names = [*names[:place], *rng.choice([["extra"], ["a", "b"], [""], ["é", "x y"], ["_manifest"]]), *names[place:]]
        rows = [{**row, "extra": {"deep": [1, None]}, "a": "x" * rng.choice([1, 1000])} for row in rows]
    elif step == "missing":
        names = names[:place] + names[place + 1 :]
    elif step == "twice":
        names = [*names, names[place]]
    elif step == "renamed":
        change = rng.choice([str.upper, str.title, lambda name: f" {name} ", lambda name: name + "\u200b"])
        names = [change(name) if n == place else name for n, name in enumerate(names)]
    elif step == "repeated":
        rows = [row for row in rows for _ in range(rng.choice([1, 1, 2, 5]))]
    else:
        names = []
    return rows, names


def _strange_lines(rng: random.Random, lines: list[bytes], steps: list[str]) -> list[bytes]:
    """Some lines twice, cut, replaced, elsewhere, or not there."""
    step = rng.choice(list(_LINES))
    steps.append(f"lines {step}")
    some = set(rng.sample(range(len(lines)), min(len(lines), rng.choice([1, 1, 5, 30]))))
    return _LINES[step](rng, lines, some)


def _each(change: Callable[[random.Random, bytes], list[bytes]]) -> _Lines:
    """Some lines changed into others."""
    return lambda rng, lines, some: [
        new for n, line in enumerate(lines) for new in (change(rng, line) if n in some else [line])
    ]


def _joined(_: random.Random, lines: list[bytes], some: set[int]) -> list[bytes]:
    end = max(some, default=0)
    return [b" ".join(lines[:end]), *lines[end:]]


_NONSENSE = (b"nonsense", b"{", b"}", b"[]", b"null", b'""', b"{}{}", b",", b"---")
_LINES: dict[str, _Lines] = {
    "duplicated": _each(lambda _, line: [line, line]),
    "blank between": _each(lambda rng, line: [line, rng.choice([b"", b" \t", b"\x00"])]),
    "cut": _each(lambda rng, line: [line[: rng.randrange(len(line) + 1)]]),
    "nonsense": _each(lambda rng, _: [rng.choice(_NONSENSE)]),
    "shuffled": lambda rng, lines, _: rng.sample(lines, len(lines)),
    "dropped first": lambda _, lines, __: lines[1:],
    "reversed": lambda _, lines, __: lines[::-1],
    "joined": _joined,
}


def _strange_text(rng: random.Random, content: bytes, steps: list[str]) -> bytes:
    """One change to the bytes of a text."""
    step = rng.choice([*_TEXT, "flip", "bytes"])
    at = rng.randrange(len(content) + 1)
    steps.append(f"{step} at {at} of {len(content)}")
    return _TEXT[step](rng, content, at)


def _flipped(rng: random.Random, content: bytes, at: int) -> bytes:
    at = min(at, len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :] if content else content


def _with(rng: random.Random, content: bytes, at: int) -> bytes:
    new = bytes(rng.choice(_BYTES) for _ in range(rng.randrange(1, 9)))
    return content[:at] + new + content[at + rng.choice([0, 0, 1, 5, 40, 300]) :]


def _without(rng: random.Random, content: bytes, at: int) -> bytes:
    return content[:at] + content[at + rng.choice([1, 5, 40, 300]) :]


def _again(rng: random.Random, content: bytes, at: int) -> bytes:
    return content[:at] + content[max(0, at - rng.choice([1, 5, 40, 300])) :]


def _cut(rng: random.Random, content: bytes, at: int) -> bytes:
    return rng.choice([content[:at], content[at:]])


def _recoded(rng: random.Random, content: bytes, _: int) -> bytes:
    code = rng.choice(["utf-16", "utf-16-be", "utf-32", "latin-1", "cp437"])
    return content.decode("utf-8", "replace").encode(code, "replace") if len(content) < 1e5 else content


def _long(rng: random.Random, content: bytes, at: int) -> bytes:
    size = _HUGE if rng.random() < 0.03 else _LONG
    return content[:at] + rng.choice([b"x", b"\xc3\xa9", b"\xff", b",", b'"', b"[", b" ", b"\n", b"0"]) * size + content[at:]


def _inserted(*choices: bytes) -> Callable[[random.Random, bytes, int], bytes]:
    return lambda rng, content, at: content[:at] + rng.choice(choices) + content[at:]


_MARKS = (b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe", b"\xef\xbb")
_ENDS = (b"\r\n", b"\r", b"\n\n", b"\n\r", b"\x0b", b"\x85", "\u2028".encode())
_ALMOST_EMPTY = (b"", b"\n", b" ", b"\x00", b"\xef\xbb\xbf", b"\r\n\r\n", b'"', b"{", b"0")
_TEXT: dict[str, Callable[[random.Random, bytes, int], bytes]] = {
    "flip": _flipped,
    "bytes": _with,
    "delete": _without,
    "repeat": _again,
    "cut": _cut,
    "mark": lambda rng, content, _: rng.choice(_MARKS) + content,
    "recoded": _recoded,
    "quote": _inserted(b'"', b"'", b'""', b'\\"', b'"\n', b'" '),
    "line ends": lambda rng, content, _: content.replace(b"\n", rng.choice(_ENDS)),
    "empty": lambda rng, content, _: rng.choice(_ALMOST_EMPTY) if rng.random() < 0.3 else content,
    "zeros": _inserted(b"\x00", b"\x00" * 4096),
    "control": _inserted(*(bytes([code]) for code in range(32))),
    "long": _long,
}


def _zipped(rng: random.Random, content: bytes, steps: list[str]) -> bytes:
    """The text as an archive, which may be damaged."""
    step = rng.choice(["", "", "", "members", "cut", "flip", "garbage", "zeros", "not zipped", "twice", "empty member"])
    if step:
        steps.append(f"gzip {step}")
    at = rng.randrange(len(content) + 1)
    if step == "members":
        return gzip.compress(content[:at], mtime=0) + gzip.compress(content[at:], mtime=0)
    if step == "not zipped":
        return content
    archive = bytearray(gzip.compress(content, compresslevel=rng.choice([0, 1, 9]), mtime=0))
    if step == "cut":
        return bytes(archive[: rng.randrange(len(archive))])
    if step == "flip":
        archive[rng.choice([rng.randrange(len(archive)), rng.randrange(10), -rng.randrange(1, 9)])] ^= 1 << rng.randrange(8)
    if step == "garbage":
        archive += bytes(rng.choice(_BYTES) for _ in range(rng.choice([1, 30])))
    if step == "zeros":
        archive += b"\x00" * rng.choice([1, 100])
    if step == "twice":
        return gzip.compress(bytes(archive), mtime=0)
    if step == "empty member":
        archive += gzip.compress(b"", mtime=0)
    return bytes(archive)


def _name(rng: random.Random, kind: str, steps: list[str]) -> str:
    """A file name for a format; now and then for another one."""
    if rng.random() < 0.9:
        return f"mutant.{kind}"
    name = rng.choice(
        ["mutant.jsonl", "mutant.csv", "mutant.parquet", "mutant.csv.gz", "mutant.jsonl.gz", "mutant.parquet.gz", "mutant.txt",
         "mutant", "mutant.json", "mutant.gz", "_mutant.csv", ".mutant.jsonl", "mutant.JSONL", "mutant.Csv.GZ", "a b (1).é.csv",
         "mutant.csv.bz2", "mutant.jsonl.tmp"]
    )  # fmt: skip
    steps.append(f"name {name}, format {kind}")
    return name


def _parquet_mutant(seed: int, rng: random.Random, source: str) -> Mutant:
    table = SOURCES[source]
    rows = rows_of(source, rng.choice([0, 1, 10, 40, 40, 200]))
    steps: list[str] = []
    columns = {name: pa.array([row[name] for row in rows], table.field(name).arrow.type) for name in table.columns}
    named = list(columns.items())
    for _ in range(rng.choice([0, 0, 1, 1, 3])):
        place = rng.randrange(len(named))
        named[place] = (named[place][0], _strange_column(rng, named[place], len(rows), steps))
    step = rng.choice([None, None, None, "shuffled", "extra", "missing", "twice", "none"])
    if step:
        steps.append(f"{step} columns")
    if step == "shuffled":
        rng.shuffle(named)
    elif step == "extra":
        named.append(("extra", _strange_column(rng, ("extra", pa.nulls(len(rows))), len(rows), steps)))
    elif step == "missing":
        del named[rng.randrange(len(named))]
    elif step == "twice":
        place = rng.randrange(len(named))
        named.insert(rng.randrange(len(named)), (named[place][0], rng.choice(named)[1]))
    elif step == "none":
        named = named[:0]
    fine = any(pa.types.is_timestamp(column.type) and column.type.unit == "ns" for _, column in named)
    options: dict[str, Any] = {
        "compression": rng.choice(["none", "snappy", "zstd", "gzip", "lz4", "brotli"]),
        "data_page_version": rng.choice(["1.0", "2.0"]),
        "version": "2.6" if fine else rng.choice(["1.0", "2.4", "2.6"]),  # the others refuse to cut nanoseconds
        "use_dictionary": rng.random() < 0.5,
        "row_group_size": rng.choice([7, 30, 1000]),
        "store_schema": rng.random() < 0.6,
        "write_page_checksum": rng.random() < 0.3,
        "write_page_index": rng.random() < 0.3,
        "use_deprecated_int96_timestamps": rng.random() < 0.15,
        "data_page_size": rng.choice([None, 100]),
    }
    steps.append(", ".join(f"{name}={value}" for name, value in options.items()))
    stream = io.BytesIO()
    made = pa.Table.from_arrays([column for _, column in named], [name for name, _ in named])
    pq.write_table(made, stream, **options)
    content = original = stream.getvalue()
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5])):
        content = _strange_bytes(rng, content, steps)
    whole = content == original
    return Mutant(seed, table, _name(rng, "parquet", steps), content, tuple(steps), made.num_rows, whole, {})


def _strange_bytes(rng: random.Random, content: bytes, steps: list[str]) -> bytes:
    """One change to the bytes of a Parquet file."""
    if not content:
        return content
    first = rng.choice([0, 4, max(0, len(content) - _footer(content)), max(0, len(content) - 8)])
    at = rng.randrange(min(first, len(content) - 1), len(content))
    step = rng.choice([*_PARQUET, "flip", "flip", "byte"])
    steps.append(f"{step} at {at} of {len(content)}")
    return _PARQUET[step](rng, content, at)


def _footer(content: bytes) -> int:
    return int.from_bytes(content[-8:-4], "little") + 8


def _length(rng: random.Random, content: bytes, _: int) -> bytes:
    length = rng.choice([0, 1, 2**31, 2**32 - 1, _footer(content), len(content)])
    return content[:-8] + min(length, 2**32 - 1).to_bytes(4, "little") + content[-4:]


def _magic(rng: random.Random, content: bytes, _: int) -> bytes:
    return rng.choice([content[:-4] + b"PARE", b"PAR0" + content[4:], b"PAR1", b"PAR1PAR1", content[:-1], b"", b"\x00" * 100])


_PARQUET: dict[str, Callable[[random.Random, bytes, int], bytes]] = {
    "flip": _flipped,
    "byte": lambda rng, content, at: content[:at] + bytes([rng.choice([0, 255, 127, rng.randrange(256)])]) + content[at + 1 :],
    "bytes": lambda rng, content, at: content[:at] + rng.randbytes(rng.randrange(1, 9)) + content[at:],
    "delete": lambda rng, content, at: content[:at] + content[at + rng.randrange(1, 40) :],
    "repeat": _again,
    "cut": _cut,
    "length": _length,
    "twice": lambda _, content, __: content + content,
    "magic": _magic,
}


_COLUMNS: tuple[tuple[pa.DataType, tuple[Any, ...]], ...] = (
    (pa.int8(), (-128, 0, 1, 127)),
    (pa.int32(), (-(2**31), -1, 0, 10, 2**31 - 1)),
    (pa.int64(), (-(2**63), -1, 0, 10, 11, 2**53 + 1, 2**63 - 1)),
    (pa.uint64(), (0, 10, 2**63, 2**64 - 1)),
    (pa.float32(), (0.0, -0.0, 1.5, 10.0, 3e38, float("nan"), float("inf"))),
    (pa.float64(), (0.0, -0.0, 10.0, 10.5, 1e300, 2.0**63, -(2.0**63), float("nan"), float("inf"), float("-inf"))),
    (pa.decimal128(38, 2), tuple(map(decimal.Decimal, ("0", "10", "10.5", "-1", "9" * 30)))),
    (pa.decimal256(70, 0), tuple(map(decimal.Decimal, ("0", "10", "9" * 60)))),
    (pa.bool_(), (True, False)),
    (pa.string(), ("", " ", "x", "10", "watch", "true", "a|b", '["a"]', "é" * 50, "x" * 5000, "\x00", "NaN", *_TIMES[:8])),
    (pa.large_string(), ("x", "10", "watch", "2026-01-07T10:00:00Z")),
    (pa.binary(), (b"", b"x", b"\xff\xfe", b"10")),
    (pa.large_binary(), (b"", b"\xff")),
    (pa.binary(4), (b"abcd", b"\x00\x00\x00\x01")),
    (pa.date32(), (dt.date(1, 1, 1), dt.date(2026, 1, 7), dt.date(9999, 12, 31))),
    (pa.time64("us"), (dt.time(10, 30),)),
    (pa.time32("ms"), (dt.time(10, 30),)),
    (pa.duration("us"), (dt.timedelta(1), dt.timedelta(-1))),
    (pa.timestamp("s"), (0, 1_767_780_600, -(2**40), 2**40)),
    (pa.timestamp("ms", tz="UTC"), (0, 1_767_780_600_000, -(2**50), 2**55)),
    (pa.timestamp("us"), (0, 1_767_780_600_000_000, -(2**62), 2**62)),
    (pa.timestamp("us", tz="America/New_York"), (0, 1_767_780_600_000_000, 2**62)),
    (pa.timestamp("ns", tz="+02:00"), (0, 1_767_780_600_000_000_001, 2**62, -(2**62))),
    (pa.list_(pa.string()), ([], ["a", None], ["x" * 300], None)),
    (pa.list_(pa.int64()), ([], [1, None, 2**62])),
    (pa.large_list(pa.string()), ([], ["a"])),
    (pa.list_(pa.float64(), 2), ([1.0, 2.0], [None, float("nan")])),
    (pa.list_(pa.list_(pa.string())), ([["a"]], [], [None])),
    (pa.list_(pa.struct([("a", pa.int64())])), ([{"a": 1}], [None])),
    (pa.list_(pa.binary()), ([b"\xff"], [])),
    (pa.list_(pa.timestamp("us")), ([0], [2**62])),
    (pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]), ({"a": 1, "b": ["x"]}, {"a": None, "b": None})),
    (pa.struct([("a", pa.timestamp("us"))]), ({"a": 2**62}, {"a": 0})),
    (pa.map_(pa.string(), pa.int64()), ([("a", 1)], [], [("a", 1), ("a", 2)])),
    (pa.null(), (None,)),
    (pa.dictionary(pa.int32(), pa.string()), ("watch", "10", "x", "")),
    (pa.dictionary(pa.int32(), pa.binary()), (b"\xff", b"a")),
)


def _strange_column(rng: random.Random, named: tuple[str, pa.Array], rows: int, steps: list[str]) -> pa.Array:
    """Values of another type, with or without nulls."""
    kind, values = rng.choice(_COLUMNS)
    nulls = rng.choice([0.0, 0.2, 1.0])
    if pa.types.is_fixed_size_list(kind):
        nulls = 0.0  # Arrow cannot read a null of these back: the file is unreadable
    steps.append(f"column {named[0]} of {kind}, {nulls:.0%} null")
    chosen = [None if rng.random() < nulls else rng.choice(values) for _ in range(rows)]
    if pa.types.is_dictionary(kind):
        return pa.array(chosen, kind.value_type).dictionary_encode()
    if pa.types.is_binary(kind) and rng.random() < 0.5 and rows:
        # Bytes that a file calls text: only a careless writer makes such.
        found = pa.array(chosen, kind)
        return pa.Array.from_buffers(pa.string(), rows, found.buffers(), found.null_count)
    return pa.array(chosen, kind)
