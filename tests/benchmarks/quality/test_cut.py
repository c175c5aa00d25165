from datetime import datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from benchmarks.quality.cut import AFTER, BEFORE, cut, main
from jobs._window import HOUR
from schemas.errors import ReelflowError
from tests.builders import event, video, write_raw

AS_OF = datetime.fromisoformat("2026-01-08T00:00:00Z")


def rows(folder):
    found = ds.dataset(folder / "interactions", format="parquet", partitioning=None).to_table()
    return {row["event_id"]: row["occurred_at"] for row in found.to_pylist()}


def snapshot(folder, table, date):
    return pa.Table.to_pylist(ds.dataset(folder / table / f"dt={date}", format="parquet", partitioning=None).to_table())


def encounter(name, at, video_id, user=1):
    return [event(f"{name}-seen", "impression", f"{at}:00", user, video_id), event(name, "watch", f"{at}:01", user, video_id)]


@pytest.fixture
def raw(tmp_path):
    """User 1 watches five videos on one day and is shown a sixth between the third and the fourth; user 2 watches two."""
    events = [
        *encounter("a", "10:00", 10),
        *encounter("b", "11:00", 11),
        *encounter("c", "12:00", 12),
        event("ignored", "impression", "12:30:00", 1, 15),
        *encounter("d", "13:00", 13),
        event("d-liked", "like", "13:00:05", 1, 13),
        *encounter("e", "14:00", 14),
        *encounter("x", "15:00", 10, user=2),
        *encounter("y", "16:00", 11, user=2),
        event("broken", "watch", "16:00:00", 2, 11, watch_seconds=-1.0),
    ]
    videos = [video(number, uploaded_at=f"2026-01-0{number - 9}T00:00:00Z") for number in (10, 11, 12, 13, 14, 15)]
    write_raw(tmp_path / "raw", events, videos, [{"user_id": 1, "registered_at": "2026-01-07T09:00:00Z"}, {"user_id": 2}])
    return tmp_path / "raw"


def test_a_plain_cut_puts_the_newest_share_behind_the_hour_of_the_cut(raw, tmp_path):
    made = cut(raw, tmp_path / "out", share=0.4)
    assert made.as_of == datetime.fromisoformat("2026-01-07T13:00:00Z")
    assert (made.before, made.after, made.refused) == (7, 9, 1)
    assert set(rows(tmp_path / "out" / "raw")) == {"a-seen", "a", "b-seen", "b", "c-seen", "c", "ignored"}
    assert rows(tmp_path / "out" / "holdout")["d"] == datetime.fromisoformat("2026-01-07T13:00:01Z")
    uploaded = {row["video_id"]: row["uploaded_at"] for row in snapshot(tmp_path / "out" / "raw", "videos", "2026-01-07")}
    assert uploaded[10] == datetime.fromisoformat("2026-01-01T00:00:00Z")


def test_snapshots_after_a_plain_cut_belong_to_the_holdout(raw, tmp_path):
    write_raw(raw, [], [video(10, title="later")], snapshot="2026-01-09")
    cut(raw, tmp_path / "out", share=0.4)
    assert [row["title"] for row in snapshot(tmp_path / "out" / "holdout", "videos", "2026-01-09")] == ["later"]
    assert not (tmp_path / "out" / "raw" / "videos" / "dt=2026-01-09").exists()


def test_retimed_encounters_keep_their_order_and_the_last_share_of_each_user_comes_after_the_cut(raw, tmp_path):
    made = cut(raw, tmp_path / "out", share=0.2, retime=True)
    before, after = rows(tmp_path / "out" / "raw"), rows(tmp_path / "out" / "holdout")
    assert made.as_of == AS_OF
    assert set(after) == {"e-seen", "e"}  # one of user 1's five; of user 2's two 0.4, which rounds to none
    assert AS_OF <= after["e-seen"] < AS_OF + AFTER
    mine = [before[name] for name in ("a-seen", "b-seen", "c-seen", "ignored", "d-seen")]
    step = (BEFORE - HOUR) / 5
    for earlier, later in pairwise(mine):
        assert abs(later - earlier - step) <= timedelta(microseconds=1)
    assert AS_OF - BEFORE <= mine[0] < AS_OF - BEFORE + step
    assert before["d"] - before["d-seen"] == timedelta(seconds=1)
    assert before["d-liked"] - before["d-seen"] == timedelta(seconds=5)
    assert before["y-seen"] - before["x-seen"] == pytest.approx((BEFORE - HOUR) / 2, abs=timedelta(microseconds=1))


def test_a_retimed_log_knows_every_video_before_its_first_event(raw, tmp_path):
    write_raw(raw, [], [video(10, title="newest", uploaded_at="2026-01-01T00:00:00Z")], snapshot="2026-01-09")
    cut(raw, tmp_path / "out", retime=True)
    events = rows(tmp_path / "out" / "raw") | rows(tmp_path / "out" / "holdout")
    first_day = min(events.values()).date()
    found = {row["video_id"]: row for row in snapshot(tmp_path / "out" / "raw", "videos", first_day)}
    assert found[10]["title"] == "newest"
    assert found[11]["uploaded_at"] == min(events["b-seen"], events["y-seen"])
    assert found[13]["uploaded_at"] == min(events["d-seen"], datetime.fromisoformat("2026-01-04T00:00:00Z"))
    users = {row["user_id"]: row["registered_at"] for row in snapshot(tmp_path / "out" / "raw", "users", first_day)}
    assert users == {1: events["a-seen"], 2: None}


def test_the_same_logs_give_the_same_cut(raw, tmp_path):
    found = []
    for name in ("one", "two"):
        cut(raw, tmp_path / name, retime=True)
        found.append(rows(tmp_path / name / "raw"))
    assert found[0] == found[1]


def test_nothing_on_one_side_is_an_error(tmp_path):
    write_raw(tmp_path / "raw", encounter("a", "10:00", 10), [video(10)])
    with pytest.raises(ReelflowError, match="found no events before 2026-01-07T10:00:00Z"):
        cut(tmp_path / "raw", tmp_path / "out")


def test_the_command_prints_the_cut(raw, tmp_path, capsys):
    assert main([str(raw), str(tmp_path / "out"), "--share", "0.4"]) == 0
    assert capsys.readouterr().out.startswith("AS_OF=2026-01-07T13:00:00Z: 7 events before it")
    assert main([str(tmp_path / "nothing"), str(tmp_path / "out")]) == 2
    assert "found no events" in capsys.readouterr().err
