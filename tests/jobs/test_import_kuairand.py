from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from jobs.import_kuairand import main
from schemas import RAW_INTERACTIONS, RAW_USERS, RAW_VIDEOS

DATA = Path(__file__).parents[1] / "data"
EXPLICIT = DATA / "kuairand_explicit.tsv"
OFFICIAL = DATA / "kuairand_official" / "log_standard_tiny.csv"


def events(out: Path) -> pd.DataFrame:
    files = sorted(out.glob("interactions/dt=*/hr=*/*.parquet"))
    return pd.concat(
        [pq.ParquetFile(file).read().to_pandas().assign(hour=str(file.parent)[-16:]) for file in files], ignore_index=True
    )


def kinds(found: pd.DataFrame, user: int) -> list[tuple[int, str, float | None]]:
    rows = found[found.user_id == user]
    seconds = [None if pd.isna(value) else value for value in rows.watch_seconds]
    return list(zip(rows.video_id, rows.interaction_type, seconds, strict=True))


def snapshot(out: Path, table: str) -> pd.DataFrame:
    (file,) = out.glob(f"{table}/dt=*/*.parquet")
    return pq.ParquetFile(file).read().to_pandas()


def test_explicit_rows_become_events(tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(EXPLICIT), "--out", str(out)]) == 0
    found = events(out)
    # clicked, played 46.186 s, liked
    assert kinds(found, 1) == [(100, "impression", None), (100, "click", None), (100, "watch", 46.186), (100, "like", None)]
    # not clicked, played, hated, commented and forwarded
    assert kinds(found, 2) == [
        (200, "impression", None), (200, "watch", 1.5), (200, "dislike", None), (200, "share", None), (200, "comment", None),
    ]  # fmt: skip
    # neither clicked nor played, liked
    assert kinds(found, 3) == [(100, "impression", None), (100, "like", None)]
    assert "read 6 rows, wrote 19 events in 3 hours, 4 users, 2 videos" in capsys.readouterr().out


def test_time_is_time_ms_in_utc_and_events_lie_in_their_hour(tmp_path):
    out = tmp_path / "out"
    main([str(EXPLICIT), "--out", str(out)])
    found = events(out)
    assert (found.occurred_at.dt.strftime("%Y-%m-%d/hr=%H") == found.hour).all()
    first = found[found.user_id == 1]
    assert first.occurred_at.dt.strftime("%H:%M:%S.%f").tolist() == [
        "08:59:09.287000", "08:59:10.287000", "08:59:10.287000", "08:59:11.287000",
    ]  # fmt: skip
    # user 2 sees the video in the last millisecond of the hour and reacts in the next
    assert found[found.user_id == 2].hour.str[-2:].tolist() == ["08", "09", "09", "09", "09"]


def test_a_repeated_row_repeats_its_event_ids(tmp_path):
    out = tmp_path / "out"
    main([str(EXPLICIT), "--out", str(out)])
    again = events(out).query("user_id == 4 and video_id == 200")
    assert again.event_id.value_counts().to_dict() == {
        "kr-4-200-1649581200000-impression": 2,
        "kr-4-200-1649581200000-watch": 2,
        "kr-4-200-1649581200000-like": 1,
        "kr-4-200-1649581200000-dislike": 1,
    }


def test_official_columns_are_understood(tmp_path):
    out = tmp_path / "out"
    assert main([str(OFFICIAL.parent), "--out", str(out)]) == 0
    found = events(out)
    assert kinds(found, 1) == [(100, "impression", None), (100, "click", None), (100, "watch", 5.0), (100, "like", None)]
    assert kinds(found, 2) == [(200, "impression", None)]
    assert kinds(found, 3) == [(200, "impression", None), (200, "dislike", None)]


def test_the_tables_are_of_the_raw_contract(tmp_path):
    out = tmp_path / "out"
    main([str(EXPLICIT), "--out", str(out)])
    for table in (RAW_INTERACTIONS, RAW_VIDEOS, RAW_USERS):
        files = list(out.glob(f"{table.name}/**/*.parquet"))
        assert files
        for file in files:
            assert table.compare(pq.ParquetFile(file).schema_arrow) == []


def test_a_video_has_its_longest_duration_and_its_first_day(tmp_path):
    out = tmp_path / "out"
    main([str(EXPLICIT), "--out", str(out)])
    videos = snapshot(out, "videos")
    assert videos.video_id.tolist() == [100, 200]
    assert videos.duration_seconds.tolist() == [45.916, 0.0]
    assert videos.uploaded_at.dt.strftime("%Y-%m-%dT%H:%M").tolist() == ["2022-04-10T00:00", "2022-04-10T00:00"]
    assert videos.creator_id.isna().all()
    assert snapshot(out, "users").user_id.tolist() == [1, 2, 3, 4]


def test_video_features_of_the_same_edition_enrich(tmp_path):
    features = tmp_path / "features.csv"
    features.write_text(
        "video_id,author_id,video_type,upload_dt,video_duration,tag\n"
        '100,7,NORMAL,2022-04-09,87433.0,"39,2"\n200,8,NORMAL,2030-01-01,12000.0,\n999,9,AD,bad,,\n'
    )
    out = tmp_path / "out"
    assert main([str(EXPLICIT), "--videos", str(features), "--out", str(out)]) == 0
    videos = snapshot(out, "videos")
    assert videos.creator_id.tolist() == [7, 8]
    assert list(videos.tags[0]) == ["39", "2"]
    assert videos.tags[1] is None
    assert videos.duration_seconds.tolist() == [45.916, 12.0]  # the log's own where it knows
    # midnight in Beijing; and never later than the first impression
    assert videos.uploaded_at.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").tolist() == [
        "2022-04-08T16:00:00.000000", "2022-04-10T08:59:59.999000",
    ]  # fmt: skip


def test_features_of_another_edition_are_refused(tmp_path, capsys):
    features = tmp_path / "features.csv"
    features.write_text("video_id,author_id,upload_dt,video_duration,tag\n100,7,2022-04-09,87433.0,39\n")
    assert main([str(EXPLICIT), "--videos", str(features), "--out", str(tmp_path / "out")]) == 2
    assert "found 50% of the log's videos, expected at least 90%" in capsys.readouterr().err


def test_a_file_that_is_no_log_is_refused(tmp_path, capsys):
    file = tmp_path / "user_features.csv"
    file.write_text("user_id,user_active_degree\n1,full_active\n")
    assert main([str(file), "--out", str(tmp_path / "out")]) == 2
    assert "found no column duration_ms, is_click, play_time_ms, time_ms, video_id" in capsys.readouterr().err


def test_refused_rows_are_kept(tmp_path, capsys):
    lines = EXPLICIT.read_text().splitlines()
    lines[1] = lines[1].replace("46186", "-5")
    lines[2] = lines[2].replace("200", "two hundred", 1)
    file = tmp_path / "log_bad.tsv"
    file.write_text("\n".join(lines))
    assert main([str(file), "--out", str(tmp_path / "out")]) == 0
    refused = pd.read_csv(tmp_path / "out" / "import_rejected.csv")
    assert refused[["line", "reason"]].to_numpy().tolist() == [
        [2, "play_time_ms or duration_ms below 0"],
        [3, "video_id: found 'two hundred', expected a whole number"],
    ]
    assert "read 6 rows" in capsys.readouterr().out
