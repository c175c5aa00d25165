import json
import re
from datetime import date
from types import SimpleNamespace

import pytest

from jobs import _range_summary, summary
from jobs._range_summary import note_backfill, of_days
from jobs._window import Window
from tests.builders import Workspace, moment

STAGES = ("ingest", "train", "publish")
WEEK = Window(moment("2026-01-05T00:00"), moment("2026-01-09T00:00"))


@pytest.fixture
def runs(tmp_path):
    return tmp_path


def day(runs, number, *, fresh=STAGES, gate=True, kind="backfill", error=None, answers=()):
    """Reports of the run for 2026-01-0``number``."""
    folder = runs / f"2026010{number + 1}T000000Z"
    folder.mkdir()
    for stage in STAGES:
        (folder / f"{stage}.json").write_text(
            json.dumps({"up_to_date": stage not in fresh, "read": {"raw rows": 1000 * number}})
        )
    (folder / "verdict.json").write_text(json.dumps({"passed": gate, "basis": {}, "answers": list(answers)}))
    if error:
        (folder / "train.error").write_text(f"{error}\n")
    if kind:
        (folder / "kind.json").write_text(json.dumps({"kind": kind}))


def published(number, version, status):
    return SimpleNamespace(as_of=moment(f"2026-01-0{number + 1}T00:00"), version=version, status=status)


def test_a_line_a_day(runs):
    answer = {"approved": True, "by": "ann", "at": "2026-01-08T05:00:00Z", "reason": "why not",
              "basis": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}  # fmt: skip
    day(runs, 5)
    day(runs, 6, fresh=("publish",), gate=False, answers=[answer])
    day(runs, 7, error="no space left")
    text = of_days(runs, WEEK, STAGES, [published(6, 3, "superseded"), published(6, 2, "failed"), published(5, 1, "live")])
    said = "refused, approved in spite of the gate by ann at 2026-01-08T05:00:00Z: why not"
    assert [re.split(" {2,}", line) for line in text.splitlines()] == [
        ["reelflow, days 2026-01-05 to 2026-01-08"],
        [""],
        ["day", "raw rows", "made", "gate", "published"],
        ["2026-01-05", "5,000", "all", "passed", "version 1 live"],
        ["2026-01-06", "6,000", "1 of 3 stages", said, "version 3 superseded"],
        ["2026-01-07", "7,000", "FAILED in train: no space left"],
        ["2026-01-08", "did not run"],
        [""],
        ["4 days: 1 passed, 1 refused, 1 failed, 1 not run"],
    ]
    assert (
        len({line.index(cell) for line, cell in zip(text.splitlines()[2:5], ("gate", "passed", "refused"), strict=True)}) == 1
    )


def test_the_last_day_of_a_backfill_to_end_finds_all_of_them(runs):
    for number in (4, 5, 7):
        day(runs, number, kind="live" if number == 4 else "backfill")
    assert note_backfill(runs, date(2026, 1, 5), "backfill", STAGES, []) == runs / "backfill.txt"
    assert (runs / "backfill.txt").read_text().startswith("reelflow, days 2026-01-05 to 2026-01-05\n")
    day(runs, 6, kind=None)
    note_backfill(runs, date(2026, 1, 6), "backfill", STAGES, [])
    text = (runs / "backfill.txt").read_text()
    assert text.startswith("reelflow, days 2026-01-05 to 2026-01-07\n")
    assert text.endswith("3 days: 3 passed, 0 refused, 0 failed, 0 not run\n")


def test_a_day_that_failed_does_not_end_the_range(runs):
    day(runs, 5)
    day(runs, 6, kind=None, error="no space left")
    day(runs, 7)
    note_backfill(runs, date(2026, 1, 7), "backfill", STAGES, [])
    assert (runs / "backfill.txt").read_text().endswith("3 days: 2 passed, 0 refused, 1 failed, 0 not run\n")


@pytest.mark.parametrize("kind", ["live", "manual", None])
def test_other_runs_take_their_day_out_of_it(runs, kind):
    for number in (5, 6):
        day(runs, number)
    assert note_backfill(runs, date(2026, 1, 5), kind, STAGES, []) is None
    assert not (runs / "backfill.txt").exists()
    note_backfill(runs, date(2026, 1, 6), "backfill", STAGES, [])
    assert (runs / "backfill.txt").read_text().startswith("reelflow, days 2026-01-06 to 2026-01-06\n")


def test_a_trial_that_failed_is_no_part_of_the_day(runs):
    day(runs, 5)
    day(runs, 6, kind=None)
    (runs / "20260107T000000Z" / "shadow.error").write_text("no space left\n")
    assert "2026-01-06" in of_days(runs, WEEK, STAGES, [])
    assert "FAILED" not in of_days(runs, WEEK, STAGES, [])
    assert note_backfill(runs, date(2026, 1, 5), "backfill", STAGES, []) == runs / "backfill.txt"
    assert (runs / "backfill.txt").read_text().startswith("reelflow, days 2026-01-05 to 2026-01-05\n")


def test_the_command_prints_any_days(tmp_path):
    space = Workspace(tmp_path / "home")
    (space.home / "runs").mkdir()
    status, out, error = space.command(summary, "--start", "2026-01-05", "--end", "2026-01-08")
    assert (status, error) == (0, "")
    assert out.splitlines()[0] == "reelflow, days 2026-01-05 to 2026-01-07"
    assert "3 days: 0 passed, 0 refused, 0 failed, 3 not run" in out.splitlines()
    assert _range_summary.FILE not in {path.name for path in (space.home / "runs").iterdir()}
