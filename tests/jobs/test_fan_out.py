import os

import pytest

from jobs import _fan_out, examples, ingest
from jobs._fan_out import cut, fan_out
from tests.builders import event, stage_context, tree, video, write_lines, write_raw

ARGUMENTS = ("--start", "2026-01-07T00:00:00Z", "--end", "2026-01-08T00:00:00Z")


class TestCut:
    @pytest.mark.parametrize(
        ("weights", "runs", "expected"),
        [
            ([1, 1, 1, 1], 2, ["ab", "cd"]),
            ([1, 1, 1, 1], 4, ["a", "b", "c", "d"]),
            ([1, 1, 1, 1], 9, ["a", "b", "c", "d"]),
            ([9, 1, 1, 1], 2, ["a", "bcd"]),
            ([1, 1, 1, 9], 2, ["abcd"]),
            ([0, 0, 0, 0], 2, ["abcd"]),
            ([1, 1, 1, 1], 1, ["abcd"]),
        ],
    )
    def test_runs_weigh_about_the_same(self, weights, runs, expected):
        assert ["".join(run) for run in cut("abcd", weights, runs)] == expected


def test_little_work_is_done_here(workspace):
    context = stage_context("ingest", *ARGUMENTS)
    mine = os.getpid()
    done = fan_out(context, [1, 2, 3, 4], lambda run: (os.getpid(), list(run)), weights=[1, 1, 1, 1], megabytes=1)
    assert done == [(mine, [1, 2]), (mine, [3, 4])]
    assert fan_out(context, [], sum, weights=[], megabytes=0) == []


@pytest.mark.spark
def test_much_work_is_done_by_spark_in_order(spark, new_workspace):
    space = new_workspace({"fan_out": {"session_above_mb": 0.0, "chunks_per_core": 2}})
    with space.environment():
        context = stage_context("ingest", *ARGUMENTS)
        units = list(range(100))
        assert fan_out(context, units, sum, weights=[1.0] * 100, megabytes=1) == [
            sum(units[n : n + 25]) for n in (0, 25, 50, 75)
        ]
    assert _fan_out.worker_peak_kb() > 10_000


@pytest.mark.spark
def test_spark_and_this_process_write_the_same_bytes(spark, new_workspace):
    trees = {}
    for megabytes in (0.0, 1000.0):
        space = new_workspace(
            {"fan_out": {"session_above_mb": megabytes, "chunks_per_core": 3}, "examples": {"negative_sample_rate": 0.5}}
        )
        rows = [
            event(f"{hour}-{n}", kind, f"{hour:02d}:{n}5:00", user=n % 3, watch_seconds=20.0 * n)
            for hour in range(24)
            for n, kind in enumerate(("impression", "watch", "like", "impression", "dislike", "watch"))
        ]
        write_raw(space.raw, rows, videos=[video(10)], snapshot="2026-01-06")
        for hour in (7, 8, 9, 17):  # the same event on both sides of cuts, and a broken line
            again = event("again", "click", f"{hour:02d}:59:00")
            write_lines(space.raw / f"interactions/dt=2026-01-07/hr={hour:02d}/more.jsonl", [again, "broken"])
        for stage in (ingest, examples):
            space.run(stage, *ARGUMENTS)
        trees[megabytes] = tree(space.lake.root)
    assert trees[0.0] == trees[1000.0]
    assert len(trees[0.0]) > 24 * 4
