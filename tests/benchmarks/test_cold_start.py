import pytest

from benchmarks.cold_start import KINDS, main
from jobs._tables import Lake, Partition
from schemas import EVALUATION
from tests.builders import MADE_BY_HAND, arrow, moment


def figures(kind, final, popularity, low):
    """What an evaluation says of newcomers, and what must not be taken for it."""
    own = {"as_of": moment("2026-01-08T00:00"), "users": 40, "examples": 90, "slice_kind": kind, "slice_value": "new"}
    rows = [
        {"model": "final", "baseline": "none", "value": final},
        {"model": "popularity", "baseline": "none", "value": popularity},
        {"model": "final", "baseline": "popularity", "value": final - popularity, "low": low, "high": 0.3},
        {"model": "wals", "baseline": "none", "value": 0.9},
    ]
    better = [{**row, "value": 0.8, "low": 0.7} for row in rows]
    return (
        [{**own, "metric": "ndcg@10", **row} for row in rows]
        + [{**own, "metric": "recall@100", **row} for row in better]
        + [{**own, "metric": "ndcg@10", **row, "slice_value": "known"} for row in better]
    )


def workspace(home, *rows, day="2026-01-07T00:00"):
    Lake(home / "lake").write(EVALUATION, Partition(moment(day).date()), arrow(EVALUATION, rows), MADE_BY_HAND)
    return str(home)


def test_newcomers_that_gain_for_certain_are_named_with_their_figures(tmp_path, capsys):
    home = workspace(tmp_path, *figures("users", 0.25, 0.125, 0.0625), *figures("videos", 0.5, 0.25, 0.125))
    assert main([home]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{home}:",
        "  new users  ndcg@10 0.2500, popularity 0.1250, difference +0.1250 (+0.0625 to +0.3000), 40 users",
        "  new videos ndcg@10 0.5000, popularity 0.2500, difference +0.2500 (+0.1250 to +0.3000), 40 users",
    ]


@pytest.mark.parametrize("worse", KINDS)
def test_a_gain_that_may_be_none_is_not_enough(tmp_path, worse):
    rows = [row for kind in KINDS for row in figures(kind, 0.5, 0.25, -0.01 if kind == worse else 0.1)]
    assert main([workspace(tmp_path, *rows)]) == 1


def test_the_newest_day_counts(tmp_path):
    good, bad = ([row for kind in KINDS for row in figures(kind, 0.5, 0.25, low)] for low in (0.1, -0.1))
    workspace(tmp_path, *bad, day="2026-01-06T00:00")
    assert main([workspace(tmp_path, *good)]) == 0


def test_nothing_judged_is_said(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "not found; run evaluate first" in capsys.readouterr().err
    assert main([workspace(tmp_path, *figures("users", 0.5, 0.25, 0.1))]) == 2
    assert "found no ndcg@10 of new videos" in capsys.readouterr().err
