import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.popularity import COUNTS, counters_as_of, decayed_counts, epoch_days
from schemas.errors import ReelflowError

FIRST = 20454  # 2026-01-01


def counts_table(rows, days_as=lambda day: dt.date.fromordinal(dt.date(1970, 1, 1).toordinal() + day)):
    """Rows of (video_id, day since 1970, impressions, views, likes, relevant)."""
    video_ids, days, *amounts = zip(*rows, strict=True) if rows else ((),) * 6
    columns = {"video_id": pa.array(video_ids, pa.int64()), "dt": pa.array([days_as(day) for day in days])}
    return pa.table(columns | {name: pa.array(amount, pa.float64()) for name, amount in zip(COUNTS, amounts, strict=True)})


def test_yesterday_counts_in_full_and_today_not_at_all():
    counts = counts_table([(7, FIRST, 10, 5, 2, 4), (7, FIRST + 1, 20, 6, 3, 8)])
    days = np.array(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-06", "2026-01-03"], dtype="datetime64[D]")
    found = counters_as_of(counts, np.array([7, 7, 7, 7, 99]), days, half_life_days=3.0)
    assert found["impressions"].tolist() == [0, 10, 30, 30, 0]
    assert found["views"].tolist() == [0, 5, 11, 11, 0]
    assert found["likes"].tolist() == [0, 2, 5, 5, 0]
    assert found["relevant"].tolist() == [0, 4, 12, 12, 0]
    expected = [0, 4, 8 + 4 * 0.5 ** (1 / 3), 8 * 0.5 + 4 * 0.5 ** (4 / 3), 0]
    np.testing.assert_allclose(found["popularity"], expected, rtol=1e-12)


rows = st.tuples(st.integers(1, 4), st.integers(0, 40), *[st.integers(0, 9)] * 4)
queries = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 45)), max_size=12)


@settings(deadline=None)
@given(st.lists(rows, max_size=25), queries, st.sampled_from([0.01, 0.5, 3.0, 100.0]))
def test_counters_agree_with_loops(counted, asked, half_life_days):
    counts = counts_table([(video, FIRST + day, *amounts) for video, day, *amounts in counted])
    videos, days = (np.array([query[place] for query in asked], dtype=np.int64) for place in (0, 1))
    found = counters_as_of(counts, videos, days + FIRST, half_life_days)
    for place, (video, day) in enumerate(asked):
        earlier = [row for row in counted if row[0] == video and row[1] < day]
        for column, name in enumerate(COUNTS, start=2):
            assert found[name][place] == sum(row[column] for row in earlier)
        decayed = sum(row[5] * 0.5 ** ((day - row[1] - 1) / half_life_days) for row in earlier)
        assert found["popularity"][place] == pytest.approx(decayed, rel=1e-9, abs=1e-12)


def test_training_and_inference_see_the_same_popularity():
    rng = np.random.default_rng(0)
    video, day, amount = rng.integers(0, 20, 300), rng.integers(FIRST, FIRST + 9, 300), rng.integers(0, 5, 300).astype(float)
    counts = counts_table([(v, d, 0, 0, 0, a) for v, d, a in zip(video.tolist(), day.tolist(), amount.tolist(), strict=True)])
    direct = decayed_counts(video, day, amount, as_of_day=FIRST + 6, n_videos=21, half_life_days=2.0)
    looked_up = counters_as_of(counts, np.arange(21), np.full(21, FIRST + 6), 2.0)["popularity"]
    np.testing.assert_allclose(direct, looked_up, rtol=1e-12)
    assert direct[20] == 0.0


@pytest.mark.parametrize(
    "days",
    [
        np.array(["2026-01-01", "2026-01-03"], dtype="datetime64[us]"),
        np.array([20454, 20456], dtype=np.int32),
        pa.array(["2026-01-01", "2026-01-03"]),
        pa.array(["2026-01-01", "2026-01-03"]).dictionary_encode(),
        pa.chunked_array([[dt.date(2026, 1, 1)], [dt.date(2026, 1, 3)]]),
        pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 3, tzinfo=dt.UTC)]),
    ],
)
def test_days_in_any_form(days):
    assert epoch_days(days).tolist() == [20454, 20456]


def test_partition_values_as_text_are_days():
    counts = counts_table([(7, FIRST, 1, 1, 1, 1)], days_as=lambda _: "2026-01-01")
    assert counters_as_of(counts, np.array([7]), pa.array(["2026-01-02"]), 3.0)["relevant"].tolist() == [1.0]


def test_what_cannot_be_counted_is_refused():
    counts = counts_table([(7, FIRST, 1, 1, 1, 1)])
    with pytest.raises(ReelflowError, match="no column likes"):
        counters_as_of(counts.drop_columns(["likes"]), np.array([7]), np.array([FIRST]), 3.0)
    with pytest.raises(ReelflowError, match="half-life"):
        counters_as_of(counts, np.array([7]), np.array([FIRST]), 0.0)
    with pytest.raises(ReelflowError, match="no date"):
        epoch_days(pa.array(["yesterday"]))
    with pytest.raises(ReelflowError, match="nulls"):
        epoch_days(pa.array(["2026-01-01", None]))
    with pytest.raises(ReelflowError, match="one day a video"):
        counters_as_of(counts, np.array([7, 8]), np.array([FIRST]), 3.0)
