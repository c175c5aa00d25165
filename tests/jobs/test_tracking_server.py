"""Two days of models whose runs and bundles are on a real MLflow server, which keeps the files behind its own address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from jobs import _bundles, publish
from jobs._tracking import Tracker
from jobs._window import iso
from models.bundle import BundleError
from tests.builders import Workspace
from tests.jobs import planted
from tests.jobs.erasing import WHO, command, receipts, removed
from tests.jobs.mentions import mentions
from tests.jobs.planted import FIRST, SECOND, train
from tests.jobs.test_erase_models import bundle, goes_back_without_the_user
from tests.jobs.test_publish import index_by_hand, write_rows
from tests.jobs.test_rollback import back, champions
from tests.ports import free_port

pytestmark = pytest.mark.slow


@dataclass
class TrackingServer:
    """``mlflow server`` over a SQLite database, with a folder of artifacts that only it can reach."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        yield
        self.start()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a server that is away twice, not four times."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    found = TrackingServer(tmp_path_factory.mktemp("mlflow"), free_port())
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def space(server: TrackingServer, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two published days; ``WHO`` is one of forty users, and has one of the two lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "USERS", [*range(1, 40), WHO])
        made = planted.planted(tmp_path_factory.mktemp("on-a-server") / "home", {"mlflow": {"tracking_uri": server.url}})
    for end, shift in ((FIRST, 5), (SECOND, 0)):
        train(made, end)
        index_by_hand(made, end)
        write_rows(made, end, shift, users=(1, WHO))
        made.run(publish, "--as-of", iso(end))
    return made


def test_bundles_are_fetched_as_they_were_published(space: Workspace, server: TrackingServer) -> None:
    assert not list((space.home / "mlflow").rglob("manifest.json"))
    with space.environment():
        tracker = Tracker.open()
        for kind in (_bundles.WALS, _bundles.TOWERS):
            published = tracker.at(kind, "champion")
            assert published is not None
            assert published.source.startswith("mlflow-artifacts:/")
            assert tracker.fetch(published).digest == published.digest


def test_a_server_that_is_away_is_said_in_one_line(space: Workspace, server: TrackingServer, capsys) -> None:
    with server.stopped():
        code, said = back(space, capsys, "--by", "ann", "--reason", "cats")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert server.url in said
    assert champions(space) == {SECOND}


PAGE = f"<body><h2>Moved</h2><h3>User {WHO}</h3><p>likes cats</p><h3>User 1</h3><p>likes dogs</p></body>"


@pytest.fixture
def more(space: Workspace, tmp_path: Path) -> list[str]:
    """A page that names the user, and a run that was deleted, which keeps its artifacts until ``mlflow gc``; the runs' ids."""
    page = tmp_path / "verdict.html"
    page.write_text(PAGE)
    runs = []
    with space.environment():
        tracker = Tracker.open()
        tracker.attach(bundle(space, "towers"), page, "gate")
        for folder in (page.parent, bundle(space, "wals").path):
            run = tracker._client.create_run(tracker._experiment_id).info.run_id
            tracker._client.log_artifacts(run, str(folder), "wals" if folder != page.parent else "gate")
            tracker._client.delete_run(run)
            runs.append(run)
    return runs


def test_an_erasure_reaches_what_the_server_keeps(
    space: Workspace, server: TrackingServer, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    kept = space.home / "runs" / "erasures" / "artifacts"
    known = {name.split("/")[2] for name in mentions(server.folder, WHO)}
    assert len(known) >= 6
    with space.environment():
        assert command(space, "--user", str(WHO), "--dry-run") == 0
    assert {name.split("/")[2] for name in mentions(server.folder, WHO)} == known
    assert f"would remove 1 reports from mlflow-artifacts:/1/{more[0]}/artifacts/gate/verdict.html" in capsys.readouterr().out

    with server.stopped():
        assert command(space, "--user", str(WHO)) == 2
    assert "1 things are not erased" in capsys.readouterr().err

    with monkeypatch.context() as patch:  # every upload of factors is cut off after its first file
        patch.setattr(MlflowClient, "log_artifacts", _cut_off(MlflowClient.log_artifacts))
        assert command(space, "--user", str(WHO)) == 2
    assert "cannot be logged again" in capsys.readouterr().err
    assert {path.name for path in kept.iterdir()} <= known
    assert len(list(kept.iterdir())) == 3

    assert command(space, "--user", str(WHO)) == 0
    assert list(kept.iterdir()) == []
    assert mentions(space.home, WHO) == []
    assert mentions(server.folder, WHO) == []
    found = removed(receipts(space)[-1], "elsewhere")
    vectors = [count for place, count in found.items() if place.endswith(("wals", "towers"))]
    assert sorted(vectors) == [3, 3, 3, 7, 7]
    page = next((server.folder / "artifacts" / "1" / more[0]).rglob("verdict.html"))
    assert page.read_text() == "<body><h2>Moved</h2><h3>User 1</h3><p>likes dogs</p></body>"
    with space.environment():
        tracker = Tracker.open()
        published = tracker.at(_bundles.WALS, "champion")
        assert published is not None
        assert len(tracker.fetch(published).erasures) == 1


def _cut_off(log: Callable[..., None]) -> Callable[..., None]:
    def cut(client: MlflowClient, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        first = next((path for path in sorted(Path(local_dir).rglob("users.npy"))), None)
        if first is None:
            log(client, run_id, local_dir, artifact_path)
            return
        client.log_artifact(run_id, str(first), str(first.parent.relative_to(local_dir)))
        raise ConnectionError("the connection was lost")

    return cut


def test_a_rollback_fetches_its_bundle_from_the_server(space: Workspace, capsys) -> None:
    goes_back_without_the_user(space, capsys)


def test_a_damaged_artifact_is_not_used(space: Workspace, server: TrackingServer) -> None:
    with space.environment():
        tracker = Tracker.open()
        published = tracker.at(_bundles.WALS, "champion")
        assert published is not None
        (file,) = (server.folder / "artifacts").glob(f"{published.source.removeprefix('mlflow-artifacts:/')}/final/users.npy")
        file.write_bytes(b"nonsense")
        with pytest.raises(BundleError, match=r"users\.npy"):
            tracker.fetch(published)
