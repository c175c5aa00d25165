import pytest

from jobs import recommended
from jobs._window import HOUR
from tests.jobs.publishing import FIRST, Platform


@pytest.fixture
def platform(workspace):
    platform = Platform(workspace.home)
    platform.day(FIRST, {1: [11, 12, 13], 2: [21]})
    platform.now = FIRST + 8 * HOUR
    platform.hour(FIRST + 5 * HOUR, {2: [22, 23]})
    return platform


def said(capsys, *arguments):
    """The exit status and the lines."""
    status = 0
    try:
        recommended.main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    found = capsys.readouterr()
    return status, (found.out + found.err).splitlines()


def test_a_list_is_printed_with_what_it_is_of(platform, capsys):
    day = platform.store.publications()[1].model_version
    assert said(capsys, "--user", "1", "--at", "2026-01-07T07:00:00Z") == (
        0,
        [
            "user 1 at 2026-01-07T07:00:00Z: version 1 was live, from 2026-01-07T06:11:00Z until 2026-01-07T08:11:00Z",
            f"  list of {day} (daily), as of 2026-01-07T00:00:00Z",
            "  rank        video      score  propensity  generators",
            "     1           11     1.0000      1.0000  retrieval|wals",
            "     2           12     0.5000      1.0000  retrieval|wals",
            "     3           13     0.3333      0.5000  retrieval|wals",
        ],
    )


def test_the_list_of_an_hour_and_no_more_than_asked_for(platform, capsys):
    status, lines = said(capsys, "--user", "2", "--at", "2026-01-07T12:00:00", "--k", "1")
    assert status == 0
    assert lines[0] == "user 2 at 2026-01-07T12:00:00Z: version 2 was live, from 2026-01-07T08:11:00Z, and still is"
    assert lines[1].endswith("(hourly), as of 2026-01-07T05:00:00Z")
    assert [line.split()[:2] for line in lines[3:]] == [["1", "22"]]


def test_what_there_is_no_list_for_is_said(platform, capsys):
    early = said(capsys, "--user", "1", "--at", "2026-01-07T06:00:00Z")
    assert early == (0, ["user 1 at 2026-01-07T06:00:00Z: nothing was live then, as far as the lake knows"])
    _, lines = said(capsys, "--user", "9", "--at", "2026-01-07T07:00:00Z")
    assert lines[1:] == ["  no list of their own then: the user saw the fallback list of their segment"]


def test_a_list_that_had_expired_is_said_to_have(platform, capsys):
    _, lines = said(capsys, "--user", "1", "--at", "2026-01-09T01:00:00Z")
    assert lines[1:] == ["  their own list had expired by then: the user saw the fallback list of their segment"]
    _, lines = said(capsys, "--user", "2", "--at", "2026-01-09T01:00:00Z")
    assert [line.split()[:2] for line in lines[3:]] == [["1", "22"], ["2", "23"]]


def test_lists_that_were_forgotten_are_said_to_be(platform, capsys):
    from jobs import _served

    _served.forget((platform.lake,), FIRST + 3 * 24 * HOUR, 1)
    _, lines = said(capsys, "--user", "1", "--at", "2026-01-07T07:00:00Z")
    assert lines[1:] == ["  the history does not hold its lists: older than history.keep_days, or lost before they were kept"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--at", "yesterday"), "time 'yesterday': not ISO 8601; expected for example 2026-01-08T00:00:00Z"),
        (("--at", "2026-01-07", "--k", "0"), "--k 0: expected 1 or more"),
    ],
)
def test_bad_options_are_one_line(workspace, capsys, arguments, error):
    assert said(capsys, "--user", "1", *arguments) == (2, [f"reelflow | recommended | error: {error}"])
