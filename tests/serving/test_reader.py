"""The homepage at the terminal."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving import SqliteStore
from serving.reader import main
from tests.serving.builders import batch, fallback, publication, publish
from tests.serving.deltas import delta


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("REELFLOW_CONF", raising=False)
    return tmp_path


@pytest.fixture
def store(home: Path) -> SqliteStore:
    return SqliteStore(home / "store" / "recommendations.sqlite")


def lake_titles(home: Path, dt: str, titles: dict[int, str | None]) -> None:
    folder = home / "lake" / "videos" / f"dt={dt}"
    folder.mkdir(parents=True)
    pq.write_table(
        pa.table({"video_id": list(titles), "title": pa.array(titles.values(), pa.string())}), folder / "part-0.parquet"
    )
    (folder / "_manifest.json").write_text("{}")


def test_prints_an_aligned_table_with_titles(home: Path, store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.publish(publication(8, 1), [batch([(7, 1, 11), (7, 2, 22), (7, 3, 33), (7, 4, 44)])], fallback(8, 1), 3)
    lake_titles(home, "2026-01-06", {11: "An old title"})
    lake_titles(home, "2026-01-07", {11: "Cats", 22: "日本の料理", 33: "a\x1b[31m\nb " + "x" * 60, 44: None})
    assert main(["7", "--at", "2026-01-08T06:00:00Z"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "user 7: 4 recommendations",
        "version 1 of model model-8-1, fresh until 2026-01-10T00:00:00Z",
        "",
        "rank  video  title                                              score  sources      as_of",
        "   1     11  Cats                                              1.0000  retrieval:1  2026-01-08T00:00:00Z",
        "   2     22  日本の料理                                        0.5000  retrieval:2  2026-01-08T00:00:00Z",
        "   3     33  a [31m b xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…  0.3333  retrieval:3  2026-01-08T00:00:00Z",
        "   4     44  -                                                 0.2500  retrieval:4  2026-01-08T00:00:00Z",
    ]


def test_an_explanation_names_the_video(home: Path, store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.publish(publication(8, 1), [batch([(7, 1, 11)])], fallback(8, 1), 3)
    lake_titles(home, "2026-01-07", {11: "Cats"})
    assert main(["7", "--explain", "11"]) == 0
    assert capsys.readouterr().out.startswith("user 7, video 11 'Cats': rank 1 of the list")


def test_without_a_lake_prints_ids_and_says_so(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store, 8, 1)
    assert main(["3", "--k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[4:6]] == [["1", "8001001", "-"], ["2", "8001002", "-"]]
    assert lines[6].startswith("titles: found no videos table below")
    assert len(lines) == 7


def test_unreadable_lake_does_not_hide_the_page(home: Path, store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store, 8, 1)
    folder = home / "lake" / "videos" / "dt=2026-01-07"
    folder.mkdir(parents=True)
    (folder / "part-0.parquet").write_text("no parquet")
    assert main(["3"]) == 0
    out = capsys.readouterr().out
    assert "8001005" in out
    assert "cannot be read" in out.splitlines()[-1]


def test_says_when_the_page_is_stale(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store, 8, 1)
    assert main(["3", "--at", "2026-01-10"]) == 0
    assert "STALE since 2026-01-10T00:00:00Z" in capsys.readouterr().out
    assert main(["3", "--at", "2026-01-09T23:59:59Z"]) == 0
    assert "fresh until 2026-01-10T00:00:00Z" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "segment"),
    [
        ([], "all"),
        (["--country", "DE"], "country=DE"),
        (["--country", "XX"], "all"),
        (["--country", "DE", "--language", "de", "--device", "tv"], "country=DE"),
        (["--device", "tv"], "all"),
    ],
)
def test_unknown_user_gets_the_fallback_list(
    store: SqliteStore, capsys: pytest.CaptureFixture[str], arguments: list[str], segment: str
) -> None:
    publish(store, 8, 1)
    assert main(["999", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"user 999: no list of their own; fallback list {segment!r}"
    assert "8001501" in lines[4]


def test_unknown_user_gets_the_most_specific_list(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("all", "country=DE", "country=DE|language=de", "country=DE|language=de|device=tv", "language=de")
    store.publish(publication(8, 1), [batch([(7, 1, 11)])], fallback(8, 1, names), 3)
    for country, device, segment in (("DE", "tv", names[3]), ("DE", "radio", names[2]), ("FR", "tv", names[4])):
        assert main(["999", "--country", country, "--language", "de", "--device", device]) == 0
        assert capsys.readouterr().out.startswith(f"user 999: no list of their own; fallback list {segment!r}")


def test_an_expired_list_is_replaced_and_it_says_so(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    delta(store, 24, (1,), publish(store, 8).version)
    assert main(["3", "--at", "2026-01-10T01:00:00Z"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "user 3: their own list has expired; fallback list 'all'"
    assert lines[1] == "version 2 of model hour-24, fresh until 2026-01-11T00:00:00Z"


def test_takes_another_store(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(SqliteStore(home / "other.sqlite"), 9, 1)
    assert main(["3", "--store", str(home / "other.sqlite")]) == 0
    assert "model-9-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["3"], "reader: recommendations: nothing has been published yet"),
        (["anna"], "reader: user, a user_id: found 'anna', expected an integer"),
        (["3", "--at", "noon"], "reader: --at 'noon': expected ISO 8601"),
        (["3", "--store", "."], "found a folder, expected a SQLite file"),
    ],
)
def test_mistakes_are_explained(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


def test_misspelt_configuration_is_explained(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "own.yaml").write_text("paths: {stoer: x}\n")
    monkeypatch.setenv("REELFLOW_CONF", str(home / "own.yaml"))
    assert main(["3"]) == 2
    assert "did you mean 'store'?" in capsys.readouterr().err


def test_numbers_out_of_range_are_explained(store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    publish(store, 8, 1)
    assert main(["99999999999999999999"]) == 2
    assert "beyond 64 bits" in capsys.readouterr().err
    assert main(["3", "--k", "0"]) == 2
    assert "k = 0" in capsys.readouterr().err
