import datetime as dt
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from jobs.import_movielens import main
from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS

# The second rating's watch falls into the next hour, and its like with it: 2001-09-09T01:59:59.
RATINGS = [(1, 10, 5, 1_000_000_000), (2, 10, 4, 1_000_000_799), (1, 20, 2, 1_000_007_200), (2, 20, 3, 1_000_007_201)]
EXPECTED_EVENTS = {
    "ml-1-10-1000000000-impression": "2001-09-09T01:46:40",
    "ml-1-10-1000000000-watch": "2001-09-09T01:46:41",
    "ml-1-10-1000000000-like": "2001-09-09T01:46:42",
    "ml-2-10-1000000799-impression": "2001-09-09T01:59:59",
    "ml-2-10-1000000799-watch": "2001-09-09T02:00:00",
    "ml-2-10-1000000799-like": "2001-09-09T02:00:01",
    "ml-1-20-1000007200-impression": "2001-09-09T03:46:40",
    "ml-1-20-1000007200-watch": "2001-09-09T03:46:41",
    "ml-1-20-1000007200-dislike": "2001-09-09T03:46:42",
    "ml-2-20-1000007201-impression": "2001-09-09T03:46:41",
    "ml-2-20-1000007201-watch": "2001-09-09T03:46:42",
}


def write(folder: Path, files: dict[str, str], encoding: str = "latin-1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding=encoding)
    return folder


def layout_100k(folder: Path) -> Path:
    flags = "|".join
    return write(
        folder,
        {
            "u.data": "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS),
            "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
            "u.item": "10|Café (1995)|01-Jan-1995||http://x|"
            + flags("011")
            + "\n30|Unseen (1996)|||http://y|"
            + flags("100")
            + "\n",
            "u.genre": "unknown|0\nAction|1\nComedy|2\n\n",
        },
    )


def layout_1m(folder: Path) -> Path:
    return write(
        folder,
        {
            "ratings.dat": "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in RATINGS),
            "movies.dat": "10::Café (1995)::Action|Comedy\n30::Unseen (1996)::Drama\n",
            "users.dat": "1::M::25::10::48067\n2::F::1::16::70072\n",
        },
    )


def layout_csv(folder: Path) -> Path:
    return write(
        folder,
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r}.0,{t}\n" for u, i, r, t in RATINGS),
            "movies.csv": 'movieId,title,genres\n10,"Café, The (1995)",Action|Comedy\n30,Unseen,(no genres listed)\n',
        },
        encoding="utf-8",
    )


def events(out: Path) -> pd.DataFrame:
    files = sorted(out.glob("interactions/dt=*/hr=*/*.parquet"))
    return pd.concat(
        [pq.ParquetFile(file).read().to_pandas().assign(hour=str(file.parent)[-16:]) for file in files], ignore_index=True
    )


def snapshot(out: Path, table: str) -> pd.DataFrame:
    (file,) = out.glob(f"{table}/dt=*/*.parquet")
    assert file.parent.name == "dt=2001-09-09"
    return pq.ParquetFile(file).read().to_pandas()


@pytest.mark.parametrize("layout", [layout_100k, layout_1m, layout_csv])
def test_a_rating_becomes_an_impression_a_watch_and_a_verdict(layout, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(layout(tmp_path / "in")), "--out", str(out)]) == 0
    found = events(out)
    assert dict(zip(found.event_id, found.occurred_at.dt.strftime("%Y-%m-%dT%H:%M:%S"), strict=True)) == EXPECTED_EVENTS
    assert (found.occurred_at.dt.strftime("%Y-%m-%d/hr=%H") == found.hour).all()
    assert found.watch_seconds.isna().all()
    text = capsys.readouterr().out
    assert "read 4 rows, wrote 11 events in 3 hours, 2 users, 3 videos" in text
    assert f"make run RAW={out} AS_OF=2001-09-10T00:00:00Z" in text


@pytest.mark.parametrize("layout", [layout_100k, layout_1m, layout_csv])
def test_the_tables_are_of_the_raw_contract(layout, tmp_path):
    out = tmp_path / "out"
    main([str(layout(tmp_path / "in")), "--out", str(out)])
    for table in (RAW_INTERACTIONS, RAW_VIDEOS, RAW_USERS):
        for file in out.glob(f"{table.name}/**/*.parquet"):
            assert table.compare(pq.ParquetFile(file).schema_arrow) == []


def test_100k_side_files_enrich(tmp_path):
    out = tmp_path / "out"
    main([str(layout_100k(tmp_path / "in")), "--out", str(out)])
    videos = snapshot(out, "videos").set_index("video_id")
    assert videos.title.to_dict() == {10: "Café (1995)", 20: None, 30: "Unseen (1996)"}
    assert [None if tags is None else list(tags) for tags in videos.tags] == [["Action", "Comedy"], None, []]
    assert videos.duration_seconds.tolist() == [0.0, 0.0, 0.0]
    # Released before it was rated; not described, so from the day of its first rating; never rated, so from day one.
    assert videos.uploaded_at.dt.strftime("%Y-%m-%d").tolist() == ["1995-01-01", "2001-09-09", "2001-09-09"]
    users = snapshot(out, "users")
    assert users[["user_id", "age", "gender"]].to_numpy().tolist() == [[1, 24, "M"], [2, 53, "F"]]


