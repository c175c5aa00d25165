from datetime import timedelta
from pathlib import Path
from urllib.parse import urlparse

import pytest
from mlflow.tracking import MlflowClient

from jobs import _bundles, _old_hours
from jobs._recipe import Recipe
from jobs._registry import KINDS
from jobs._tracking import Tracker
from jobs._window import compact, iso
from tests.builders import moment, stage_context

DAY = moment("2026-01-08T00:00")
OLD, EDGE, NEW = (DAY + timedelta(hours=hours) for hours in (-49, -48, 1))
DAYS = (DAY - timedelta(days=3), DAY)


@pytest.fixture(scope="module")
def space(new_workspace):
    """Bundles and lists of three hours and two days, as their stages leave them."""
    space = new_workspace()
    with space.environment():
        tracker = Tracker.open()
        for as_of in (*DAYS, OLD, EDGE, NEW):
            hourly = () if as_of in DAYS else ("--lane", "hourly")
            context = stage_context("refresh", *hourly, "--as-of", iso(as_of))
            for kind in KINDS:
                write = lambda folder: (folder / "weights").write_text(folder.name)  # noqa: E731
                recipe = Recipe({}, "by hand", {"as_of": iso(as_of)})
                tracker.register(_bundles.commit(context, kind, recipe, write, {}), {})
            if hourly:
                (context.lists.root / "recommendations").mkdir(parents=True)
        assert _old_hours.remove(stage_context("publish", "--as-of", iso(DAY)), tracker, DAY) == 1
    return space


def names(*moments):
    return sorted(compact(at) for at in moments)


def test_hours_older_than_they_are_kept_are_gone_and_days_are_not(space):
    assert sorted(path.name for path in (space.home / "lake" / "_hourly").iterdir()) == names(EDGE, NEW)
    for kind in KINDS:
        assert sorted(path.name for path in (space.home / "bundles" / kind).iterdir()) == names(*DAYS, EDGE, NEW)


@pytest.mark.parametrize("kind", KINDS)
def test_their_versions_and_artifacts_are_gone_too(space, kind):
    client = MlflowClient(tracking_uri=f"sqlite:///{space.home / 'mlflow' / 'mlflow.db'}")
    of_hours = client.search_model_versions(f"name='reelflow-{kind}-hourly'")
    assert sorted(one.tags["as_of"] for one in of_hours) == sorted(map(iso, (EDGE, NEW)))
    assert len(client.search_model_versions(f"name='reelflow-{kind}'")) == len(DAYS)
    assert all(Path(urlparse(one.source).path).is_dir() for one in of_hours)


def test_no_artifact_is_left_behind(space):
    kept = (len(DAYS) + 2) * len(KINDS)
    assert len(list((space.home / "mlflow" / "artifacts").rglob("weights"))) == kept


def test_again_there_is_nothing_to_remove(space):
    with space.environment():
        assert _old_hours.remove(stage_context("publish", "--as-of", iso(DAY)), Tracker.open(), DAY) == 0
