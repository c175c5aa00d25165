"""An erasure that is killed at every change that it makes to the file system, and the same command given again.

Whatever the change: the second try ends with the very files that an erasure leaves which was never killed, and with a
receipt that counts what both removed. ``REELFLOW_KILLS=all`` tries every change, else some are.
"""

from __future__ import annotations

import multiprocessing
import shutil
import traceback
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import _bundles, erase
from jobs._recipe import Recipe
from models.ids import IdMap
from models.wals import FittedWals
from tests.builders import Workspace, stage_context, tree
from tests.jobs.erasing import WHO, WORDS, command, published, receipts, removed, store_of, taken_in, to_cold
from tests.jobs.mentions import mentions
from tests.jobs.test_kills import _KILLED, EVERY, _changes, _dies, _expect, _forked, _prepare_forks
from tests.models.wals.contract import config

pytestmark = pytest.mark.slow

_STEP = 23


@pytest.mark.timeout(3600 if EVERY else 900)
def test_an_erasure_that_is_killed_goes_on_and_counts_everything(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # a fork of this process could inherit locks
    mine, other = context.Pipe(duplex=False)
    process = context.Process(target=_nursery, args=(other, tmp_path, 1 if EVERY else _STEP))
    process.start()
    other.close()
    found: dict[str, Any] = mine.recv()
    process.join()
    assert found["error"] is None, found["error"]
    assert not found["failures"], "\n".join(found["failures"][:10]) + f"\n{len(found['failures'])} of {found['kills']} kills"
    assert {"open", "rename", "parquet", "mkdir", "exchange", "link"} <= {change.split()[0] for change in found["changes"]}
    print(f"{found['kills']} kills at {len(found['changes'])} changes")


def _prepare(home: Path) -> None:
    """A user's traces in every kind of place, and a list of the erased that has its key already."""
    space = published(taken_in(home))
    assert command(space, "--user", "77") == 0
    to_cold(space)
    users, videos = IdMap.of(np.array([1, 2, WHO])), IdMap.of(np.array([10, 11]))
    model = FittedWals(config(factors=2), users, videos, np.ones((3, 2), np.float32), np.ones((2, 2), np.float32))
    with space.environment():
        run = stage_context("train_wals", "--as-of", "2026-01-08T00:00:00Z")

        def write(folder: Path) -> None:
            (folder / "final").mkdir()
            model.save(folder / "final")

        _bundles.commit(run, _bundles.WALS, Recipe({}, "by hand", {}), write, {})
        (run.run_folder / "lists").mkdir(parents=True)
        (run.run_folder / "lists" / "part").write_text(str(WHO), encoding="utf-8")
        (run.run_folder / "scan.error").write_text(f"user_id={WHO}", encoding="utf-8")


def _erase(space: Workspace) -> bool:
    erase._now = lambda: datetime(2026, 1, 9, tzinfo=UTC)
    erase.secrets.token_hex = lambda _: "00000000"  # type: ignore[assignment]
    done = command(space, "--user", str(WHO), "--by", "ann")
    assert done == 0
    return False


def _nursery(connection: Connection, folder: Path, step: int) -> None:
    """Try the kills and send what was found. This process only forks and compares, so that it has no threads."""
    _prepare_forks()
    erase.code_version = lambda *_: "code"
    found: dict[str, Any] = {"error": None, "failures": [], "kills": 0, "changes": []}
    try:
        base = Workspace(folder / "base")
        _expect(0, _forked(base, lambda space: _prepare(space.home)))
        whole = base.copy_to(folder / "whole")
        _expect(0, _forked(whole, lambda space: _changes(space, _erase, folder / "changes")))
        found["changes"] = changes = (folder / "changes").read_text(encoding="utf-8").splitlines()
        for number in range(1, len(changes) + 1, step):
            found["kills"] += 1
            space = base.copy_to(folder / "killed")
            code = _forked(space, lambda space, at=number: _dies(space, _erase, at, torn=False))  # type: ignore[misc]
            problems = [] if code == _KILLED else [f"exit code {code}, expected {_KILLED}"]
            code = _forked(space, _erase)
            problems += [] if code == 0 else [f"the second try ended with exit code {code}"]
            problems += _differences(space, whole)
            found["failures"] += [f"killed before change {number}, {changes[number - 1]}: {problem}" for problem in problems]
            shutil.rmtree(space.home)
    except BaseException:
        found["error"] = traceback.format_exc()
    connection.send(found)


def _differences(space: Workspace, whole: Workspace) -> list[str]:
    problems = [f"{name} still knows the user" for name in mentions(space.home, WHO, WORDS)]
    for part in ("lake", "cold", "bundles", "erased"):
        now, never_killed = _files(space, part), _files(whole, part)
        problems += [f"{part}/{name} differs" for name in {*now, *never_killed} if now.get(name) != never_killed.get(name)]
    (mine,), (theirs,) = ([one for one in receipts(home) if one["total"]] for home in (space, whole))
    for step in ("tables", "models"):
        if removed(mine, step) != removed(theirs, step):
            problems.append(f"the receipt counts {removed(mine, step)}, expected {removed(theirs, step)}")
    store = store_of(space)
    problems += ["the store has a list of the user"] if store.read(WHO, 5) else []
    store.close()
    return problems


def _files(space: Workspace, part: str) -> dict[str, bytes]:
    """Every file of a part; what lies in the cold folder is named by where that is."""
    return {name: content.replace(str(space.home).encode(), b"") for name, content in tree(space.home / part).items()}
