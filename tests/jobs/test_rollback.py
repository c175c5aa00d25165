import shutil

import numpy as np
import pytest

from jobs import _bundles, _served_at, publish, rollback
from jobs._registry import KINDS
from jobs._served_at import Timeline
from jobs._tracking import Tracker
from jobs._window import iso, micros
from models.bundle import open_bundle
from tests.builders import stage_context
from tests.jobs.planted import FIRST, SECOND, SETTINGS, planted, train
from tests.jobs.test_publish import index_by_hand, store, videos, write_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two days are published."""
    space = planted(tmp_path_factory.mktemp("published"))
    for end, shift in ((FIRST, 5), (SECOND, 0)):
        train(space, end)
        index_by_hand(space, end)
        write_rows(space, end, shift)
        space.run(publish, "--as-of", iso(end))
    return space


@pytest.fixture
def space(both, tmp_path):
    return both.copy_to(tmp_path / "home", SETTINGS)


def back(space, capsys, *arguments):
    """The exit status and what was said."""
    with space.environment():
        try:
            rollback.main([*arguments])
        except SystemExit as stopped:
            return stopped.code, capsys.readouterr().err
    return 0, capsys.readouterr().out


def champions(space):
    with space.environment():
        tracker = Tracker.open()
        return {tracker.at(kind, "champion").as_of for kind in KINDS}


def test_store_aliases_and_index_go_back_together(space, capsys):
    assert (videos(space), champions(space)) == ([101, 102, 103], {SECOND})
    code, said = back(space, capsys, "--by", "ann", "--reason", "too many cats")
    assert code == 0
    assert said.startswith("reelflow | rollback | live now: version 1 as of 2026-01-07T00:00:00Z (20260107T000000Z-")
    assert "; before: version 2 as of 2026-01-08T00:00:00Z (" in said
    assert (videos(space), champions(space)) == ([106, 107, 108], {FIRST})
    assert store(space).switches()[0].reason == "ann: too many cats"


def test_the_lake_knows_what_was_live_when(space, capsys):
    back(space, capsys, "--by", "ann", "--reason", "too many cats")
    spans = Timeline.read(space.lake).spans
    assert [span.version for span in spans][-1] == 1
    assert spans[-1].start == store(space).switches()[0].at
    found = _served_at.shown(space.lake, np.array([1]), np.array([micros(spans[-1].start)]))
    assert found.rows["video_id"].to_pylist() == [106, 107, 108]


def test_a_rollback_that_died_before_the_lake_knew_is_finished(space, capsys):
    store(space).rollback()
    back(space, capsys, "--to-version", "1", "--by", "ann", "--reason", "mend")
    assert Timeline.read(space.lake).spans[-1].version == 1


def test_there_and_back_again(space, capsys):
    for version, shown in ((1, [106, 107, 108]), (2, [101, 102, 103])):
        assert back(space, capsys, "--to-version", str(version), "--by", "ann", "--reason", "a test")[0] == 0
        assert videos(space) == shown
    assert champions(space) == {SECOND}


def test_the_live_version_is_left_and_its_aliases_mended(space, capsys):
    store(space).rollback()  # as one that died before the aliases
    assert champions(space) == {SECOND}
    code, said = back(space, capsys, "--to-version", "1", "--by", "ann", "--reason", "mend")
    assert (code, "is live already; aliases follow it" in said) == (0, True)
    assert champions(space) == {FIRST}
    assert len(store(space).switches()) == 3


def test_a_request_is_carried_out_once(space, capsys):
    for _ in range(3):
        assert back(space, capsys, "--by", "ann", "--reason", "cats", "--request", "manual__1")[0] == 0
        assert videos(space) == [106, 107, 108]
    assert store(space).switches()[0].reason == "ann: cats [request manual__1]"
    assert len(store(space).switches()) == 3


@pytest.mark.parametrize("lost", [True, False])
def test_bundles_made_again_since_are_put_back(space, capsys, lost):
    with space.environment():
        context = stage_context("index", "--as-of", iso(FIRST))
        place = _bundles.location(context, "serving")
    digest = open_bundle(place, kind="serving").digest
    if lost:
        shutil.rmtree(place)
    else:
        write = lambda folder: (folder / "index").write_text("another")  # noqa: E731
        with space.environment():
            _bundles.commit(context, "serving", publish._recipe.Recipe({}, "by hand", {}), write, {})
    _, said = back(space, capsys, "--by", "ann", "--reason", "cats")
    assert "bundles put back from the artifact store: serving" in said
    assert open_bundle(place, kind="serving").digest == digest
    assert [path.name for path in place.parent.iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_gone_back_to_is_said(space, capsys):
    code, said = back(space, capsys, "--to-version", "7", "--by", "ann", "--reason", "cats")
    assert code == 2
    assert "rollback to version 7: live is version 2, and other versions with rows are: 1 (as of 2026-01-07" in said
    assert back(space, capsys, "--by", "ann", "--reason", "  ")[1].endswith(
        "rollback: found an empty --reason; expected some words, they are kept with the switch\n"
    )
    assert videos(space) == [101, 102, 103]
