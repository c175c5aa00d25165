import random

import numpy as np
import pyarrow as pa
import pytest

from jobs._arrow import in_order_of_time
from jobs._erased import NOBODY
from jobs._judge import Durations, IngestConfig, judge, repeats, sound_ids
from jobs.reading import partition_files
from schemas import INTERACTIONS, RAW_INTERACTIONS
from tests.builders import arrow, event, moment, write_lines

CARRIED = [name for name in INTERACTIONS.columns if name != "duration_seconds"]
CONFIG = IngestConfig(max_watch_seconds=100.0)


def random_rows(seed, count, ids=30):
    rng = random.Random(seed)
    blank = dict.fromkeys(CARRIED)
    return [
        {**blank, "event_id": f"e{rng.randrange(ids)}", "user_id": rng.randrange(3), "video_id": rng.choice([None, 1, 2])}
        | {"interaction_type": rng.choice(["click", "like"]), "occurred_at": moment(f"10:0{rng.randrange(3)}")}
        | {"watch_seconds": rng.choice([None, 1.5, 2.5]), "device": rng.choice([None, "tv"])}
        for _ in range(count)
    ]


def table(rows):
    schema = pa.schema([RAW_INTERACTIONS.field(name).arrow.with_nullable(True) for name in CARRIED])
    return pa.Table.from_pylist(rows, schema)


def kept(rows, before):
    """What is left, as texts: of each id the earliest row, and of equally early ones the same whatever their order."""
    found = repeats(table(rows), pa.array(before, pa.string()))
    return sorted(str(row) for row, repeated in zip(rows, found, strict=True) if not repeated)


@pytest.mark.parametrize("seed", range(5))
def test_repeats_are_those_of_a_twin_in_any_order(seed):
    rows, before = random_rows(seed, 100), ["e0", "e1", "no such"]
    found = kept(rows, before)
    assert len(found) == len({row["event_id"] for row in rows} - set(before))
    for text in found:
        row = next(row for row in rows if str(row) == text)
        assert row["occurred_at"] == min(other["occurred_at"] for other in rows if other["event_id"] == row["event_id"])
    for _ in range(3):
        random.Random(seed + 1).shuffle(rows)
        assert kept(rows, before) == found


def test_nothing_repeats_in_nothing():
    assert repeats(table([]), pa.array(["a"])).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_time_is_that_of_python(seed):
    rows = random_rows(seed, 60, ids=10_000)
    found = in_order_of_time(table(rows)).to_pylist()
    assert found == sorted(
        rows, key=lambda row: (row["occurred_at"].replace(tzinfo=found[0]["occurred_at"].tzinfo), row["event_id"])
    )
    assert in_order_of_time(table([])).num_rows == 0


def test_videos_are_found_by_id():
    seconds, known = Durations(np.array([2, 5, 9]), np.array([20.0, 0.0, 90.0])).find(pa.chunked_array([[9, None, 1], [5, 10]]))
    assert known.tolist() == [True, False, False, True, False]
    assert np.isnan(seconds).tolist() == [False, True, True, False, True]
    assert seconds[[0, 3]].tolist() == [90.0, 0.0]
    assert Durations(np.empty(0, np.int64), np.empty(0)).find(pa.chunked_array([[1, None]]))[1].tolist() == [False, False]


def test_the_hour_before_hides_what_it_holds_whatever_became_of_it(tmp_path):
    folder = tmp_path / "interactions/dt=2026-01-07/hr=10"
    lines = [
        event("a", "click", "10:00:00"),
        event("b", "click", "10:00:00", video=99),
        event("b", "click", "10:01:00", video=99),
    ]
    write_lines(folder / "a.jsonl", [*lines, event("c", "watch", "10:00:00", watch_seconds=101), "broken"])
    files = partition_files(folder)
    assert sound_ids(moment("10:00"), files, CONFIG).to_pylist() == ["a", "b", "b"]
    found = judge(moment("10:00"), files, pa.array(["a"]), Durations(np.array([10]), np.array([5.0])), CONFIG, erased=NOBODY)
    assert found.kept == arrow(INTERACTIONS, [])
    assert found.counts == {
        "duplicate": 2, "rejected": 3, "unknown_video": 1, "out_of_range": 1, "malformed_record": 1,
    }  # fmt: skip
    assert found.read == 5
    assert found.refused["detail"].to_pylist() == ["the record cannot be parsed", "watch_seconds = 101.0", "video_id = 99"]
