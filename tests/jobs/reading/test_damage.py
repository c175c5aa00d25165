"""Files as disks, networks and careless writers leave them: nothing raises, no row is lost, what was not hit is as before."""

import datetime as dt
import gzip
import io
import json
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.reading import RawFile, RawReader
from schemas import RAW_INTERACTIONS

AT = dt.datetime(2026, 1, 7, 10, tzinfo=dt.UTC)
EVENTS = [
    {
        "event_id": f"event {n}", "user_id": n, "video_id": n % 7 or None, "interaction_type": "click", "occurred_at": AT,
        "watch_seconds": n / 2, "comment": "é, \"x\"" * (n % 3), "position": n % 4, "extra": str(n),
    }
    for n in range(60)
]  # fmt: skip
TEXTS = [{**event, "occurred_at": event["occurred_at"].isoformat()} for event in EVENTS]
JSONL = "\n".join(json.dumps(text) for text in TEXTS).encode()
CSV = "\n".join(
    [
        ",".join(EVENTS[0]),
        *(",".join('"' + ("" if v is None else str(v)).replace('"', '""') + '"' for v in text.values()) for text in TEXTS),
    ]
).encode()
READABLE = {"malformed_record", "missing_value", "wrong_type", "out_of_range", "unknown_interaction_type"}
BYTES = b"\x00\n\r\"',{}[]\\0\xff\xc3"


def parquet(rows=EVENTS, **options) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=25, **options)
    return stream.getvalue()


def mutated(content: bytes, rng: random.Random, first: int = 0) -> tuple[bytes, int, int]:
    """The content with one place changed, and where the change begins and, counted from the end, ends."""
    start = rng.randrange(first, len(content))
    length = rng.choice([0, 1, 1, 5, 40])
    kind = rng.randrange(4)
    new = {
        0: bytes([content[start] ^ 1 << rng.randrange(8)]),
        1: bytes(rng.choice(BYTES) for _ in range(rng.randrange(1, 9))),
        2: b"",
        3: content[start : start + 60] * 2,
    }[kind]
    end = min(start + length, len(content))
    return content[:start] + new + content[end:], start, len(content) - end


def read(tmp_path, name, content) -> tuple[list[dict], set[str], RawReader]:
    """The sound rows, the reasons of the others, and the reader; checks that they add up."""
    path = tmp_path / name
    path.write_bytes(content)
    reader = RawReader(RawFile(path, name.split(".")[1]), RAW_INTERACTIONS)
    sound, reasons, total = [], [], 0
    for batch in reader.batches():
        batch.table.validate(full=True)
        texts = batch.records(np.arange(len(batch.table)))
        assert all(text is None or text.encode() for text in texts)
        good = np.setdiff1d(np.arange(len(batch.table)), batch.flaws.rows)
        sound += batch.table.take(pa.array(good)).to_pylist()
        reasons += batch.flaws.reasons
        total += len(batch.table)
    assert total == reader.rows == len(sound) + len(reasons)
    return sound, set(reasons), reader


def contract(events) -> list[dict]:
    blank = dict.fromkeys(RAW_INTERACTIONS.columns)
    rows = [blank | {name: value for name, value in event.items() if name in blank} for event in events]
    return [row | {"comment": row["comment"] or None} for row in rows]


@pytest.mark.parametrize(("name", "content", "header"), [("a.jsonl", JSONL, 0), ("a.csv", CSV, 1)], ids=["jsonl", "csv"])
def test_a_damaged_place_in_a_text_spoils_only_its_lines(tmp_path, name, content, header):
    expected = contract(EVENTS)
    for seed in range(200):
        damaged, start, rest = mutated(content, random.Random(seed), first=content.index(b"\n") + 1 if header else 0)
        before = content[:start].count(b"\n") - header
        after = content[len(content) - rest :].count(b"\n")
        sound, reasons, _ = read(tmp_path, name, damaged)
        assert sound[:before] == expected[:before], seed
        assert after == 0 or sound[-after:] == expected[-after:], seed
        assert reasons <= READABLE, seed


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", JSONL), ("a.csv.gz", CSV)], ids=["jsonl", "csv"])
def test_a_damaged_archive_gives_all_or_nothing(tmp_path, name, content):
    archive = gzip.compress(content, mtime=0)
    problems = 0
    for seed in range(100):
        damaged, _, _ = mutated(archive, random.Random(seed))
        sound, reasons, reader = read(tmp_path, name, damaged)
        expected = (contract(EVENTS), set()) if reader.problem is None else ([], {"unreadable_file"})
        assert (sound, reasons) == expected, seed
        problems += reader.problem is not None
    assert problems > 80


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "none", "use_dictionary": False},
        {"compression": "snappy", "data_page_version": "2.0"},
        {"compression": "zstd", "store_schema": False},
    ],
    ids=lambda options: options["compression"],
)
def test_a_damaged_parquet_file_gives_all_of_its_rows_or_one(tmp_path, options):
    content = parquet(**options)
    kinds = Counter()
    for seed in range(200):
        damaged, _, _ = mutated(content, random.Random(seed))
        sound, reasons, reader = read(tmp_path, "a.parquet", damaged)
        if reader.problem is None:
            assert reader.rows == len(EVENTS), seed
            assert reasons <= READABLE, seed
        else:
            assert (sound, reasons) == ([], {"unreadable_file"}), seed
        kinds[reader.problem is None] += 1
    assert min(kinds[True], kinds[False]) > 10


