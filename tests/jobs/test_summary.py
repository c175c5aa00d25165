import json

from jobs import summary
from jobs._tables import Partition
from schemas import INTERACTIONS, REJECTED, USER_FEATURES, VIDEOS
from tests.builders import MADE_BY_HAND, NO_HISTORY, arrow, event, moment

ARGUMENTS = ("--as-of", "2026-01-08T00:00:00Z")
REPORT = {"seconds": 1.25, "process_seconds": 12.0, "peak_memory_mb": 2048, "up_to_date": False}
LISTS = ("popularity_", "wals_", "retrieval_", "ranker_", "")
FIGURES = ("ndcg@10", "recall@10", "precision@10", "recall@100", "coverage@100")


def text_of(workspace):
    workspace.run(summary, *ARGUMENTS)
    return (workspace.home / "runs" / "20260108T000000Z" / "summary.txt").read_text(encoding="utf-8")


def lines_of(workspace):
    return [" ".join(line.split()) for line in text_of(workspace).splitlines()]


def write(workspace, name, content):
    folder = workspace.home / "runs" / "20260108T000000Z"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def write_hour(workspace, hour, read, kept, refused, **reasons):
    rows = [
        event(f"{hour}-{n}", "click", f"{hour:02d}:00:{n:02d}") | {"occurred_at": moment(f"{hour:02d}:00")} for n in range(kept)
    ]
    refusals = [{"source": "interactions", "file": "f", "reason": "bad_time", "detail": "d"}] * refused
    allowed = REJECTED.field("reason").allowed
    refusals = [{**row, "reason": allowed[0]} for row in refusals]
    where = Partition.hour(moment(f"{hour:02d}:00"))
    workspace.lake.write(INTERACTIONS, where, arrow(INTERACTIONS, rows), MADE_BY_HAND)
    counts = {"read": read, "kept": kept, **reasons}
    workspace.lake.write(REJECTED, where, arrow(REJECTED, refusals), MADE_BY_HAND, counts)


def test_an_empty_workspace_says_what_is_missing(workspace):
    found = lines_of(workspace)
    assert found[0] == "reelflow as of 2026-01-08T00:00:00Z"
    assert "Data 0 hours: 0 rows in = 0 kept + 0 duplicates + 0 rejected (balanced)" in found
    assert "0 users, 0 videos" in found
    assert [line for line in found if line.endswith("did not run")] == [f"{stage} did not run" for stage in summary.STAGES]
    assert "Verdict none" in found
    assert "Live nothing is published yet" in found
    assert f"lake {workspace.home / 'lake'}" in found


def test_rows_are_added_up_over_the_hours(workspace):
    write_hour(workspace, 9, read=6, kept=3, refused=2, duplicate=1, late=2)
    write_hour(workspace, 10, read=4, kept=4, refused=0)
    today = Partition(moment("00:00").date())
    user = {"user_id": 1, "interaction_count": 0, "watched": [], **NO_HISTORY}
    workspace.lake.write(USER_FEATURES, today, arrow(USER_FEATURES, [user]), MADE_BY_HAND)
    workspace.lake.write(VIDEOS, today, arrow(VIDEOS, []), MADE_BY_HAND)
    found = lines_of(workspace)
    assert "Data 2 hours: 10 rows in = 7 kept + 1 duplicates + 2 rejected (balanced)" in found
    assert "rejected: late 2" in found
    assert "1 users, 0 videos" in found


def test_a_lost_row_is_shouted_out(workspace):
    write_hour(workspace, 9, read=7, kept=3, refused=2, duplicate=1)
    assert "Data 1 hours: 7 rows in = 3 kept + 1 duplicates + 2 rejected (NOT BALANCED)" in lines_of(workspace)


def test_stages_show_their_figures_or_why_they_failed(workspace):
    write(workspace, "ingest.json", REPORT)
    write(workspace, "examples.json", {**REPORT, "up_to_date": True})
    write(workspace, "features.json", REPORT)
    write(workspace, "features.error", "table users: no partition\n")
    found = lines_of(workspace)
    assert "ingest 1.2 12.0 2,048" in found
    assert "examples 1.2 12.0 2,048 up to date" in found
    assert "features failed: table users: no partition" in found
    assert "publish did not run" in found


def test_quality_is_a_table_of_the_verdict(workspace):
    metrics = {prefix + name: row + column / 10 for row, prefix in enumerate(LISTS) for column, name in enumerate(FIGURES)}
    write(workspace, "verdict.json", {"passed": True, "reason": "passed: all", "metrics": {**metrics, "users": 1234.0}})
    found = lines_of(workspace)
    assert "Quality on the held-out end of time, 1,234 users, all videos" in found
    assert "list ndcg@10 recall@10 precision@10 recall@100 coverage@100" in found
    assert "popularity 0.0000 0.1000 0.2000 0.3000 0.4000" in found
    assert "WALS 1.0000 1.1000 1.2000 1.3000 1.4000" in found
    assert "final list 4.0000 4.1000 4.2000 4.3000 4.4000" in found
    assert "Verdict passed: all" in found


def test_a_verdict_from_before_the_ranker_was_judged_alone(workspace):
    metrics = {prefix + name: 1.0 for prefix in LISTS if prefix != "ranker_" for name in FIGURES}
    write(workspace, "verdict.json", {"passed": True, "reason": "passed: all", "metrics": {**metrics, "users": 1.0}})
    found = lines_of(workspace)
    assert "retrieval 1.0000 1.0000 1.0000 1.0000 1.0000" in found
    assert not [line for line in found if line.startswith("ranker ")]


def test_the_page_of_the_evaluation_is_named_where_it_is(workspace):
    assert not [line for line in lines_of(workspace) if line.startswith("quality /")]
    page = workspace.home / "runs" / "20260108T000000Z" / "evaluation" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    assert f"quality {page}" in lines_of(workspace)


def test_a_verdict_without_anybody_to_judge_has_no_table(workspace):
    write(workspace, "verdict.json", {"passed": False, "reason": "refused: nobody", "metrics": {"users": 0.0}})
    found = lines_of(workspace)
    assert "Quality on the held-out end of time, 0 users, all videos" in found
    assert "Verdict refused: nobody" in found


def test_what_is_tried_has_its_lines(workspace):
    assert not [line for line in lines_of(workspace) if line.startswith("Shadow")]
    report = {"said": "bigger: running, 2 of 7 runs", "next": "It goes on.", "left_out": "the gate refused"}
    (workspace.home / "runs" / "20260108T000000Z" / "shadow").mkdir(parents=True)
    write(workspace, "shadow/report.json", report)
    found = lines_of(workspace)
    place = found.index("Shadow bigger: running, 2 of 7 runs")
    assert found[place + 1 : place + 3] == ["this run is not counted: the gate refused", "It goes on."]


def test_a_trial_that_failed_is_no_stage_of_the_run(workspace):
    write(workspace, "shadow.error", "bundle wals: damaged\n")
    assert "Shadow failed: bundle wals: damaged" in lines_of(workspace)
    found = lines_of(workspace)
    assert not [line for line in found if line.startswith("shadow ")]
