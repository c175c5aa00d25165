import gzip
import hashlib

import pytest

from jobs.reading import RawFile, partition_files, snapshot_dates


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.parquet", "parquet"),
        ("a.PARQUET", "parquet"),
        ("a.b.jsonl", "jsonl"),
        ("a.jsonl.gz", "jsonl"),
        ("a.Csv.GZ", "csv"),
        ("10:00.csv", "csv"),
        ("a.csv.jsonl", "jsonl"),
    ],
)
def test_the_end_of_a_name_tells_the_format(tmp_path, name, kind):
    (tmp_path / name).touch()
    assert partition_files(tmp_path) == [RawFile(tmp_path / name, kind)]


@pytest.mark.parametrize("name", ["a", "a.txt", "a.gz", "a.parquet.gz", "a.jsonl.zip", "a.csv.gz.gz", "jsonl", "a.jsonl "])
def test_any_other_name_is_a_problem(tmp_path, name):
    (tmp_path / name).touch()
    problem = f"unknown format {name!r}; expected .parquet, .jsonl or .csv"
    assert partition_files(tmp_path) == [RawFile(tmp_path / name, "unknown", problem)]


def test_files_come_by_name_without_hidden_ones_and_folders(tmp_path):
    for name in ("b.csv", "a.jsonl", ".a.csv", "_SUCCESS", "C.csv"):
        (tmp_path / name).touch()
    (tmp_path / "d.csv").mkdir()
    assert [file.path.name for file in partition_files(tmp_path)] == ["C.csv", "a.jsonl", "b.csv"]
    assert partition_files(tmp_path / "nothing") == []


def test_the_digest_is_of_the_content(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"x", mtime=0))
    (file,) = partition_files(tmp_path)
    assert file.digest() == hashlib.sha256(gzip.compress(b"x", mtime=0)).hexdigest()


def test_snapshot_dates_are_sorted_and_strangers_left_out(tmp_path):
    for name in ("dt=2026-01-03", "dt=2026-01-01", "dt=today", "x", "dt=2026-1-1"):
        (tmp_path / name).mkdir()
    assert snapshot_dates(tmp_path) == ["2026-01-01", "2026-01-03"]
