"""The stage that trains the towers, killed after each epoch of each training, and what the next run makes of it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

import conf
from jobs import _bundles, train_towers
from models.bundle import Bundle
from models.towers import _checkpoint
from models.towers._checkpoint import Checkpoint
from tests.builders import Workspace, tree
from tests.jobs.planted import SETTINGS, planted

pytestmark = pytest.mark.slow

AS_OF = ("--as-of", "2026-01-08T00:00:00Z")
RUN = "20260108T000000Z"
TRAININGS = [f"{name}-{age}" for name in ("retrieval", "ranker") for age in ("early", "holdout", "final")]
# One day of examples, and models that still gain in their second epoch.
TOWERS = deepcopy(SETTINGS["towers"])
TOWERS["retrieval"] |= {"learning_rate": 0.01, "average": 0.3}
TOWERS["ranker"] |= {"average": 0.3}
SMALL = {**SETTINGS, "window": {"lookback_days": 1}, "towers": TOWERS}
TWO_EACH = [(training, epoch) for training in TRAININGS for epoch in (1, 2)]

_PROCESSES = multiprocessing.get_context("forkserver")
# Else each child would import them anew: torch loads the last when it is made deterministic.
_PROCESSES.set_forkserver_preload(["jobs.train_towers", "pandas", "torch._inductor"])


@dataclass(frozen=True)
class Ran:
    """What a process did before it ended."""

    exit_code: int
    epochs: list[tuple[str, int]]
    """Trainings and epochs that were said to be over."""
    steps: int
    """Of optimizers."""
    registered: list[Any]
    """Bundle, metrics and history."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("base") / "home", SMALL)


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """An undisturbed run, and its workspace."""
    space = base.copy_to(tmp_path_factory.mktemp("whole") / "home", SMALL)
    ran = stage(space)
    assert (ran.exit_code, ran.epochs) == (0, TWO_EACH)
    assert not (space.home / "runs" / RUN / "trainings").exists()
    return ran, space


@pytest.fixture
def space(base, tmp_path):
    return base.copy_to(tmp_path / "home", SMALL)


def trainings(space: Workspace) -> dict[str, bytes]:
    """Checkpoints by training."""
    [recipe] = (space.home / "runs" / RUN / "trainings").iterdir()
    return {name.removesuffix(".safetensors"): content for name, content in tree(recipe).items()}


def stage(space: Workspace, dies: str = "", at: int = 0) -> Ran:
    """Run the stage in a process of its own, and kill it where ``dies`` says, for saves at the one of this number."""
    log = space.home.parent / "log"
    shutil.rmtree(log, ignore_errors=True)
    log.mkdir()
    process = _PROCESSES.Process(target=_child, args=(space, log, dies, at))
    process.start()
    process.join()
    said = re.findall(r"\| (\w+), (\w+), epoch (\d+):", (log / "said").read_text(encoding="utf-8"))
    registered = log / "registered"
    return Ran(
        exit_code=int(process.exitcode or 0),
        epochs=[(f"{name}-{age}", int(epoch)) for name, age, epoch in said],
        steps=(log / "steps").stat().st_size,
        registered=[json.loads(line) for line in registered.read_text().splitlines()] if registered.exists() else [],
    )


def _child(space: Workspace, log: Path, dies: str, at: int) -> None:
    read = cache(conf._read)
    conf._read = lambda path: deepcopy(read(path))
    train_towers.Tracker = _Tracker(log / "registered")  # type: ignore[misc, assignment]
    _arrange(dies, at)
    with (
        (log / "steps").open("wb", buffering=0) as steps,
        (log / "said").open("w", encoding="utf-8") as said,
        contextlib.redirect_stdout(said),
    ):
        register_optimizer_step_post_hook(lambda *_: steps.write(b".") and None)
        space.run(train_towers, *AS_OF)


