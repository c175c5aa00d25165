import json
import types

import pytest

from conf import ConfigError
from jobs import _stage
from jobs._stage import Context, Report
from schemas.errors import ReelflowError
from tests.builders import moment


def stage(run):
    """A stage called ``sample`` that does what ``run`` does."""
    return types.SimpleNamespace(__name__="jobs.sample", __doc__="Do a thing.\n\nMore.", run=run)


def seen(workspace, *arguments) -> Context:
    """What a stage is given for a command line."""
    given = []
    status, _, error = workspace.command(stage(lambda context: given.append(context) or Report()), *arguments)
    assert (status, error) == (0, "")
    return given[0]


def report_file(workspace, name="sample.json", run="20260108T000000Z"):
    return workspace.home / "runs" / run / name


class TestWindow:
    def test_as_of_reads_the_lookback_and_is_for_the_last_day(self, workspace):
        context = seen(workspace, "--as-of", "2026-01-08T00:00:00Z")
        assert (context.window.start, context.as_of) == (moment("2025-12-08T00:00"), moment("2026-01-08T00:00"))
        assert (context.requested.start, context.requested.end) == (moment("2026-01-07T00:00"), context.as_of)
        assert [str(day) for day in context.run_days()] == ["2026-01-07"]
        assert str(context.last_day) == "2026-01-07"
        assert not context.force

    def test_a_window_is_read_and_requested_alike(self, workspace):
        context = seen(workspace, "--start", "2026-01-06T12:00:00Z", "--end", "2026-01-08T00:00:00Z", "--force")
        assert context.window == context.requested
        assert [str(day) for day in context.run_days()] == ["2026-01-06", "2026-01-07"]
        assert context.force

    def test_places_lie_below_the_workspace(self, workspace):
        context = seen(workspace, "--as-of", "2026-01-08")
        assert context.lake.root == workspace.home / "lake"
        assert context.run_folder == workspace.home / "runs" / "20260108T000000Z"

    @pytest.mark.parametrize(
        "arguments",
        [[], ["--start", "2026-01-07"], ["--end", "2026-01-07"], ["--as-of", "2026-01-08", "--start", "2026-01-07"]],
    )
    def test_half_a_window_is_refused(self, workspace, arguments):
        status, out, error = workspace.command(stage(lambda _: Report()), *arguments)
        assert (status, out) == (2, "")
        assert error == "reelflow | sample | error: window: expected --as-of ISO, or --start ISO with --end ISO\n"

    def test_an_unknown_time_is_refused(self, workspace):
        status, _, error = workspace.command(stage(lambda _: Report()), "--as-of", "yesterday")
        assert status == 2
        assert "time 'yesterday': not ISO 8601" in error


class TestReport:
    def test_is_one_line_and_a_file(self, workspace):
        made = Report(read={"rows": 1234}, wrote={"examples": 5, "more": 0}, notes=["a note"], facts={"hours": 2})
        status, out, _ = workspace.command(stage(lambda _: made), "--as-of", "2026-01-08")
        assert status == 0
        assert out.startswith("reelflow | sample | read 1,234 rows; wrote 5 examples, 0 more; a note; ")
        assert out.count("\n") == 1
        found = json.loads(report_file(workspace).read_text())
        known = {name: found[name] for name in ("stage", "start", "as_of", "read", "wrote", "notes", "up_to_date", "facts")}
        assert known == {
            "stage": "sample", "start": "2025-12-08T00:00:00Z", "as_of": "2026-01-08T00:00:00Z", "read": {"rows": 1234},
            "wrote": {"examples": 5, "more": 0}, "notes": ["a note"], "up_to_date": False, "facts": {"hours": 2},
        }  # fmt: skip
        assert found["peak_memory_mb"] > 1

    def test_up_to_date_keeps_what_was_said_before(self, workspace):
        workspace.command(stage(lambda _: Report(wrote={"rows": 7}, facts={"hours": 1})), "--as-of", "2026-01-08")
        _, out, _ = workspace.command(stage(lambda _: Report(up_to_date=True)), "--as-of", "2026-01-08")
        assert out.startswith("reelflow | sample | up to date; ")
        found = json.loads(report_file(workspace).read_text())
        assert (found["wrote"], found["facts"], found["up_to_date"]) == ({"rows": 7}, {"hours": 1}, True)

    def test_progress_lines_name_the_stage(self, workspace):
        _, out, _ = workspace.command(stage(lambda context: context.say("half done") or Report()), "--as-of", "2026-01-08")
        assert out.splitlines()[0] == "reelflow | sample | half done"


class TestErrors:
    @pytest.mark.parametrize("kind", [ReelflowError, ConfigError])
    def test_what_a_user_can_mend_is_one_line_and_status_2(self, workspace, kind):
        def run(_):
            raise kind("the thing is broken; mend it")

        status, out, error = workspace.command(stage(run), "--as-of", "2026-01-08")
        assert (status, out, error) == (2, "", "reelflow | sample | error: the thing is broken; mend it\n")
        assert report_file(workspace, "sample.error").read_text() == "the thing is broken; mend it\n"
        assert not report_file(workspace).exists()

    def test_success_takes_the_error_away(self, workspace):
        def run(_):
            raise ReelflowError("no")

        workspace.command(stage(run), "--as-of", "2026-01-08")
        workspace.command(stage(lambda _: Report()), "--as-of", "2026-01-08")
        assert not report_file(workspace, "sample.error").exists()

    def test_a_defect_comes_through_with_its_traceback(self, workspace):
        def run(_):
            raise KeyError("defect")

        with pytest.raises(KeyError, match="defect"):
            workspace.command(stage(run), "--as-of", "2026-01-08")

    def test_a_misspelt_setting_is_named(self, workspace):
        (workspace.home / "settings.yaml").write_text("window: {lookback_day: 3}\n")
        status, _, error = workspace.command(stage(lambda _: Report()), "--as-of", "2026-01-08")
        assert status == 2
        assert "unknown key 'window.lookback_day'; did you mean 'lookback_days'?" in error


def test_the_lookback_is_configured(new_workspace):
    with new_workspace({"window": {"lookback_days": 3}}).environment():
        assert _stage.lookback(moment("2026-01-08T00:00")).start == moment("2026-01-05T00:00")
