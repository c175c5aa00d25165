"""Stages and erasures keep out of each other's way: a stage that began before an erasure must not write what that removed.

Whatever writes to the workspace holds a place while it works, as many as like at a time. An erasure waits until none is held,
and who comes meanwhile waits for it. Two locks do it, both released by the system when their holder dies: ``door`` is held by
an erasure from when it begins to wait, so that newcomers stay outside; ``room`` is what all work in.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_DOOR, _ROOM = ".erasure-door.lock", ".erasure-room.lock"


@contextmanager
def at_work(runs: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a place; waits for an erasure that is at work.

    Args:
        runs: ``paths.runs``.
        waiting: called when there is one.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / _DOOR).open("w") as door, (runs / _ROOM).open("w") as room:
        _lock(door, fcntl.LOCK_SH, waiting)
        fcntl.flock(room, fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@contextmanager
def alone(runs: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Wait until nobody is at work, and let nobody begin.

    Args:
        runs: ``paths.runs``.
        waiting: called when somebody is.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / _DOOR).open("w") as door, (runs / _ROOM).open("w") as room:
        _lock(door, fcntl.LOCK_EX, waiting)
        _lock(room, fcntl.LOCK_EX, waiting)
        yield


def _lock(stream: TextIO, kind: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(stream, kind)
