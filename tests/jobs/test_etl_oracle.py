"""The stages' tables against another engine's: the rules once more, as SQL, on logs that hold every case."""

import json
from collections import Counter
from datetime import timedelta
from itertools import zip_longest

import pyarrow.parquet as pq
import pytest

from benchmarks._etl_reference import Rules, run_reference
from benchmarks._events import START, write_events
from jobs import examples, ingest
from jobs._tables import Partition
from jobs._window import Window, iso
from schemas import EXAMPLES, INTERACTIONS, REJECTED, USERS, VIDEOS

pytestmark = pytest.mark.spark

HOURS = 3
WHEN = Window(START, START + timedelta(hours=HOURS))
RULES = Rules(
    max_watch_seconds=86_400.0,
    label_window_minutes=10,
    relevant_watch_fraction=0.5,
    negative_sample_rate=1.0,
    sample_salt="s",
)
SETTINGS = {
    "ingest": {"max_watch_seconds": RULES.max_watch_seconds},
    "examples": {
        "label_window_minutes": RULES.label_window_minutes,
        "relevant_watch_fraction": RULES.relevant_watch_fraction,
        "negative_sample_rate": RULES.negative_sample_rate,
        "sample_salt": RULES.sample_salt,
    },
}


@pytest.fixture(scope="module")
def both(spark, new_workspace, tmp_path_factory):
    """A workspace after ``ingest`` and ``examples``, and the folder with what the other engine made of the same logs."""
    space, reference = new_workspace(SETTINGS), tmp_path_factory.mktemp("reference")
    # Few users and videos, so that pairs come again: chains of actions, and impressions of a pair within one label window.
    write_events(space.raw, HOURS, 20_000, seed=11, users=400, videos=300)
    arguments = ("--start", iso(WHEN.start), "--end", iso(WHEN.end))
    space.run(ingest, *arguments)
    space.run(examples, *arguments)
    run_reference(space.raw, reference, RULES, hours_at_once=2)
    return space, reference


def found_and_expected(both, table):
    """Each partition as the stages and as the other engine wrote it."""
    space, reference = both
    for partition in space.lake.partitions(table, WHEN):
        expected = pq.read_table(reference / table.name / partition.path / "part.parquet", partitioning=None)
        assert expected.column_names == list(table.columns)
        yield partition, space.lake.read(table, [partition]), expected.cast(table.arrow)


def refusals(rows):
    """Rejected rows as (file, reason, column, event id), counted."""
    found = Counter()
    for row in rows:
        # Of two equal rows of an unknown video, in two files, either may be the duplicate.
        file = row["file"].rpartition("/")[0] if row["reason"] == "unknown_video" else row["file"]
        found[file, row["reason"], row["detail"].split(" ")[0], json.loads(row["record"]).get("event_id")] += 1
    return found


@pytest.mark.parametrize("table", [INTERACTIONS, EXAMPLES, VIDEOS, USERS], ids=lambda table: table.name)
def test_rows_and_their_order_are_equal(both, table):
    compared = 0
    for partition, found, expected in found_and_expected(both, table):
        if found != expected:
            pairs = zip_longest(found.to_pylist(), expected.to_pylist())
            differing = [pair for pair in pairs if pair[0] != pair[1]]
            pytest.fail(f"{partition.path}: {len(found)} and {len(expected)} rows, {len(differing)} differ: {differing[:3]}")
        compared += 1
    assert compared == (HOURS if "hr" in table.partitioned_by else 2)


def test_the_same_rows_are_rejected_for_the_same_reasons(both):
    for partition, found, expected in found_and_expected(both, REJECTED):
        mine, other = refusals(found.to_pylist()), refusals(expected.to_pylist())
        assert mine == other, partition.path


def test_the_logs_hold_every_case(both):
    """What the comparison is worth depends on what was compared."""
    space, _ = both
    manifests = [space.lake.manifest(INTERACTIONS, Partition.hour(hour)) for hour in WHEN.hours()]
    counts = sum((Counter(manifest.counts) for manifest in manifests), Counter())
    assert 55_000 < counts["read"] < 65_000
    assert min(counts[name] for name in ("duplicate", "rejected")) > 10
    reasons = {"missing_value", "unknown_interaction_type", "out_of_range", "outside_partition", "unknown_video"}
    assert {name for name in counts if name in reasons} == reasons
    rows = space.rows(EXAMPLES, WHEN)
    kinds = {(row["exposure"], row["label"], row["missed"]) for row in rows}
    impressions = {("impression", label, missed) for label in (0, 1) for missed in (False, True)}
    assert kinds == {*impressions, ("organic", 0, False), ("organic", 1, False)}
    assert any(row["disliked"] and row["liked"] for row in rows)
    assert any(row["occurred_at"].date() < row["known_at"].date() and row["clicked"] for row in rows)
    assert any(row["watch_fraction"] is None for row in rows)
    begun = Counter(row["event_id"] for row in rows if row["exposure"] == "organic")
    assert max(begun.values()) == 2  # an event that came again after a pause
