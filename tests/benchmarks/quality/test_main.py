import json
from datetime import timedelta

import numpy as np
import pytest

from benchmarks.quality.__main__ import REPORT, _options, _task, main
from benchmarks.quality._run import MODELS
from benchmarks.quality._workspace import days
from tests.builders import event, moment, video, write_raw

AS_OF = "2026-01-08T00:00:00Z"
MANY, FEW, VIDEOS = 24, 8, 6
"""Users 0 to 23 like the videos 100 to 105, users 24 to 31 the videos 200 to 205."""


def liked(user, number, at):
    shown = at.isoformat().replace("+00:00", "Z")
    after = (at + timedelta(seconds=2)).isoformat().replace("+00:00", "Z")
    return [
        event(f"{user}-{number}-shown", "impression", shown, user, number),
        event(f"{user}-{number}-like", "like", after, user, number),
    ]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Each user likes all videos of the group but one before the cut, and that one after it, and ignores others; 99 is new."""
    folder = tmp_path_factory.mktemp("logs")
    before, after = [], []
    for user in range(MANY + FEW):
        first = 100 if user < MANY else 200
        for place in range(VIDEOS):
            number = first + (user + place) % VIDEOS
            start = moment("2026-01-03T00:00:00" if place < VIDEOS - 1 else AS_OF.removesuffix("Z"))
            at = start + timedelta(hours=28 * place if place < VIDEOS - 1 else 1, minutes=user)
            (before if place < VIDEOS - 1 else after).extend(liked(user, number, at))
        for place in range(3):  # shown from the other group, and ignored
            at = (moment("2026-01-03T12:00:00") + timedelta(hours=28 * place, minutes=user)).isoformat().replace("+00:00", "Z")
            before.append(event(f"{user}-{place}-ignored", "impression", at, user, 300 - first + (user + place) % VIDEOS))
    after += liked(99, 100, moment("2026-01-08T05:00:00"))
    after += liked(0, 100, moment("2026-01-08T06:00:00"))  # seen before the cut: not relevant again
    videos = [video(first + place, title=f"group {first}") for first in (100, 200) for place in range(VIDEOS)]
    users = [{"user_id": user} for user in range(MANY + FEW)]
    write_raw(folder / "raw", before, videos, users, snapshot="2026-01-03")
    write_raw(folder / "holdout", after)
    return folder


@pytest.fixture(scope="module")
def report(logs, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    options = ["--raw", str(logs / "raw"), "--holdout", str(logs / "holdout"), "--as-of", AS_OF, "--workspace", str(home)]
    models = "popularity,item kNN,EASE,wals,retrieval,reelflow"
    assert main([*options, "--seeds", "1", "--trials", "1", "--models", models]) == 0
    return json.loads((home / REPORT).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_question_is_what_was_planted(report):
    asked = report["question"]
    assert (asked["users"], asked["new_users"], asked["relevant"]) == (MANY + FEW + 1, 1, MANY + FEW + 1)
    assert (asked["videos"], asked["positives_before"], asked["watches_before"]) == (12, (MANY + FEW) * (VIDEOS - 1), 0)


@pytest.mark.slow
def test_popularity_finds_what_most_like_and_asks_the_few_to_wait(report):
    """The many have one video left of the popular six: first. The few see those six first: theirs is the seventh."""
    found = report["models"]["popularity"]["mean"]
    users = MANY + FEW + 1
    assert found["ndcg@10"] == pytest.approx((MANY + 1 + FEW / np.log2(8)) / users)
    assert found["precision@1"] == pytest.approx((MANY + 1) / users)
    assert found["precision@5"] == pytest.approx((MANY + 1) / users / 5)
    assert found["recall@20"] == found["recall@100"] == found["coverage@100"] == 1
    assert found["map@100"] == pytest.approx((MANY + 1 + FEW / 7) / users)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["item kNN", "EASE"])
def test_what_knows_the_groups_puts_the_missing_video_first(report, name):
    found = report["models"][name]["mean"]
    assert found["ndcg@10"] == found["ndcg@20"] == found["precision@1"] == found["map@100"] == 1


@pytest.mark.slow
def test_our_models_go_through_the_stages(report):
    """WALS knows the groups as well; only the new user's list may begin with another popular video."""
    assert report["models"]["wals"]["mean"]["precision@1"] >= (MANY + FEW) / (MANY + FEW + 1)
    final = report["models"]["reelflow"]
    assert final["mean"]["recall@20"] == 1
    assert final["verdicts"][0]["seed"] == 1
    assert {"new", "light", "heavy"} <= set(final["verdicts"][0]["weights"])
    assert final["verdicts"][0]["users_without_a_row"] == 1


@pytest.mark.slow
def test_the_report_is_a_table_and_json(report):
    assert list(report["models"]) == ["popularity", "item kNN", "EASE", "retrieval", "wals", "reelflow"]
    assert report["models"]["EASE"]["params"] == {"input": "positives", "regularization": 200.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "nonsense"], "found nonsense; expected some of popularity"),
        (["--raw", "somewhere"], "found one of them, expected both"),
        (["--trials", "0"], "expected one number of 1 or more"),
        (["--seeds", "a"], "expected whole numbers"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said, capsys):
    with pytest.raises(SystemExit):
        main(options)
    assert said in capsys.readouterr().err


def test_logs_that_are_none_are_an_error(tmp_path, capsys):
    assert main(["--raw", str(tmp_path), "--as-of", AS_OF]) == 2
    assert "found no interactions" in capsys.readouterr().err


def test_without_logs_a_simulated_platform_is_cut(tmp_path, monkeypatch):
    small = {"users": 80, "videos": 120, "days": 3, "malformed_fraction": 0.0, "jsonl_hours": [], "csv_hours": []}
    settings = tmp_path / "small.yaml"
    settings.write_text(json.dumps({"simulate": small}), encoding="utf-8")
    monkeypatch.setenv("REELFLOW_CONF", str(settings))
    task = _task(_options([]), tmp_path / "home")
    assert moment("2025-12-27T00:00:00") < task.as_of < moment("2025-12-29T00:00:00")
    assert days(task.raw)[1] <= task.as_of.date() <= days(task.holdout)[0]
    assert (list(task.seeds), task.trials, tuple(task.models)) == ([1], 20, MODELS)


def test_logs_without_a_holdout_are_their_own(tmp_path):
    task = _task(_options(["--raw", str(tmp_path), "--as-of", AS_OF, "--seeds", "1, 2"]), tmp_path)
    assert (task.holdout, task.as_of, list(task.seeds)) == (tmp_path, moment("2026-01-08T00:00:00"), [1, 2])
