"""One Spark session for a process of tests, and workspaces in which stages run as they do from the command line."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.builders import Workspace


class ByFile(LoadScopeScheduling):
    """What one process takes at a time: the tests of a file, or of all that look at the same finished days."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if file.startswith("tests/e2e/") else file


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The session that every stage of this process shares: two cores, one partition after a shuffle, no UI."""
    from jobs._session import spark_session

    home = tmp_path_factory.mktemp("spark")
    with Workspace(home, {"spark": {"extra": {"spark.sql.warehouse.dir": str(home / "warehouse")}}}).environment():
        session = spark_session("tests")
    yield session
    session.stop()


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty workspace below ``tmp_path``, which ``REELFLOW_HOME`` names as long as the test runs."""
    found = Workspace(tmp_path / "home")
    for name, value in found.variables.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture(scope="module")
def new_workspace(tmp_path_factory):
    """A function that makes workspaces which live as long as the module, with settings of their own."""
    return lambda settings=None: Workspace(tmp_path_factory.mktemp("home"), settings)
