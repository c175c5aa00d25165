import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import _parts
from jobs._parts import Part, Work, begin, cut_users, link, make_part
from schemas import RECOMMENDATIONS, USER_FEATURES
from tests.builders import NO_HISTORY, arrow


def bounds(*given, **options):
    return [(part.start, part.stop) for part in cut_users(*given, **options)]


class TestCutUsers:
    def test_parts_are_whole_batches(self):
        assert bounds(100, users_per_batch=10, parts=3) == [(0, 30), (30, 60), (60, 100)]
        assert bounds(95, users_per_batch=10, parts=2) == [(0, 50), (50, 95)]

    def test_there_are_no_more_parts_than_batches(self):
        assert bounds(25, users_per_batch=10, parts=32) == [(0, 10), (10, 20), (20, 25)]
        assert bounds(1, users_per_batch=10, parts=32) == [(0, 1)]
        assert bounds(0, users_per_batch=10, parts=32) == []

    def test_the_names_are_in_the_order_of_the_users(self):
        assert [part.name for part in cut_users(20, users_per_batch=10, parts=2)] == [
            "part-00000.parquet",
            "part-00001.parquet",
        ]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Nine users in two files, of row groups of two; a list is the user alone."""
    users = [{"user_id": user, "interaction_count": 0, "watched": [user], **NO_HISTORY} for user in range(9)]
    for name, some in (("a", users[:5]), ("b", users[5:])):
        pq.write_table(arrow(USER_FEATURES, some), tmp_path / name, row_group_size=2)
    basic = {"rank": 1, "video_id": 1, "score": 1.0, "sources": "fill", "reason": "", "rules": "", "propensity": 1.0}
    basic |= {name: 0.0 for name in RECOMMENDATIONS.columns if name.startswith("score_")}
    sizes = []

    def lists(_, batches):
        for batch in batches:
            sizes.append(batch.num_rows)
            assert batch.schema.names == list(USER_FEATURES.columns)
            rows = [{**basic, "user_id": user} for user in batch.column("user_id").to_pylist()]
            yield from arrow(RECOMMENDATIONS, rows).to_batches()

    monkeypatch.setattr(_parts, "recommend_batches", lists)
    folder = begin(tmp_path / "lists", "recipe", afresh=False)
    return Work(folder, None, (tmp_path / "a", tmp_path / "b"), 3), sizes


def users_of(path):
    return pq.read_table(path)["user_id"].to_pylist()


@pytest.mark.parametrize("rows", [(0, 9), (0, 3), (3, 6), (6, 9), (4, 5), (3, 9), (8, 9)])
def test_a_part_has_its_users_in_full_batches_wherever_files_and_row_groups_end(work, rows):
    job, sizes = work
    part = Part(7, *rows)
    make_part(job, part)
    assert users_of(job.folder / "part-00007.parquet") == list(range(*rows))
    whole, rest = divmod(rows[1] - rows[0], 3)
    assert sizes == [3] * whole + [rest] * bool(rest)
    assert [path.name for path in job.folder.iterdir()] == [part.name]


def test_large_parts_are_written_in_row_groups_and_lose_nothing(work, monkeypatch):
    job, _ = work
    monkeypatch.setattr(_parts, "_ROWS_PER_GROUP", 4)
    make_part(job, Part(0, 0, 9))
    assert users_of(job.folder / "part-00000.parquet") == list(range(9))
    assert pq.ParquetFile(job.folder / "part-00000.parquet").num_row_groups == 2


def test_a_part_that_is_there_is_not_made_again(work):
    job, sizes = work
    parts = cut_users(9, users_per_batch=3, parts=3)
    make_part(job, parts[1])
    before = (job.folder / parts[1].name).stat()
    assert job.missing(parts) == [parts[0], parts[2]]
    make_part(job, parts[1])
    assert (job.folder / parts[1].name).stat() == before
    assert sizes == [3]


def test_a_part_that_failed_is_missing(work, monkeypatch):
    job, _ = work
    part = Part(0, 0, 9)

    def fails(_, batches):
        yield pa.RecordBatch.from_pylist([], RECOMMENDATIONS.arrow)
        raise RuntimeError(next(iter(batches)).num_rows)

    monkeypatch.setattr(_parts, "recommend_batches", fails)
    with pytest.raises(RuntimeError, match="3"):
        make_part(job, part)
    assert job.missing([part]) == [part]
    assert len(list(job.folder.iterdir())) == 1  # half a file, which the next run removes
    begin(job.folder.parent, "recipe", afresh=False)
    assert list(job.folder.iterdir()) == []


class TestBegin:
    def test_parts_of_the_recipe_stay_and_all_else_goes(self, tmp_path):
        for recipe in ("same", "other"):
            (tmp_path / recipe).mkdir()
            (tmp_path / recipe / "part-00000.parquet").touch()
        (tmp_path / "same" / ".part-00001.parquet.elsewhere.1.tmp").touch()
        assert begin(tmp_path, "same", afresh=False) == tmp_path / "same"
        assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == ["same/part-00000.parquet"]
        assert not (tmp_path / "other").exists()

    def test_nothing_stays_where_all_is_to_be_made_afresh(self, tmp_path):
        folder = begin(tmp_path, "same", afresh=False)
        (folder / "part-00000.parquet").touch()
        assert list(begin(tmp_path, "same", afresh=True).iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_parts_stay_where_they_are_when_they_are_staged(work, tmp_path, monkeypatch, links):
    job, _ = work
    parts = cut_users(9, users_per_batch=3, parts=2)
    for part in parts:
        make_part(job, part)
    if not links:

        def refuse(*_):
            raise PermissionError

        monkeypatch.setattr(os, "link", refuse)
    link(job, parts, tmp_path / "staged")
    assert [users_of(path) for path in sorted((tmp_path / "staged").iterdir())] == [[0, 1, 2], [3, 4, 5, 6, 7, 8]]
    (tmp_path / "staged" / parts[0].name).rename(tmp_path / "staged" / "final")
    assert job.missing(parts) == []
