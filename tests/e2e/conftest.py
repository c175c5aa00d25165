"""The platform of ``tests.e2e.day``, made once for all files that look at it."""

from __future__ import annotations

import contextlib
import io

import pytest

from jobs import publish, simulate
from tests.builders import Workspace
from tests.e2e.day import BEFORE_PUBLISH, FIRST, SECOND, SETTINGS, STAGES, World, copy_of


@pytest.fixture(scope="package")
def world(spark, tmp_path_factory):
    space = Workspace(tmp_path_factory.mktemp("day"), SETTINGS)
    with space.environment(), contextlib.redirect_stdout(io.StringIO()):
        assert simulate.main([]) == 0
    for stage in STAGES:
        space.run(stage, "--as-of", FIRST)
    for stage in BEFORE_PUBLISH:
        space.run(stage, "--as-of", SECOND)
    eve = copy_of(space, tmp_path_factory.mktemp("eve") / "home")
    space.run(publish, "--as-of", SECOND)
    return World(space, eve)


@pytest.fixture
def both(world, tmp_path):
    """A copy of the world after both days, free to be changed."""
    return copy_of(world.both, tmp_path / "both")


@pytest.fixture
def eve(world, tmp_path):
    """A copy of the world in which all is ready to publish the second day."""
    return copy_of(world.eve, tmp_path / "eve")
