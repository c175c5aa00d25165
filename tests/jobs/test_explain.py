"""Explanations against the rows of the lists themselves, and against what keeps a video from everybody or from one user."""

import re

import pytest

from jobs import _worker, explain, recommend
from jobs._tables import Partition
from jobs._window import DAY, iso
from models.recommend import GENERATORS
from schemas import USER_FEATURES
from schemas.errors import ReelflowError
from tests.builders import Workspace, stage_context
from tests.jobs.planted import BLOCKED_IN_DE, REMOVED, SECOND, SETTINGS, VIDEOS, build_index, planted, train

pytestmark = pytest.mark.slow

TODAY = Partition((SECOND - DAY).date())


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    space = planted(tmp_path_factory.mktemp("explained"))
    train(space, SECOND)
    build_index(space, SECOND)
    return space


@pytest.fixture(scope="module")
def said(space):
    def tell(user, video):
        with space.environment():
            return explain.run(stage_context("explain", "--as-of", iso(SECOND)), user, video)

    return tell


@pytest.fixture(scope="module")
def lists(space):
    with space.environment():
        model = recommend.model_of(stage_context("recommend", "--as-of", iso(SECOND)))
    users = space.lake.read(USER_FEATURES, [TODAY])
    found = {}
    for batch in _worker.recommend_batches(model, users.to_batches()):
        for row in batch.to_pylist():
            found.setdefault(row["user_id"], {})[row["video_id"]] = row
    return found


def test_every_video_of_a_list_is_explained_by_its_row(said, lists):
    for video, row in lists[3].items():
        text = said(3, video)
        assert f"rank {row['rank']} of the list" in text
        for source in row["sources"].split("|"):
            name, _, rank = source.partition(":")
            assert (f"{name} at place {rank}" if rank else "fills the list up") in text
        score = float(re.search(r"scored (-?[\d.]+)", text)[1])
        assert score == pytest.approx(row["score"], abs=1e-3)


def test_a_video_that_lost_says_where_it_stands(said, lists):
    lost = [said(3, video) for video in VIDEOS if video not in lists[3]]
    behind = [text for text in lost if "it stands at rank" in text]
    assert behind
    for text in behind:
        assert "not in the list" in text.splitlines()[0]
        assert int(re.search(r"stands at rank (\d+)", text)[1]) > 10
        assert "the list ends at 10" in text


def test_what_keeps_a_video_from_everybody_or_from_one_user_is_said(said, space):
    users = {row["user_id"]: row for row in space.lake.read(USER_FEATURES, [TODAY]).to_pylist()}
    assert "it is removed: nobody is shown it" in said(1, min(REMOVED))
    watcher = next(user for user, row in users.items() if row["watched"])
    assert "clicked, watched, liked or disliked it already" in said(watcher, users[watcher]["watched"][0])
    german = next(user for user, row in users.items() if row["country"] == "DE" and not BLOCKED_IN_DE & set(row["watched"]))
    assert "blocked in the user's country, DE" in said(german, min(BLOCKED_IN_DE))


def test_a_rules_limit_and_a_generators_reach_are_said(space):
    rules = [{"rule": "age", "max_days": 0.001, "half_life_days": None, "penalty": 0}]
    narrow = {"k": 1, "generators": {**dict.fromkeys(GENERATORS, 0), "popular": 1, "retrieval": 1}, "rules": []}
    for change, words in (
        ({"rules": rules}, "rule age shows it to nobody: its age in days is"),
        (narrow, "the first 1 that may be shown are proposed"),
    ):
        other = Workspace(space.home, {**SETTINGS, "recommend": SETTINGS["recommend"] | change})
        with other.environment():
            context = stage_context("explain", "--as-of", iso(SECOND))
            texts = [explain.run(context, 1, video) for video in VIDEOS if video not in REMOVED]
        assert any(words in text for text in texts)


def test_strangers_are_named(said):
    assert "the platform did not know the user" in said(999_999, 100)
    assert "no snapshot up to then held the video" in said(1, 999_999)


def test_the_command_says_what_to_do_where_there_is_no_run(space, capsys):
    with space.environment(), pytest.raises(SystemExit) as error:
        explain.main(["1", "100", "--as-of", "2026-01-06T00:00:00Z"])
    assert error.value.code == 2
    assert "reelflow | explain | error: " in capsys.readouterr().err
    with space.environment(), pytest.raises(ReelflowError):
        explain.run(stage_context("explain", "--as-of", "2026-01-06T00:00:00Z"), 1, 100)
