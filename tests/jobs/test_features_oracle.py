"""The point-in-time tables against another engine's: the rules once more, as SQL, on a log longer than every span."""

from datetime import timedelta
from itertools import pairwise, zip_longest

import pyarrow.parquet as pq
import pytest

from benchmarks._events import START, write_events
from benchmarks._features_reference import Limits, run_reference
from jobs import examples, features, ingest
from jobs._window import Window, iso
from schemas import EXAMPLE_FEATURES, USER_HISTORY, VIDEO_HOURS

pytestmark = pytest.mark.slow

HOURS = 200
WHEN = Window(START, START + timedelta(hours=HOURS))
ARGUMENTS = ("--start", iso(WHEN.start), "--end", iso(WHEN.end))
LENGTHS = {"watched": 3, "liked": 2, "seen": 20, "searched": 1}
TABLES = (VIDEO_HOURS, USER_HISTORY, EXAMPLE_FEATURES)


@pytest.fixture(scope="module")
def log(new_workspace):
    """A workspace with ``interactions`` and ``examples``."""
    space = new_workspace({})
    write_events(space.raw, HOURS, 300, seed=12, users=50, videos=40)
    for stage in (ingest, examples):
        space.run(stage, *ARGUMENTS)
    return space


@pytest.fixture(scope="module", params=[3, 31], ids=["reach of 3 days", "reach beyond the log"])
def both(request, log, tmp_path_factory):
    """A workspace after ``features``, and the folder with what the other engine made of the same tables."""
    folder = tmp_path_factory.mktemp("oracle")
    space = log.copy_to(folder / "home", {"features": {"history": LENGTHS}, "window": {"history_days": request.param}})
    space.run(features, *ARGUMENTS)
    run_reference(space.lake.root, folder / "reference", Limits(LENGTHS, request.param), hours_at_once=50)
    return space, folder / "reference"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_rows_and_their_order_are_equal(both, table):
    space, reference = both
    partitions = space.lake.partitions(table, WHEN)
    assert len(partitions) == len([*(reference / table.name).rglob("*.parquet")]) > 8
    for partition in partitions:
        found = space.lake.read(table, [partition])
        expected = pq.read_table(reference / table.name / partition.path / "part.parquet", partitioning=None)
        assert expected.column_names == list(table.columns)
        if found != expected.cast(table.arrow):
            pairs = zip_longest(found.to_pylist(), expected.cast(table.arrow).to_pylist())
            differing = [pair for pair in pairs if pair[0] != pair[1]]
            counts = f"{found.num_rows} and {expected.num_rows} rows, {len(differing)} differ"
            pytest.fail(f"{partition.path}: {counts}: {differing[:3]}")


def test_the_log_fills_every_list_and_every_span(both):
    """What the comparison is worth depends on what was compared."""
    rows = both[0].rows(EXAMPLE_FEATURES, WHEN)
    assert len(rows) > 8_000
    for name, length in LENGTHS.items():
        assert {len(row[f"{name}_history"]) for row in rows} == set(range(length + 1)), name
    spans = ("hour", "day", "week")
    assert any(0 < row["likes_last_hour"] < row["likes_last_day"] < row["likes_last_week"] for row in rows)
    assert any(row["impressions_last_day"] < row["impressions_last_week"] for row in rows)
    assert all(row[f"views_last_{a}"] <= row[f"views_last_{b}"] for row in rows for a, b in pairwise(spans))