def _arrange(dies: str, at: int) -> None:
    """Let this process kill itself at a point."""
    save, save_file, seen = Checkpoint.save, _checkpoint.save_file, [0]

    def counted(checkpoint: Checkpoint, *given: Any) -> None:
        seen[0] += 1
        if seen[0] == at and dies == "before the save":
            _die()
        save(checkpoint, *given)
        if seen[0] == at and dies == "after the save":
            _die()

    def torn(tensors: Any, path: Path, *given: Any) -> None:
        save_file(tensors, path, *given)
        if seen[0] == at and dies == "in the save":
            os.truncate(path, path.stat().st_size // 2)
            _die()

    Checkpoint.save = counted  # type: ignore[method-assign]
    _checkpoint.save_file = torn
    seal, commit = _bundles.seal, _bundles.commit
    if dies == "in the commit":
        _bundles.seal = lambda *given, **options: _die(seal(*given, **options))
    if dies == "after the commit":
        _bundles.commit = lambda *given: _die(commit(*given))


def _die(*_: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


class _Tracker:
    """Writes down what is registered; MLflow takes longer to begin than the trainings."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> _Tracker:
        return self

    def register(self, bundle: Bundle, metrics: Mapping[str, float], history: Sequence[Mapping[str, float]] = ()) -> str:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([bundle.digest, dict(metrics), [dict(record) for record in history]]) + "\n")
        return "1"


def assert_as_undisturbed(space: Workspace, last: Ran, whole: tuple[Ran, Workspace]) -> None:
    ran, undisturbed = whole
    assert last.exit_code == 0
    assert tree(space.home / "bundles") == tree(undisturbed.home / "bundles")
    assert last.registered == ran.registered
    assert not (space.home / "runs" / RUN / "trainings").exists()


def test_killed_after_every_epoch_of_every_training_it_ends_with_the_same_files(space, whole):
    undisturbed, _ = whole
    steps, kept = 0, {}
    for training, epoch in TWO_EACH:
        ran = stage(space, "after the save", 1)
        assert (ran.exit_code, ran.epochs) == (-signal.SIGKILL, [(training, epoch)])
        found = trainings(space)
        assert {name for name in {*found, *kept} if found.get(name) != kept.get(name)} == {training}
        steps, kept = steps + ran.steps, found
    assert set(kept) == set(TRAININGS)
    assert steps == undisturbed.steps
    last = stage(space)
    assert (last.epochs, last.steps) == ([], 0)
    assert_as_undisturbed(space, last, whole)


@pytest.mark.parametrize(("dies", "training"), [("before the save", "retrieval-early"), ("in the save", "ranker-holdout")])
def test_an_epoch_whose_checkpoint_was_not_kept_is_trained_again(space, whole, dies, training):
    at = TWO_EACH.index((training, 2)) + 1
    killed = stage(space, dies, at)
    assert (killed.exit_code, killed.epochs) == (-signal.SIGKILL, TWO_EACH[:at])
    resumed = stage(space)
    assert resumed.epochs == TWO_EACH[at - 1 :]
    assert_as_undisturbed(space, resumed, whole)


@pytest.mark.parametrize("dies", ["in the commit", "after the commit"])
def test_killed_when_all_are_trained_it_trains_nothing_again(space, whole, dies):
    killed = stage(space, dies)
    assert (killed.exit_code, killed.epochs) == (-signal.SIGKILL, TWO_EACH)
    assert set(trainings(space)) == set(TRAININGS)
    last = stage(space)
    assert (last.epochs, last.steps) == ([], 0)
    assert_as_undisturbed(space, last, whole)


def test_checkpoints_of_other_inputs_are_not_gone_on_from(space, whole):
    """As after a change of settings between the runs: the trainings begin anew, and none of the old ones is left."""
    changed = Workspace(space.home, {**SMALL, "towers": {**TOWERS, "seed": 2}})
    assert stage(changed, "after the save", 1).exit_code == -signal.SIGKILL
    assert len(trainings(changed)) == 1
    last = stage(Workspace(space.home, SMALL))
    assert last.epochs == TWO_EACH
    assert_as_undisturbed(space, last, whole)