def test_a_page_that_fails_its_checksum_makes_the_whole_file_unreadable(tmp_path):
    content = parquet(compression="none", use_dictionary=False, write_page_checksum=True, write_statistics=False)
    place = content.index(b"event 59")
    sound, reasons, reader = read(tmp_path, "a.parquet", content[:place] + b"E" + content[place + 1 :])
    assert (sound, reasons, reader.rows) == ([], {"unreadable_file"}, 1)
    assert read(tmp_path, "b.parquet", content)[0] == contract(EVENTS)


def test_damage_in_a_column_that_nobody_asked_for_spoils_only_what_is_written_down(tmp_path):
    events = [{"event_id": "a", "extra": f"strange {n}"} for n in range(50)]
    content = parquet(events, compression="none", use_dictionary=False, write_page_checksum=True, write_statistics=False)
    place = content.index(b"strange 49")
    path = tmp_path / "a.parquet"
    path.write_bytes(content[:place] + b"S" + content[place + 1 :])
    batches = list(RawReader(RawFile(path, "parquet"), RAW_INTERACTIONS).batches())
    assert [set(batch.flaws.details) for batch in batches] == [{"user_id: no such column in the file"}] * 2
    last = np.array([24])
    assert [batch.records(last) for batch in batches] == [['{"event_id":"a","extra":"strange 24"}'], ['{"event_id":"a"}']]


@pytest.mark.parametrize("keep", [0, 1, 10, 100, -100, -9, -8, -1])
def test_an_archive_that_ends_too_early_is_one_row(tmp_path, keep):
    sound, reasons, reader = read(tmp_path, "a.jsonl.gz", gzip.compress(JSONL, mtime=0)[:keep])
    assert (sound, reasons, reader.rows) == ([], {"unreadable_file"}, 1) if keep else ([], set(), 0)


def test_archives_one_after_another_are_one_file(tmp_path):
    sound, reasons, _ = read(tmp_path, "a.jsonl.gz", gzip.compress(JSONL + b"\n") + gzip.compress(JSONL))
    assert (sound, reasons) == (contract(EVENTS) * 2, set())


def test_an_archive_damaged_at_its_end_yields_nothing_before_that_is_known(tmp_path):
    lines = b"\n".join([JSONL] * 3000)
    damaged = bytearray(gzip.compress(lines, compresslevel=1, mtime=0))
    damaged[-6] ^= 1
    sound, reasons, reader = read(tmp_path, "a.jsonl.gz", bytes(damaged))
    assert (sound, reasons, reader.rows) == ([], {"unreadable_file"}, 1)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_the_same_file_gives_the_same_bytes(tmp_path, name):
    content = {"a.jsonl": JSONL, "a.csv": CSV, "a.parquet": parquet()}[name]
    content = content.replace(b"click", b"clack", 7)

    def made() -> bytes:
        path = tmp_path / name
        path.write_bytes(content)
        said = []
        for batch in RawReader(RawFile(path, name[2:]), RAW_INTERACTIONS).batches():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.table.schema) as stream:
                stream.write_table(batch.table)
            texts = (batch.flaws.rows.tolist(), batch.flaws.reasons, batch.flaws.details, batch.records(batch.flaws.rows))
            said.append((sink.getvalue().to_pybytes(), texts))
        return repr(said).encode()

    assert made() == made()
