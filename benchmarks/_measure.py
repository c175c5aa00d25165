"""Memory and processor time of a benchmark's processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its children; pages that they share count for each."""
    pages = 0
    for folder in _family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages += int((folder / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_seconds(pid: int | None = None) -> float:
    """Time of the processor that a process, or this one, and its children have taken, those that ended included."""
    ticks = 0
    for folder in _family(pid or os.getpid()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(map(int, (folder / "stat").read_text().rsplit(")", 1)[1].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Stolen:
    """Share of the processors' time since it was made that the hypervisor gave to other machines: noise in every figure."""

    def __init__(self) -> None:
        self._before = _ticks()

    def percent(self) -> float:
        """The share up to now."""
        stolen, every = (now - before for now, before in zip(_ticks(), self._before, strict=True))
        return 100 * stolen / max(every, 1)


def _ticks() -> tuple[int, int]:
    """What was stolen, and everything, since the machine began; see proc_stat(5)."""
    cpu = [int(value) for value in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]
    return cpu[7], sum(cpu[:8])


def _family(pid: int) -> Iterator[Path]:
    """The ``/proc`` folders of a process and of all that it started and that still run."""
    folder = Path(f"/proc/{pid}")
    try:
        children = " ".join(path.read_text() for path in folder.glob("task/*/children")).split()
    except (FileNotFoundError, ProcessLookupError):
        return
    yield folder
    for child in children:
        yield from _family(int(child))