def test_1m_side_files_enrich(tmp_path):
    out = tmp_path / "out"
    main([str(layout_1m(tmp_path / "in")), "--out", str(out)])
    videos = snapshot(out, "videos").set_index("video_id")
    assert videos.title[10] == "Café (1995)"
    assert list(videos.tags[30]) == ["Drama"]
    assert videos.uploaded_at[10] == pd.Timestamp("1995-01-01", tz="UTC")
    assert snapshot(out, "users")[["user_id", "age", "gender"]].to_numpy().tolist() == [[1, 25, "M"], [2, 1, "F"]]


def test_csv_side_files_enrich(tmp_path):
    out = tmp_path / "out"
    main([str(layout_csv(tmp_path / "in")), "--out", str(out)])
    videos = snapshot(out, "videos").set_index("video_id")
    assert videos.title[10] == "Café, The (1995)"
    assert list(videos.tags[30]) == []


def test_a_movie_is_never_newer_than_its_first_rating(tmp_path):
    source = write(tmp_path / "in", {"u.data": "1\t10\t5\t1000000000\n", "u.item": "10|Late|01-Jan-2020||x|\n"})
    main([str(source), "--out", str(tmp_path / "out")])
    assert snapshot(tmp_path / "out", "videos").uploaded_at[0] == pd.Timestamp(1_000_000_000, unit="s", tz="UTC")


def test_half_stars_and_fractions_of_a_second(tmp_path):
    lines = "userId,movieId,rating,timestamp\n1,1,3.5,1000000000.25\n1,2,4.5,1000000001\n1,3,1.5,1000000002\n"
    main([str(write(tmp_path / "in", {"ratings.csv": lines})), "--out", str(tmp_path / "out")])
    found = events(tmp_path / "out").set_index("event_id")
    assert sorted(found.index) == [
        "ml-1-1-1000000000.250000-impression", "ml-1-1-1000000000.250000-watch",
        "ml-1-2-1000000001-impression", "ml-1-2-1000000001-like", "ml-1-2-1000000001-watch",
        "ml-1-3-1000000002-dislike", "ml-1-3-1000000002-impression", "ml-1-3-1000000002-watch",
    ]  # fmt: skip
    instant = found.occurred_at["ml-1-1-1000000000.250000-impression"].to_pydatetime()
    assert instant == dt.datetime(2001, 9, 9, 1, 46, 40, 250_000, dt.UTC)


def test_refused_lines_are_kept_with_number_and_reason(tmp_path, capsys):
    lines = [
        "1\t10\t5\t1000000000",
        "1\t10\tgood\t1000000000",
        "1\t10\t5",
        "",
        "2\t10\t9\t1000000000",
        "3\t10\t1\t1000000000000",
    ]
    source = write(tmp_path / "in", {"u.data": "\n".join(lines), "u.user": "1|old|M|x|y\n"})
    assert main([str(source), "--out", str(tmp_path / "out")]) == 0
    refused = pd.read_csv(tmp_path / "out" / "import_rejected.csv")
    assert refused[["file", "line", "reason"]].to_numpy().tolist() == [
        ["u.data", 2, "rating: found 'good', expected a number"],
        ["u.data", 3, "found 3 columns, expected 4"],
        ["u.data", 5, "rating out of range: expected 0.5 to 5"],
        ["u.data", 6, "timestamp out of range: expected seconds since 1970"],
        ["u.user", 1, "not a user: invalid literal for int() with base 10: 'old'"],
    ]
    assert "read 5 rows, wrote 3 events in 1 hours, 1 users, 1 videos" in capsys.readouterr().out


def test_the_same_ratings_in_another_order_give_the_same_bytes(tmp_path):
    one = write(tmp_path / "one", {"u.data": "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS)})
    two = write(tmp_path / "two", {"u.data": "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in reversed(RATINGS))})
    files = []
    for source in (one, two):
        out = source / "out"
        main([str(source), "--out", str(out)])
        files.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert files[0] == files[1]
    assert len(files[0]) == 6  # three hours, two snapshots, the marker


def test_a_folder_of_no_known_layout_says_so(tmp_path, capsys):
    source = write(tmp_path / "in", {"notes.txt": "hello"})
    assert main([str(source), "--out", str(tmp_path / "out")]) == 2
    assert "found notes.txt; expected exactly one of u.data, ratings.dat and ratings.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_not_replaced(tmp_path, capsys):
    out = tmp_path / "out"
    write(out, {"thesis.txt": "ten years of work"})
    source = layout_100k(tmp_path / "in")
    assert main([str(source), "--out", str(out)]) == 2
    assert "found thesis.txt, expected an empty folder or an earlier simulation or import" in capsys.readouterr().err
    assert (out / "thesis.txt").read_text() == "ten years of work"
    assert main([str(source), "--out", str(out), "--force"]) == 0
    assert not (out / "thesis.txt").exists()


def test_a_log_longer_than_a_block_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.importing._log._ROWS_AT_ONCE", 1)
    main([str(layout_100k(tmp_path / "in")), "--out", str(tmp_path / "out")])
    assert sorted(events(tmp_path / "out").event_id) == sorted(EXPECTED_EVENTS)


def test_a_file_longer_than_a_block_keeps_its_line_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.importing._numbers._BLOCK_BYTES", 16)
    lines = [f"{user}::10::5::1000000000" for user in range(1, 8)]
    lines[5] = "6::10::five::1000000000"
    source = write(tmp_path / "in", {"ratings.dat": "\n".join(lines) + "\n"})
    main([str(source), "--out", str(tmp_path / "out")])
    refused = pd.read_csv(tmp_path / "out" / "import_rejected.csv")
    assert refused[["line", "record"]].to_numpy().tolist() == [[6, "6::10::five::1000000000"]]
    assert sorted(events(tmp_path / "out").user_id.unique()) == [1, 2, 3, 4, 5, 7]
